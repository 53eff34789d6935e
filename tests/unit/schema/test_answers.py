"""What list, single and freshness fields answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from krm.auth.rights import AllRights, Named
from krm.errors import AnswerError, Code
from krm.query.lists import Scope
from krm.resources import Resource
from krm.schema.context import Context
from krm.table.freshness import State
from tests.sources import FilledSource, node, pod
from tests.unit.schema.asking import ask, codes, engine


def filled(count: int = 6) -> FilledSource:
    return FilledSource({"pods": [pod(f"p-{n}", f"ns{n % 2}", number=n) for n in range(count)], "nodes": [node("n")]})


async def names(source: FilledSource, arguments: str) -> list[str]:
    answer = await ask(source, f"{{ pods({arguments}) {{ nodes {{ metadata {{ name }} }} }} }}")
    return [n["metadata"]["name"] for n in answer["data"]["pods"]["nodes"]]


async def test_a_list_is_ordered_by_namespace_and_name() -> None:
    answer = await ask(filled(), "{ pods { nodes { metadata { namespace name } } totalCount } }")
    found = [(n["metadata"]["namespace"], n["metadata"]["name"]) for n in answer["data"]["pods"]["nodes"]]
    assert found == sorted(found)
    assert answer["data"]["pods"]["totalCount"] == 6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    {
        'namespace: "ns1"': ["p-1", "p-3", "p-5"],
        'namespaces: ["ns0", "ns9"]': ["p-0", "p-2", "p-4"],
        'name: "p-3"': ["p-3"],
        'labelSelector: "app in (p), !x"': ["p-0", "p-2", "p-4", "p-1", "p-3", "p-5"],
        'fieldSelector: "status.phase=Pending"': ["p-0", "p-4"],
        'where: { path: "status.phase", eq: "Pending" }': ["p-0", "p-4"],
        'where: { path: "spec.nodeName", in: ["node-1", "node-2"], not: { path: "metadata.name", eq: "p-1" } }': [
            "p-2",
            "p-4",
            "p-5",
        ],
        'where: { or: [{ path: "metadata.name", eq: "p-1" }, { path: "metadata.name", matches: "5$" }] }': [
            "p-1",
            "p-5",
        ],
        'where: { path: "spec.containers[*].image", startsWith: "registry.example/app:1" }': ["p-1", "p-5"],
        'orderBy: [{ path: "metadata.name", direction: DESC }], first: 2': ["p-5", "p-4"],
        'orderBy: [{ path: "status.phase" }, { path: "metadata.name", direction: null }], first: 3': [
            "p-0",
            "p-4",
            "p-1",
        ],
        'cluster: "test", first: 1': ["p-0"],
    }.items(),
)
async def test_lists_are_narrowed_by_their_arguments(arguments: str, expected: list[str]) -> None:
    assert await names(filled(), arguments) == expected


@pytest.mark.parametrize("cursor", ["of the page", "of its last row"])
async def test_pages_show_every_row_once(cursor: str) -> None:
    source, seen, after = filled(), [], None
    for _ in range(4):
        answer = await ask(
            source,
            "query Q($after: String) { pods(first: 2, after: $after)"
            " { totalCount pageInfo { hasNextPage endCursor } edges { cursor node { metadata { name } } } } }",
            {"after": after},
        )
        page = answer["data"]["pods"]
        assert page["totalCount"] == 6
        seen += [edge["node"]["metadata"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"] if cursor == "of the page" else page["edges"][-1]["cursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == ["p-0", "p-2", "p-4", "p-1", "p-3", "p-5"]


async def test_a_single_object_is_given_or_null() -> None:
    query = (
        '{ a: pod(namespace: "ns1", name: "p-1") { metadata { name } }'
        ' b: pod(namespace: "ns1", name: "p-2") { metadata { name } } c: node(name: "n") { kind } }'
    )
    answer = await ask(filled(), query)
    assert answer["data"] == {"a": {"metadata": {"name": "p-1"}}, "b": None, "c": {"kind": "Node"}}


async def test_scalars_are_what_the_api_server_sent() -> None:
    query = """{ pod(namespace: "ns0", name: "p-0") {
        metadata { generation creationTimestamp labels annotations }
        spec { securityContext { runAsUser } volumes { emptyDir { sizeLimit } }
               containers { resources { requests } readinessProbe { httpGet { port } exec { command } } } }
        requests { cpu memory gpu } object } }"""
    found = (await ask(filled(), query))["data"]["pod"]
    assert found["metadata"]["generation"] == 2**40
    assert found["metadata"]["creationTimestamp"] == "2026-11-23T10:00:00Z"
    assert found["metadata"]["annotations"] == {"note": 'quote " and ünïcode \u2028'}
    assert found["spec"]["securityContext"]["runAsUser"] == 2**31 + 5
    assert found["spec"]["volumes"] == [{"emptyDir": {"sizeLimit": "1Gi"}}]
    assert found["spec"]["containers"][0]["readinessProbe"] == {
        "httpGet": {"port": "http"},
        "exec": {"command": ["true"]},
    }
    assert found["requests"] == {"cpu": "1250m", "memory": "64Mi", "gpu": "1"}
    assert found["object"] == pod("p-0", "ns0", number=0)


BAD = {
    "pods(first: 0)": "BAD_ARGUMENT",
    "pods(first: -1)": "BAD_ARGUMENT",
    "pods(first: 2147483647)": "BAD_ARGUMENT",
    'pods(namespace: "..")': "BAD_ARGUMENT",
    'pods(namespace: "Upper")': "BAD_ARGUMENT",
    'pods(name: "a/b")': "BAD_ARGUMENT",
    'pods(cluster: "other")': "BAD_ARGUMENT",
    'pods(maxStaleness: "5 parsecs")': "BAD_ARGUMENT",
    'pods(maxStaleness: "-1s")': "BAD_ARGUMENT",
    'pods(labelSelector: "a==b,,c")': "SELECTOR_INVALID",
    'pods(labelSelector: "a in ()")': "SELECTOR_INVALID",
    'pods(fieldSelector: "status.phase")': "SELECTOR_INVALID",
    'pods(fieldSelector: "spec.nope=1")': "PATH_INVALID",
    'pods(where: { path: "spec.nope", eq: 1 })': "PATH_INVALID",
    'pods(where: { path: "status.phase" })': "BAD_ARGUMENT",
    'pods(where: { path: "status.phase", matches: "(" })': "BAD_ARGUMENT",
    'pods(orderBy: [{ path: "nope" }])': "PATH_INVALID",
    'pods(after: "x")': "CURSOR_INVALID",
    'pods(minResourceVersion: "0")': "RV_INVALID",
    'pods(minResourceVersion: "01")': "RV_INVALID",
    'pods(minResourceVersion: "1.5")': "RV_INVALID",
}


@pytest.mark.parametrize(("field", "code"), BAD.items(), ids=BAD)
async def test_a_wrong_argument_is_an_error_at_its_field_only(field: str, code: str) -> None:
    answer = await ask(filled(), f"{{ {field} {{ totalCount }} nodes {{ totalCount }} }}")
    assert answer["status"] == 200
    assert answer["data"] == {"pods": None, "nodes": {"totalCount": 1}}
    assert [(e["path"], e["extensions"]["code"]) for e in answer["errors"]] == [(["pods"], code)]


async def test_not_ready_is_an_error_and_never_an_empty_list() -> None:
    source = filled()
    source.states["pods"] = State.NOT_READY
    answer = await ask(source, "{ pods { totalCount } nodes { totalCount } freshness { resource state reason } }")
    assert answer["data"]["pods"] is None
    assert answer["data"]["nodes"] == {"totalCount": 1}
    assert answer["errors"][0]["extensions"]["code"] == "NOT_READY"
    assert answer["data"]["freshness"][0] == {"resource": "pods", "state": "NOT_READY", "reason": "no list yet"}


async def test_staleness_and_version_are_handed_to_the_tables() -> None:
    source = filled()
    await ask(source, '{ pods(maxStaleness: "1m30s", minResourceVersion: "12") { totalCount } }')
    assert source.waited == [("pods", 90.0, "12")]


async def test_freshness_tells_all_it_knows() -> None:
    query = """{ freshness(resources: ["po"]) {
        cluster resource state resourceVersion verifiedResourceVersion verifiedAt verifiedAgeSeconds lastEventAt
        streamLagSeconds contiguous epoch missed { added modified deleted ghosts } reason } }"""
    assert (await ask(filled(), query))["data"]["freshness"] == [
        {
            "cluster": "test",
            "resource": "pods",
            "state": "SYNCED",
            "resourceVersion": "1042",
            "verifiedResourceVersion": "1040",
            "verifiedAt": "2026-09-21T14:13:20.000Z",
            "verifiedAgeSeconds": 1.5,
            "lastEventAt": "2026-09-21T14:13:21.000Z",
            "streamLagSeconds": 0.02,
            "contiguous": True,
            "epoch": "e1",
            "missed": {"added": 1, "modified": 2, "deleted": 3, "ghosts": 4},
            "reason": None,
        }
    ]


async def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    answer = await ask(filled(), '{ freshness(resources: ["pds"]) { state } }')
    assert answer["errors"][0]["extensions"]["code"] == "KIND_UNKNOWN"
    assert "pods" in answer["errors"][0]["message"]


class SomeNamespaces(AllRights):
    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        if not resource.namespaced:
            raise AnswerError(Code.FORBIDDEN, f"no right to list {resource.plural}")
        return Scope(namespaces=frozenset({"ns1"}))

    async def get_scope(self, resource: Resource, namespace: str, name: str) -> Scope:
        return await self.list_scope(resource)


async def test_rights_bound_what_is_listed_counted_and_named() -> None:
    context = Context(source=filled(), rights=SomeNamespaces())
    query = """{ pods { totalCount scope { complete namespaces } nodes { metadata { name } } }
        hidden: pods(namespace: "ns0") { totalCount } none: pods(namespace: "nope") { totalCount }
        one: pod(namespace: "ns0", name: "p-0") { kind } nodes { totalCount } }"""
    answer = await ask(filled(), query, context=context)
    assert answer["data"]["pods"]["totalCount"] == 3
    assert answer["data"]["pods"]["scope"] == {"complete": False, "namespaces": ["ns1"]}
    refused = {tuple(e["path"]): e["extensions"]["code"] for e in answer["errors"]}
    assert refused == {(name,): "FORBIDDEN" for name in ("hidden", "none", "one", "nodes")}


class Broken(FilledSource):
    async def wait(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("redis://:secret@host refused")


async def test_what_is_not_ours_is_masked_and_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await ask(Broken(), "{ pods { totalCount } freshness { state } }")
    error = answer["errors"][0]
    assert error["extensions"]["code"] == "INTERNAL"
    assert "secret" not in str(answer)
    assert [record.trace for record in caplog.records] == [error["extensions"]["trace"]]  # type: ignore[attr-defined]
    assert answer["data"]["freshness"]


REFUSED = {
    "{": "GRAPHQL_VALIDATION",
    "{ pods { nope } }": "GRAPHQL_VALIDATION",
    "{ pods }": "GRAPHQL_VALIDATION",
    "{ pods { } }": "GRAPHQL_VALIDATION",
    "{ pods { ...F } }": "GRAPHQL_VALIDATION",
    "{ pods(first: 3000000000) { totalCount } }": "GRAPHQL_VALIDATION",
    "{ pods(first: 1e308) { totalCount } }": "GRAPHQL_VALIDATION",
    "{ pods(first: NaN) { totalCount } }": "GRAPHQL_VALIDATION",
    "mutation { a }": "GRAPHQL_VALIDATION",
    "subscription { nope { a } }": "GRAPHQL_VALIDATION",
    "type A { b: Int }": "GRAPHQL_VALIDATION",
    "query A { pods { totalCount } } query B { pods { totalCount } }": "BAD_REQUEST",
    "fragment F on Pod { kind }": "GRAPHQL_VALIDATION",
}


@pytest.mark.parametrize(("query", "code"), REFUSED.items(), ids=REFUSED)
async def test_an_invalid_request_is_refused_as_a_whole(query: str, code: str) -> None:
    answer = await ask(filled(), query)
    assert answer["status"] == 400
    assert "data" not in answer
    assert {e["extensions"]["code"] for e in answer["errors"]} == {code}


async def test_variables_that_do_not_fit_are_refused() -> None:
    for value in (2**31, "x", None, [1]):
        answer = await ask(filled(), "query Q($n: Int!) { pods(first: $n) { totalCount } }", {"n": value})
        assert (answer["status"], answer["errors"][0]["extensions"]["code"]) == (400, "GRAPHQL_VALIDATION")


async def test_names_are_not_suggested_when_introspection_is_off() -> None:
    by = engine(introspection=False)
    for query in ("{ pod { totalCount } }", "{ pods { totalCoun } }", "{ pods(firs: 1) { totalCount } }", "{ pods }"):
        answer = await ask(filled(), query, by=by)
        assert answer["status"] == 400
        assert "Did you mean" not in str(answer)
    assert (await ask(filled(), "{ __schema { types { name } } }", by=by))["status"] == 400
    assert (await ask(filled(), "{ pods { __typename } }", by=by))["status"] == 200


async def test_texts_of_errors_are_bounded() -> None:
    answer = await ask(filled(), "{ %s }" % ("x" * 200_000))
    assert len(str(answer)) < 5_000


class Slow(FilledSource):
    async def wait(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    assert await codes(Slow(), "{ pods { totalCount } }", by=engine(timeout_s=0.02)) == {"": "TIMEOUT"}


HELD = frozenset(("ns0", "ns1"))


@pytest.mark.parametrize(
    "question",
    [
        'a: pods(namespace: "ns2") { totalCount }',
        'a: pods(namespaces: ["ns0", "ns2"]) { totalCount }',
        'a: pod(namespace: "ns2", name: "p-0") { metadata { name } }',
        'a: changes(resource: "pods", namespace: "ns2") { totalCount }',
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
async def test_a_namespace_that_is_not_cached_is_never_empty(question: str, compiled: bool) -> None:
    source = filled()
    source.held = HELD
    assert await codes(source, f"{{ {question} }}", compiled=compiled) == {"a": "NOT_READY"}
    source.held = None
    assert await codes(source, f"{{ {question} }}", compiled=compiled) == {}


async def test_cached_namespaces_and_what_has_none_are_answered() -> None:
    source = filled()
    source.held = HELD
    answer = await ask(
        source,
        """{ a: pods(namespace: "ns0") { totalCount } b: pods(namespaces: ["ns0", "ns1"]) { totalCount }
             c: pod(namespace: "ns0", name: "nobody") { kind } d: node(name: "n") { kind } e: pods { totalCount }
             f: changes(resource: "pods", namespace: "ns1") { totalCount } }""",
    )
    assert "errors" not in answer
    assert answer["data"] == {
        "a": {"totalCount": 3},
        "b": {"totalCount": 6},
        "c": None,
        "d": {"kind": "Node"},
        "e": {"totalCount": 6},
        "f": {"totalCount": 0},
    }
