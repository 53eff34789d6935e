"""A sudden emptiness is confirmed before it is believed, in whichever history it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm.simulator import FaultKind
from tests.chain import Chain, running
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


async def verified_anew(chain: Chain) -> None:
    now_ms = await chain.table().now_ms()

    async def is_verified() -> bool:
        return (await chain.ready()).verified_at_ms > now_ms

    await wait_until(is_verified, 40, "a new list is in the table")


async def test_a_list_of_a_new_history_is_confirmed_too(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=250, verify_interval_s=1.0, verify_mode="full") as chain:
        await chain.converged()
        epoch = (await chain.ready()).epoch
        backup = chain.simulation.snapshot()
        assert chain.simulation.churn is not None
        for _ in range(20):
            chain.simulation.churn.step()
        await verified_anew(chain)
        # The first list shows that history went back; the second is the one that the new history begins with.
        chain.simulation.restore(backup)
        fault = chain.simulation.faults.add(FaultKind.EMPTY_LIST, resource="pods", every=2, count=1)

        async def another_list() -> bool:
            return (await chain.table().list_heads())[""].epoch != epoch

        await wait_until(another_list, 40, "a list of another history")
        assert fault.happened == 1
        assert (await chain.table().list_heads())[""].rows >= 200
        await chain.converged()


@pytest.mark.parametrize("rows", [20, 250])
async def test_an_emptiness_is_confirmed_where_redis_has_lost_what_was_there(
    redis_url: str, tmp_path: Path, rows: int
) -> None:
    async with running(redis_url, tmp_path, pods=rows, verify_interval_s=1.0) as chain:
        await chain.converged()
        there = len(chain.truth())
        fault = chain.simulation.faults.add(FaultKind.EMPTY_LIST, resource="pods", count=1)
        await chain.store.client.flushall()
        await wait_until(lambda: fault.happened == 1, 40, "a list without rows")

        async def is_listed() -> bool:
            return "" in await chain.table().list_heads()

        await wait_until(is_listed, 40, "a list")
        assert (await chain.table().list_heads())[""].rows == there
        await chain.converged()


async def test_a_few_rows_that_vanish_are_confirmed_too(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=20, verify_interval_s=1.0) as chain:
        await chain.converged()
        there = len(chain.truth())
        before = (await chain.table().list_heads())[""].listing
        fault = chain.simulation.faults.add(FaultKind.EMPTY_LIST, resource="pods", count=1)
        await wait_until(lambda: fault.happened == 1, 40, "a list without rows")

        async def another() -> bool:
            return (await chain.table().list_heads())[""].listing != before

        await wait_until(another, 40, "the next list")
        assert (await chain.table().list_heads())[""].rows == there
