"""The product as processes of its own, for measuring: simulated cluster, Redis, workers, API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from krm import simulator
from krm.store.local import LocalRedis
from tests.servers import free_port

READY_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What runs, and where."""

    simulation: simulator.Simulation | None
    kubeconfig: Path
    api_url: str
    redis_url: str
    processes: dict[str, subprocess.Popen[bytes]]


@contextlib.asynccontextmanager
async def running(folder: Path, *, pods: int, resources: str = "pods", **env: str) -> AsyncIterator[Stack]:
    """A stack over a cluster of ``pods``; the simulated server lives in this process, so that it can be driven."""
    world = simulator.World(pods=pods, seed=3)
    async with simulator.serve(world=world) as simulation:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(simulation.kubeconfig())
        with LocalRedis() as redis, _processes(kubeconfig, redis.url, resources, env) as (url, processes):
            await asyncio.to_thread(_wait_ready, url)
            yield Stack(
                simulation=simulation, kubeconfig=kubeconfig, api_url=url, redis_url=redis.url, processes=processes
            )


@contextlib.contextmanager
def simulated(folder: Path, *, pods: int, churn: float = 20.0) -> Iterator[Path]:
    """A simulated cluster in a process of its own, with ``churn`` changes a second; its kubeconfig."""
    kubeconfig = folder / "kubeconfig"
    arguments = ["--port", "0", "--pods", str(pods), "--seed", "3", "--churn", str(churn)]
    arguments += ["--kubeconfig-out", str(kubeconfig)]
    process = subprocess.Popen([sys.executable, "-m", "krm.simulator", *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield kubeconfig
    finally:
        _end([process])
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def deployed(kubeconfig: Path, *, resources: str = "pods", **env: str) -> Iterator[Stack]:
    """Redis, workers and API over a cluster that somebody else runs."""
    with LocalRedis() as redis, _processes(kubeconfig, redis.url, resources, env) as (url, processes):
        _wait_ready(url)
        yield Stack(simulation=None, kubeconfig=kubeconfig, api_url=url, redis_url=redis.url, processes=processes)


@contextlib.contextmanager
def served(kubeconfig: Path, *, resources: str = "pods", **env: str) -> Iterator[str]:
    """Redis, workers and API over a cluster; the API's URL."""
    with LocalRedis() as redis, _processes(kubeconfig, redis.url, resources, env) as (url, _):
        _wait_ready(url)
        yield url


@contextlib.contextmanager
def _processes(
    kubeconfig: Path, redis_url: str, resources: str, env: dict[str, str]
) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    port = free_port()
    environment = {
        **os.environ,
        "KRM_REDIS_URL": redis_url,
        "KRM_RESOURCES": resources,
        "KRM_PORT": str(port),
        "KRM_VERIFY_INTERVAL": "10m",
        "KRM_LOG_LEVEL": "warning",
        **env,
    }
    commands: dict[str, Sequence[str]] = {
        "verify": ("verify", "--kubeconfig", str(kubeconfig)),
        "stream": ("stream", "--kubeconfig", str(kubeconfig)),
        "aggregate": ("aggregate",),
        "serve": ("serve",),
    }
    processes = {
        name: subprocess.Popen([sys.executable, "-m", "krm", *command], env=environment)
        for name, command in commands.items()
    }
    try:
        yield f"http://127.0.0.1:{port}", processes
    finally:
        _end(list(processes.values()))


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a process has had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    """The memory that a process has now."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"{url}/readyz: not ready within {READY_S} s")
