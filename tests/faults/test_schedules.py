"""A million random merge schedules against the true history, beside the twenty thousand that ``make test`` plays."""

from __future__ import annotations

import pytest

from tests.faults.figures import Figures
from tests.unit.test_merge import CASES, WORLDS, check

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_200)]

SCHEDULES = 1_000_000
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("lists_in_flight", "loss", "disorder"), WORLDS)
def test_no_random_schedule_breaks_a_promise(
    figures: Figures, lists_in_flight: int, loss: float, disorder: float, part: int
) -> None:
    share = SCHEDULES // (len(WORLDS) * PARTS)
    first = CASES + part * share  # others than make test plays
    for seed in range(first, first + share):
        check(seed, lists_in_flight=lists_in_flight, loss=loss, disorder=disorder)
    figures.name("merge", "random merge schedules: lists in flight, events lost, repeated, out of order")
    figures.times = share
