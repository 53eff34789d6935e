"""Bit flips by the hundred thousand: no crash, no wrong row. A sample of them is in ``make test``."""

from __future__ import annotations

import pytest

from tests.faults import flips
from tests.faults.figures import Figures

FLIPS = 100_000
PARTS = 4


def test_some_flips_give_no_wrong_row() -> None:
    outcomes = flips.play(2_000, seed=1)
    assert {name.rpartition(": ")[0] for name in outcomes} == set(flips.targets())
    assert sum(count for name, count in outcomes.items() if name.endswith("refused")) > 1_000


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_flip_gives_a_wrong_row(figures: Figures, part: int) -> None:
    figures.name("flips", "bits flipped in lines of a watch, pages of a list, stored rows and lists")
    outcomes = flips.play(FLIPS // PARTS, seed=100 + part)
    figures.times += sum(outcomes.values())
    figures.note(refused=sum(count for name, count in outcomes.items() if name.endswith("refused")))
