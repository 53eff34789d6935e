"""The client against KRM's own API, over real HTTP and WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, parse, validate
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from krm.table.freshness import State as ServerState
from krm_client import (
    AsyncKrmClient,
    KrmClient,
    KrmNotFound,
    KrmNotReady,
    KrmQueryError,
    State,
    fields_of,
)
from krm_client.facade import FACADES, specs_of
from krm_client.registry import RESOURCES
from tests.integration.api.conftest import Running, running
from tests.sources import FilledSource, node, pod
from tests.unit.client.oracle import difference, official

SCHEMA = build_schema((Path(__file__).parents[3] / "krm/schema/schema.graphql").read_text())

OTHERS: dict[str, dict[str, Any]] = {
    "deployments": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}},
    "persistentvolumeclaims": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"volumeName": "v"}},
    "services": {"apiVersion": "v1", "kind": "Service", "spec": {"clusterIPs": ["10.0.0.1"]}},
    "ingresses": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}},
    },
}


def _other(plural: str) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "default", "uid": f"uid-{plural}", "resourceVersion": "12"}
    return {**OTHERS[plural], "metadata": metadata}


@pytest.fixture
def source() -> FilledSource:
    pods = [pod(f"p-{number}", namespace="default" if number % 2 else "dev", number=number) for number in range(20)]
    others = {plural: [_other(plural)] for plural in OTHERS}
    return FilledSource({"pods": pods, "nodes": [node("n-1")], **others})


@pytest.fixture
async def api(source: FilledSource) -> AsyncIterator[Running]:
    async with running(source) as started:
        yield started


@pytest.fixture
async def krm(api: Running) -> AsyncIterator[AsyncKrmClient]:
    async with AsyncKrmClient(api.url, env={}) as client:
        yield client


def _names(objects: list[Any]) -> list[str]:
    return [one.metadata.name for one in objects]


async def test_every_official_method_answers(krm: Any) -> None:
    for facade in FACADES:
        for spec in specs_of(facade):
            name = {"pods": "p-1", "nodes": "n-1"}.get(spec.resource.plural, "web")
            arguments = [{"name": name, "namespace": "default"}[required] for required in spec.required]
            answer = await getattr(getattr(krm, facade), spec.name)(*arguments)
            found = answer.items if spec.is_list else [answer]
            assert name in _names(found)
            assert all(isinstance(one, getattr(k8s, spec.resource.model)) for one in found)


async def test_read_object_is_the_official_one(krm: Any) -> None:
    ours = await krm.core_v1.read_namespaced_pod("p-1", "default")
    assert difference(ours, official("V1Pod", json.dumps(pod("p-1", number=1)).encode())) is None


async def test_blocking_client_gives_the_same(api: Running, krm: Any) -> None:
    def listed() -> k8s.V1PodList:
        with KrmClient(api.url, env={}) as blocking:
            return blocking.core_v1.list_pod_for_all_namespaces()

    assert (await asyncio.to_thread(listed)) == await krm.core_v1.list_pod_for_all_namespaces()


async def test_selectors_and_limit(krm: Any) -> None:
    first = await krm.core_v1.list_namespaced_pod("default", label_selector="app in (p)", limit=4)
    assert len(first.items) == 4
    assert first.metadata._continue
    rest = await krm.core_v1.list_namespaced_pod(
        "default", label_selector="app in (p)", limit=100, _continue=first.metadata._continue
    )
    assert rest.metadata._continue is None
    assert len(set(_names(first.items + rest.items))) == 10
    chosen = await krm.core_v1.list_pod_for_all_namespaces(field_selector="spec.nodeName=node-1")
    assert {one.spec.node_name for one in chosen.items} == {"node-1"}


async def test_list_with_filter_and_order(krm: Any) -> None:
    found = await krm.list(
        "pods",
        where={"path": "status.phase", "eq": "Pending"},
        order_by="-metadata.name",
        namespaces=["default", "dev"],
        limit=3,
    )
    assert _names(found) == ["p-8", "p-4", "p-16"]


async def test_some_fields_only(krm: Any) -> None:
    (found,) = await krm.list("pods", name="p-3", fields=["metadata.name", "spec.containers[*].image", "status.podIPs"])
    assert [container.image for container in found.spec.containers] == ["registry.example/app:3", "side:1"]
    assert found.status.pod_ips[0].ip == "10.0.0.3"
    assert found.metadata.uid is found.kind is None
    assert fields_of(found) == ("metadata.name", "spec.containers.image", "status.podIPs")


async def test_whole_parts_equal_the_whole_object_s(krm: Any) -> None:
    (part,) = await krm.list("pods", name="p-3", fields=["spec", "metadata", "status"])
    whole = official("V1Pod", json.dumps(pod("p-3", number=3)).encode())
    assert difference(part.spec, whole.spec) is None
    assert difference(part.status, whole.status) is None
    assert difference(part.metadata, whole.metadata) is None


async def test_freshness(krm: Any, source: FilledSource) -> None:
    fresh = await krm.freshness("pods")
    assert (fresh.resource, fresh.state, fresh.missed.ghosts) == ("pods", State.SYNCED, 4)
    source.states["nodes"] = ServerState.STALE
    assert {one.resource: one.state for one in await krm.freshness()}["nodes"] == "STALE"


async def test_missing_object(krm: Any) -> None:
    with pytest.raises(KrmNotFound) as raised:
        await krm.core_v1.read_namespaced_pod("nope", "default")
    assert raised.value.status == 404


async def test_resource_that_is_not_ready(krm: Any, source: FilledSource) -> None:
    source.states["pods"] = ServerState.NOT_READY
    with pytest.raises(KrmNotReady) as raised:
        await krm.core_v1.list_pod_for_all_namespaces()
    assert raised.value.status == 503


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"label_selector": "a in ("}, "SELECTOR_INVALID"),
        ({"field_selector": "spec.nonsense=1"}, "PATH_INVALID"),
        ({"_continue": "nonsense"}, "CURSOR_INVALID"),
        ({"resource_version": "abc"}, "RV_INVALID"),
        ({"limit": -1}, "BAD_ARGUMENT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_wrong_arguments_are_bad_requests(arguments: dict[str, Any], code: str, krm: Any) -> None:
    with pytest.raises(ApiException) as raised:
        await krm.core_v1.list_namespaced_pod("default", **arguments)
    assert isinstance(raised.value, KrmQueryError)
    assert (raised.value.status, raised.value.code) == (400, code)


async def test_part_of_a_query_may_fail(krm: Any, source: FilledSource) -> None:
    source.states["pods"] = ServerState.NOT_READY
    with pytest.raises(KrmQueryError) as raised:
        await krm.query("{ pods { totalCount } nodes { totalCount } }")
    assert raised.value.partial == {"pods": None, "nodes": {"totalCount": 1}}
    assert raised.value.code == "NOT_READY"


async def test_query_that_the_schema_does_not_know(krm: Any) -> None:
    with pytest.raises(KrmQueryError) as raised:
        await krm.query("{ pods { nonsense } }")
    assert raised.value.code == "GRAPHQL_VALIDATION"


async def test_watch_tells_what_is_there_and_what_changes(krm: Any, source: FilledSource) -> None:
    async with krm.watch("pods", namespace="default", label_selector="app=p") as watch:
        there = [await anext(watch) for _ in range(10)]
        assert {event["type"] for event in there} == {"ADDED"}
        source.change("pods", pod("p-1", number=1, phase="Failed"))
        source.change("pods", pod("other-1", number=2))
        source.change("pods", None, uid="uid-default-p-3")
        changed, gone = await anext(watch), await anext(watch)
    assert (changed["type"], changed["object"].status.phase) == ("MODIFIED", "Failed")
    assert (gone["type"], gone["object"].metadata.name) == ("DELETED", "p-3")


async def test_watch_goes_on_from_a_token(krm: Any, source: FilledSource) -> None:
    async with krm.watch("nodes") as watch:
        await anext(watch)
        token = watch.resume_token
    source.change("nodes", node("n-2"))
    async with krm.watch("nodes", resume_token=token) as watch:
        event = await anext(watch)
    assert (event["type"], event["object"].metadata.name) == ("ADDED", "n-2")


async def test_watch_tells_a_gap(krm: Any, source: FilledSource) -> None:
    async with krm.watch("nodes") as watch:
        await anext(watch)
        source.run = "run-2"
        source.change("nodes", node("n-2"))
        types = [(await anext(watch))["type"] for _ in range(3)]
    assert types == ["RESYNC", "ADDED", "ADDED"]


async def test_blocking_watch(api: Running, source: FilledSource) -> None:
    def first_two() -> list[str]:
        with KrmClient(api.url, env={}) as blocking, blocking.watch("pods") as watch:
            return [event["object"].metadata.name for event, _ in zip(watch, range(2), strict=False)]

    assert len(await asyncio.to_thread(first_two)) == 2


def test_everything_that_is_sent_is_valid_for_the_committed_schema() -> None:
    every = {
        "namespace": "a",
        "namespaces": ["a"],
        "name": "a",
        "label_selector": "a",
        "field_selector": "a",
        "where": {"path": "a"},
        "order_by": ["a"],
        "limit": 1,
        "max_staleness": "1s",
        "min_resource_version": "1",
    }
    with KrmClient(cluster="c", env={}) as krm:
        texts = [krm.explain(krm.freshness).query, krm.explain(krm.freshness, "pods").query]
        for resource in RESOURCES:
            given = {k: v for k, v in every.items() if resource.namespaced or k not in ("namespace", "namespaces")}
            texts.append(krm.explain(krm.list, resource.plural, **given).query)
            texts.append(krm.explain(krm.list, resource.plural, fields=["metadata.name", "metadata.labels"]).query)
            of_watches = {k: v for k, v in given.items() if k not in ("order_by", "limit")}
            texts.append(krm.explain(krm.watch, resource.plural, **of_watches).query)
        for facade in FACADES:
            for spec in specs_of(facade):
                method = getattr(getattr(krm, facade), spec.name)
                arguments = dict.fromkeys(spec.required, "a")
                lists = {"label_selector": "a", "limit": 1, "_continue": "a", "resource_version": "1"}
                texts.append(krm.explain(method, **arguments, **(lists if spec.is_list else {})).query)
    for text in texts:
        assert validate(SCHEMA, parse(text)) == [], text
