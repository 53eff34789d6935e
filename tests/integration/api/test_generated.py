"""Questions that schemathesis makes, of the schema and of the frames' query strings: none is answered with 500."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import pyarrow as pa
import schemathesis
from graphql import get_introspection_query
from hypothesis import HealthCheck, Phase, given, seed, settings

from krm.api import frames
from krm.errors import Code
from tests.integration.api.conftest import Running

CASES: Final = 2
"""Of each field of Query."""
FRAMES: Final = 16
Schema = dict[str, Any]
_PATHS: Final = (
    *("metadata.name", "metadata.labels", "metadata.labels['a,b']", "metadata.ownerReferences[*].uid", "spec", "kind"),
    *("metadata.creationTimestamp", "metadata.labels.app", "metadata.resourceVersion", "metadata.generation", "status"),
)
_PATHS_OF_PODS: Final = (
    *("spec.nodeName", "spec.containers[*]", "spec.containers[*].image", "spec.containers[0].ports[*].containerPort"),
    *("status.phase", "status.conditions[*].lastTransitionTime", "requests.cpu", "requests.memory", "deployment.name"),
    *("persistentVolumeClaims[*].name", "spec.hostIPC", "nope", "metadata.", "[*]", "spec['", ""),
)


def enum(*values: Any) -> Schema:
    return {"enum": list(values)}


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def members(**properties: Schema) -> Schema:
    """An object with all of these and no others."""
    return {"type": "object", "required": [*properties], "properties": properties, "additionalProperties": False}


def several(of: Schema, most: int = 3) -> Schema:
    return {"type": "array", "items": of, "minItems": 1, "maxItems": most}


def parameters(*, odd: bool) -> dict[str, Schema]:
    """What each parameter of ``/frames`` may be; ``odd``: also what it may not."""
    text: Schema = {"type": "string"}

    def or_odd(*schemas: Schema) -> Schema:
        return either(*schemas, text) if odd else either(*schemas)

    path = or_odd(enum(*_PATHS), enum(*_PATHS_OF_PODS)) if odd else enum(*_PATHS)
    value = or_odd(enum("1Gi", "500m", "2026-01-01T00:00:00Z", "Running", ""), {"type": ["null", "number"]})
    conditions = {
        **dict.fromkeys(("eq", "ne", "lt", "gte"), value),
        "in": several(value),
        "exists": {"type": "boolean"},
        "matches": enum("^p", "(a+)+$", "[0-9]", "(" if odd else "x"),
        "contains": text,
    }
    filters = [members(path=path, **{name: schema}) for name, schema in conditions.items()]
    filters.append(members(relation=enum("pods") if not odd else enum("node", "owners", "x"), none=members()))
    return {
        "columns": several(path, 4) if odd else {**several(path, 4), "uniqueItems": True},
        "where": or_odd(*filters),
        "orderBy": several(members(path=path, direction=enum("ASC", "DESC", "UP" if odd else "ASC"))),
        "first": or_odd({"type": "integer", "minimum": 1, "maximum": 30}, enum(0, -1, 2**31) if odd else enum(1)),
        "labelSelector": or_odd(enum("app=p", "app in (p, q)", "!x", "a in ()" if odd else "a>1")),
        "fieldSelector": or_odd(enum("metadata.name!=", "metadata.name=p-1", "spec!=x" if odd else "kind=Pod")),
        "maxStaleness": or_odd(enum("5m", "1h", "0s" if odd else "2m")),
        **(
            dict.fromkeys(("namespace", "name", "after", "minResourceVersion", "cluster", "other"), text) if odd else {}
        ),
    }


def questions(schema: dict[str, Any], cases: int, number: int) -> list[str]:
    """Documents that are valid against the introspected schema, ``cases`` of each field of Query."""
    made: list[str] = []
    for found in schemathesis.graphql.from_dict(schema).get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]  # fails the test if the schema is none

        @seed(number)
        @settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def keep(case: schemathesis.Case[Any]) -> None:
            assert isinstance(case.body, str)
            made.append(case.body)

        keep()
    return made


def _described(name: str, schema: Schema) -> dict[str, Any]:
    is_json = name in ("where", "orderBy")
    return {"content": {"application/json": {"schema": schema}}} if is_json else {"schema": schema}


def frame_questions(cases: int, number: int) -> list[dict[str, Any]]:
    """Resources and query strings, made from descriptions of the parameters of ``/frames``."""
    made: list[dict[str, Any]] = []
    for odd in (False, True):
        word = {"type": "string", **enum("pods", "po", "nodes", *(("secrets", "deployments.apps") if odd else ()))}
        given_parameters = [
            {"name": "resource", "in": "path", "required": True, "schema": word},
            *({"name": n, "in": "query", **_described(n, schema)} for n, schema in parameters(odd=odd).items()),
        ]
        get = {"parameters": given_parameters, "responses": {"200": {"description": "Arrow"}}}
        described = {
            "openapi": "3.1.0",
            "info": {"title": "frames", "version": "1"},
            "paths": {"/frames/{resource}": {"get": get}},
        }
        (found,) = schemathesis.openapi.from_dict(described).get_all_operations()

        @seed(number)
        @settings(
            max_examples=cases // 2,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(found.ok().as_strategy())  # type: ignore[union-attr]  # fails the test if the description is none
        def keep(case: schemathesis.Case[Any]) -> None:
            made.append({"resource": case.path_parameters["resource"], "query": dict(case.query or {})})

        keep()
    return made


async def check_frames(api: Running, cases: int, number: int) -> Counter[int]:
    """Ask all; how many were answered with which status."""
    statuses: Counter[int] = Counter()
    for asked in frame_questions(cases, number):
        query = [(name, each) for name, value in asked["query"].items() for each in _spelled(name, value)]
        async with api.client.get(f"{api.url}/frames/{asked['resource']}", params=query) as answer:
            body = await answer.read()
            statuses[answer.status] += 1
            if answer.status == 200:
                assert pa.ipc.open_stream(body).read_all() is not None
                continue
            error = json.loads(body)
            assert sorted(error) == ["code", "message"], asked
            assert error["code"] in set(Code) - {Code.INTERNAL}, (asked, error)
            assert error["message"], asked
            assert answer.status == frames.STATUS.get(Code(error["code"]), 400), (asked, error)
    return statuses


def _spelled(name: str, value: Any) -> list[str]:
    values = value if name == "columns" and isinstance(value, list) else [value]
    return [each if isinstance(each, str) else json.dumps(each) for each in values]


async def check(api: Running, cases: int, number: int) -> int:
    """Ask all; how many were answered with data."""
    _, schema = await api.ask(get_introspection_query())
    answered = 0
    for query in questions(schema, cases, number):
        status, answer = await api.ask(query)
        codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
        assert status in (200, 400), (query, answer)
        assert codes <= set(Code) - {Code.INTERNAL}, (query, answer)
        assert answer.get("data") or codes, query
        answered += status == 200
    return answered


async def test_nothing_that_schemathesis_asks_answers_500(api: Running) -> None:
    assert await check(api, CASES, 1) > CASES


async def test_no_query_string_of_a_frame_answers_500(api: Running) -> None:
    statuses = await check_frames(api, FRAMES, 1)
    assert statuses[200] > 0 < statuses[400]
