"""Random questions against the oracle, quick enough for very many: ``make faults`` asks 100,000 of them.

Each number is a question of its own: a filter with an order, selectors in a scope, pages that are taken from two
replicas of which one lags while rows come and go, or groups in some order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any, Final

import pytest

from krm.query import groups, lists
from krm.query import paths as query_paths
from krm.resources import PODS
from tests import reference_query as reference
from tests import samples
from tests.unit.query.test_against_reference import (
    BOOLEANS,
    DERIVED,
    ORDERED,
    PATHS,
    SCALARS,
    World,
    label_text,
    uids,
)

SAMPLE: Final = 400
WORLDS: Final = 40
_VALUES: Final[tuple[Any, ...]] = (*SCALARS, [], {}, {"app": "x"}, [{"name": "c0"}])
_AMOUNTS: Final = tuple(value for value in _VALUES if not isinstance(value, str) or reference.amount(value) is not None)
"""What derived columns are compared with: the oracle knows their values, not how they are written."""
_TEXTS: Final = ("", "a", "1", "nginx", "nginx:1", "n", "Reg", "Ä", "x", "app(")
_PATTERNS: Final = ("^n", "n.*1$", "(?i)reg", "", "^$", "[0-9]+", "a|b", "Ä", r"\d{2}", "(a+)+$")
_SUMMED: Final = ("spec.priority", "requests.cpu", "requests.memory", "spec.containers[*].resources.requests[*]")


@cache
def world(number: int) -> World:
    return World(1_000 + number, 12)


def condition(rng: random.Random) -> dict[str, Any]:
    path = rng.choice((*PATHS, *DERIVED))
    ordering = ("lt", "lte", "gt", "gte")
    texts = ("contains", "startsWith")
    names = (
        (*ordering, "exists")
        if path in DERIVED
        else (*ordering, "eq", "ne", "in", "notIn", *texts, "matches", "exists")
    )
    spec: dict[str, Any] = {"path": path}
    for name in rng.sample(names, rng.choice((1, 1, 2))):
        if name == "exists":
            spec[name] = rng.random() < 0.5
        elif name in ("in", "notIn"):
            spec[name] = rng.choices(_VALUES, k=rng.randrange(4))
        elif name in texts:
            spec[name] = rng.choice(_TEXTS)
        else:
            spec[name] = rng.choice(_PATTERNS if name == "matches" else _AMOUNTS if path in DERIVED else _VALUES)
    return spec


def condition_tree(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    roll = rng.random()
    if depth == 0 or roll < 0.5:
        return condition(rng)
    if roll < 0.6:
        return {"not": condition_tree(rng, depth - 1)}
    if roll < 0.7:
        return {**condition(rng), "or": [condition_tree(rng, depth - 1)]}
    return {rng.choice(("and", "or")): [condition_tree(rng, depth - 1) for _ in range(rng.randrange(3))]}


def orders(rng: random.Random) -> list[tuple[str, str]]:
    return [(rng.choice((*ORDERED, *DERIVED[:2])), rng.choice(("ASC", "DESC"))) for _ in range(rng.randrange(3))]


def specs(by: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "direction": direction} for path, direction in by]


def of(objects: list[reference.Object]) -> list[str]:
    return [obj["metadata"]["uid"] for obj in objects]


def check_filter(rng: random.Random) -> None:
    asked, by, at = condition_tree(rng), orders(rng), world(rng.randrange(WORLDS))
    page = lists.run(at.replica, lists.parse(PODS, where=asked, order_by=specs(by)))
    expected = [obj for obj in reference.ordered(at.objects.values(), by) if reference.passes(asked, obj)]
    assert uids(page.rows) == of(expected)
    assert page.total == len(expected)


def check_selectors(rng: random.Random) -> None:
    at = world(rng.randrange(WORLDS))
    labels = [
        (rng.choice(("app", "tier", "a.b/c", "none")), rng.choice(("=", "!=", "in", "notin", "exists", "!")), values)
        for values in (rng.sample("xyzw", rng.randint(1, 3)) for _ in range(rng.randrange(3)))
    ]
    fields = [
        (
            rng.choice(("metadata.name", "spec.nodeName", "status.phase", "spec.priority", *BOOLEANS)),
            rng.choice(("=", "!=")),
            rng.choice(("", "n1", "Running", "0", "true", "false", "p-1")),
        )
        for _ in range(rng.randrange(3))
    ]
    allowed = None if rng.random() < 0.5 else frozenset(rng.sample(("default", "team-a", "kube-system"), 2))
    text = ",".join(f"{path}{operator}{value}" for path, operator, value in fields)
    query = lists.parse(PODS, label_selector=label_text(labels), field_selector=text)
    page = lists.run(at.replica, query, lists.Scope(namespaces=allowed))
    expected = [
        obj
        for obj in reference.ordered(at.objects.values(), [])
        if reference.labelled(labels, obj)
        and reference.fielded(fields, obj, BOOLEANS)
        and (allowed is None or obj["metadata"]["namespace"] in allowed)
    ]
    assert uids(page.rows) == of(expected)


def check_pages(rng: random.Random) -> None:
    """Pages from whichever of two replicas; one has missed what happened since the page before."""
    here = World(rng.randrange(10**9), 10)
    keep = set(here.random.sample(sorted(here.objects), 6))
    by = orders(rng)
    asked = condition_tree(rng, 1) if rng.random() < 0.5 else None
    lagging = samples.replica(here.objects.values())
    seen: list[str] = []
    after: str | None = None
    for _ in range(60):
        replica = rng.choice((here.replica, lagging))
        query = lists.parse(PODS, where=asked, order_by=specs(by), first=rng.randint(1, 4), after=after)
        page = lists.run(replica, query)
        seen += uids(page.rows)
        if not page.has_next:
            break
        after = page.end_cursor
        lagging = samples.replica(here.objects.values())
        here.churn(keep)
    else:
        pytest.fail("paging does not end")
    stay = [obj for uid, obj in here.objects.items() if uid in keep]
    expected = [obj for obj in reference.ordered(stay, by) if asked is None or reference.passes(asked, obj)]
    assert [uid for uid in seen if uid in keep] == of(expected)


def check_groups(rng: random.Random) -> None:
    at = world(rng.randrange(WORLDS))
    chosen = [path for path in PATHS if path not in DERIVED]
    paths, summed = rng.sample(chosen, rng.choice((1, 1, 2))), rng.choice(_SUMMED)
    asked = condition_tree(rng, 1)
    rows = lists.run(at.replica, lists.parse(PODS, where=asked)).matching
    found = groups.run(at.replica, rows, groups.parse(PODS, paths))
    expected = reference.grouped([obj for obj in at.objects.values() if reference.passes(asked, obj)], paths)
    by_text = {json.dumps(reference._numbers(list(group.values)), sort_keys=True): group for group in found}
    assert {text: group.count for text, group in by_text.items()} == {t: len(each) for t, each in expected.items()}
    path = query_paths.parse(PODS, summed)
    for text, group in by_text.items():
        assert reference.amount(group.sum(path)) == reference.summed(expected[text], summed)
        values = [v for obj in expected[text] for v in reference.elements(summed, obj) if v is not None]
        amounts: list[Fraction] = [each for each in map(reference.amount, values) if each is not None]
        assert reference.amount(group.min(path)) == (min(amounts) if amounts else None)
        assert reference.amount(group.max(path)) == (max(amounts) if amounts else None)


CHECKS: Final[tuple[Callable[[random.Random], None], ...]] = (
    *(check_filter, check_filter, check_filter, check_filter),
    *(check_selectors, check_groups, check_groups, check_pages),
)


def check(number: int) -> None:
    """Ask question ``number``."""
    CHECKS[number % len(CHECKS)](random.Random(number))


@pytest.mark.parametrize("part", range(4))
def test_random_questions_are_answered_as_the_oracle_answers_them(part: int) -> None:
    for number in range(part * SAMPLE // 4, (part + 1) * SAMPLE // 4):
        check(number)
