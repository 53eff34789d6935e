"""What one question is told is of one moment, however long its fields wait and however the tables change meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from krm.auth.rights import AllRights, Named
from krm.errors import AnswerError, Code
from krm.query.lists import Scope
from krm.resources import PODS, Resource
from krm.schema.context import Context
from krm.schema.meeting import Guest, Meeting
from tests.sources import FilledSource, node, pod
from tests.unit.schema.asking import ask
from tests.waiting import alongside

TURN_S = 10.0


class SlowRights(AllRights):
    """The answers take some turns of the event loop each, the later ones more."""

    def __init__(self, turns: Callable[[], int]) -> None:
        self._turns = turns

    async def _wait(self) -> None:
        for _ in range(self._turns()):
            await asyncio.sleep(0)

    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        await self._wait()
        return await super().list_scope(resource, named)

    async def get_scope(self, resource: Resource, namespace: str, name: str) -> Scope:
        await self._wait()
        return await super().get_scope(resource, namespace, name)


async def changing(change: Callable[[int], None]) -> None:
    """Change something in every turn of the event loop."""
    for number in itertools.count(1):
        change(number)
        await asyncio.sleep(0)


QUERY = """{
  a: pods { nodes { status { phase } } }
  b: pods(namespace: "default") { nodes { status { phase } } resourceVersion }
  c: pod(namespace: "default", name: "p-0") { status { phase } }
  nodes { nodes { metadata { name } pods { status { phase } } } }
}"""


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("compiled", [False, True])
async def test_all_fields_show_one_version_of_a_kind(seed: int, compiled: bool) -> None:
    rng = random.Random(seed)
    source = FilledSource({"pods": [pod("p-0")], "nodes": [node("node-0")]})
    rights = SlowRights(lambda: rng.randrange(4))

    def change(number: int) -> None:
        source.change("pods", pod("p-0", node="node-0", number=number, phase=f"phase {number}"))

    for _ in range(3):
        async with alongside(changing(change)):
            context = Context(source=source, rights=rights, is_compiled=compiled)
            data = (await asyncio.wait_for(ask(source, QUERY, context=context), TURN_S))["data"]
        shown = {
            data["a"]["nodes"][0]["status"]["phase"],
            data["b"]["nodes"][0]["status"]["phase"],
            data["c"]["status"]["phase"],
            data["nodes"]["nodes"][0]["pods"][0]["status"]["phase"],
        }
        assert len(shown) == 1, shown


async def test_a_field_that_fails_keeps_no_other_waiting() -> None:
    source = FilledSource({"pods": [pod("p-0")]})
    for argument in ('labelSelector: "("', 'namespace: "nowhere?"', "first: -1", 'cluster: "other"'):
        query = f"{{ a: pods({argument}) {{ totalCount }} b: pods {{ totalCount }} c: pods {{ totalCount }} }}"
        context = Context(source=source, rights=SlowRights(lambda: 2))
        answer = await asyncio.wait_for(ask(source, query, context=context), TURN_S)
        assert answer["data"] == {"a": None, "b": {"totalCount": 1}, "c": {"totalCount": 1}}


PODS_A_NODE = 60
RELATED = """{ nodes { nodes { metadata { name }
  pods { metadata { name } status { phase } node { metadata { resourceVersion } pods(first: 2) { metadata { name } } }
    owners { object } }
} } }"""


@pytest.mark.parametrize("compiled", [False, True])
async def test_what_is_related_is_of_the_moment_of_its_rows(compiled: bool) -> None:
    count = 6
    pods = [pod(f"p-{n:03}", node=f"node-{n % count}", phase="then") for n in range(count * PODS_A_NODE)]
    for number, each in enumerate(pods):
        owner = {
            "apiVersion": "v1",
            "kind": "Node",
            "name": "n",
            "uid": node(f"node-{number % count}")["metadata"]["uid"],
        }
        each["metadata"]["ownerReferences"] = [owner]
    source = FilledSource({"pods": pods, "nodes": [node(f"node-{n}") for n in range(count)]})
    then = await ask(source, RELATED, compiled=compiled)
    rng = random.Random(1)

    def change(number: int) -> None:
        """A pod goes, another one comes, one changes node and state, and so does a node."""
        for _ in range(4):
            source.change("pods", None, uid=rng.choice(source.get(PODS).rows()).uid)
            source.change("pods", pod(f"q-{number}-{rng.randrange(99)}", node="node-1", phase="now"))
            source.change("pods", pod(f"p-{rng.randrange(9):03}", node=f"node-{rng.randrange(count)}", phase="now"))
            changed = node(f"node-{number % count}")
            changed["metadata"]["resourceVersion"] = str(9_000 + number)
            source.change("nodes", changed)

    from_here = _told(source)
    context = Context(source=from_here, is_compiled=compiled)
    async with alongside(changing(lambda number: change(number) if from_here.is_read else None)):
        found = await asyncio.wait_for(ask(source, RELATED, context=context), 5 * TURN_S)
    assert found == then
    assert from_here.is_read


def _told(source: FilledSource) -> Any:
    """``source``, which tells whether it was read."""

    class Told:
        is_read = False

        def __getattr__(self, name: str) -> Any:
            return getattr(source, name)

        def position(self, resource: Resource) -> Any:
            self.is_read = True
            return source.position(resource)

    return Told()


async def test_guests_meet_in_one_turn() -> None:
    meeting = Meeting()
    turn = 0
    met: list[int] = []

    def count(number: int) -> None:
        nonlocal turn
        turn = number

    def coming(after: int, *, is_refused: bool = False) -> Any:
        async def work(guest: Guest) -> None:
            for _ in range(after):
                await asyncio.sleep(0)
            if is_refused:
                raise AnswerError(Code.FORBIDDEN, "no")
            await guest.meet()
            met.append(turn)

        return meeting.guest().attend(work)

    guests = [coming(3), coming(0), coming(7, is_refused=True), coming(1), coming(5)]
    async with alongside(changing(count)):
        await asyncio.gather(*guests, return_exceptions=True)
    assert len(met) == 4
    assert len(set(met)) == 1


async def test_who_is_alone_does_not_wait() -> None:
    assert not await Meeting().guest().meet()
