"""The workers over a table in three shards: it is the cluster, whatever is lost, and however often shards change."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
import redis

from krm import frames, resources
from krm.errors import StoreError
from krm.resources import PODS
from tests.chain import Chain, running
from tests.looking import looking
from tests.waiting import NotInTimeError, wait_until

pytestmark = pytest.mark.timeout(120)

SHARDS = 3


async def goes_on(chain: Chain) -> None:
    """Until the table is the cluster again, list and stream meet, and the rows are where they belong."""
    assert chain.simulation.churn is not None
    for _ in range(50):
        chain.simulation.churn.step()

    async def whole() -> bool:
        try:
            await chain.converged(deadline_s=2)
            return (await chain.ready()).contiguous
        except (StoreError, NotInTimeError):
            return False

    await wait_until(whole, 60, "the table is the cluster")


async def test_whatever_is_lost_of_a_shard_heals_and_is_never_answered(redis_url: str, tmp_path: Path) -> None:
    async with (
        running(redis_url, tmp_path, verify_interval_s=1.0, shards=SHARDS) as chain,
        looking(redis_url) as reader,
    ):
        await chain.converged()
        with redis.Redis.from_url(redis_url) as client:
            for number, name in ((1, "objects"), (0, "applied")):
                client.delete(getattr(chain.table().shard(number), name))
                await goes_on(chain)
            for uid in client.hkeys(chain.table().shard(2).objects)[:2]:
                client.hdel(chain.table().shard(2).objects, uid)
            await goes_on(chain)
            victim = chain.table().shard(1).objects
            client.delete(victim)
            client.set(victim, b"\x80\x04not ours")
            await goes_on(chain)
        await wait_until(lambda: reader.rows() == chain.truth(), 30, "the replica is the truth")
        assert reader.broken == []


async def test_number_of_shards_changes_while_the_cluster_lives(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain, looking(redis_url) as reader:
        for shards in (SHARDS, 2, 1):
            await chain.stop("aggregator")
            chain.settings = dataclasses.replace(chain.settings, shards=shards)
            await chain.start("aggregator")
            await goes_on(chain)
            assert (await chain.ready()).shards == shards
        await wait_until(lambda: reader.rows() == chain.truth(), 30, "the replica is the truth")
        assert reader.broken == []


async def test_killed_aggregators_are_followed_by_others_that_keep_the_table(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, churn=200.0, shards=SHARDS) as chain, looking(redis_url) as reader:
        run = (await chain.ready()).run
        for _ in range(4):
            before = (await chain.ready()).seq
            await chain.kill("aggregator")
            await chain.store.client.hdel(chain.table().keys.fence, "aggregator")  # its time has passed
            await chain.start("aggregator")

            async def moved(before: int = before) -> bool:
                return (await chain.ready()).seq > before + 50

            await wait_until(moved, 30, "changes go on")
        chain.simulation.set_churn(0)
        await chain.converged(30)
        assert (await chain.ready()).run == run
        await wait_until(lambda: reader.rows() == chain.truth(), 30, "the replica is the truth")
        assert reader.broken == []
        both: tuple[frames.Which, ...] = ("aggregated", "verified")  # the next list is as the table is
        for which in both:

            async def whole(which: frames.Which = which) -> bool:
                frame = await asyncio.to_thread(frames.read, redis_url, PODS.plural, which=which)
                return len(frame) == len(chain.truth(resources.PODS)) and bool(frame["object"].notna().all())

            await wait_until(whole, 30, f"the frame of what is {which} is whole")
