"""A few faults of each sort against the product as processes, under the judge of ``make faults``, in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm.simulator import FaultKind
from tests.faults import lab
from tests.faults.figures import Figures


@pytest.mark.timeout(300)
async def test_nothing_is_false_meanwhile_and_everything_heals(tmp_path: Path) -> None:
    figures = Figures()
    async with lab.running(tmp_path, figures, pods=150, interval_s=3.0) as it:
        # The way to the API server: cut in the middle of an event, then another history of the watch.
        it.api_proxy.cut(2_000, lambda one: one.is_watch)
        it.churn(40)
        await it.heals()
        it.simulation.faults.add(FaultKind.GONE, resource="pods", count=1)
        it.churn(40)
        await it.heals()
        # The way to Redis, while everybody uses it.
        it.churn(40)
        it.redis_proxy.reset()
        await it.heals()
        # Redis: all scripts and all keys gone.
        async with it.redis.client() as client:
            await client.script_flush()
            await client.flushall()
        it.churn(40)
        await it.heals()
        await it.proven()
    assert figures.times == 4
    assert figures.broken == 0
