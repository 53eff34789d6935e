"""How much memory and CPU each part takes, for the table of sizes in ``docs/operations.md``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import redis

from krm.simulator.influx import LocalInflux, WriteRoute
from tests import servers
from tests.bench import stack
from tests.integration.delay.conftest import served

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

SIZES: Final = {"": (1_000, 10_000), "full": (1_000, 10_000, 100_000)}[os.environ.get("BENCH_SCALE", "")]
EVENTS_A_SECOND: Final = 100
SECONDS: Final = 20.0
SETTLED_S: Final = 5.0
"""Until what was started last has started."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def taken(pid: int) -> tuple[float, float, float]:
    """(MiB now, MiB at most, CPU seconds) of a process."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024, cpu_s


def child_of(guard: int) -> int:
    """The one process that a guard looks after."""
    return int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])


@contextlib.asynccontextmanager
async def delay_store(redis_url: str) -> AsyncIterator[dict[str, int]]:
    """An InfluxDB and a collector that fills it, by their process ids."""
    program = servers.influxd_program()
    engine = LocalInflux(program.path, program.env())
    await asyncio.to_thread(engine.spawn)
    try:
        await engine.ready()
        await engine.query('CREATE DATABASE "krm"')
        async with served(WriteRoute(engine.url).application()) as url:
            env = {"KRM_REDIS_URL": redis_url, "KRM_INFLUX_URL": url, "KRM_INFLUX_TOKEN": "t", "KRM_RESOURCES": "pods"}
            command = [sys.executable, "-m", "krm", "collect"]
            env |= {**os.environ, **env, "KRM_LOG_LEVEL": "warning"}
            collector = await asyncio.to_thread(subprocess.Popen, command, env=env)
            try:
                assert engine._guard is not None
                yield {"collect": collector.pid, "influxd": child_of(engine._guard.pid)}
            finally:
                collector.terminate()
                await asyncio.to_thread(collector.wait, 10)
    finally:
        await asyncio.to_thread(engine.stop)


@pytest.mark.parametrize("pods", SIZES)
async def test_what_each_part_takes(pods: int, tmp_path: Path) -> None:
    async with stack.running(tmp_path, pods=pods, KRM_VERIFY_INTERVAL="10s") as running:
        assert running.simulation is not None
        running.simulation.set_churn(EVENTS_A_SECOND)
        async with delay_store(running.redis_url) as more:
            await measured(pods, running, {**{name: p.pid for name, p in running.processes.items()}, **more})


async def measured(pods: int, running: stack.Stack, pids: dict[str, int]) -> None:
    await asyncio.sleep(SETTLED_S)
    with redis.Redis.from_url(running.redis_url) as client:
        before = {name: taken(pid)[2] for name, pid in pids.items()}
        began_s = client.info("cpu")["used_cpu_user"] + client.info("cpu")["used_cpu_sys"]
        await asyncio.sleep(SECONDS)
        cpu, memory = client.info("cpu"), client.info("memory")
    print(f"\n{pods:,} Pods, {EVENTS_A_SECOND} changes a second, a list each 10 s: MiB (at most), milli-CPU")
    for name, pid in pids.items():
        now, most, cpu_s = taken(pid)
        assert now > 0
        print(f"  {name:10} {now:7.0f} ({most:.0f})   {1000 * (cpu_s - before[name]) / SECONDS:5.0f}")
    spent_s = cpu["used_cpu_user"] + cpu["used_cpu_sys"] - began_s
    peak = memory["used_memory_peak"] / 2**20
    print(f"  {'redis':10} {memory['used_memory'] / 2**20:7.0f} ({peak:.0f})   {1000 * spent_s / SECONDS:5.0f}")
