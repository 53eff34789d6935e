"""Subscriptions tell each change once, in order, as the filter sees it, and say so when they cannot."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from krm.auth.rights import AllRights, Named
from krm.errors import StoreUnreachable
from krm.query.lists import Scope
from krm.resources import Resource
from krm.schema.context import Context
from krm.schema.engine import Request
from krm.schema.matched import Memory
from krm.store.reading import Change
from krm.table.freshness import State
from tests.sources import FilledSource, pod
from tests.unit.schema.asking import engine

FIELDS = "{ type resumeToken object { metadata { name resourceVersion } status { phase } } }"


class Subscriber:
    """Reads one subscription."""

    def __init__(self, source: FilledSource, arguments: str, context: Context | None = None) -> None:
        query = f"subscription {{ pods{arguments and f'({arguments})'} {FIELDS} }}"
        self._by = engine()
        self._answers = self._by.answers(Request(query=query), context or Context(source=source))
        self.token = ""

    @property
    def memory(self) -> Memory:
        return self._by._memory

    async def raw(self) -> dict[str, Any]:
        answer = await asyncio.wait_for(anext(self._answers), 10)
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def take(self, count: int) -> list[str]:
        """``TYPE name phase`` of the next events."""
        shown = []
        for _ in range(count):
            event = (await self.raw())["data"]["pods"]
            self.token = event["resumeToken"]
            obj = event["object"]
            shown.append(
                f"{event['type']} {obj['metadata']['name']} {obj['status']['phase']}" if obj else event["type"]
            )
        return shown

    async def nothing(self) -> None:
        task = asyncio.ensure_future(anext(self._answers))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def close(self) -> None:
        await self._answers.aclose()


@asynccontextmanager
async def subscribed(source: FilledSource, arguments: str = "", **more: Any) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(source, arguments, **more)
    try:
        yield subscriber
    finally:
        await subscriber.close()


def filled() -> FilledSource:
    return FilledSource({"pods": [pod("a-1", phase="Running"), pod("b-1", phase="Pending")]})


async def end_cursor(source: FilledSource, arguments: str) -> str:
    """Of a list."""
    query = f"{{ pods{arguments and f'({arguments})'} {{ pageInfo {{ endCursor }} }} }}"
    answer = await engine().answer(Request(query=query), Context(source=source))
    cursor: str = json.loads(answer.body)["data"]["pods"]["pageInfo"]["endCursor"]
    return cursor


@pytest.mark.parametrize(
    "arguments", ["", "first: 1", 'labelSelector: "app in (a, b)"', 'fieldSelector: "status.phase=Running", first: 5']
)
async def test_a_list_s_end_is_where_a_watch_may_begin(arguments: str) -> None:
    source = filled()
    cursor = await end_cursor(source, arguments)
    source.change("pods", pod("a-1", phase="Failed"))
    source.change("pods", pod("a-2", phase="Running"))
    filters = "" if arguments == "first: 1" else arguments.removesuffix(", first: 5")
    given = ", ".join(filter(None, [filters, f'resumeToken: "{cursor}"']))
    async with subscribed(source, given) as subscriber:
        left = "DELETED a-1 Running" if "Running" in filters else "MODIFIED a-1 Failed"
        assert await subscriber.take(2) == [left, "ADDED a-2 Running"]
        source.change("pods", pod("a-3", phase="Running"))
        assert await subscriber.take(1) == ["ADDED a-3 Running"]


async def test_an_empty_list_has_an_end_too() -> None:
    source = filled()
    cursor = await end_cursor(source, 'namespace: "empty"')
    source.change("pods", pod("c-1", namespace="empty"))
    async with subscribed(source, f'namespace: "empty", resumeToken: "{cursor}"') as subscriber:
        assert [line.split()[:2] for line in await subscriber.take(1)] == [["ADDED", "c-1"]]
    again = f'{{ pods(namespace: "empty", after: "{cursor}") {{ nodes {{ metadata {{ name }} }} }} }}'
    answer = await engine().answer(Request(query=again), Context(source=source))
    assert json.loads(answer.body)["data"]["pods"]["nodes"] == [{"metadata": {"name": "c-1"}}]


async def test_the_end_of_another_list_is_refused() -> None:
    source = filled()
    cursor = await end_cursor(source, 'labelSelector: "app=a"')
    async with subscribed(source, f'resumeToken: "{cursor}"') as subscriber:
        assert (await subscriber.raw())["errors"][0]["extensions"]["code"] == "CURSOR_INVALID"


async def test_a_replica_that_is_behind_a_token_catches_up_first() -> None:
    ahead, behind = filled(), filled()
    for source in (ahead, behind):
        source.change("pods", pod("a-1", phase="Failed"))
    ahead.change("pods", pod("a-2", phase="Running"))
    cursor = await end_cursor(ahead, "")
    async with subscribed(behind, f'resumeToken: "{cursor}"') as subscriber:
        first = asyncio.ensure_future(subscriber.take(1))
        for _ in range(20):
            await asyncio.sleep(0)
        behind.change("pods", pod("a-2", phase="Running"))
        behind.change("pods", pod("a-3", phase="Running"))
        assert await first == ["ADDED a-3 Running"]


async def test_it_begins_with_what_is_there_and_goes_on_with_each_change() -> None:
    source = filled()
    async with subscribed(source) as events:
        assert await events.take(2) == ["ADDED a-1 Running", "ADDED b-1 Pending"]
        source.change("pods", pod("c-1", phase="Pending"))
        source.change("pods", pod("a-1", phase="Failed", number=1))
        source.change("pods", None, uid="uid-default-b-1")
        assert await events.take(3) == ["ADDED c-1 Pending", "MODIFIED a-1 Failed", "DELETED b-1 Pending"]


async def test_an_object_enters_and_leaves_the_filter() -> None:
    source = filled()
    async with subscribed(source, 'where: { path: "status.phase", eq: "Running" }') as events:
        assert await events.take(1) == ["ADDED a-1 Running"]
        source.change("pods", pod("b-1", phase="Running", number=1))
        source.change("pods", pod("b-1", phase="Running", number=2))
        source.change("pods", pod("a-1", phase="Failed", number=1))
        source.change("pods", pod("a-1", phase="Pending", number=2))
        source.change("pods", None, uid="uid-default-b-1")
        expected = ["ADDED b-1 Running", "MODIFIED b-1 Running", "DELETED a-1 Running", "DELETED b-1 Running"]
        assert await events.take(4) == expected


@pytest.mark.parametrize("arguments", ['labelSelector: "app=b"', 'name: "b-1"', 'fieldSelector: "metadata.name=b-1"'])
async def test_selectors_narrow_it(arguments: str) -> None:
    async with subscribed(filled(), arguments) as events:
        assert await events.take(1) == ["ADDED b-1 Pending"]


async def test_a_token_continues_where_it_was_given() -> None:
    source = filled()
    async with subscribed(source) as events:
        await events.take(2)
        source.change("pods", pod("c-1", phase="Pending"))
        await events.take(1)
        token = events.token
    source.change("pods", pod("c-1", phase="Running", number=1))
    source.change("pods", None, uid="uid-default-a-1")
    async with subscribed(source, f'resumeToken: "{token}"') as events:
        assert await events.take(2) == ["MODIFIED c-1 Running", "DELETED a-1 Running"]
        source.change("pods", pod("d-1", phase="Pending"))
        assert await events.take(1) == ["ADDED d-1 Pending"]
        await events.nothing()


async def test_a_token_from_the_end_of_the_beginning_continues() -> None:
    source = filled()
    async with subscribed(source) as events:
        await events.take(2)
        token = events.token
    source.change("pods", pod("c-1", phase="Pending"))
    async with subscribed(source, f'resumeToken: "{token}"') as events:
        assert await events.take(1) == ["ADDED c-1 Pending"]


async def test_what_cannot_be_continued_is_a_resync_and_the_beginning_again() -> None:
    source = filled()
    async with subscribed(source) as events:
        await events.take(1)
        in_the_beginning = events.token
        await events.take(1)
        token = events.token
    again = ["RESYNC", "ADDED a-1 Running", "ADDED b-1 Pending"]
    async with subscribed(source, f'resumeToken: "{in_the_beginning}"') as events:
        assert await events.take(3) == again
    source.change("pods", pod("b-1", phase="Pending", number=1))
    source.change("pods", pod("b-1", phase="Pending", number=2))
    del source.log["pods"][0]
    async with subscribed(source, f'resumeToken: "{token}"') as events:
        assert await events.take(3) == again
    source.run = "run-2"
    async with subscribed(source, f'resumeToken: "{token}"') as events:
        assert await events.take(3) == again


@pytest.mark.parametrize("is_damaged", [False, True], ids=["redis is away", "a record is damaged"])
async def test_changes_that_cannot_be_read_back_are_a_resync(is_damaged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    source = filled()
    async with subscribed(source) as events:
        await events.take(2)
        token = events.token
    source.change("pods", pod("b-1", phase="Pending", number=1))
    if is_damaged:
        source.log["pods"][-1] = source.log["pods"][-1]._replace(record=b"damaged")
    else:

        async def away(*_: object) -> Sequence[Change]:
            raise StoreUnreachable("away")

        monkeypatch.setattr(source, "changes", away)
    async with subscribed(source, f'resumeToken: "{token}"') as events:
        assert await events.take(3) == ["RESYNC", "ADDED a-1 Running", "ADDED b-1 Pending"]


async def test_a_table_that_is_loaded_anew_is_a_resync() -> None:
    source = filled()
    async with subscribed(source) as events:
        await events.take(2)
        source.states["pods"] = State.NOT_READY
        for feed in source.feeds["pods"]:
            feed.lose()
        assert await events.take(1) == ["RESYNC"]
        await asyncio.sleep(0)
        source.states["pods"] = State.SYNCED
        assert await events.take(2) == ["ADDED a-1 Running", "ADDED b-1 Pending"]


async def test_a_subscriber_that_is_too_slow_is_told_to_begin_again() -> None:
    source = filled()
    source.feed_most = 5
    async with subscribed(source) as events:
        await events.take(2)
        for number in range(10):
            source.change("pods", pod("a-1", phase="Failed", number=number + 1))
        assert await events.take(3) == ["RESYNC", "ADDED a-1 Failed", "ADDED b-1 Pending"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    {
        'labelSelector: "a in ()"': "SELECTOR_INVALID",
        'resumeToken: "x"': "CURSOR_INVALID",
        'where: { path: "nope", eq: 1 }': "PATH_INVALID",
        'maxStaleness: "soon"': "BAD_ARGUMENT",
        'namespace: "hidden"': "FORBIDDEN",
    }.items(),
)
async def test_a_wrong_argument_ends_it_with_its_code(arguments: str, code: str) -> None:
    source = filled()
    async with subscribed(source, arguments, context=Context(source=source, rights=OneNamespace())) as events:
        assert (await events.raw())["errors"][0]["extensions"]["code"] == code


async def test_a_token_of_another_filter_is_refused() -> None:
    source = filled()
    async with subscribed(source) as events:
        await events.take(2)
        token = events.token
    async with subscribed(source, f'name: "a-1", resumeToken: "{token}"') as events:
        assert (await events.raw())["errors"][0]["extensions"]["code"] == "CURSOR_INVALID"


class OneNamespace(AllRights):
    async def watch_scope(self, resource: Resource, named: Named = None) -> Scope:
        return Scope(namespaces=frozenset({"default"}))


async def test_rights_bound_what_is_told() -> None:
    source = filled()
    async with subscribed(source, context=Context(source=source, rights=OneNamespace())) as events:
        await events.take(2)
        source.change("pods", pod("x-1", "hidden"))
        source.change("pods", pod("c-1", phase="Pending"))
        assert await events.take(1) == ["ADDED c-1 Pending"]


async def test_a_namespace_that_is_not_cached_is_never_silent() -> None:
    source = filled()
    source.held = frozenset(("default",))
    async with subscribed(source, 'namespace: "elsewhere"') as events:
        assert (await events.raw())["errors"][0]["extensions"]["code"] == "NOT_READY"
