"""Objects that decode lazily as arguments of official calls: the API server gets what it gets of the official ones."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client as k8s
from kubernetes.client import ApiClient, Configuration

from krm_client import KrmClient, rehydrate
from krm_client.registry import RESOURCES, ClientResource
from tests.unit.client import canned, generator
from tests.unit.client.oracle import official

APIS = {"core_v1": "CoreV1Api", "apps_v1": "AppsV1Api", "networking_v1": "NetworkingV1Api"}


@pytest.fixture
def api_server(server: canned.Server) -> Iterator[Any]:
    """An API client; what it sends is what ``server`` was asked."""
    server.answer(canned.Reply(body=b"{}", status=201))
    made: Any = ApiClient(Configuration(host=server.url))
    yield made
    made.close()


def _json(kind: ClientResource) -> bytes:
    """An object with every field, models within it too."""
    return json.dumps(generator.every_field(kind.model, 2, random.Random(kind.model))).encode()


def _untouched(_value: Any) -> None:
    """As it came."""


def _read(value: Any) -> None:
    _ = value.metadata.labels, value.spec


def _changed(value: Any) -> None:
    value.metadata.labels["added"] = "later"
    value.metadata.resource_version = None
    value.metadata.name = "other"


def _looked_at(value: Any) -> None:
    repr(value)


TOUCHES: list[Callable[[Any], None]] = [_untouched, _read, _changed, _looked_at]


def _sent(server: canned.Server, call: Callable[..., Any], *arguments: Any) -> Any:
    server.asked.clear()
    call(*arguments, _preload_content=False)
    return server.asked[0].method, server.asked[0].path, server.asked[0].json


@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("kind", RESOURCES, ids=lambda kind: kind.plural)
def test_calls_send_the_same(
    kind: ClientResource, touch: Callable[[Any], None], server: canned.Server, api_server: Any
) -> None:
    body = _json(kind)
    api = getattr(k8s, APIS[kind.facade])(api_server)
    within = ["n"] * kind.namespaced
    noun = f"{'namespaced_' * kind.namespaced}{kind.method_noun}"
    for verb, before in (("create", []), ("replace", ["a"]), ("patch", ["a"])):
        ours, theirs = rehydrate(kind.model, body), official(kind.model, body)
        touch(ours)
        touch(theirs)
        call = getattr(api, f"{verb}_{noun}")
        mine = _sent(server, call, *before, *within, ours)
        assert mine == _sent(server, call, *before, *within, theirs)
        assert mine[2]["metadata"]


@pytest.mark.parametrize("touch", TOUCHES)
def test_parts_and_wholes_of_official_objects_send_the_same(
    touch: Callable[[Any], None], server: canned.Server, api_server: Any
) -> None:
    pod = next(kind for kind in RESOURCES if kind.plural == "pods")
    ours, theirs = rehydrate("V1Pod", _json(pod)), official("V1Pod", _json(pod))
    touch(ours)
    touch(theirs)
    apps = k8s.AppsV1Api(api_server)
    sent = [_sent(server, apps.create_namespaced_deployment, "n", _deployment_of(one)) for one in (ours, theirs)]
    assert sent[0] == sent[1]
    sanitize = api_server.sanitize_for_serialization
    assert sanitize(k8s.V1PodList(items=[ours, ours])) == sanitize(k8s.V1PodList(items=[theirs, theirs]))
    assert sanitize({"patch": [ours, {"spec": ours.spec}]}) == sanitize({"patch": [theirs, {"spec": theirs.spec}]})


def _deployment_of(pod: Any) -> Any:
    """Built of parts of a pod, as programs do that make a workload of one."""
    template = k8s.V1PodTemplateSpec(metadata=pod.metadata, spec=pod.spec)
    spec: Any = k8s.V1DeploymentSpec(selector=k8s.V1LabelSelector(match_labels={"a": "b"}), template=template)
    return k8s.V1Deployment(metadata=k8s.V1ObjectMeta(name="d"), spec=spec)


def test_item_of_a_list_is_written_back(server: canned.Server, krm: KrmClient, api_server: Any) -> None:
    pod = next(kind for kind in RESOURCES if kind.plural == "pods")
    manifest = json.loads(_json(pod))
    server.answer(canned.listing("pods", [manifest]))
    item: Any = krm.core_v1.list_namespaced_pod("n").items[0]
    theirs: Any = official("V1Pod", _json(pod))
    theirs.kind = theirs.api_version = None  # an API server leaves them out of a list's items
    server.answer(canned.Reply(body=b"{}", status=200))
    core = k8s.CoreV1Api(api_server)
    for one in (item, theirs):
        one.spec.containers[0].image = "new"
    sent = [_sent(server, core.replace_namespaced_pod, "a", "n", one) for one in (item, theirs)]
    assert sent[0] == sent[1]
    assert sent[0][2]["spec"]["containers"][0]["image"] == "new"
    assert api_server.sanitize_for_serialization(copy.deepcopy(item)) == sent[0][2]


def test_partial_object_sends_what_it_holds(server: canned.Server, krm: KrmClient, api_server: Any) -> None:
    server.answer(canned.listing("pods", [{"metadata": {"name": "a", "labels": {"x": "y"}}}], bare=True))
    item = krm.list("pods", fields=["metadata.name", "metadata.labels"])[0]
    server.answer(canned.Reply(body=b"{}", status=200))
    sent = _sent(server, k8s.CoreV1Api(api_server).patch_namespaced_pod, "a", "n", item)
    assert sent[2] == {"metadata": {"name": "a", "labels": {"x": "y"}}}
