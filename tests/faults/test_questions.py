"""A hundred thousand random questions against the plain oracle, beside the sample that ``make test`` asks."""

from __future__ import annotations

import pytest

from tests.unit.query.test_random_questions import SAMPLE, check

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_500)]

QUESTIONS = 100_000
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_no_random_question_is_answered_otherwise_than_by_the_oracle(part: int) -> None:
    share = QUESTIONS // PARTS
    first = SAMPLE + part * share  # others than make test asks
    for number in range(first, first + share):
        check(number)
