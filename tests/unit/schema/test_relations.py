"""Relations lead where Kubernetes means them to, inside the caller's rights; groups and drift beside them."""

from __future__ import annotations

from typing import Any

import pytest

from krm.auth.rights import AllRights, Named
from krm.errors import AnswerError, Code
from krm.query.lists import Scope
from krm.resources import Resource
from krm.schema.context import Context
from krm.store.head import DriftLine
from krm.table.freshness import State
from tests.sources import FilledSource, node, pod
from tests.unit.schema.asking import ask


def thing(
    kind: str, name: str, spec: dict[str, Any], namespace: str = "default", version: str = "v1"
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": f"{kind}-{namespace}-{name}", "resourceVersion": "5"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def owned(name: str, replica_set: str, hash_: str, **more: Any) -> dict[str, Any]:
    """A pod of a ReplicaSet."""
    made = pod(name, labels={"app": "web", "pod-template-hash": hash_}, **more)
    made["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "uid": "rs", "controller": True},
        {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "uid-node-1"},
    ]
    return made


def cluster() -> FilledSource:
    claim = {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "e", "ephemeral": {}}]}
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]}
    return FilledSource(
        {
            "pods": [
                owned("web-1", "web-abc", "abc", number=1, spec=claim),
                owned("web-2", "web-abc", "abc", number=2),
                owned("odd-1", "other-abc", "abc", number=1),
                owned("old-1", "web-xyz", "abc", number=1),
                pod("lone-1", labels={"app": "lone"}, number=1),
                pod("web-1", "elsewhere", labels={"app": "web"}, number=1),
            ],
            "nodes": [node("node-1"), node("node-2")],
            "deployments": [
                thing("Deployment", "web", {"selector": selector}, version="apps/v1"),
                thing("Deployment", "other", {"selector": {"matchLabels": {"app": "no"}}}, version="apps/v1"),
            ],
            "services": [
                thing("Service", "web", {"selector": {"app": "web"}}),
                thing("Service", "lone", {"selector": {"app": "lone"}}),
                thing("Service", "headless", {}),
                thing("Service", "web", {"selector": {"app": "web"}}, "elsewhere"),
            ],
            "ingresses": [
                thing(
                    "Ingress",
                    "shop",
                    {
                        "defaultBackend": {"service": {"name": "lone"}},
                        "rules": [
                            {
                                "http": {
                                    "paths": [{"backend": {"service": {"name": n}}} for n in ("web", "web", "gone")]
                                }
                            },
                            {"host": "x"},
                        ],
                    },
                    version="networking.k8s.io/v1",
                )
            ],
            "persistentvolumeclaims": [
                thing("PersistentVolumeClaim", "data", {}),
                thing("PersistentVolumeClaim", "web-1-e", {}),
                thing("PersistentVolumeClaim", "unused", {}),
            ],
        }
    )


def names(found: list[dict[str, Any]] | None) -> list[str]:
    return [each["metadata"]["name"] for each in found or ()]


LISTS = {
    'pod(namespace: "default", name: "web-1") { r: persistentVolumeClaims': ["data", "web-1-e"],
    'pod(namespace: "default", name: "web-1") { r: services': ["web"],
    'pod(namespace: "default", name: "lone-1") { r: services': ["lone"],
    'deployment(namespace: "default", name: "web") { r: pods': ["web-1", "web-2"],
    'deployment(namespace: "default", name: "other") { r: pods': [],
    'service(namespace: "default", name: "web") { r: pods': ["odd-1", "old-1", "web-1", "web-2"],
    'service(namespace: "default", name: "headless") { r: pods': [],
    'service(namespace: "default", name: "web") { r: ingresses': ["shop"],
    'service(namespace: "default", name: "headless") { r: ingresses': [],
    'ingress(namespace: "default", name: "shop") { r: services': ["lone", "web"],
    'persistentVolumeClaim(namespace: "default", name: "data") { r: pods': ["web-1"],
    'persistentVolumeClaim(namespace: "default", name: "unused") { r: pods': [],
    'node(name: "node-1") { r: pods': ["lone-1", "odd-1", "old-1", "web-1", "web-1"],
    'node(name: "node-1") { r: pods(labelSelector: "app=lone")': ["lone-1"],
    'node(name: "node-1") { r: pods(first: 2)': ["lone-1", "odd-1"],
    'node(name: "node-1") { r: pods(where: { path: "metadata.namespace", eq: "elsewhere" })': ["web-1"],
    'node(name: "node-2") { r: pods(where: { relation: "services", some: { path: "metadata.name", eq: "web" } })': [
        "web-2"
    ],
}


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize(("start", "expected"), LISTS.items(), ids=LISTS)
async def test_a_relation_gives_the_related_objects(start: str, expected: list[str], compiled: bool) -> None:
    answer = await ask(cluster(), f"{{ one: {start} {{ metadata {{ name }} }} }} }}", compiled=compiled)
    assert "errors" not in answer
    assert names(answer["data"]["one"]["r"]) == expected


async def test_single_relations_of_a_pod() -> None:
    query = """{ pods(namespace: "default") { nodes {
        metadata { name } node { metadata { name } } deployment { metadata { name } } } } }"""
    answer = await ask(cluster(), query)
    found = {
        n["metadata"]["name"]: (
            n["node"] and n["node"]["metadata"]["name"],
            n["deployment"] and names([n["deployment"]]),
        )
        for n in answer["data"]["pods"]["nodes"]
    }
    assert found == {
        "web-1": ("node-1", ["web"]),
        "web-2": ("node-2", ["web"]),
        "odd-1": ("node-1", None),  # a deployment of that name is there, but does not select it
        "old-1": ("node-1", None),  # the ReplicaSet's name does not end with the pod's hash
        "lone-1": ("node-1", None),
    }


async def test_owners_are_references_with_the_object_where_it_is_cached() -> None:
    query = '{ pod(namespace: "default", name: "web-1") { owners { apiVersion kind name uid object } } }'
    owners = (await ask(cluster(), query))["data"]["pod"]["owners"]
    assert owners == [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "rs", "object": None},
        {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "uid-node-1", "object": node("node-1")},
    ]


@pytest.mark.parametrize(
    ("where", "expected"),
    {
        'where: { path: "deployment.name", eq: "web" }': ["web-1", "web-2"],
        'where: { path: "persistentVolumeClaims[*].name", eq: "data" }': ["web-1"],
        'where: { path: "requests.cpu", gte: "1" }, namespace: "elsewhere"': ["web-1"],
        'where: { relation: "node", some: { path: "metadata.name", eq: "node-2" } }': ["web-2"],
        'where: { relation: "services", none: {} }': [],
        'where: { relation: "deployment", none: {} }, namespace: "default"': ["lone-1", "odd-1", "old-1"],
        'orderBy: [{ path: "deployment.name" }], first: 2': ["web-1", "web-2"],
    }.items(),
)
async def test_relations_and_derived_paths_filter_and_order(where: str, expected: list[str]) -> None:
    answer = await ask(cluster(), f"{{ pods({where}) {{ nodes {{ metadata {{ name }} }} }} }}")
    assert names(answer["data"]["pods"]["nodes"]) == expected


async def test_an_unknown_relation_is_refused() -> None:
    answer = await ask(cluster(), '{ pods(where: { relation: "friends", some: {} }) { totalCount } }')
    assert answer["errors"][0]["extensions"]["code"] == "BAD_ARGUMENT"


async def test_a_relation_to_a_kind_that_is_not_ready_is_an_error_there_only() -> None:
    source = cluster()
    source.states["nodes"] = State.NOT_READY
    query = '{ pod(namespace: "default", name: "web-1") { kind node { kind } services { kind } owners { object } } }'
    answer = await ask(source, query)
    assert answer["data"]["pod"] == {
        "kind": "Pod",
        "node": None,
        "services": [{"kind": "Service"}],
        "owners": [{"object": None}, {"object": None}],
    }
    assert [(e["path"], e["extensions"]["code"]) for e in answer["errors"]] == [(["pod", "node"], "NOT_READY")]


class OnlyPods(AllRights):
    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        if resource.plural != "pods":
            raise AnswerError(Code.FORBIDDEN, f"no right to list {resource.plural}")
        return Scope(namespaces=frozenset({"default"}))


async def test_relations_show_nothing_that_the_caller_may_not_list() -> None:
    query = """{ pods { totalCount nodes { node { kind } services { kind } deployment { kind } owners { object } } }
        filtered: pods(where: { path: "deployment.name", exists: true }) { totalCount }
        related: pods(where: { relation: "services", some: {} }) { totalCount } }"""
    answer = await ask(cluster(), query, context=Context(source=cluster(), rights=OnlyPods()))
    assert "errors" not in answer
    assert answer["data"]["pods"]["totalCount"] == 5
    for each in answer["data"]["pods"]["nodes"]:
        assert (each["node"], each["services"], each["deployment"]) == (None, [], None)
        assert all(owner["object"] is None for owner in each["owners"])
    assert answer["data"]["filtered"] == {"totalCount": 0}
    assert answer["data"]["related"] == {"totalCount": 0}


async def test_groups_cover_all_matching_objects_whatever_the_page_shows() -> None:
    query = """{ pods(first: 1, where: { path: "metadata.namespace", eq: "default" }) {
        groupBy(paths: ["spec.nodeName"], orderBy: { by: "count" }) {
            values count sum(path: "requests.memory") min(path: "metadata.name") max(path: "metadata.name") } } }"""
    answer = await ask(cluster(), query)
    assert answer["data"]["pods"]["groupBy"] == [
        {"values": ["node-1"], "count": 4, "sum": "256Mi", "min": "lone-1", "max": "web-1"},
        {"values": ["node-2"], "count": 1, "sum": "64Mi", "min": "web-2", "max": "web-2"},
    ]


@pytest.mark.parametrize(
    ("group", "code"),
    {
        'groupBy(paths: ["nope"]) { count }': "PATH_INVALID",
        "groupBy(paths: []) { count }": "BAD_ARGUMENT",
        'groupBy(paths: ["metadata.name"], first: 0) { count }': "BAD_ARGUMENT",
        'groupBy(paths: ["metadata.name"], orderBy: { by: "size" }) { count }': "PATH_INVALID",
        'groupBy(paths: ["metadata.name"]) { sum(path: "metadata.name") }': "BAD_ARGUMENT",
    }.items(),
)
async def test_wrong_groups_are_refused(group: str, code: str) -> None:
    answer = await ask(cluster(), f"{{ pods {{ {group} }} }}")
    assert answer["errors"][0]["extensions"]["code"] == code


async def test_groups_by_the_deployment_and_by_each_image() -> None:
    query = """{ pods { a: groupBy(paths: ["deployment.name"], orderBy: { by: "deployment.name", direction: ASC }) {
        values count } b: groupBy(paths: ["spec.containers[*].image"], first: 1) { values count } } }"""
    answer = await ask(cluster(), query)
    assert answer["data"]["pods"] == {
        "a": [{"values": ["web"], "count": 2}, {"values": [None], "count": 4}],
        "b": [{"values": ["side:1"], "count": 6}],
    }


def line(number: int, namespace: str, kind: str = "MISSED_DELETED") -> DriftLine:
    return DriftLine(
        id=f"{1_000 + number}-0",
        kind=kind,
        namespace=namespace,
        name=f"n-{number}",
        uid=f"u-{number}",
        version=str(number),
        at_ms=1_790_000_000_000 + number,
        lived_s=2.5,
    )


def drifted() -> FilledSource:
    source = cluster()
    source.drifts["pods"] = [line(n, f"ns{n % 2}") for n in range(0, 20, 2)] + [line(n, f"ns{n % 2}") for n in (31, 33)]
    source.drifts["services"] = [line(n, "ns1", "GHOST") for n in range(1, 20, 2)]
    return source


async def test_drift_comes_newest_first_and_each_once() -> None:
    seen, after = [], None
    for _ in range(10):
        query = (
            "query Q($after: String) { drift(first: 4, after: $after) { totalCount pageInfo { hasNextPage endCursor }"
        )
        answer = await ask(drifted(), query + " nodes { name resource } scope { complete } } }", {"after": after})
        found = answer["data"]["drift"]
        assert found["totalCount"] == 22
        seen += [each["name"] for each in found["nodes"]]
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert seen == [f"n-{n}" for n in (33, 31, *range(19, -1, -1))]


async def test_drift_tells_what_it_knows() -> None:
    query = """{ drift(resource: "svc", first: 1) { nodes {
        at resource kind namespace name uid resourceVersion livedSeconds } } }"""
    assert (await ask(drifted(), query))["data"]["drift"]["nodes"] == [
        {
            "at": "2026-09-21T14:13:20.019Z",
            "resource": "services",
            "kind": "GHOST",
            "namespace": "ns1",
            "name": "n-19",
            "uid": "u-19",
            "resourceVersion": "19",
            "livedSeconds": 2.5,
        }
    ]


class OneNamespace(AllRights):
    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        if resource.plural != "pods":
            raise AnswerError(Code.FORBIDDEN, f"no right to list {resource.plural}")
        return Scope(namespaces=frozenset({"ns1"}))


async def test_drift_shows_and_counts_only_what_the_caller_may_list() -> None:
    context = Context(source=drifted(), rights=OneNamespace())
    query = "{ drift { totalCount nodes { name } scope { complete namespaces } } }"
    answer = await ask(drifted(), query, context=context)
    assert answer["data"]["drift"] == {
        "totalCount": 2,
        "nodes": [{"name": "n-33"}, {"name": "n-31"}],
        "scope": {"complete": False, "namespaces": ["ns1"]},
    }
    refused = await ask(drifted(), '{ drift(resource: "services") { totalCount } }', context=context)
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("arguments", "code"),
    {"first: 0": "BAD_ARGUMENT", 'after: "x"': "CURSOR_INVALID", 'resource: "things"': "KIND_UNKNOWN"}.items(),
)
async def test_wrong_arguments_of_drift_are_refused(arguments: str, code: str) -> None:
    answer = await ask(drifted(), f"{{ drift({arguments}) {{ totalCount }} }}")
    assert answer["data"] == {"drift": None}
    assert answer["errors"][0]["extensions"]["code"] == code


@pytest.mark.parametrize(
    ("where", "expected"),
    {
        '{ relation: "owners", some: {} }': ["lone-1", "odd-1", "old-1", "web-1", "web-1", "web-2"],
        '{ relation: "owners", none: {} }': ["bare-1"],
        '{ relation: "owners", some: { path: "kind", eq: "Node" } }': ["odd-1", "old-1", "web-1", "web-2"],
        '{ relation: "owners", none: { path: "kind", eq: "Node" } }': ["bare-1", "lone-1", "web-1"],
        '{ relation: "owners", some: { path: "kind", eq: "Node", and: [{ path: "name", startsWith: "web" }] } }': [],
        '{ relation: "owners", some: { path: "kind", ne: "Node", or: [{ path: "name", contains: "-abc" }] } }': [
            *("odd-1", "web-1", "web-2")
        ],
        '{ relation: "owners", some: { not: { path: "uid", exists: true } } }': [],
        '{ not: { relation: "owners", some: { path: "apiVersion", in: ["v1"] } } }': ["bare-1", "lone-1", "web-1"],
    }.items(),
)
async def test_owners_are_a_relation_of_filters_too(where: str, expected: list[str]) -> None:
    source = cluster()
    bare = pod("bare-1", "zone")
    bare["metadata"]["ownerReferences"] = None
    source.change("pods", bare)
    answer = await ask(source, f"{{ pods(where: {where}) {{ nodes {{ metadata {{ name }} }} }} }}")
    assert sorted(names(answer["data"]["pods"]["nodes"])) == expected


@pytest.mark.parametrize(
    ("where", "code", "text"),
    [
        (
            '{ relation: "owners", some: { path: "metadata.name", eq: "x" } }',
            "PATH_INVALID",
            "apiVersion, kind, name, uid",
        ),
        ('{ relation: "owners", none: { relation: "pods", some: {} } }', "BAD_ARGUMENT", "relation of Owner"),
    ],
)
async def test_owners_have_paths_of_their_own(where: str, code: str, text: str) -> None:
    (error,) = (await ask(cluster(), f"{{ pods(where: {where}) {{ totalCount }} }}"))["errors"]
    assert error["extensions"]["code"] == code
    assert text in error["message"]


async def test_other_kinds_have_no_owners() -> None:
    answer = await ask(cluster(), '{ nodes(where: { relation: "owners", none: {} }) { totalCount } }')
    assert answer["errors"][0]["extensions"]["code"] == "BAD_ARGUMENT"
