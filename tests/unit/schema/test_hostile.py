"""Hostile documents by the thousand: a stable code, little time, and others go on being answered."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final

import pytest

from krm.errors import Code
from krm.schema import documents
from krm.schema.context import Context
from krm.schema.engine import Answer, Engine, Request
from tests.sources import FilledSource, node, pod
from tests.unit.schema import hostile
from tests.unit.schema.asking import engine

SAMPLE: Final = 400
BOUND_S: Final = 0.05
"""CPU for a document that is refused; nearly all take a fiftieth of it."""
SLACK: Final = 4
"""Of that for a document within every limit, which is parsed and validated before it is refused."""
TRIES: Final = 6


def source() -> FilledSource:
    return FilledSource({"pods": [pod("a-1"), pod("b-1", number=1)], "nodes": [node("n")]})


async def answered(by: Engine, at: FilledSource, number: int) -> tuple[Answer, float]:
    """The answer to a hostile document, and the CPU that it cost."""
    query, variables = hostile.request(number)
    before = time.thread_time()
    answer = await by.answer(Request(query=query, variables=variables), Context(source=at, is_compiled=True))
    return answer, time.thread_time() - before


async def check(by: Engine, at: FilledSource, number: int, bound_s: float = BOUND_S) -> float:
    """Ask hostile document ``number``; what a refusal cost."""
    answer, cost_s = await answered(by, at, number)
    assert answer.status in (200, 400), number
    assert set(answer.codes) <= set(Code) - {Code.INTERNAL}, (number, answer.codes)
    if answer.status == 200:
        return 0.0
    if Code.QUERY_TOO_COMPLEX in answer.codes:
        bound_s = min(bound_s, BOUND_S)  # never parsed
    for _ in range(TRIES):
        if cost_s <= bound_s:
            break
        cost_s = min(cost_s, (await answered(by, at, number))[1])
    assert cost_s <= bound_s, (number, cost_s)
    return cost_s


async def test_hostile_documents_are_refused_cheaply_with_stable_codes() -> None:
    by, at = engine(), source()
    gc.disable()  # a collection of the whole test run's heap is not the document's cost
    try:
        costs = [await check(by, at, number, SLACK * BOUND_S) for number in range(SAMPLE)]
    finally:
        gc.enable()
    assert sum(cost > 0 for cost in costs) > SAMPLE // 3


async def test_documents_about_the_schema_let_others_go_on() -> None:
    by, at = engine(), source()
    query = "{ __schema { types { name fields { name type { name fields { name type { name } } } } } } }"
    asked = asyncio.create_task(by.answer(Request(query=query), Context(source=at)))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await asked).status == 200
    assert turns > 10


def large(number: int) -> str:
    """A document within every limit, of which parsing and validating take their time."""
    values = " ".join(str(value) for value in range(number, number + 4_000))
    return f'{{ pods(where: {{ path: "metadata.generation", in: [{values}] }}) {{ totalCount }} }}'


def long(number: int) -> str:
    """The same in few tokens: of a text the parser looks at each character."""
    return f'{{ pods(where: {{ path: "metadata.name", eq: "{number}{"x" * 60_000}" }}) {{ totalCount }} }}'


@pytest.mark.parametrize("made", [large, long])
async def test_large_documents_let_others_go_on(made: Callable[[int], str]) -> None:
    by, at = engine(), source()
    asked = [asyncio.create_task(by.answer(Request(query=made(n)), Context(source=at))) for n in range(3)]
    small = 0
    while not all(task.done() for task in asked):
        answer = await by.answer(Request(query="{ pods { totalCount } }"), Context(source=at))
        assert answer.status == 200
        small += 1
        await asyncio.sleep(0)
    assert [(await task).status for task in asked] == [200, 200, 200]
    assert small > 10  # on the event loop each of the three would have let one go by
    again = asyncio.create_task(by.answer(Request(query=made(0)), Context(source=at)))
    await asyncio.sleep(0)
    assert again.done()  # it is known now


async def test_more_large_documents_than_can_wait_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_WAITING", 1)
    by, at = engine(), source()
    answers = await asyncio.gather(*(by.answer(Request(query=large(n)), Context(source=at)) for n in range(3)))
    assert [(answer.status, answer.codes) for answer in answers] == [(200, ()), *[(429, (Code.RATE_LIMITED,))] * 2]


async def test_a_large_document_is_given_up_in_time() -> None:
    answer = await engine(timeout_s=0.001).answer(Request(query=large(0)), Context(source=source()))
    assert answer.codes == (Code.TIMEOUT,)


async def test_a_document_about_the_schema_is_given_up_in_time() -> None:
    query = "{ __schema { types { name fields { name type { name fields { name type { name } } } } } } }"
    answer = await engine(timeout_s=0.001).answer(Request(query=query), Context(source=source()))
    assert answer.codes == (Code.TIMEOUT,)
