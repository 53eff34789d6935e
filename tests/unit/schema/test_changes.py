"""The kept history: oldest first, each change once, with the object after and before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from krm.auth.rights import AllRights, Named
from krm.query.lists import Scope
from krm.resources import Resource
from krm.schema.context import Context
from krm.store.reading import Change
from tests.sources import FilledSource, pod
from tests.unit.schema.asking import ask


def changed() -> FilledSource:
    source = FilledSource({"pods": [pod("a-1", phase="Pending")]})
    source.change("pods", pod("b-1", phase="Pending"))
    source.change("pods", pod("a-1", phase="Running", number=1))
    source.change("pods", pod("x-1", "other", phase="Running"))
    source.change("pods", None, uid="uid-default-b-1")
    return source


async def history(arguments: str = "", fields: str = "nodes { type name }", **more: Any) -> Any:
    answer = await ask(changed(), f'{{ changes(resource: "pods" {arguments}) {{ {fields} }} }}', **more)
    return answer["data"]["changes"] if "errors" not in answer else answer["errors"][0]["extensions"]["code"]


async def test_changes_come_oldest_first_with_both_states() -> None:
    fields = (
        "totalCount completeSince freshness { state } scope { complete } nodes { at type name uid object previous }"
    )
    found = await history(fields=fields)
    assert found["totalCount"] == 4
    assert found["completeSince"] == "1970-01-01T00:00:00.001Z"
    assert [(n["type"], n["name"]) for n in found["nodes"]] == [
        ("ADDED", "b-1"),
        ("MODIFIED", "a-1"),
        ("ADDED", "x-1"),
        ("DELETED", "b-1"),
    ]
    added, modified, _, deleted = found["nodes"]
    assert (added["object"], added["previous"]) == (pod("b-1", phase="Pending"), None)
    assert modified["object"] == pod("a-1", phase="Running", number=1)
    assert modified["previous"] == pod("a-1", phase="Pending")
    assert (deleted["object"], deleted["previous"]) == (None, pod("b-1", phase="Pending"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    {
        'namespace: "other"': ["x-1"],
        'labelSelector: "app=b"': ["b-1", "b-1"],
        # A change concerns a filter that the object met before it or meets after it.
        'where: { path: "status.phase", eq: "Pending" }': ["b-1", "a-1", "b-1"],
        'since: "1ms"': ["b-1"],
    }.items(),
)
async def test_changes_are_narrowed(arguments: str, expected: list[str]) -> None:
    found = await history(arguments, "totalCount nodes { name }")
    assert [n["name"] for n in found["nodes"]] == expected
    assert found["totalCount"] == len(expected)


async def test_pages_show_each_change_once() -> None:
    seen, after = [], "null"
    for _ in range(4):
        found = await history(
            f"first: 3, after: {after}", "totalCount pageInfo { hasNextPage endCursor } nodes { name }"
        )
        assert found["totalCount"] == 4
        seen += [n["name"] for n in found["nodes"]]
        after = f'"{found["pageInfo"]["endCursor"]}"'
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert seen == ["b-1", "a-1", "x-1", "b-1"]


class OneNamespace(AllRights):
    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        return Scope(namespaces=frozenset({"other"}))


async def test_changes_show_only_what_the_caller_may_list() -> None:
    context = Context(source=changed(), rights=OneNamespace())
    found = await history(fields="totalCount scope { complete } nodes { name }", context=context)
    assert found == {"totalCount": 1, "scope": {"complete": False}, "nodes": [{"name": "x-1"}]}
    assert await history('namespace: "default"', context=context) == "FORBIDDEN"


@pytest.mark.parametrize(
    ("arguments", "code"),
    {
        "first: 0": "BAD_ARGUMENT",
        'after: "x"': "CURSOR_INVALID",
        'since: "never"': "BAD_ARGUMENT",
        'labelSelector: "!"': "SELECTOR_INVALID",
    }.items(),
)
async def test_wrong_arguments_are_refused(arguments: str, code: str) -> None:
    assert await history(arguments) == code


async def test_an_unknown_kind_is_refused() -> None:
    answer = await ask(changed(), '{ changes(resource: "secrets") { totalCount } }')
    assert answer["errors"][0]["extensions"]["code"] == "KIND_UNKNOWN"


async def test_what_goes_while_the_others_are_read_is_not_claimed() -> None:
    class Trimmed(FilledSource):
        async def changes(self, resource: Resource, after: str, count: int) -> Sequence[Change]:
            found = await super().changes(resource, after, count)
            del self.log["pods"][:2]
            return found

    source = Trimmed({"pods": []})
    for number in range(4):
        source.change("pods", pod(f"p-{number}"))
    answer = await ask(source, '{ changes(resource: "pods") { completeSince } }')
    assert answer["data"]["changes"]["completeSince"] == "1970-01-01T00:00:00.003Z"
