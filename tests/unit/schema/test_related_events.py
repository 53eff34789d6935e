"""Subscriptions whose filter follows relations: what was told is remembered, and looked at again when others change."""

from __future__ import annotations

import random
from typing import Any

import pytest

from krm.errors import AnswerError, Code
from krm.schema import matched
from krm.schema.matched import Matched, Memory
from krm.store.rows import Row
from tests.sources import FilledSource, node, pod
from tests.unit.schema.asking import ask
from tests.unit.schema.test_events import end_cursor, subscribed
from tests.waiting import wait_until

CORDONED = 'where: { relation: "node", some: { path: "spec.unschedulable", eq: true } }'
UNCORDONED = 'where: { relation: "node", none: { path: "spec.unschedulable", eq: true } }'


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matched, "LOOK_S", 0.01)


def cordoned(name: str, unschedulable: bool = True) -> dict[str, Any]:
    return {**node(name), "spec": {"unschedulable": unschedulable}}


def filled() -> FilledSource:
    pods = [pod("a-1", phase="Running", node="n-1"), pod("b-1", phase="Running", node="n-2")]
    return FilledSource({"pods": pods, "nodes": [cordoned("n-1"), cordoned("n-2", unschedulable=False)]})


async def test_what_was_told_is_remembered_whatever_the_related_object_is_now() -> None:
    source = filled()
    async with subscribed(source, CORDONED) as events:
        assert await events.take(1) == ["ADDED a-1 Running"]
        source.change("nodes", cordoned("n-1", unschedulable=False))
        source.change("pods", None, uid="uid-default-a-1")
        assert await events.take(1) == ["DELETED a-1 Running"]
        source.change("nodes", cordoned("n-2"))
        source.change("pods", pod("b-1", phase="Failed", node="n-2", number=1))
        assert await events.take(1) == ["ADDED b-1 Failed"]
        source.change("pods", pod("b-1", phase="Running", node="n-2", number=2))
        assert await events.take(1) == ["MODIFIED b-1 Running"]
        source.change("pods", pod("b-1", phase="Running", node="n-1", number=3))
        assert await events.take(1) == ["DELETED b-1 Running"]


@pytest.mark.parametrize("arguments", [CORDONED, UNCORDONED])
async def test_a_change_of_a_related_object_alone_makes_others_start_or_stop_to_match(arguments: str) -> None:
    source = filled()
    first, second = ("a-1", "b-1") if arguments == CORDONED else ("b-1", "a-1")
    async with subscribed(source, arguments) as events:
        assert await events.take(1) == [f"ADDED {first} Running"]
        source.change("nodes", cordoned("n-1", unschedulable=False))
        source.change("nodes", cordoned("n-2"))
        assert await events.take(2) == [f"DELETED {first} Running", f"ADDED {second} Running"]
        await events.nothing()


async def test_a_token_goes_on_while_related_kinds_are_as_they_were_and_else_begins_again() -> None:
    source = filled()
    async with subscribed(source, CORDONED) as events:
        await events.take(1)
        token = events.token
    source.change("pods", pod("a-1", phase="Failed", node="n-1", number=1))
    source.change("pods", pod("c-1", phase="Running", node="n-1"))
    async with subscribed(source, f'{CORDONED}, resumeToken: "{token}"') as events:
        assert await events.take(2) == ["MODIFIED a-1 Failed", "ADDED c-1 Running"]
        source.change("pods", None, uid="uid-default-c-1")
        assert await events.take(1) == ["DELETED c-1 Running"]
        token = events.token
    source.change("nodes", cordoned("n-2"))
    async with subscribed(source, f'{CORDONED}, resumeToken: "{token}"') as events:
        assert await events.take(3) == ["RESYNC", "ADDED a-1 Failed", "ADDED b-1 Running"]


async def test_the_end_of_a_list_is_where_a_watch_may_begin_while_related_kinds_are_as_they_were() -> None:
    source = filled()
    cursor = await end_cursor(source, CORDONED)
    source.change("pods", pod("a-1", phase="Failed", node="n-1", number=1))
    async with subscribed(source, f'{CORDONED}, resumeToken: "{cursor}"') as events:
        assert await events.take(1) == ["MODIFIED a-1 Failed"]
    source.change("nodes", cordoned("n-2"))
    async with subscribed(source, f'{CORDONED}, resumeToken: "{cursor}"') as events:
        assert await events.take(1) == ["RESYNC"]


async def test_only_the_last_of_what_came_together_can_be_resumed_from() -> None:
    source = filled()
    async with subscribed(source, CORDONED) as events:
        await events.take(1)
        source.change("nodes", cordoned("n-1", unschedulable=False))
        source.change("nodes", cordoned("n-2"))
        assert await events.take(1) == ["DELETED a-1 Running"]
        within = events.token
        assert await events.take(1) == ["ADDED b-1 Running"]
        last = events.token
    async with subscribed(source, f'{CORDONED}, resumeToken: "{within}"') as events:
        assert await events.take(2) == ["RESYNC", "ADDED b-1 Running"]
    source.change("pods", pod("b-1", phase="Failed", node="n-2", number=1))
    async with subscribed(source, f'{CORDONED}, resumeToken: "{last}"') as events:
        assert await events.take(1) == ["MODIFIED b-1 Failed"]


async def test_a_derived_path_follows_a_relation_too() -> None:
    source = filled()
    async with subscribed(source, 'where: { path: "deployment.name", exists: false }') as events:
        assert await events.take(2) == ["ADDED a-1 Running", "ADDED b-1 Running"]
        source.change("pods", pod("c-1", phase="Running", labels={"app": "web", "pod-template-hash": "x"}))
        assert await events.take(1) == ["ADDED c-1 Running"]
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "c-1-rs", "namespace": "default", "uid": "d", "resourceVersion": "9"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        }
        owned = pod("c-1", phase="Running", number=1, labels={"app": "web", "pod-template-hash": "x"})
        owned["metadata"]["ownerReferences"][0]["name"] = "web-x"
        deployment["metadata"]["name"] = "web"  # type: ignore[index]  # a mapping, as it stands above
        source.change("deployments", deployment)
        source.change("pods", owned)
        assert await events.take(1) == ["DELETED c-1 Running"]


async def test_what_a_subscriber_holds_is_what_a_list_gives() -> None:
    """Random changes of both kinds: what was told adds up to the list, each object once."""
    source, rng = filled(), random.Random(7)
    nodes = [f"n-{number}" for number in range(4)]
    for name in nodes:
        source.change("nodes", cordoned(name, unschedulable=rng.random() < 0.5))
    held: dict[str, str] = {}
    async with subscribed(source, CORDONED) as events:
        for step in range(25):
            for _ in range(rng.randint(1, 4)):
                if rng.random() < 0.4:
                    source.change("nodes", cordoned(rng.choice(nodes), unschedulable=rng.random() < 0.5))
                else:
                    name = f"p-{rng.randrange(6)}"
                    row = source._replicas["pods"].get("default", name)
                    if row is not None and rng.random() < 0.3:
                        source.change("pods", None, uid=row.uid)
                    else:
                        source.change("pods", pod(name, node=rng.choice(nodes), phase=f"P{step}", number=step))
            query = f"{{ pods({CORDONED}) {{ nodes {{ metadata {{ name }} status {{ phase }} }} }} }}"
            found = (await ask(source, query))["data"]["pods"]["nodes"]
            wanted = {each["metadata"]["name"]: each["status"]["phase"] for each in found}
            while held != wanted:
                ((kind, name, phase),) = [line.split() for line in await events.take(1)]
                assert (name in held) is (kind != "ADDED")
                if kind == "DELETED":
                    del held[name]
                else:
                    held[name] = phase
        await events.nothing()


def row(uid: str) -> Row:
    return Row("", uid, uid, "1", None, {}, (), (), None, b"")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matched, "MAX_EACH", 3)
    memory = Memory(5)
    kinds = FilledSource().resources[:1]
    one, other = Matched(memory, kinds), Matched(memory, kinds)
    one.are(row(str(number)) for number in range(3))
    with pytest.raises(AnswerError) as refused:
        one.come("4")
    assert refused.value.code == Code.BAD_ARGUMENT
    with pytest.raises(AnswerError) as refused:
        other.are(row(str(number)) for number in range(3))
    assert refused.value.code == Code.RATE_LIMITED
    one.go("1")
    one.go("1")
    other.are(row(str(number)) for number in range(3))
    assert memory.held == 5
    other.forget()
    one.forget()
    assert memory.held == 0


async def test_nothing_is_remembered_once_a_subscriber_has_gone_or_without_relations() -> None:
    source = filled()
    for arguments, held in ((CORDONED, 1), ("", 0)):
        async with subscribed(source, arguments) as events:
            await events.take(1)
            memory = events.memory
            assert memory.held == held
        await wait_until(lambda memory=memory: memory.held == 0)  # type: ignore[misc]  # of this turn of the loop


def test_looking_again_takes_a_part_of_the_time() -> None:
    clock = iter([10.0, 11.9, 12.9, 13.1])
    memory = Memory(monotonic=lambda: next(clock))
    memory.took(9.0)  # a second, so for three more nobody looks
    assert [memory.is_free for _ in range(3)] == [False, False, True]
