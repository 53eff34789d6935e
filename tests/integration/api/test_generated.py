"""Questions that schemathesis makes from the schema, asked of a real server: none is answered with 500."""

from __future__ import annotations

from typing import Any, Final

import schemathesis
from graphql import get_introspection_query
from hypothesis import HealthCheck, Phase, given, seed, settings

from krm.errors import Code
from tests.integration.api.conftest import Running

CASES: Final = 2
"""Of each field of Query."""


def questions(schema: dict[str, Any], cases: int, number: int) -> list[str]:
    """Documents that are valid against the introspected schema, ``cases`` of each field of Query."""
    made: list[str] = []
    for found in schemathesis.graphql.from_dict(schema).get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]  # fails the test if the schema is none

        @seed(number)
        @settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def keep(case: schemathesis.Case[Any]) -> None:
            assert isinstance(case.body, str)
            made.append(case.body)

        keep()
    return made


async def check(api: Running, cases: int, number: int) -> int:
    """Ask all; how many were answered with data."""
    _, schema = await api.ask(get_introspection_query())
    answered = 0
    for query in questions(schema, cases, number):
        status, answer = await api.ask(query)
        codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
        assert status in (200, 400), (query, answer)
        assert codes <= set(Code) - {Code.INTERNAL}, (query, answer)
        assert answer.get("data") or codes, query
        answered += status == 200
    return answered


async def test_nothing_that_schemathesis_asks_answers_500(api: Running) -> None:
    assert await check(api, CASES, 1) > CASES
