"""What the page is told of KRM: rates, points of the history, and nothing that the watcher may not list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from krm.api.bodies import Refusal
from krm.api.overview import ADMITTED_LOOKS, POINTS, STEP_S, Overview
from krm.auth.rights import AllRights
from krm.errors import AnswerError, Code, StoreUnreachable
from krm.query.lists import EVERYTHING, Scope
from krm.resources import NODES, PODS, Resource
from krm.store.head import WorkerStatus
from krm.table.freshness import State
from tests.sources import FilledSource, pod


class Source(FilledSource):
    """Workers whose counters the test sets."""

    events = 0
    restarts = 0
    is_reachable = True

    def statuses(self, resource: Resource) -> Mapping[str, WorkerStatus]:
        return {"streamer": WorkerStatus(role="streamer", events=self.events, restarts=self.restarts, requests=3)}

    async def store_memory(self) -> tuple[int, int | None]:
        if not self.is_reachable:
            raise StoreUnreachable("Redis cannot be reached")
        return 1_000, 2_000


class OnlyTeamA(AllRights):
    """May list pods of one namespace and no nodes."""

    async def list_scope(self, resource: Resource, named: frozenset[str] | None = None) -> Scope:
        if resource == NODES:
            raise AnswerError(Code.FORBIDDEN, "nodes: not to be listed")
        return Scope(namespaces=frozenset({"a"})) if resource == PODS else EVERYTHING


@pytest.fixture
def source() -> Source:
    return Source({"pods": [pod("x", "a"), pod("y", "b"), pod("z", "b")]})


def overview(source: Source, asked: int = 7) -> Overview:
    return Overview(source, lambda: asked, wall=lambda: 1_000.0, monotonic=lambda: 0.0)


async def admitted(rights: AllRights) -> AllRights:
    return rights


async def told(seen: Overview, rights: AllRights | None = None) -> dict[str, Any]:
    """The events that a watcher gets at once, the newest of each sort."""
    found: dict[str, Any] = {}
    events = seen.events(lambda: admitted(rights or AllRights()))
    for _ in range(2):
        head, data = (await anext(events)).decode().removesuffix("\n\n").split("\n")
        found[head.removeprefix("event: ")] = orjson.loads(data.removeprefix("data: "))
    await events.aclose()
    return found


def kind(now: Mapping[str, Any], resource: str) -> dict[str, Any]:
    return next(one for one in now["resources"] if one["resource"] == resource)


async def test_a_watcher_is_told_how_every_kind_stands(source: Source) -> None:
    seen = overview(source)
    await seen.look()
    answer = await told(seen)
    assert [one["resource"] for one in answer["start"]["kinds"]] == [r.name for r in source.resources]
    pods = kind(answer["now"], "pods")
    assert (pods["rows"], pods["state"], pods["corrected"]) == (3, "SYNCED", 10)
    assert (answer["now"]["asked"], answer["now"]["made"]["requests"]) == (7, 3 * len(source.resources))
    assert answer["now"]["redis"] == {"bytes": 1_000, "maxBytes": 2_000}


async def test_a_watcher_learns_no_number_that_it_may_not_list(source: Source) -> None:
    seen = overview(source)
    await seen.look()
    now = (await told(seen, OnlyTeamA()))["now"]
    assert kind(now, "pods")["rows"] == 1
    assert kind(now, "nodes")["rows"] is None


async def test_a_kind_without_a_table_has_no_number_of_objects(source: Source) -> None:
    source.states["pods"] = State.NOT_READY
    seen = overview(source)
    await seen.look()
    pods = kind((await told(seen))["now"], "pods")
    assert (pods["rows"], pods["state"], pods["reason"]) == (None, "NOT_READY", "no list yet")


async def test_a_point_has_what_happened_since_the_last_one(source: Source) -> None:
    seen = overview(source)
    for events, restarts in ((100, 1), (110, 1), (130, 2), (130, 2), (150, 2)):
        source.events, source.restarts = events, restarts
        await seen.look()
    (point,) = (await told(seen))["start"]["points"]
    assert point["kinds"]["pods"]["events"] == 50  # what was there before the first look is not counted
    assert point["kinds"]["pods"]["restarts"] == 1
    assert point["kinds"]["pods"]["lagP50"] == 0.02


async def test_a_worker_that_started_anew_counts_from_nothing(source: Source) -> None:
    seen = overview(source)
    for events in (100, 100, 4, 5, 5):
        source.events = events
        await seen.look()
    (point,) = (await told(seen))["start"]["points"]
    assert point["kinds"]["pods"]["events"] == 5


async def test_the_history_is_bounded(source: Source) -> None:
    seen = overview(source)
    for _ in range((POINTS + 3) * STEP_S):
        await seen.look()
    assert len((await told(seen))["start"]["points"]) == POINTS


async def test_a_redis_that_does_not_answer_is_no_end_of_looking(source: Source) -> None:
    source.is_reachable = False
    seen = overview(source)
    await seen.look()
    assert (await told(seen))["now"]["redis"] == {"bytes": None, "maxBytes": None}


async def test_watchers_are_let_go_at_the_end(source: Source) -> None:
    seen = overview(source)
    events = seen.events(lambda: admitted(AllRights()))
    await anext(events)
    assert seen.watchers == 1
    seen.end()
    assert [event async for event in events] == []
    assert seen.watchers == 0


async def test_who_is_no_longer_let_in_is_told_nothing_more(source: Source) -> None:
    refused = False

    async def at_the_door() -> AllRights:
        if refused:
            raise Refusal(401, "who are you?", Code.UNAUTHENTICATED)
        return AllRights()

    seen = overview(source)
    events = seen.events(at_the_door)
    await anext(events)
    refused = True
    for _ in range(ADMITTED_LOOKS):
        await seen.look()
    assert [event async for event in events] == []
