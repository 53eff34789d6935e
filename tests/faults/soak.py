"""``make soak MINUTES=60``: 200 changes a second and a fault a minute, for as long as is wished; a judge looks on.

After each fault the changes pause until the answers are the cluster row by row. At the end the table of faults, and of
each process how its memory and its descriptors went: over its longest life, without the first minutes of it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from krm.simulator import FaultKind
from tests.faults import lab
from tests.faults.figures import Figures, table
from tests.faults.lab import Lab

PODS: Final = 1_000
CHANGES_PER_S: Final = 200.0
FAULT_EVERY_S: Final = 60.0
SAMPLE_EVERY_S: Final = 5.0
WARM_S: Final = 180.0
"""A process that young still fills its caches."""
Sample = tuple[float, float, int]


async def _api_down(it: Lab) -> None:
    await it.api_proxy.refuse()
    await asyncio.sleep(5)
    await it.api_proxy.listen()


async def _api_silent(it: Lab) -> None:
    it.api_proxy.is_hole = True
    await asyncio.sleep(5)
    it.api_proxy.is_hole = False


async def _connections_reset(it: Lab) -> None:
    it.api_proxy.reset()
    async with it.redis.client() as client:
        await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def _watch_half_open(it: Lab) -> None:
    it.api_proxy.hole(lambda one: one.is_watch)
    await asyncio.sleep(1)


async def _compacted(it: Lab) -> None:
    it.simulation.compact()
    it.simulation.faults.add(FaultKind.GONE, resource="pods", count=1)
    await asyncio.sleep(1)


async def _lines_damaged(it: Lab) -> None:
    for kind in (FaultKind.GARBAGE_LINE, FaultKind.CUT_LINE, FaultKind.DUPLICATE):
        it.simulation.faults.add(kind, resource="pods", count=1)
    await asyncio.sleep(2)


async def _lists_broken(it: Lab) -> None:
    for kind in (FaultKind.TRUNCATED_LIST, FaultKind.LATER_PAGE, FaultKind.EMPTY_LIST):
        it.simulation.faults.add(kind, resource="pods", verb="list", count=1, status=410, after_bytes=9_000)
    await asyncio.sleep(5)


async def _redis_paused(it: Lab) -> None:
    async with it.redis.client() as client:
        await client.execute_command("CLIENT", "PAUSE", "4000")
    await asyncio.sleep(4)


async def _redis_emptied(it: Lab) -> None:
    async with it.redis.client() as client:
        await client.flushall()
    await asyncio.sleep(1)


async def _scripts_forgotten(it: Lab) -> None:
    async with it.redis.client() as client:
        await client.script_flush()


async def _worker_killed(it: Lab) -> None:
    it.signal("verify", signal.SIGKILL)
    it.start("verify")


async def _worker_stopped(it: Lab) -> None:
    for name in ("stream", "aggregate"):
        it.signal(name, signal.SIGSTOP)
        await asyncio.sleep(2)
        it.signal(name, signal.SIGCONT)


FAULTS: Final[dict[str, Callable[[Lab], Awaitable[None]]]] = {
    "API server down for 5 s": _api_down,
    "API server silent for 5 s": _api_silent,
    "all connections reset": _connections_reset,
    "watch half-open": _watch_half_open,
    "history compacted, 410": _compacted,
    "lines damaged, cut, twice": _lines_damaged,
    "lists cut, gone, empty": _lists_broken,
    "Redis paused for 4 s": _redis_paused,
    "Redis emptied": _redis_emptied,
    "scripts forgotten": _scripts_forgotten,
    "verifier killed": _worker_killed,
    "streamer, aggregator stopped for 2 s": _worker_stopped,
}


class Sampler:
    """Memory and descriptors of every process, life by life."""

    def __init__(self, it: Lab) -> None:
        self._it = it
        self.lives: dict[tuple[str, int], list[Sample]] = {}

    async def sample_for_ever(self) -> None:
        """Until cancelled."""
        while True:
            for name, process in self._it.processes.items():
                if process.poll() is None:
                    one = (time.monotonic(), self._it.rss_mib(name), self._it.descriptors(name))
                    self.lives.setdefault((name, process.pid), []).append(one)
            await asyncio.sleep(SAMPLE_EVERY_S)

    def lines(self) -> list[str]:
        """Of each process: MiB in the beginning and at the end, MiB and descriptors an hour."""
        longest: dict[str, list[Sample]] = {}
        for (name, _), samples in self.lives.items():
            warm = [one for one in samples if one[0] - samples[0][0] >= WARM_S] or samples
            if warm[-1][0] - warm[0][0] >= (longest[name][-1][0] - longest[name][0][0] if name in longest else -1):
                longest[name] = warm
        return [
            f"{name}: {samples[0][1]:.0f} MiB, after {(samples[-1][0] - samples[0][0]) / 60:.0f} min more"
            f" {samples[-1][1]:.0f} MiB (slope {_slope([(at, mib) for at, mib, _ in samples]) * 3600:+.1f} MiB/h);"
            f" {samples[0][2]} descriptors, then {samples[-1][2]}"
            f" (slope {_slope([(at, float(fds)) for at, _, fds in samples]) * 3600:+.1f}/h)"
            for name, samples in longest.items()
        ]


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line through ``points`` with the least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


async def soak(minutes: float, folder: Path, seed: int) -> bool:
    """Run; whether every promise was kept."""
    rng = random.Random(seed)
    rows: dict[str, Figures] = {}
    live = Figures(id="soak", fault=f"{CHANGES_PER_S:g} changes/s on {PODS} pods for {minutes:g} min, all answers")
    async with lab.running(folder, live, pods=PODS, interval_s=5.0, redis_by_proxy=False) as it:
        sampler = Sampler(it)
        sampling = asyncio.create_task(sampler.sample_for_ever())
        began = last = time.monotonic()
        try:
            for number in range(10**9):
                it.simulation.set_churn(CHANGES_PER_S)
                await asyncio.sleep(max(0.0, last + FAULT_EVERY_S - time.monotonic()))
                last = time.monotonic()
                if last - began > minutes * 60:
                    break
                name = list(FAULTS)[number % len(FAULTS)] if number < len(FAULTS) else rng.choice(list(FAULTS))
                await FAULTS[name](it)
                it.simulation.set_churn(0)
                took_s = await it.heals(deadline_s=90)
                row = rows.setdefault(name, Figures(id=f"{len(rows) + 1}", fault=name))
                row.times += 1
                row.seconds.append(took_s)
                memory = " ".join(f"{each} {it.rss_mib(each):.0f}" for each in it.processes)
                print(
                    f"{(last - began) / 60:5.1f} min  {name}: whole again after {took_s:.2f} s  MiB: {memory}",
                    flush=True,
                )
        finally:
            sampling.cancel()
            await asyncio.wait([sampling])
            live.note(answers=it.judge.looks)
            print(f"\n{table([*rows.values(), live])}\n", *sampler.lines(), sep="\n", flush=True)
    return live.broken == 0


def main() -> int:
    """As the command says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="krm-soak-") as folder:
        return 0 if asyncio.run(soak(arguments.minutes, Path(folder), arguments.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
