"""``krm serve`` over a Redis that was filled, and the servers that it is held against, as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from krm.resources import PODS, Resource
from krm.store.local import LocalRedis
from tests import debian
from tests.bench import cluster
from tests.servers import free_port

READY_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server's address and process; ``ready_s`` from its start on."""

    url: str
    process: subprocess.Popen[bytes]
    ready_s: float

    def memory_mib(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) / 1024

    def processor_s(self) -> float:
        """Processor time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def filled_redis(pods: int, resources: Sequence[Resource] = (PODS,)) -> Iterator[str]:
    """A Redis with the tables of a cluster of that many pods; its URL."""
    with LocalRedis() as redis:
        asyncio.run(cluster.fill(redis.url, pods, resources))
        yield redis.url


@contextlib.contextmanager
def api(redis_url: str, **env: str) -> Iterator[Serving]:
    """An API over a Redis."""
    port = free_port()
    environment = {**os.environ, "KRM_REDIS_URL": redis_url, "KRM_RESOURCES": "pods", "KRM_PORT": str(port)}
    environment |= {"KRM_LOG_LEVEL": "error", "KRM_MAX_IN_FLIGHT": "1000", **env}
    with _started([sys.executable, "-m", "krm", "serve"], environment, f"http://127.0.0.1:{port}", "/readyz") as found:
        yield found


@contextlib.contextmanager
def stock(folder: Path, pods: int) -> Iterator[Serving]:
    """The servers that KRM is held against, with the same objects."""
    lines = folder / f"pods-{pods}"
    replica = cluster.Source(pods).pods()
    lines.write_bytes(b"\n".join(bytes(body) for body in replica.codec.bodies(replica.rows())))
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.stock", str(port), str(lines)]
    with _started(command, dict(os.environ), f"http://127.0.0.1:{port}", "/bytes?size=1") as found:
        yield found


@contextlib.contextmanager
def _started(command: Sequence[str], env: dict[str, str], url: str, probe: str) -> Iterator[Serving]:
    started = time.perf_counter()
    process = subprocess.Popen(command, env=env)
    try:
        yield Serving(url=url, process=process, ready_s=_ready(process, url + probe) - started)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _ready(process: subprocess.Popen[bytes], url: str) -> float:
    deadline = time.perf_counter() + READY_S
    while time.perf_counter() < deadline:
        assert process.poll() is None, "the server has ended"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=30).status_code == 200:
                return time.perf_counter()
        time.sleep(0.01)
    raise TimeoutError(f"{url}: not ready within {READY_S} s")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What wrk measured."""

    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def wrk(url: str, folder: Path, body: str, *, connections: int, seconds: int = 5) -> Rate:
    """Many connections that ask one question again and again."""
    script = folder / "ask.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [==[{body}]==]\n"
        "done = function(summary, latency)\n"
        '  io.write(string.format("\\nKRM %d %d %f %f %d\\n", summary.requests, summary.duration,'
        " latency:percentile(50), latency:percentile(99),"
        " summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status"
        " + summary.errors.timeout))\nend\n"
    )
    program = debian.program("wrk", package="wrk")
    command = [str(program.path), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    out = subprocess.run([*command, f"{url}/graphql"], env=program.env(), capture_output=True, check=True, text=True)
    line = next(line for line in out.stdout.splitlines() if line.startswith("KRM "))
    requests, micros, p50, p99, errors = map(float, line.split()[1:])
    return Rate(per_s=requests / micros * 1e6, p50_ms=p50 / 1e3, p99_ms=p99 / 1e3, errors=int(errors))
