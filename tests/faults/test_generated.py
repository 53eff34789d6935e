"""Questions by the thousand which schemathesis makes: a real server answers none with 500."""

from __future__ import annotations

from typing import Final

import pytest

from tests.integration.api.conftest import running
from tests.integration.api.test_generated import check, check_frames
from tests.sources import FilledSource, node, pod

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_500)]

CASES: Final = 40
"""Of each field of Query, in each part."""
FRAMES: Final = 1_000


def objects() -> FilledSource:
    return FilledSource({"pods": [pod(f"p-{n}", number=n) for n in range(20)], "nodes": [node("n")]})


@pytest.mark.parametrize("number", range(2, 5))  # others than make test asks
async def test_nothing_of_much_that_schemathesis_asks_answers_500(number: int) -> None:
    async with running(objects()) as api:
        answered = await check(api, CASES, number)
    print(f"\n{answered} answered with 200")
    assert answered > CASES


async def test_no_query_string_of_a_frame_answers_500() -> None:
    async with running(objects()) as api:
        statuses = await check_frames(api, FRAMES, 2)
    print(f"\n{dict(statuses)}")
    assert statuses[200] > FRAMES // 10 < statuses[400]
