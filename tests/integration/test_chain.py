"""Every kind of the registry goes the whole way: from the simulated API server into the table in Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm.resources import RESOURCES, Resource
from tests import chain


@pytest.mark.parametrize("kind", RESOURCES.values(), ids=lambda kind: kind.plural)
async def test_every_kind_reaches_redis_whole(kind: Resource, redis_url: str, tmp_path: Path) -> None:
    async with chain.running(redis_url, tmp_path, pods=150, kinds=[kind]) as running:
        await running.converged()
        assert running.truth(kind)
        assert await running.stored(kind) == running.truth(kind)


async def test_all_kinds_side_by_side_in_one_redis(redis_url: str, tmp_path: Path) -> None:
    kinds = tuple(RESOURCES.values())
    async with chain.running(redis_url, tmp_path, pods=20, churn=50, kinds=kinds) as running:
        await running.ready(kinds[-1])
        running.simulation.set_churn(0)
        await running.converged()
