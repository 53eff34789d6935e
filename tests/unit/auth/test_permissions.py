"""Scopes out of single decisions: what is asked, in which order, how much of it, and who shares what."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from krm.auth import permissions
from krm.auth.outage import Outage
from krm.auth.permissions import Permissions, UserRights, user_key
from krm.errors import AnswerError, ClusterUnreachable, Code
from krm.kube.reviews import Action, PathAction, User
from krm.query.lists import EVERYTHING, Scope
from krm.resources import DEPLOYMENTS, NODES, PODS, Resource
from tests.unit.auth.test_decisions import Clock

Grant = tuple[str, str, str]
"""verb, plural, namespace ("" for everywhere); for one object also its name, after a slash."""


class Cluster:
    """Rights that are told, and what was asked of them."""

    def __init__(self, **grants: set[Grant]) -> None:
        self.grants = grants
        self.held: tuple[str, ...] = ("a", "b", "c")
        self.asked: list[tuple[str, str, str, str]] = []
        self.is_down = False
        self.under_way = self.most_under_way = 0
        self.clock = Clock()
        self.permissions = Permissions(self.review, self, Outage(self.clock), monotonic=self.clock)

    def namespaces(self) -> Collection[str]:
        return self.held

    async def review(self, user: User, action: Action | PathAction) -> bool:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if self.is_down:
            raise ClusterUnreachable("down")
        granted = self.grants.get(user.name, set())
        if isinstance(action, PathAction):
            return (action.verb, action.path, "") in granted
        self.asked.append((action.verb, action.resource, action.namespace, action.name))
        places = {"", action.namespace} | ({f"{action.namespace}/{action.name}"} if action.name else set())
        return any((action.verb, action.resource, place) in granted for place in places)

    def rights(self, name: str = "ann", **more: object) -> UserRights:
        return UserRights(self.permissions, User(name=name, **more))  # type: ignore[arg-type]


async def code(rights: UserRights, resource: Resource, *named: str) -> str:
    with pytest.raises(AnswerError) as refused:
        await rights.list_scope(resource, frozenset(named) or None)
    return f"{refused.value.code}: {refused.value}"


async def test_the_right_everywhere_is_asked_for_first_and_is_enough() -> None:
    cluster = Cluster(ann={("list", "pods", "")})
    assert await cluster.rights().list_scope(PODS) == EVERYTHING
    assert await cluster.rights().list_scope(PODS, frozenset({"z"})) == EVERYTHING
    assert cluster.asked == [("list", "pods", "", "")]


async def test_rights_in_some_namespaces_give_these() -> None:
    cluster = Cluster(ann={("list", "pods", "a"), ("list", "pods", "c"), ("list", "pods", "hidden")})
    assert await cluster.rights().list_scope(PODS) == Scope(namespaces=frozenset({"a", "c"}))
    assert {each[2] for each in cluster.asked} == {"", "a", "b", "c"}


async def test_a_named_namespace_alone_is_asked_for_whether_it_has_rows_or_not() -> None:
    cluster = Cluster(ann={("list", "pods", "empty")})
    assert await cluster.rights().list_scope(PODS, frozenset({"empty"})) == Scope(namespaces=frozenset({"empty"}))
    assert [each[2] for each in cluster.asked] == ["", "empty"]
    assert await code(cluster.rights(), PODS, "empty", "a") == "FORBIDDEN: no right to list pods in the namespace a"
    assert await code(cluster.rights(), PODS, "nowhere") == "FORBIDDEN: no right to list pods in the namespace nowhere"


async def test_no_right_at_all_is_forbidden() -> None:
    cluster = Cluster(ann={("list", "deployments", "a"), ("get", "pods", ""), ("watch", "pods", "")})
    assert (await code(cluster.rights(), PODS)).startswith("FORBIDDEN")


async def test_kinds_of_the_whole_cluster_need_a_right_of_their_own() -> None:
    cluster = Cluster(ann={("list", "pods", "a"), ("list", "nodes", "a")})
    assert (await code(cluster.rights(), NODES)).startswith("FORBIDDEN")
    assert [each for each in cluster.asked if each[1] == "nodes"] == [("list", "nodes", "", "")]


async def test_groups_of_kinds_are_told_apart() -> None:
    cluster = Cluster()

    async def review(_user: User, action: Action | PathAction) -> bool:
        return isinstance(action, Action) and action.group == ""

    cluster.permissions._review = review
    assert (await code(cluster.rights(), DEPLOYMENTS)).startswith("FORBIDDEN")
    assert await cluster.rights().list_scope(PODS) == EVERYTHING


async def test_watching_has_a_verb_of_its_own() -> None:
    cluster = Cluster(ann={("list", "pods", "")}, bob={("watch", "pods", "b")})
    with pytest.raises(AnswerError):
        await cluster.rights().watch_scope(PODS)
    assert await cluster.rights("bob").watch_scope(PODS) == Scope(namespaces=frozenset({"b"}))


@pytest.mark.parametrize(
    "grant",
    [("list", "pods", ""), ("list", "pods", "a"), ("get", "pods", ""), ("get", "pods", "a"), ("get", "pods", "a/web")],
)
async def test_one_object_may_be_read_by_the_right_to_get_or_to_list(grant: Grant) -> None:
    cluster = Cluster(ann={grant})
    await cluster.rights().get_scope(PODS, "a", "web")


@pytest.mark.parametrize(
    "grant",
    [("list", "pods", "b"), ("get", "pods", "b"), ("get", "pods", "a/db"), ("watch", "pods", ""), ("get", "nodes", "")],
)
async def test_one_object_may_not_be_read_otherwise(grant: Grant) -> None:
    cluster = Cluster(ann={grant})
    with pytest.raises(AnswerError, match="no right to get pods in the namespace a"):
        await cluster.rights().get_scope(PODS, "a", "web")


async def test_the_right_to_one_object_opens_no_list() -> None:
    cluster = Cluster(ann={("get", "pods", "a/web"), ("list", "pods", "a/web")})
    assert (await code(cluster.rights(), PODS, "a")).startswith("FORBIDDEN")


async def test_what_is_taken_shows_nothing_after_ten_seconds_and_what_is_given_shows_after_three() -> None:
    cluster = Cluster(ann={("list", "pods", "a")})
    rights = cluster.rights()
    await rights.list_scope(PODS)
    cluster.grants["ann"] = {("list", "pods", "b")}
    cluster.clock.now_s += permissions.REFUSAL_HOLDS_S
    assert await rights.list_scope(PODS) == Scope(namespaces=frozenset({"a", "b"}))
    cluster.clock.now_s += permissions.HOLDS_S
    assert await rights.list_scope(PODS) == Scope(namespaces=frozenset({"b"}))
    assert permissions.HOLDS_S + permissions.RENEWED_S < 10
    assert permissions.REFUSAL_HOLDS_S <= 2


def test_users_share_decisions_only_if_they_are_the_same_in_all_that_counts() -> None:
    base = User(name="ann", groups=("a", "b"), extra={"scopes": ("x", "y")})
    same = User(name="ann", groups=("b", "a"), extra={"scopes": ("y", "x")})
    others = [
        User(name="bob", groups=("a", "b"), extra={"scopes": ("x", "y")}),
        User(name="ann", uid="1", groups=("a", "b"), extra={"scopes": ("x", "y")}),
        User(name="ann", groups=("a",), extra={"scopes": ("x", "y")}),
        User(name="ann", groups=("a", "b"), extra={"scopes": ("x",)}),
        User(name="ann", groups=("a", "b")),
        User(name="ann", groups=("a b",), extra={"scopes": ("x", "y")}),
    ]
    assert user_key(base) == user_key(same)
    assert len({user_key(each) for each in (base, *others)}) == 1 + len(others)


async def test_two_users_without_a_uid_see_what_is_theirs() -> None:
    cluster = Cluster(ann={("list", "pods", "a")}, bob={("list", "pods", "b")})
    assert await cluster.rights("ann").list_scope(PODS) == Scope(namespaces=frozenset({"a"}))
    assert await cluster.rights("bob").list_scope(PODS) == Scope(namespaces=frozenset({"b"}))


async def test_reviews_of_many_namespaces_are_bounded_in_number_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(ann={("list", "pods", "n-7")})
    cluster.held = tuple(f"n-{number}" for number in range(500))
    assert await cluster.rights().list_scope(PODS) == Scope(namespaces=frozenset({"n-7"}))
    assert cluster.most_under_way <= permissions.BATCH
    monkeypatch.setattr(permissions, "NAMESPACES_MAX", 499)
    assert "name some" in await code(cluster.rights(), PODS)
    assert await cluster.rights().list_scope(PODS, frozenset({"n-7"}))


async def test_an_api_server_that_is_away_shows_nothing_but_what_was_decided(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(ann={("list", "pods", "a")})
    rights = cluster.rights()
    scope = await rights.list_scope(PODS, frozenset({"a"}))
    cluster.is_down = True
    assert await rights.list_scope(PODS, frozenset({"a"})) == scope
    for _ in range(3):
        cluster.clock.now_s += permissions.HOLDS_S
        assert (await code(rights, PODS, "a")).startswith(Code.NOT_READY)
    assert len([r for r in caplog.records if "cannot be asked" in r.message]) == 2  # in fifteen seconds
    assert "down" not in await code(rights, PODS, "a")


async def test_paths_that_are_no_resource_have_rights_too() -> None:
    cluster = Cluster(ann={("get", "/metrics", "")})
    assert await cluster.rights().may_read("/metrics")
    assert not await cluster.rights().may_read("/logs")
    assert not await cluster.rights("bob").may_read("/metrics")


async def test_a_scope_is_put_together_once_as_long_as_each_of_its_decisions_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(ann={("list", "pods", "a")})
    rights, sums = cluster.rights(), []
    plainly = cluster.permissions.among

    async def among(*arguments: Any) -> list[bool]:
        sums.append(1)
        return await plainly(*arguments)

    monkeypatch.setattr(cluster.permissions, "among", among)
    for _ in range(3):
        assert await rights.list_scope(PODS) == Scope(namespaces=frozenset({"a"}))
    assert len(sums) == 1
    cluster.held = ("a", "b", "c", "d")
    cluster.grants["ann"].add(("list", "pods", "d"))
    assert await rights.list_scope(PODS) == Scope(namespaces=frozenset({"a", "d"}))
    assert await cluster.rights("bob").list_scope(PODS, frozenset()) == Scope(namespaces=frozenset())
    assert len(sums) == 3
    cluster.clock.now_s += permissions.REFUSAL_HOLDS_S
    cluster.grants["ann"].add(("list", "pods", "b"))
    assert await rights.list_scope(PODS) == Scope(namespaces=frozenset({"a", "b", "d"}))
