"""What is told of the past, and for long, follows the rights as they change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from krm.auth.rights import AllRights, Named
from krm.errors import AnswerError, Code
from krm.query.lists import Scope
from krm.resources import Resource
from krm.schema import watch
from krm.schema.context import Context
from krm.schema.engine import Request
from krm.table.freshness import State
from tests.sources import FilledSource, pod
from tests.unit.schema.asking import ask, engine
from tests.unit.schema.test_events import Subscriber


class Told(AllRights):
    """The rights that the test tells, among the namespaces that have rows; asked for again before each event."""

    def __init__(self, source: FilledSource, *namespaces: str) -> None:
        self.source = source
        self.namespaces = set(namespaces)
        self.renewed_s = 0.0
        self.fails = 0
        self.asked = 0

    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            raise AnswerError(Code.NOT_READY, "cannot be told")
        seen = frozenset(self.namespaces) & (self.source.namespaces() if named is None else named)
        if not seen or (named is not None and seen != named):
            raise AnswerError(Code.FORBIDDEN, f"no right to {resource.plural}")
        return Scope(namespaces=seen)

    watch_scope = list_scope


@pytest.fixture
def source() -> FilledSource:
    return FilledSource({"pods": [pod("a-1", "a"), pod("b-1", "b"), pod("c-1", "c")]})


@asynccontextmanager
async def subscribed(source: FilledSource, rights: AllRights, arguments: str = "") -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(source, arguments, Context(source=source, rights=rights))
    try:
        yield subscriber
    finally:
        await subscriber.close()


async def test_a_namespace_that_may_be_seen_now_is_added_in_the_midst(source: FilledSource) -> None:
    rights = Told(source, "a")
    async with subscribed(source, rights) as events:
        assert await events.take(1) == ["ADDED a-1 Pending"]
        rights.namespaces.add("b")
        source.change("pods", pod("b-2", "b", phase="Running"))
        source.change("pods", pod("a-2", "a", phase="Running"))
        assert await events.take(3) == ["ADDED b-1 Pending", "ADDED b-2 Running", "ADDED a-2 Running"]
        source.change("pods", pod("b-2", "b", phase="Failed"))
        assert await events.take(1) == ["MODIFIED b-2 Failed"]


async def test_a_namespace_that_may_not_be_seen_any_more_is_forgotten_by_a_resync(source: FilledSource) -> None:
    rights = Told(source, "a", "b")
    async with subscribed(source, rights) as events:
        await events.take(2)
        rights.namespaces.remove("b")
        source.change("pods", pod("b-2", "b"))
        assert await events.take(2) == ["RESYNC", "ADDED a-1 Pending"]
        source.change("pods", pod("b-3", "b"))
        await events.nothing()


async def test_nothing_is_told_of_the_beginning_once_the_right_is_gone(source: FilledSource) -> None:
    rights = Told(source, "a", "b")
    async with subscribed(source, rights) as events:
        await events.take(1)
        rights.namespaces.remove("b")
        assert await events.take(2) == ["RESYNC", "ADDED a-1 Pending"]


async def test_no_right_at_all_ends_it(source: FilledSource) -> None:
    rights = Told(source, "a")
    async with subscribed(source, rights) as events:
        await events.take(1)
        rights.namespaces.clear()
        source.change("pods", pod("a-2", "a"))
        assert (await events.raw())["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_namespace_that_lost_its_last_row_is_still_told_of(source: FilledSource) -> None:
    rights = Told(source, "a", "b")
    async with subscribed(source, rights) as events:
        await events.take(2)
        source.change("pods", None, uid="uid-b-b-1")
        assert await events.take(1) == ["DELETED b-1 Pending"]
        source.change("pods", pod("b-2", "b", phase="Running"))
        assert await events.take(1) == ["ADDED b-2 Running"]


async def test_who_comes_back_with_other_rights_begins_anew(source: FilledSource) -> None:
    async with subscribed(source, Told(source, "a")) as events:
        await events.take(1)
        token = events.token
    source.change("pods", pod("a-2", "a", phase="Running"))
    async with subscribed(source, Told(source, "a"), f'resumeToken: "{token}"') as events:
        assert await events.take(1) == ["ADDED a-2 Running"]
    async with subscribed(source, Told(source, "a", "b"), f'resumeToken: "{token}"') as events:
        assert await events.take(4) == ["RESYNC", "ADDED a-1 Pending", "ADDED a-2 Running", "ADDED b-1 Pending"]


async def test_while_rights_cannot_be_told_nothing_is_told_and_nothing_lost(
    source: FilledSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RETRY_S", 0.001)
    rights = Told(source, "a")
    async with subscribed(source, rights) as events:
        await events.take(1)
        asked, rights.fails = rights.asked, 5
        source.change("pods", pod("a-2", "a", phase="Running"))
        assert await events.take(1) == ["ADDED a-2 Running"]
        assert rights.asked > asked + 5
        monkeypatch.setattr(watch, "OUTAGE_S", 0.0)
        rights.fails = 10**6
        source.change("pods", pod("a-3", "a"))
        assert (await events.raw())["errors"][0]["extensions"]["code"] == "NOT_READY"


async def test_related_objects_are_shown_by_the_rights_of_the_moment(source: FilledSource) -> None:
    service = {"metadata": {"name": "s", "namespace": "a", "uid": "s", "resourceVersion": "1"}}
    source.fill("services", [{**service, "spec": {"selector": {"app": "a"}}}])
    query = "subscription { pods { object { services { metadata { name } } } } }"

    class OfServices(Told):
        sees = True

        async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
            if resource.plural == "services" and not self.sees:
                raise AnswerError(Code.FORBIDDEN, "no")
            return await super().list_scope(resource, named)

    rights = OfServices(source, "a")
    subscriber = Subscriber(source, "", Context(source=source, rights=rights))
    subscriber._answers = engine().answers(Request(query=query), Context(source=source, rights=rights))
    assert (await subscriber.raw())["data"]["pods"]["object"]["services"] == [{"metadata": {"name": "s"}}]
    rights.sees = False
    source.change("pods", pod("a-2", "a"))
    assert (await subscriber.raw())["data"]["pods"]["object"]["services"] == []
    await subscriber.close()


async def test_changes_of_a_namespace_that_has_gone_are_told_to_who_may_list_there(source: FilledSource) -> None:
    source.change("pods", pod("d-1", "d"))
    source.change("pods", None, uid="uid-d-d-1")
    query = '{ changes(resource: "pods") { totalCount nodes { type name } scope { namespaces } } }'
    answer = await ask(source, query, context=Context(source=source, rights=Told(source, "a", "d")))
    assert answer["data"]["changes"] == {
        "totalCount": 2,
        "nodes": [{"type": "ADDED", "name": "d-1"}, {"type": "DELETED", "name": "d-1"}],
        "scope": {"namespaces": ["a", "d"]},
    }
    answer = await ask(source, query, context=Context(source=source, rights=Told(source, "a")))
    assert answer["data"]["changes"]["totalCount"] == 0


async def test_before_there_are_rows_nobody_is_told_that_they_have_no_right(source: FilledSource) -> None:
    empty = FilledSource()
    empty.states["pods"] = State.NOT_READY
    answer = await ask(empty, "{ pods { totalCount } }", context=Context(source=empty, rights=Told(empty, "a")))
    assert answer["errors"][0]["extensions"]["code"] == "NOT_READY"
