"""Answering in process: compiled execution against plain execution, and against the limit: encoding what is there.

Answers are asserted equal before they are timed. "First" is the first execution of a selection in a process, when
every object must be read; "again" is any later one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from krm.resources import NODES, PODS, SERVICES
from krm.schema import build
from krm.schema.context import Context
from krm.schema.engine import Answer, Engine, Request
from krm.schema.limits import Limits
from krm.schema.parts import pieces
from tests.bench import queries
from tests.bench.cluster import Source
from tests.bench.report import Report

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
GROUP = "Queries in process"
SIZES = (1_000, 10_000, 100_000)
PLAIN_MOST = {queries.TEN: 10_000, queries.FORTY: 1_000}
"""Up to how many objects plain execution is measured: it takes a millisecond and more for each of a wide selection."""


def best(work: Callable[[], Any], runs: int = 3) -> float:
    """The least processor time of some runs: what else goes on in the machine must not show."""
    found = []
    for _ in range(runs):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def asked(by: Engine, source: Source, query: str, *, compiled: bool = True) -> tuple[Answer, float]:
    """The answer, and the processor time that it took, its bytes included."""
    found: list[Answer] = []

    async def ask() -> float:
        start = time.process_time()
        context = Context(source=source, is_compiled=compiled, is_streamed=compiled)
        found.append(await by.answer(Request(query=query), context))
        for _ in pieces(found[0].parts):
            pass  # made as the socket would take them
        return time.process_time() - start

    # The answer is not what the coroutine returns: asyncio.run makes a text of that, whatever its size.
    took = asyncio.run(ask())
    assert not found[0].codes, found[0].codes
    return found[0], took


def least(by: Engine, source: Source, query: str, runs: int) -> float:
    """The least processor time of some answers."""
    return min(asked(by, source, query)[1] for _ in range(runs))


def engine() -> Engine:
    return Engine(build.default(), Limits(), timeout_s=600)


@pytest.mark.parametrize("pods", SIZES)
def test_plain_fields(report: Report, pods: int) -> None:
    source = Source(pods)
    gc.collect()
    gc.freeze()
    for name, query, over_plain, over_limit in (
        ("10 plain fields", queries.TEN, 30, 4),
        ("40 fields with lists", queries.FORTY, 15, 4),
    ):
        by = engine()
        answer, first = asked(by, source, query)
        again = least(by, source, query, 5)
        rows = orjson.loads(answer.body)
        limit = best(lambda rows=rows: orjson.dumps(rows), 5)  # type: ignore[misc]
        assert orjson.dumps(rows) == answer.body
        if pods <= PLAIN_MOST[query]:
            plain, took = asked(by, source, query, compiled=False)
            assert plain.body == answer.body
            encoded = best(lambda rows=rows: json.dumps(rows), 1)  # type: ignore[misc]
            report.faster(GROUP, f"{name}, first", pods, first, "plain execution", took + encoded)
            report.faster(GROUP, f"{name}, again", pods, again, "plain execution", took + encoded, over_plain)
        report.within(GROUP, f"{name}, first", pods, first, "orjson.dumps of the rows", limit)
        report.within(GROUP, f"{name}, again", pods, again, "orjson.dumps of the rows", limit, over_limit)
        del rows
    whole, _ = asked(engine(), source, queries.WHOLE)
    by = engine()
    took = least(by, source, queries.WHOLE, 3)
    body = bytearray(whole.body)
    assert len(orjson.loads(body)["data"]["pods"]["nodes"]) == pods
    report.within(GROUP, "whole objects", pods, took, "copy of the bytes in memory", best(lambda: bytes(body)))
    gc.unfreeze()


def test_relations(report: Report) -> None:
    pods = 10_000
    source = Source(pods, (PODS, NODES, SERVICES))
    gc.collect()
    gc.freeze()
    for name, query in (("pods with their node", queries.NODE), ("nodes with pods with services", queries.MANY)):
        by = engine()
        answer, first = asked(by, source, query)
        again = least(by, source, query, 3)
        plain, took = asked(by, source, query, compiled=False)
        assert plain.body == answer.body
        report.faster(GROUP, f"{name}, first", pods, first, "plain execution", took)
        report.faster(GROUP, f"{name}, again", pods, again, "plain execution", took)
    gc.unfreeze()


def test_small_query(report: Report) -> None:
    source = Source(10_000)
    gc.collect()
    gc.freeze()
    row = source.pods().rows()[5_000]
    by = engine()
    variables = {"namespace": row.namespace, "name": row.name}

    async def times(count: int) -> list[float]:
        found = []
        for _ in range(count):
            start = time.process_time()
            context = Context(source=source, is_compiled=True)
            answer = await by.answer(Request(query=queries.SMALL, variables=variables), context)
            found.append(time.process_time() - start)
            assert row.name.encode() in answer.body
        return found

    asyncio.run(times(200))
    median = statistics.median(asyncio.run(times(2_000)))
    report.figure(GROUP, "small query, kept document", 10_000, median * 1e3, "ms", most=0.5)
    gc.unfreeze()
