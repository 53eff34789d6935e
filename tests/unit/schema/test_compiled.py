"""Compiled execution answers as plain execution does, for whatever is asked and whatever lies in the table."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from krm.objects import shapes
from krm.schema.context import Context
from krm.schema.engine import Request
from krm.store.rows import Row
from tests.sources import FilledSource, node, pod
from tests.unit.schema.asking import ask, engine


def selection(rng: random.Random, type_name: str, depth: int, *, top: bool = False) -> str:
    """A random selection of a generated type; now and then with fragments, directives, duplicates, aliases."""
    fields = list(shapes.shape(type_name).fields.items())
    chosen = rng.sample(fields, min(len(fields), rng.randint(1, 5)))
    parts: list[str] = []
    for name, field in chosen:
        if field.type is not None:
            if depth == 0:
                continue
            text = f"{name} {{ {selection(rng, field.type, depth - 1)} }}"
        else:
            text = name
        roll = rng.random()
        if roll < 0.05:
            text = f"... on {type_name} {{ {text} }}"
        elif roll < 0.10 and field.type is None:
            text = f"{name} @{rng.choice(['skip', 'include'])}(if: {rng.choice(['true', 'false', '$yes', '$no'])})"
        elif roll < 0.13:
            text = f"other_{name}: {text}"
        elif roll < 0.16:
            text = f"{text} {text}"
        parts.append(text)
    if rng.random() < 0.2 or not parts:
        parts.append("__typename")
    if top and type_name == "Pod":
        parts += rng.sample(["object", "requests { cpu memory gpu }", "requests { gpu __typename }"], rng.randint(0, 2))
    rng.shuffle(parts)
    return " ".join(parts)


PATHS = ("metadata", "metadata.labels", "spec", "spec.containers", "status", "status.podIPs", "spec.containers.0.ports")


def spoiled(rng: random.Random, obj: dict[str, Any]) -> dict[str, Any]:
    """An object as no API server sends it: one member has another type."""
    path = rng.choice(PATHS).split(".")
    at: Any = obj
    for step in path[:-1]:
        at = at[int(step)] if step.isdigit() else at[step]
    key = rng.choice(["containers", "phase", "hostIPC", "terminationGracePeriodSeconds", "podIPs", path[-1]])
    bad = rng.choice([None, 1, 2**63, 1.5, 3.0, True, "x", [], [None], ["a"], {}, {"a": None}])
    if isinstance(at, dict) and not (len(path) == 1 and key == "metadata"):
        at[key] = bad
    return obj


def question(rng: random.Random) -> str:
    head = "query Q($yes: Boolean! = true, $no: Boolean! = false)"
    inner = selection(rng, "Pod", 6, top=True)
    return head + rng.choice(
        [
            f"{{ pods {{ nodes {{ {inner} }} totalCount }} {_uses()} }}",
            f"{{ pods(first: 3) {{ edges {{ node {{ {inner} }} cursor __typename }} }} {_uses()} }}",
            f"{{ pods {{ ...F }} {_uses()} }} fragment F on PodConnection {{ nodes {{ {inner} }} nodes {{ kind }} }}",
            f'{{ pod(namespace: "default", name: "p-1") {{ {inner} }} {_uses()} }}',
        ]
    )


def _uses() -> str:
    return "f: freshness { state @include(if: $yes) @skip(if: $no) }"


def masked(answer: dict[str, Any]) -> dict[str, Any]:
    """Without the traces, which differ by design; messages of validation stay."""
    for error in answer.get("errors", ()):
        if error["extensions"].pop("trace", None):
            error["message"] = "masked"
    return answer


@pytest.mark.parametrize("seed", range(4))
async def test_compiled_answers_equal_plain_ones(seed: int) -> None:
    rng = random.Random(seed)
    source = FilledSource({"pods": [pod(f"p-{n}", number=n) for n in range(7)]})
    by = engine()
    ready_made = 0
    for _ in range(25):
        query = question(rng)
        plain = await ask(source, query, by=by)
        context = Context(source=source, is_compiled=True)
        assert masked(await ask(source, query, by=by, context=context)) == masked(plain), query
        again = Context(source=source, is_compiled=True)
        assert masked(await ask(source, query, by=by, context=again)) == masked(plain), query
        ready_made += len(context.embedded)
    assert ready_made >= 12  # the comparison is not of plain with plain


@pytest.mark.parametrize("seed", range(4))
async def test_objects_of_other_types_than_promised_are_answered_plainly(seed: int) -> None:
    rng = random.Random(1_000 + seed)
    by = engine()
    for _ in range(8):
        objects = [spoiled(rng, pod(f"p-{n}", number=n)) for n in range(4)]
        source = FilledSource({"pods": objects})
        for _ in range(4):
            query = question(rng)
            plain = await ask(source, query, by=by)
            assert plain["status"] == 200, plain
            assert masked(await ask(source, query, by=by, compiled=True)) == masked(plain), query


ODD: list[Any] = [
    None,
    1,
    2**63,
    -(2**63),
    2**64 - 1,
    1.5,
    3.0,
    True,
    "x",
    "",
    [],
    [None],
    ["a"],
    [{}],
    {},
    {"a": None},
]
LEAVES = {
    "String": ("spec", "nodeName", "nodeName"),
    "Long": ("spec", "terminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
    "Boolean": ("spec", "hostIPC", "hostIPC"),
    "DateTime": ("status", "startTime", "startTime"),
    "JSON": ("spec", "nodeSelector", "nodeSelector"),
    "a list of texts": ("spec", "hostnames", "securityContext { supplementalGroups }"),
    "an object": ("spec", "securityContext", "securityContext { runAsUser }"),
    "a list of objects": ("spec", "containers", "containers { name }"),
}


@pytest.mark.parametrize(("group", "key", "text"), LEAVES.values(), ids=LEAVES)
async def test_every_sort_of_field_is_answered_plainly_where_it_does_not_fit(group: str, key: str, text: str) -> None:
    by = engine()
    for odd in ODD:
        changed: dict[str, Any] = {"securityContext": {"supplementalGroups": odd}} if key == "hostnames" else {key: odd}
        more: dict[str, Any] = {group: changed}
        source = FilledSource({"pods": [pod("a"), pod("b", **more)]})
        query = f"{{ pods {{ nodes {{ {group} {{ {text} }} }} }} }}"
        plain = await ask(source, query, by=by)
        assert masked(await ask(source, query, by=by, compiled=True)) == masked(plain), odd


KNOWN = {
    "metadata": ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "__typename"),
    "spec": ("nodeName", "serviceAccountName", "__typename"),
    "status": ("phase", "podIP", "hostIP", "startTime", "__typename"),
}
"""What rows of pods know without their objects."""


def known(rng: random.Random) -> str:
    groups = rng.sample(sorted(KNOWN), rng.randint(1, 3))
    parts = ["__typename"] * rng.randint(0, 1)
    for group in groups:
        fields = rng.sample(KNOWN[group], rng.randint(1, len(KNOWN[group])))
        shown = [f"other: {each}" if rng.random() < 0.1 and number == 0 else each for number, each in enumerate(fields)]
        parts.append(f"{group} {{ {' '.join(shown)} }}")
    return f"{{ pods {{ nodes {{ {' '.join(parts)} }} }} }}"


async def test_what_rows_know_is_answered_as_if_their_objects_had_been_read(read: list[Row]) -> None:
    rng = random.Random(5)
    odd: list[Any] = [None, "", "?", "a/b", 'q"\\ü\u2028\x7f%s', 5, 1.5, True, [], {}, "\x00", "x" * 300]
    by = engine()
    for _ in range(40):
        objects = [pod(f"p-{number}", number=number) for number in range(5)]
        for each in objects:
            each["spec"]["serviceAccountName"] = "default"
            each["status"] |= {"podIP": "10.0.0.1", "hostIP": "192.0.2.1", "startTime": "2026-11-23T10:00:01Z"}
        for changed in objects[1:]:
            group = rng.choice(sorted(KNOWN))
            if rng.random() < 0.2 and group != "metadata":
                changed[group] = rng.choice([None, {}])
            elif rng.random() < 0.2 and group != "metadata":
                del changed[group]
            else:
                key = rng.choice(KNOWN[group][:-1])
                changed[group][key] = rng.choice(odd)
                if rng.random() < 0.2:
                    del changed[group][key]
        source = FilledSource({"pods": objects})
        query = known(rng)
        plain = await ask(source, query, by=by)
        before = len(read)
        assert masked(await ask(source, query, by=by, compiled=True)) == masked(plain), (query, objects)
        asked = [set(re.findall(r"\w+", group)) for group in re.findall(r"\{ ([^{}]+) \}", query)]
        if all(group - {"other", "__typename"} for group in asked):  # a type alone says not whether there is one
            assert "p-0" not in {row.name for row in read[before:]}  # of which nothing is odd
    assert 20 < len(read) < 140  # of 200: many others were answered without their objects, too, and odd ones with them


async def test_a_list_with_an_odd_object_falls_back_and_says_so() -> None:
    source = FilledSource({"pods": [pod("a"), pod("b", status={"phase": 5})]})
    context = Context(source=source, is_compiled=True)
    answer = await engine().answer(Request(query="{ pods { nodes { status { phase } } } }"), context)
    assert answer.fallbacks == 1
    assert [n["status"]["phase"] for n in json.loads(answer.body)["data"]["pods"]["nodes"]] == ["Pending", "5"]


async def test_a_changed_row_is_projected_anew() -> None:
    source = FilledSource({"pods": [pod("a", phase="Pending")]})
    by = engine()
    query = "{ pods { nodes { status { phase } } } }"
    await ask(source, query, by=by, compiled=True)
    source.fill("pods", [pod("a", phase="Running", number=1)])
    answer = await ask(source, query, by=by, compiled=True)
    assert answer["data"]["pods"]["nodes"] == [{"status": {"phase": "Running"}}]


async def test_plans_differ_by_the_values_that_directives_look_at() -> None:
    source = FilledSource({"pods": [pod("a")]})
    by = engine()
    query = "query Q($all: Boolean!) { pods { nodes { kind apiVersion @include(if: $all) } } }"
    for wanted in (True, False, True):
        answer = await ask(source, query, {"all": wanted}, by=by, compiled=True)
        assert ("apiVersion" in answer["data"]["pods"]["nodes"][0]) is wanted


async def test_text_that_looks_like_a_stand_in_stays_text() -> None:
    context = Context(source=FilledSource())
    context.source.fill("pods", [pod("a", phase=f"{context.mark}00000000")])  # type: ignore[attr-defined]  # our fake
    context.is_compiled = True
    query = '{ pods { nodes { status { phase } } } one: pod(namespace: "default", name: "a") { kind } }'
    answer = await ask(FilledSource(), query, context=context)
    assert answer["data"]["pods"]["nodes"][0]["status"]["phase"].startswith(context.mark)
    assert answer["data"]["one"] == {"kind": "Pod"}


async def test_many_rows_are_projected_in_turns_with_the_event_loop() -> None:
    source = FilledSource({"nodes": [node(f"n-{n:04}") for n in range(1_000)]})
    answer = await ask(source, "{ nodes { nodes { metadata { name } } } }", compiled=True)
    assert [n["metadata"]["name"] for n in answer["data"]["nodes"]["nodes"]] == [f"n-{n:04}" for n in range(1_000)]


async def test_an_answer_beyond_its_bound_is_an_error_at_the_field() -> None:
    source = FilledSource({"pods": [pod(f"p-{n}") for n in range(50)]})
    context = Context(source=source, is_compiled=True, max_response=1_000)
    answer = await ask(source, "{ pods { nodes { object } } nodes { totalCount } }", context=context)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_ARGUMENT"
    assert "KRM_MAX_RESPONSE" in answer["errors"][0]["message"]
