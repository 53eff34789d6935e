"""Questions by the thousand which schemathesis makes from the schema: a real server answers none with 500."""

from __future__ import annotations

from typing import Final

import pytest

from tests.integration.api.conftest import running
from tests.integration.api.test_generated import check
from tests.sources import FilledSource, node, pod

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_500)]

CASES: Final = 40
"""Of each field of Query, in each part."""


@pytest.mark.parametrize("number", range(2, 5))  # others than make test asks
async def test_nothing_of_much_that_schemathesis_asks_answers_500(number: int) -> None:
    source = FilledSource({"pods": [pod(f"p-{n}", number=n) for n in range(20)], "nodes": [node("n")]})
    async with running(source) as api:
        answered = await check(api, CASES, number)
    print(f"\n{answered} answered with 200")
    assert answered > CASES
