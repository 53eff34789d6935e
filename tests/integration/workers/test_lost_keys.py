"""Whatever key of Redis is lost, of another type or damaged: the workers put it right by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from krm.errors import StoreError
from krm.store.keys import NAMES
from tests.chain import Chain, running
from tests.waiting import NotInTimeError, wait_until

pytestmark = pytest.mark.timeout(90)

KEPT = sorted(NAMES - {"delays", "requests", "drift", "applied"})
"""Those that a table in one shard needs."""


async def heals(chain: Chain) -> None:
    assert chain.simulation.churn is not None
    for _ in range(50):
        chain.simulation.churn.step()

    async def healed() -> bool:
        try:
            await chain.converged(deadline_s=2)
            return (await chain.ready()).contiguous
        except (StoreError, NotInTimeError):
            return False

    await wait_until(healed, 60, "the table is the cluster, and list and stream meet")


@pytest.mark.parametrize("name", KEPT)
async def test_lost_key_heals(name: str, redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await chain.converged()
        with redis.Redis.from_url(redis_url) as client:
            client.delete(getattr(chain.table().keys, name))
        await heals(chain)


@pytest.mark.parametrize("name", KEPT)
async def test_key_of_another_type_heals(name: str, redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await chain.converged()
        with redis.Redis.from_url(redis_url) as client:
            client.delete(getattr(chain.table().keys, name))
            client.set(getattr(chain.table().keys, name), b"\x80\x04not ours")
        await heals(chain)


@pytest.mark.parametrize("name", ["verified", "table", "objects", "status", "position", "dictionary", "fence"])
async def test_damaged_field_heals(name: str, redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await chain.converged()
        with redis.Redis.from_url(redis_url) as client:
            key = getattr(chain.table().keys, name)
            for field in list(client.hkeys(key))[:3]:
                client.hset(key, field, b"\x80\x04not ours")
        await heals(chain)
