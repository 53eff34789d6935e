"""A hundred thousand hostile documents: none fails, and those that are refused cost some milliseconds of CPU."""

from __future__ import annotations

import gc

import pytest

from tests.unit.schema.asking import engine
from tests.unit.schema.test_hostile import BOUND_S, SAMPLE, SLACK, check, source

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_500)]

DOCUMENTS = 100_000
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
async def test_no_hostile_document_is_dear_or_fails(part: int) -> None:
    share = DOCUMENTS // PARTS
    first = SAMPLE + part * share  # others than make test asks
    by, at = engine(), source()
    costs: list[float] = []
    gc.freeze()
    for number in range(first, first + share):
        costs.append(await check(by, at, number, SLACK * BOUND_S))
    refused = sorted(cost for cost in costs if cost)
    print(
        f"\n{share:,} documents, {len(refused):,} refused:"
        f" median {refused[len(refused) // 2] * 1_000:.2f} ms of CPU, most {refused[-1] * 1_000:.1f} ms,"
        f" {sum(cost > BOUND_S for cost in refused)} over {BOUND_S * 1_000:.0f} ms"
    )
