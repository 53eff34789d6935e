"""Whatever valid document comes, with whatever arguments: an answer with codes of the contract, never INTERNAL."""

from __future__ import annotations

import random
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, GraphQLList, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, is_leaf_type

from krm.errors import Code
from krm.schema import build
from krm.schema.context import Context
from tests.unit.schema.asking import ask, engine
from tests.unit.schema.test_relations import cluster, line

TEXTS = (
    '"default"', '"web-1"', '"app=web"', '"app in (web, lone), !x"', '"status.phase=Running"', '"status.phase"',
    '"spec.containers[*].image"', '"requests.cpu"', '"deployment.name"', '"persistentVolumeClaims[*].name"', '"pods"',
    '"metadata.labels[\'app\']"', '"metadata.ownerReferences"', '"spec"', '"count"', '"sum(requests.memory)"', '"node"',
    '"services"', '"5m"', '"12"', '""', '"\\u0000"', '"\\u202e"', '"\\ud800"', '"[*]"', '"a[0"', '"(a+)+$"', '"test"',
)  # fmt: skip
PATHS = (
    '"status.phase"', '"metadata.name"', '"spec.containers[*].image"', '"metadata.labels[\'app\']"',
    '"metadata.ownerReferences"', '"spec"', '"requests.cpu"', '"deployment.name"', '"persistentVolumeClaims[*].name"',
)  # fmt: skip
LIKELY = {
    "cluster": ('"test"',),
    "namespace": ('"default"', '"elsewhere"'),
    "namespaces": ('["default"]', "[]"),
    "name": ('"web-1"', '"node-1"'),
    "labelSelector": ('"app=web"', '"app in (web, lone), !x"'),
    "fieldSelector": ('"metadata.name=web-1"', '"metadata.namespace!=x"'),
    "first": ("1", "100"),
    "after": ("null",),
    "maxStaleness": ('"5m"',),
    "minResourceVersion": ('"12"',),
    "path": PATHS,
    "paths": tuple(f"[{path}]" for path in PATHS),
    "by": ('"count"', '"sum(requests.memory)"', '"min(metadata.name)"'),
    "relation": ('"services"', '"node"', '"pods"'),
    "resource": ('"pods"', '"svc"'),
    "resources": ('["po"]',),
    "since": ('"5m"',),
}
VALUES = ("null", "true", "0", "-1", "3.5", "1e400", "9007199254740993", "[]", "[1, null]", "{a: 1}", "X", *TEXTS[:6])


def value(rng: random.Random, type_: Any, depth: int, name: str = "") -> str:
    """A literal that the type takes, mostly one that makes sense under this name."""
    if name in LIKELY and rng.random() < 0.9:
        return rng.choice(LIKELY[name])
    if isinstance(type_, GraphQLNonNull):
        return value(rng, type_.of_type, depth)
    if isinstance(type_, GraphQLList):
        return "[" + ", ".join(value(rng, type_.of_type, depth) for _ in range(rng.randint(0, 3))) + "]"
    if isinstance(type_, GraphQLInputObjectType):
        chosen = rng.sample(list(type_.fields.items()), min(len(type_.fields), rng.randint(1, 3)))
        required = [(n, f) for n, f in type_.fields.items() if isinstance(f.type, GraphQLNonNull)]
        inner = {n: f for n, f in [*required, *chosen] if depth or not isinstance(f.type, GraphQLInputObjectType)}
        return "{" + ", ".join(f"{n}: {value(rng, f.type, depth - 1, n)}" for n, f in inner.items() if depth > 0) + "}"
    if type_.name == "Int":
        return rng.choice(("1", "2", "0", "-1", "100", "2147483647", "null"))
    if type_.name == "JSON":
        return rng.choice(VALUES)
    if type_.name == "Boolean":
        return rng.choice(("true", "false", "null"))
    if hasattr(type_, "values"):
        return str(rng.choice(list(type_.values)))
    return rng.choice(TEXTS)


def selection(rng: random.Random, type_: GraphQLObjectType, depth: int) -> str:
    parts: list[str] = []
    for name in rng.sample(list(type_.fields), min(len(type_.fields), rng.randint(1, 4))):
        field = type_.fields[name]
        inner: Any = field.type
        while isinstance(inner, GraphQLNonNull | GraphQLList):
            inner = inner.of_type
        if not is_leaf_type(inner) and not depth:
            continue
        given = [
            f"{argument}: {value(rng, each.type, 3, argument)}"
            for argument, each in field.args.items()
            if isinstance(each.type, GraphQLNonNull) or rng.random() < 0.25
        ]
        text = f"a{len(parts)}: {name}" + (f"({', '.join(given)})" if given else "")
        parts.append(text if is_leaf_type(inner) else f"{text} {{ {selection(rng, inner, depth - 1)} }}")
    return " ".join(parts) or "__typename"


@pytest.mark.parametrize("seed", range(4))
async def test_no_document_gets_internal(seed: int) -> None:
    rng = random.Random(seed)
    schema: GraphQLSchema = build.default()._schema
    assert schema.query_type is not None
    source = cluster()
    source.drifts["pods"] = [line(number, "default") for number in range(4)]
    source.change("pods", None, uid="uid-default-lone-1")
    by = engine()
    answered = 0
    for _ in range(40):
        query = f"{{ {selection(rng, schema.query_type, 6)} }}"
        plain = await ask(source, query, by=by)
        fast = await ask(source, query, by=by, context=Context(source=source, is_compiled=True))
        for answer in (plain, fast):
            for error in answer.get("errors", ()):
                assert error["extensions"]["code"] in set(Code) - {Code.INTERNAL}, (query, error)
        check_alike(plain, fast, query)
        answered += plain["status"] == 200 and "errors" not in plain
    assert answered > 3  # not everything is refused


def check_alike(plain: dict[str, Any], fast: dict[str, Any], query: str) -> None:
    """Equal, but for the order of errors and for those beside an error that made the whole object null."""
    assert {**plain, "errors": 0} == {**fast, "errors": 0}, query
    errors = [answer.get("errors", []) for answer in (plain, fast)]
    assert bool(errors[0]) == bool(errors[1]), query
    for one, other in (errors, reversed(errors)):
        for error in one:
            assert error in other or _is_below_null(plain["data"], error["path"]), (query, error)


def _is_below_null(data: Any, path: list[str | int]) -> bool:
    for step in path[:-1]:
        if data is None:
            return True
        data = data[step]
    return data is None
