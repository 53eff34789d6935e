"""What the arguments of lists mean, one line a promise: the words of the documentation, held by hand-made objects."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.sources import FilledSource, pod
from tests.unit.schema.asking import ask


def objects() -> list[dict[str, Any]]:
    """``a`` has everything, ``b`` has nulls where ``a`` has values, ``c`` has nothing there."""
    a = pod("a", image="web:1", node="n-1", spec={"priority": 10, "hostname": "9"}, labels={"a.b/c": "x", "n": "9"})
    b = pod("b", image="web:2", node=None, spec={"priority": None, "hostname": None}, labels={"n": "10"})
    c = pod("c", "other", image="db:1", node="n-2", spec={"priority": 9, "hostname": "v1"}, labels={})
    a["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    b["metadata"]["creationTimestamp"] = "2026-01-01T01:30:00+02:00"  # half an hour before
    c["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    a["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "0.5", "memory": "2Gi"}
    b["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "500m", "memory": "512Mi"}
    del c["spec"]["containers"][0]["resources"]
    del c["spec"]["nodeName"]
    return [a, b, c]


async def found(arguments: str) -> str:
    answer = await ask(
        FilledSource({"pods": objects()}), f"{{ pods{arguments} {{ nodes {{ metadata {{ name }} }} }} }}"
    )
    if "errors" in answer:
        code: str = answer["errors"][0]["extensions"]["code"]
        return code
    return " ".join(node["metadata"]["name"] for node in answer["data"]["pods"]["nodes"])


def at(path: str, comparison: str) -> str:
    return f'{{ path: "{path}", {comparison} }}'


CPU: Final = "spec.containers[0].resources.requests['cpu']"
MEMORY: Final = "spec.containers[0].resources.requests.memory"
CREATED: Final = "metadata.creationTimestamp"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        # A missing path and null are the same.
        (at("spec.nodeName", "eq: null"), "b c"),
        (at("spec.nodeName", "ne: null"), "a"),
        (at("spec.nodeName", "exists: false"), "b c"),
        (at("spec.nodeName", "exists: true"), "a"),
        # Every other comparison is false there; ne and notIn are the negations.
        (at("spec.nodeName", 'ne: "n-1"'), "b c"),
        (at("spec.nodeName", 'notIn: ["n-1"]'), "b c"),
        (at("spec.nodeName", 'in: ["n-1", "n-2"]'), "a"),
        (at("spec.priority", "lt: 100"), "a c"),
        (at("spec.priority", "gte: null"), ""),
        (at("spec.hostname", 'contains: ""'), "a c"),
        (at("spec.hostname", 'matches: ""'), "a c"),
        # eq compares JSON values exactly, lt and so on by value: numbers, quantities, times, text.
        (at("spec.priority", "eq: 10"), "a"),
        (at("spec.priority", 'eq: "10"'), ""),
        (at("spec.priority", "eq: 10.0"), "a"),
        (at(CPU, 'eq: "500m"'), "b"),
        (at(CPU, 'gte: "500m", lte: "0.5"'), "a b"),
        (at(CPU, "gt: 0.4999"), "a b"),
        (at(MEMORY, 'gt: "512Mi"'), "a"),
        (at(MEMORY, 'lt: "1G"'), "b"),
        (at(CREATED, 'lt: "2026-01-01T00:00:00Z"'), "b"),
        (at(CREATED, 'gt: "2025-12-31T23:00:00Z", lte: "2026-01-01T00:00:00Z"'), "a b"),
        (at(CREATED, "lt: 5"), ""),
        (at("metadata.labels.n", 'lt: "10"'), "a"),
        (at("metadata.labels['n']", "lt: 10"), "a"),
        (at("spec.hostname", 'gt: "v0"'), "c"),
        # [*] is any element; ne is the negation of "any element is".
        (at("spec.containers[*].image", 'eq: "side:1"'), "a b c"),
        (at("spec.containers[*].image", 'ne: "side:1"'), ""),
        (at("spec.containers[*].image", 'ne: "web:1"'), "b c"),
        (at("spec.containers[*].image", 'in: ["web:1", "db:1"]'), "a c"),
        (at("spec.containers[0].image", 'startsWith: "web:"'), "a b"),
        (at("spec.containers[7].image", "exists: true"), ""),
        (at("spec.containers[*].image", 'matches: "b:[12]$"'), "a b c"),
        (at("metadata.labels['a.b/c']", 'eq: "x"'), "a"),
        # Members of one Filter are "and"; so is an empty "and", an empty "or" is false.
        ("{}", "a b c"),
        ("{ and: [] }", "a b c"),
        ("{ or: [] }", ""),
        ("{ not: { or: [] } }", "a b c"),
        ('{ path: "spec.priority", gt: 8, lt: 10, or: [{ path: "metadata.name", eq: "c" }] }', "c"),
        # Derived columns are paths like any others.
        (at("requests.cpu", 'eq: "1500m"'), "a b"),
        (at("requests.memory", 'gte: "2Gi"'), "a"),
        (at("deployment.name", "exists: false"), "a b c"),
        (at("persistentVolumeClaims[*].name", "exists: false"), "a b c"),
        # What cannot be meant.
        (at("spec.nodename", "exists: true"), "PATH_INVALID"),
        (at("spec.nodeName", 'matches: "(?=a)"'), "BAD_ARGUMENT"),
        (at("spec.nodeName", "exists: null"), "BAD_ARGUMENT"),
        ('{ path: "spec.nodeName" }', "BAD_ARGUMENT"),
        ("{ eq: 1 }", "BAD_ARGUMENT"),
        ('{ relation: "nope", some: {} }', "BAD_ARGUMENT"),
    ],
)
async def test_a_filter_means(where: str, expected: str) -> None:
    assert await found(f"(where: {where})") == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("(namespaces: [])", ""),
        ('(namespaces: ["other", "default"])', "a b c"),
        ('(namespace: "other", namespaces: ["default"])', ""),
        ('(namespace: "nowhere")', ""),
        ("(first: null, orderBy: null, where: null, labelSelector: null)", "a b c"),
        ('(name: "b", namespace: "default")', "b"),
        ('(labelSelector: "")', "a b c"),
        ('(labelSelector: "n in (9, 11), a.b/c")', "a"),
        ('(labelSelector: "n!=9")', "b c"),
        ('(labelSelector: "!n")', "c"),
        ('(fieldSelector: "spec.nodeName=")', "b c"),
        ('(fieldSelector: "spec.priority=9,metadata.namespace!=default")', "c"),
        ('(fieldSelector: "spec.hostNetwork=false")', "a b c"),
        # By value, missing last in either direction; ties by namespace and name.
        ('(orderBy: [{ path: "spec.priority" }])', "c a b"),
        ('(orderBy: [{ path: "spec.priority", direction: DESC }])', "a c b"),
        (f'(orderBy: [{{ path: "{MEMORY}" }}])', "b a c"),
        (f'(orderBy: [{{ path: "{CREATED}" }}])', "b a c"),
        (f'(orderBy: [{{ path: "{CPU}" }}, {{ path: "metadata.name", direction: DESC }}])', "b a c"),
        ('(orderBy: [{ path: "kind", direction: DESC }], first: 2)', "a b"),
        ("(first: 0)", "BAD_ARGUMENT"),
        ('(labelSelector: "a in ()")', "SELECTOR_INVALID"),
        ('(fieldSelector: "nope=1")', "PATH_INVALID"),
        ('(after: "x")', "CURSOR_INVALID"),
        ('(minResourceVersion: "01")', "RV_INVALID"),
        ('(maxStaleness: "5 parsecs")', "BAD_ARGUMENT"),
        ('(cluster: "other")', "BAD_ARGUMENT"),
    ],
)
async def test_an_argument_means(arguments: str, expected: str) -> None:
    assert await found(arguments) == expected


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ('groupBy(paths: ["spec.nodeName"]) { values count }', [([None], 2), (["n-1"], 1)]),
        (
            """groupBy(paths: ["metadata.namespace"], orderBy: { by: "metadata.namespace", direction: ASC }, first: 1)
            { values count sum(path: "requests.memory") }""",
            [(["default"], 2, "2560Mi")],
        ),
        (
            """groupBy(paths: ["metadata.namespace"], orderBy: { by: "sum(spec.priority)", direction: ASC })
            { values sum(path: "spec.priority") }""",
            [(["other"], "9"), (["default"], "10")],
        ),
        (
            f"""groupBy(paths: ["kind"])
            {{ count min(path: "{CREATED}") max(path: "{MEMORY}") sum(path: "requests.cpu") }}""",
            [(3, "2026-01-01T01:30:00+02:00", "2Gi", "4")],
        ),
        (
            'groupBy(paths: ["metadata.name"], orderBy: { by: "max(spec.priority)" }) { values }',
            [(["a"],), (["c"],), (["b"],)],
        ),
    ],
)
async def test_a_group_means(group: str, expected: list[Any]) -> None:
    """Groups cover all that match, whatever ``first`` shows."""
    answer = await ask(FilledSource({"pods": objects()}), f"{{ pods(first: 1) {{ totalCount {group} }} }}")
    assert "errors" not in answer, answer
    assert [tuple(each.values()) for each in answer["data"]["pods"]["groupBy"]] == expected
    assert answer["data"]["pods"]["totalCount"] == 3


@pytest.mark.parametrize(
    ("group", "code"),
    [
        ('groupBy(paths: ["kind"]) { sum(path: "metadata.name") }', "BAD_ARGUMENT"),
        (f'groupBy(paths: ["kind"]) {{ sum(path: "{CREATED}") }}', "BAD_ARGUMENT"),
        ('groupBy(paths: ["kind"], orderBy: { by: "spec.priority" }) { count }', "BAD_ARGUMENT"),
        ("groupBy(paths: []) { count }", "BAD_ARGUMENT"),
        ('groupBy(paths: ["kind"], first: 0) { count }', "BAD_ARGUMENT"),
        ('groupBy(paths: ["nope"]) { count }', "PATH_INVALID"),
        ('groupBy(paths: ["kind"], orderBy: { by: "sum(nope)" }) { count }', "PATH_INVALID"),
    ],
)
async def test_a_group_that_cannot_be_meant(group: str, code: str) -> None:
    answer = await ask(FilledSource({"pods": objects()}), f"{{ pods {{ {group} }} nodes {{ totalCount }} }}")
    assert {error["extensions"]["code"] for error in answer["errors"]} == {code}
    assert answer["data"]["nodes"] == {"totalCount": 0}
