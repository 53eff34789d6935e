"""Answers compared with the oracle's, for random objects and random questions.

``KRM_TEST_CASES`` sets how many cases each test tries (default: some seconds in all).
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from krm.query import groups, lists
from krm.query import paths as query_paths
from krm.query.cells import View
from krm.resources import PODS
from krm.store.rows import Row
from krm.table.replica import Replica
from tests import reference_query as reference
from tests import samples

CASES: Final = int(os.environ.get("KRM_TEST_CASES", "80"))
BOOLEANS: Final = ("spec.hostNetwork",)
IMAGES: Final = "spec.containers[*].image"
PATHS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.generation",
    "metadata.labels",
    "metadata.labels['app']",
    "metadata.labels['a.b/c']",
    "metadata.labels[*]",
    "metadata.annotations['note']",
    "metadata.annotations['n\\'s']",
    "spec.nodeName",
    "spec.hostNetwork",
    "spec.priority",
    "spec.terminationGracePeriodSeconds",
    "spec.containers",
    IMAGES,
    "spec.containers[*].name",
    "spec.containers[0].image",
    "spec.containers[1].name",
    "spec.containers[*].ports[*].containerPort",
    "spec.containers[*].resources.requests['cpu']",
    "spec.containers[*].resources.requests[*]",
    "spec.tolerations[*].tolerationSeconds",
    "status.phase",
)
DERIVED: Final = ("requests.cpu", "requests.memory", "persistentVolumeClaims[*].name")
SCALARS: Final = (
    None, True, False, 0, 1, 1.0, 30.5, -5, 2**40, "", "a", "b", "x", "10", "9", "1", "1000m", "100m", "1Gi", "1024Mi",
    "2026-01-02T03:04:05Z", "2026-02-01T00:00:00Z", "nginx", "nginx:1", "Running", "n1", "default", "c0", "app(1)", "Ä",
)  # fmt: skip
JSON: Final[st.SearchStrategy[Any]] = st.one_of(
    st.sampled_from(SCALARS), st.just([]), st.just({}), st.just({"app": "x"}), st.just([{"name": "c0"}])
)
TEXT: Final = st.sampled_from(("", "a", "1", "nginx", "nginx:1", "n", "Reg", "Ä", "x", "app("))
PATTERN: Final = st.sampled_from(("^n", "n.*1$", "(?i)reg", "", "^$", "[0-9]+", "a|b", "Ä", r"\d{2}", "(a+)+$"))


NO_TEXT: Final = JSON.filter(lambda value: not isinstance(value, str) or reference.amount(value) is not None)
"""Of a computed quantity the oracle knows the value, not how it is spelled."""


def conditions(path: str) -> st.SearchStrategy[dict[str, Any]]:
    if path in DERIVED:
        operators = dict.fromkeys(("lt", "lte", "gt", "gte"), NO_TEXT) | {"exists": st.booleans()}
    else:
        operators = dict.fromkeys(("eq", "ne", "lt", "lte", "gt", "gte"), JSON)
        operators |= {name: st.lists(JSON, max_size=3) for name in ("in", "notIn")}
        operators |= {"contains": TEXT, "startsWith": TEXT, "matches": PATTERN, "exists": st.booleans()}
    one = st.sampled_from(sorted(operators)).flatmap(lambda name: st.tuples(st.just(name), operators[name]))
    return st.lists(one, min_size=1, max_size=2).map(lambda pairs: {"path": path, **dict(pairs)})


def filters() -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        st.sampled_from((*PATHS, *DERIVED)).flatmap(conditions),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda each: {"and": each}),
            st.lists(inner, max_size=3).map(lambda each: {"or": each}),
            inner.map(lambda each: {"not": each}),
            st.tuples(inner, inner).map(lambda pair: {**pair[0], "or": [pair[1]]}),
        ),
        max_leaves=4,
    )


def label_requirements() -> st.SearchStrategy[list[tuple[str, str, list[str]]]]:
    values = st.lists(st.sampled_from(("x", "y", "z", "w")), min_size=1, max_size=3, unique=True)
    one = st.tuples(
        st.sampled_from(("app", "tier", "a.b/c", "none")),
        st.sampled_from(("=", "!=", "in", "notin", "exists", "!")),
        values,
    )
    return st.lists(one, max_size=3)


def field_requirements() -> st.SearchStrategy[list[tuple[str, str, str]]]:
    one = st.tuples(
        st.sampled_from(
            ("metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "spec.priority", *BOOLEANS, IMAGES)
        ),
        st.sampled_from(("=", "!=")),
        st.sampled_from(("", "n1", "default", "Running", "0", "true", "false", "nginx:1", "p-1")),
    )
    return st.lists(one, max_size=2)


def orders(paths: Sequence[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(st.sampled_from(paths), st.sampled_from(("ASC", "DESC"))), max_size=3)


ORDERED: Final = tuple(path for path in PATHS if path not in ("metadata.labels", "spec.containers"))


class World:
    """A few pods, and the same in a replica; changes go to both."""

    def __init__(self, seed: int, count: int = 24) -> None:
        self.random = random.Random(seed)
        self.objects = {obj["metadata"]["uid"]: obj for obj in (self._pod(number) for number in range(count))}
        self.replica: Replica = samples.replica(self.objects.values())
        self._next = count

    def _pod(self, number: int) -> dict[str, Any]:
        return samples.random_pod(self.random, number)

    def churn(self, keep: set[str]) -> None:
        """Add, change and delete some pods, none of ``keep``."""
        for _ in range(self.random.randrange(4)):
            uid = self.random.choice([*self.objects, ""])
            if uid in keep:
                continue
            if not uid:
                obj = self._pod(self._next)
                self._next += 1
            elif self.random.random() < 0.5:
                del self.objects[uid]
                self.replica.drop(uid)
                continue
            else:
                obj = self._pod(self._next)
                obj["metadata"].update(uid=uid, **_place(self.objects[uid]))
            self.objects[obj["metadata"]["uid"]] = obj
            self.replica.put(samples.row(self.replica.codec, obj))


def _place(obj: Mapping[str, Any]) -> dict[str, str]:
    return {"name": obj["metadata"]["name"], "namespace": obj["metadata"]["namespace"]}


WORLDS: Final = [World(seed) for seed in range(6)]
several = settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def uids(rows: Sequence[Row]) -> list[str]:
    return [row.uid for row in rows]


def label_text(requirements: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    spelled: dict[str, Callable[[str, Sequence[str]], str]] = {
        "exists": lambda key, _: key,
        "!": lambda key, _: f"!{key}",
        "in": lambda key, values: f"{key} in ({','.join(values)})",
        "notin": lambda key, values: f"{key} notin ({', '.join(values)})",
        "=": lambda key, values: f"{key}={values[0]}",
        "!=": lambda key, values: f"{key}!={values[0]}",
    }
    return ",".join(spelled[operator](key, values) for key, operator, values in requirements)


@several
@given(filters())
def test_filters_mean_what_the_contract_says(spec: dict[str, Any]) -> None:
    query = lists.parse(PODS, where=spec)
    for world in WORLDS:
        page = lists.run(world.replica, query)
        expected = [obj for obj in reference.ordered(world.objects.values(), []) if reference.passes(spec, obj)]
        assert uids(page.rows) == [obj["metadata"]["uid"] for obj in expected]
        assert page.total == len(expected)
    view = View(world.replica)
    watched = [row for row in world.replica.rows() if lists.passes(view, query, row)]
    assert uids(watched) == uids(page.rows)


@several
@given(
    st.sampled_from(WORLDS),
    label_requirements(),
    field_requirements(),
    st.none() | st.lists(st.sampled_from(("default", "team-a", "team-b", "none")), max_size=2),
    st.none() | st.frozensets(st.sampled_from(("default", "team-a", "kube-system"))),
    orders(ORDERED),
)
def test_selectors_scopes_and_orders_mean_what_the_contract_says(
    world: World,
    labels: list[tuple[str, str, list[str]]],
    fields: list[tuple[str, str, str]],
    namespaces: list[str] | None,
    allowed: frozenset[str] | None,
    by: list[tuple[str, str]],
) -> None:
    query = lists.parse(
        PODS,
        namespaces=namespaces,
        label_selector=label_text(labels),
        field_selector=",".join(f"{path}{operator}{value}" for path, operator, value in fields),
        order_by=[{"path": path, "direction": direction} for path, direction in by],
    )
    page = lists.run(world.replica, query, lists.Scope(namespaces=allowed))
    expected = [
        obj
        for obj in reference.ordered(world.objects.values(), by)
        if reference.labelled(labels, obj)
        and reference.fielded(fields, obj, BOOLEANS)
        and (namespaces is None or obj["metadata"]["namespace"] in namespaces)
        and (allowed is None or obj["metadata"]["namespace"] in allowed)
    ]
    assert uids(page.rows) == [obj["metadata"]["uid"] for obj in expected]


@several
@given(st.integers(0, 10**6), orders(ORDERED), st.integers(1, 7), st.none() | filters())
def test_rows_that_stay_come_exactly_once_while_one_pages(
    seed: int, by: list[tuple[str, str]], first: int, where: dict[str, Any] | None
) -> None:
    world = World(seed, 14)
    keep = set(world.random.sample(sorted(world.objects), 8))
    order_by = [{"path": path, "direction": direction} for path, direction in by]
    seen: list[str] = []
    after: str | None = None
    for _ in range(60):
        query = lists.parse(PODS, where=where, order_by=order_by, first=first, after=after)
        page = lists.run(world.replica, query)
        seen += uids(page.rows)
        if not page.has_next:
            break
        assert len(page.rows) == first
        after = page.end_cursor
        world.churn(keep)
    else:
        pytest.fail("paging does not end")
    stay = [obj for uid, obj in world.objects.items() if uid in keep]
    expected = [obj for obj in reference.ordered(stay, by) if where is None or reference.passes(where, obj)]
    assert [uid for uid in seen if uid in keep] == [obj["metadata"]["uid"] for obj in expected]


@several
@given(st.integers(0, 10**6), filters(), orders(ORDERED))
def test_answers_after_changes_are_those_of_a_replica_made_anew(
    seed: int, where: dict[str, Any], by: list[tuple[str, str]]
) -> None:
    world = World(seed, 12)
    query = lists.parse(PODS, where=where, order_by=[{"path": path, "direction": way} for path, way in by])
    for _ in range(4):
        answered = uids(lists.run(world.replica, query).rows)
        expected = [obj for obj in reference.ordered(world.objects.values(), by) if reference.passes(where, obj)]
        assert answered == [obj["metadata"]["uid"] for obj in expected]
        world.churn(set())
    anew = samples.replica(world.objects.values())
    assert (anew.digest, len(anew)) == (world.replica.digest, len(world.replica))


@several
@given(
    st.sampled_from(WORLDS),
    st.lists(st.sampled_from([p for p in PATHS if p not in DERIVED]), min_size=1, max_size=2),
    st.sampled_from(
        ("spec.priority", "requests.cpu", "spec.containers[*].resources.requests[*]", "metadata.generation")
    ),
)
def test_groups_and_exact_sums(world: World, paths: list[str], path: str) -> None:
    rows = lists.run(world.replica, lists.parse(PODS)).matching
    found = groups.run(world.replica, rows, groups.parse(PODS, paths))
    expected = reference.grouped(world.objects.values(), paths)
    by_text = {json.dumps(reference._numbers(list(group.values)), sort_keys=True): group for group in found}
    assert {text: group.count for text, group in by_text.items()} == {t: len(each) for t, each in expected.items()}
    assert [group.count for group in found] == sorted((group.count for group in found), reverse=True)
    asked = query_paths.parse(PODS, path)
    for text, group in by_text.items():
        assert reference.amount(group.sum(asked)) == reference.summed(expected[text], path)
        values = [v for obj in expected[text] for v in reference.elements(path, obj) if v is not None]
        amounts: list[Fraction] = [each for each in map(reference.amount, values) if each is not None]
        assert reference.amount(group.min(asked)) == (min(amounts) if amounts else None)
        assert reference.amount(group.max(asked)) == (max(amounts) if amounts else None)
