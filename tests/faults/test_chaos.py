"""Anything may break at any time: afterwards every row is what the API server has, and meanwhile nothing is false.

Each run draws, from its seed, a life of a cluster and of the workers: changes, faults of the API server's streams and
lists, compactions, restarts, restored backups, killed and stopped workers, an emptied Redis. A reader looks on: what it
reads must never be empty without an error, and never go back in one history.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from krm import resources
from krm.objects.versions import newer
from krm.simulator import FaultKind
from krm.workers.runner import cancel
from tests.chain import ROLES, Chain, running
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

RUNS = {"": 12, "full": 200}[os.environ.get("FAULTS_SCALE", "")]
STEPS = 25
STREAM_FAULTS = [
    *(FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.SWAP, FaultKind.CUT, FaultKind.CUT_LINE, FaultKind.END),
    *(FaultKind.GONE, FaultKind.ERROR, FaultKind.GARBAGE_LINE, FaultKind.NOT_UTF8_LINE, FaultKind.UNKNOWN_TYPE),
]
LIST_FAULTS = [
    *(FaultKind.EMPTY_LIST, FaultKind.TRUNCATED_LIST, FaultKind.RESET, FaultKind.GARBAGE_BODY, FaultKind.STATUS),
    FaultKind.LATER_PAGE,
]


class Reader:
    """Looks at the table all the time."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.looks = 0
        self.broken: list[str] = []
        self._last = ("", "", "")

    async def look_for_ever(self) -> None:
        """Until cancelled."""
        while True:
            head = await self._chain.table().head()
            self.looks += 1
            if head is not None and head.state == "ready":
                run, epoch, version = self._last
                if head.rows == 0:
                    self.broken.append("a ready table without rows")
                if (run, epoch) == (head.run, head.epoch) and newer(version, head.resource_version):
                    self.broken.append(f"went back from {version} to {head.resource_version}")
                self._last = (head.run, head.epoch, head.resource_version)
            await asyncio.sleep(0.02)


async def act(chain: Chain, rng: random.Random) -> str:
    """Do one thing to somebody."""
    simulation = chain.simulation
    action = rng.random()
    if action < 0.45:
        steps = rng.randint(1, 60)
        assert simulation.churn is not None
        for _ in range(steps):
            simulation.churn.step()
        return f"{steps} changes"
    if action < 0.60:
        kind = rng.choice(STREAM_FAULTS)
        simulation.faults.add(kind, resource="pods", count=rng.randint(1, 3), every=rng.randint(1, 5), status=503)
        return f"stream: {kind}"
    if action < 0.72:
        kind = rng.choice(LIST_FAULTS)
        status = rng.choice([410, 429, 500, 503])
        simulation.faults.add(kind, resource="pods", verb="list", count=1, status=status, after_bytes=3_000)
        return f"list: {kind}"
    if action < 0.77:
        simulation.compact()
        return "compacted"
    if action < 0.82:
        await simulation.restart()
        return "API server restarted"
    if action < 0.85:
        simulation.restore(simulation.snapshot())
        return "API server restored"
    if action < 0.95:
        role = rng.choice(ROLES)
        end = chain.kill if rng.random() < 0.7 else chain.stop
        await end(role)
        await chain.start(role)
        return f"{role} ended"
    if action < 0.98:
        await chain.store.client.flushall()
        return "Redis emptied"
    victim = rng.choice(["objects", "table", "verified", "events", "position", "fence"])
    await chain.store.client.delete(getattr(chain.table().keys, victim))
    return f"key {victim} lost"


@pytest.mark.parametrize("seed", range(RUNS))
async def test_everything_heals(redis_url: str, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with running(redis_url, tmp_path, pods=120, verify_interval_s=1.0, list_page_size=20) as chain:
        await chain.converged()
        reader = Reader(chain)
        looking = asyncio.create_task(reader.look_for_ever())
        done = []
        try:
            for _ in range(STEPS):
                done.append(await act(chain, rng))
                await asyncio.sleep(rng.random() * 0.3)
        finally:
            await cancel([looking])
        for fault in chain.simulation.faults:
            fault.count = 0
        try:
            await chain.converged(deadline_s=30)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}; after {done}") from error
        assert not reader.broken, (seed, reader.broken, done)
        assert reader.looks > STEPS
        await still_follows(chain)


async def still_follows(chain: Chain) -> None:
    """The stream is alive: a change arrives without the help of a list."""
    await chain.workers["verifier", "pods"].writer.ask_for_list(full=False, reason="test")
    pods = chain.simulation.store.kind_named("pods")
    pod = chain.simulation.store.all(pods)[0].parse()
    pod["metadata"]["annotations"] = {"still": "here"}
    version = str(chain.simulation.store.update(pods, pod).rv)

    async def arrived() -> bool:
        row = (await chain.stored(resources.PODS)).get((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        return row is not None and row.version == version

    await wait_until(arrived, 30)
