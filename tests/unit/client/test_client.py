"""What the client sends and what it makes of the answers, over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from graphql import parse
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException, ApiTypeError, ApiValueError

import krm_client
from krm_client import AsyncKrmClient, KrmClient, KrmUsageError, State, answers, fields_of
from krm_client.facade import FACADES, specs_of
from krm_client.registry import RESOURCES
from tests.unit.client import canned
from tests.unit.client.oracle import difference, official

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "namespace": "default",
        "uid": "u1",
        "resourceVersion": "7",
        "labels": {"app": "web"},
    },
    "spec": {"containers": [{"name": "main", "image": "web:1"}], "nodeName": "node-1"},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}
FRESH: dict[str, Any] = {
    "cluster": "default",
    "resource": "pods",
    "state": "SYNCED",
    "resourceVersion": "100",
    "verifiedResourceVersion": "90",
    "verifiedAt": "2026-11-23T22:28:39.5Z",
    "verifiedAgeSeconds": 3.5,
    "lastEventAt": None,
    "streamLagSeconds": 0.01,
    "contiguous": True,
    "epoch": "e-1",
    "missed": {"added": 0, "modified": 1, "deleted": 2**40, "ghosts": 0},
    "reason": None,
}


def _named(name: str) -> dict[str, Any]:
    return {**POD, "metadata": {**POD["metadata"], "name": name}}


def _without_type(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in ("kind", "apiVersion")}


def test_list_equals_the_official_client_s_list(server: canned.Server, krm: Any) -> None:
    server.answer(canned.listing("pods", [POD, _named("web-1")], version="4711"))
    ours = krm.core_v1.list_namespaced_pod("default")
    sent = {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "4711"},
        "items": [_without_type(POD), _without_type(_named("web-1"))],
    }
    assert difference(ours, official("V1PodList", json.dumps(sent).encode())) is None


def test_read_equals_the_official_client_s_object(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"pod": {"object": _without_type(POD)}}))
    ours = krm.core_v1.read_namespaced_pod("web-0", "default")
    assert difference(ours, official("V1Pod", json.dumps(POD).encode())) is None


@pytest.mark.parametrize("facade", FACADES)
def test_every_official_method_of_the_six_kinds_is_there(facade: str, server: canned.Server, krm: Any) -> None:
    api = {"core_v1": k8s.CoreV1Api, "apps_v1": k8s.AppsV1Api, "networking_v1": k8s.NetworkingV1Api}[facade]
    for spec in specs_of(facade):
        assert hasattr(api, spec.name)
        method = getattr(getattr(krm, facade), spec.name)
        required = {"name": "a", "namespace": "b"}
        arguments = [required[name] for name in spec.required]
        if spec.is_list:
            server.answer(canned.listing(spec.resource.list_field, []))
            answer = method(*arguments)
            assert type(answer).__name__ == spec.resource.list_model
            assert answer.items == []
        else:
            server.answer(canned.data({spec.resource.single_field: {"object": {"metadata": {"name": "a"}}}}))
            answer = method(*arguments)
            assert answer.__class__.__name__ == spec.resource.model
            assert (answer.kind, answer.api_version) == (spec.resource.kind, spec.resource.api_version)


def test_the_methods_are_seventeen() -> None:
    names = [spec.name for facade in FACADES for spec in specs_of(facade)]
    assert len(names) == len(set(names)) == 17
    assert {"list_node", "read_node", "list_ingress_for_all_namespaces", "read_namespaced_deployment"} <= set(names)


def test_official_arguments_become_graphql_variables(server: canned.Server, krm: Any) -> None:
    server.answer(canned.listing("pods", [POD], after="cursor-2"))
    listed = krm.core_v1.list_namespaced_pod(
        "default",
        label_selector="app=web",
        field_selector="status.phase=Running",
        limit=1,
        _continue="cursor-1",
        resource_version="70",
        resource_version_match="NotOlderThan",
        pretty="true",
    )
    assert server.asked[0].json["variables"] == {
        "namespace": "default",
        "labelSelector": "app=web",
        "fieldSelector": "status.phase=Running",
        "first": 1,
        "after": "cursor-1",
        "minResourceVersion": "70",
    }
    assert listed.metadata._continue == "cursor-2"


@pytest.mark.parametrize("version", [None, "", "0"])
def test_any_version_sets_no_minimum(version: str | None, krm: Any) -> None:
    explained = krm.explain(krm.core_v1.list_namespaced_pod, "default", resource_version=version)
    assert explained.variables == {"namespace": "default"}


@pytest.mark.parametrize(
    ("version", "match"), [(None, "NotOlderThan"), ("0", "Exact"), ("5", "Exact"), ("5", "nonsense")]
)
def test_version_match_that_cannot_be_kept_is_a_bad_request(version: str | None, match: str, krm: Any) -> None:
    with pytest.raises(ApiException) as raised:
        krm.core_v1.list_namespaced_pod("default", resource_version=version, resource_version_match=match)
    assert raised.value.status == 400


def test_no_limit_means_all_pages(server: canned.Server, krm: Any) -> None:
    server.answer(
        canned.listing("pods", [_named("a")], version="5", after="c1"),
        canned.listing("pods", [_named("b")], version="6", after="c2"),
        canned.listing("pods", [_named("c")], version="7"),
    )
    listed = krm.core_v1.list_pod_for_all_namespaces()
    assert [item.metadata.name for item in listed.items] == ["a", "b", "c"]
    assert listed.metadata._continue is None
    assert listed.metadata.resource_version == "5"
    assert [asked.json.get("variables") for asked in server.asked] == [None, {"after": "c1"}, {"after": "c2"}]


def test_pages_that_go_in_circles_are_an_error(server: canned.Server, krm: Any) -> None:
    server.answer(canned.listing("pods", [POD], after="c1"))
    with pytest.raises(krm_client.KrmProtocolError, match="do not end"):
        krm.core_v1.list_pod_for_all_namespaces()


def test_all_namespaces_with_rights_in_some_is_forbidden(server: canned.Server, krm: Any) -> None:
    server.answer(canned.listing("pods", [POD], complete=False, namespaces=["default", "dev"]))
    with pytest.raises(ApiException) as raised:
        krm.core_v1.list_pod_for_all_namespaces()
    assert raised.value.status == 403
    assert "default, dev" in str(raised.value)


def test_partial_client_gives_the_part(server: canned.Server) -> None:
    server.answer(canned.listing("pods", [POD], complete=False, namespaces=["default"]))
    with KrmClient(server.url, partial=True, env={}) as krm:
        assert len(krm.core_v1.list_pod_for_all_namespaces().items) == 1


def test_named_namespace_is_not_asked_for_completeness(server: canned.Server, krm: Any) -> None:
    server.answer(canned.listing("pods", [POD], complete=False, namespaces=["default"]))
    assert len(krm.core_v1.list_namespaced_pod("default").items) == 1


def test_missing_object_is_not_found(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"deployment": None}))
    with pytest.raises(ApiException) as raised:
        krm.apps_v1.read_namespaced_deployment("web", "default")
    error = raised.value
    assert (error.status, error.reason) == (404, "NotFound")
    assert error.body is not None
    assert json.loads(error.body)["message"] == 'deployments.apps "web" not found'
    assert isinstance(error, krm_client.KrmNotFound)


def test_unread_content_is_a_response_with_the_list(server: canned.Server, krm: Any) -> None:
    server.answer(canned.listing("pods", [POD], version="9"))
    response = krm.core_v1.list_namespaced_pod("default", _preload_content=False)
    assert response.status == 200
    body = json.loads(response.data)
    assert body["items"] == [POD]
    assert (body["kind"], body["metadata"]["resourceVersion"]) == ("PodList", "9")


def test_unread_content_of_one_object(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"pod": {"object": POD}}))
    response = krm.core_v1.read_namespaced_pod("web-0", "default", _preload_content=False)
    assert json.loads(response.read()) == POD


@pytest.mark.parametrize(
    "arguments",
    [{"nonsense": 1}, {"async_req": True}, {"watch": True}, {"_headers": {"a": "b"}}, {"send_initial_events": True}],
    ids=lambda given: next(iter(given)),
)
def test_arguments_that_cannot_be_kept_are_type_errors(arguments: dict[str, Any], krm: Any) -> None:
    with pytest.raises(ApiTypeError, match=next(iter(arguments))):
        krm.core_v1.list_namespaced_pod("default", **arguments)


@pytest.mark.parametrize("arguments", [{"async_req": False}, {"watch": None}, {"allow_watch_bookmarks": True}])
def test_arguments_that_ask_for_nothing_are_accepted(arguments: dict[str, Any], krm: Any) -> None:
    assert krm.explain(krm.core_v1.list_namespaced_pod, "default", **arguments).variables == {"namespace": "default"}


def test_missing_required_argument_is_named(krm: Any) -> None:
    with pytest.raises(ApiValueError, match="namespace"):
        krm.core_v1.read_namespaced_pod("web-0")
    with pytest.raises(ApiTypeError, match="by position"):
        krm.core_v1.list_node("too", "many")
    with pytest.raises(ApiTypeError, match="multiple values"):
        krm.core_v1.list_namespaced_pod("default", namespace="default")


def test_items_that_do_not_fit_their_types_are_read_as_the_official_client_does(
    server: canned.Server, krm: Any
) -> None:
    odd = {"metadata": {"name": "odd"}, "status": {"startTime": "2026-11-23T22:28:39Z"}, "spec": None, "kind": 5}
    server.answer(canned.listing("pods", [POD, odd]))
    names = [item.metadata.name for item in krm.core_v1.list_namespaced_pod("default").items]
    assert names == ["web-0", "odd"]


def test_eager_client_gives_finished_objects(server: canned.Server) -> None:
    server.answer(canned.listing("pods", [POD]))
    with KrmClient(server.url, eager=True, env={}) as krm:
        (item,) = krm.core_v1.list_namespaced_pod("default").items
    assert type(item) is k8s.V1Pod
    assert type(vars(item).get("spec") or vars(item)["_spec"]) is k8s.V1PodSpec


def test_large_answer_becomes_old_at_once_unless_that_would_thaw_the_program_s_frozen_objects(
    server: canned.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_MANY", -1)
    second = {**POD, "metadata": {**POD["metadata"], "name": "web-1"}}
    with KrmClient(server.url, eager=True, env={}) as krm:
        server.answer(canned.listing("pods", [POD, second]))
        items: list[Any] = krm.core_v1.list_namespaced_pod("default").items
        old = {id(one) for one in gc.get_objects(generation=2)}
        assert [item.metadata.name for item in items] == ["web-0", "web-1"]
        assert all(id(item) in old for item in items)
        gc.freeze()
        try:
            frozen = gc.get_freeze_count()
            server.answer(canned.listing("pods", [POD]))
            krm.core_v1.list_namespaced_pod("default")
            assert gc.get_freeze_count() > 0.9 * frozen
        finally:
            gc.unfreeze()
    assert gc.isenabled()


def test_query_gives_data(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"nodes": {"totalCount": 3}}))
    assert krm.query("query ($n: Int) { nodes(first: $n) { totalCount } }", {"n": 1}) == {"nodes": {"totalCount": 3}}
    assert server.asked[0].json["variables"] == {"n": 1}


def test_text_of_a_query_goes_out_as_written(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({}))
    text = "{  nodes\n{ totalCount }  }  # comment"
    krm.query(text)
    assert server.asked[0].json == {"query": text}


def test_list_with_fields_fetches_only_these(server: canned.Server, krm: Any) -> None:
    node = {
        "metadata": {"name": "web-0"},
        "status": {"phase": None},
        "spec": {"containers": [{"image": "web:1"}, {"image": None}]},
    }
    server.answer(canned.listing("pods", [node], bare=True))
    fields = ["metadata.name", "status.phase", "spec.containers[*].image", "spec.containers[0].image"]
    (pod,) = krm.list("pods", namespace="default", fields=fields)
    assert "nodes { metadata { name } status { phase } spec { containers { image } } }" in server.asked[0].json["query"]
    assert isinstance(pod, k8s.V1Pod)
    partial: Any = pod
    assert [container.image for container in partial.spec.containers] == ["web:1", None]
    assert partial.status.phase is None


@pytest.mark.parametrize("whole_first", [False, True])
def test_partial_object_reads_none_elsewhere_and_never_raises(
    server: canned.Server, krm: Any, whole_first: bool
) -> None:
    server.answer(canned.listing("pods", [{"spec": {"nodeName": "n1"}, "metadata": {"labels": {"a": "b"}}}], bare=True))
    (pod,) = krm.list("pods", fields=["spec.nodeName", "metadata.labels['a']"])
    if whole_first:
        assert "node_name" in repr(pod)
        assert pod.to_dict()["spec"]["containers"] is None
    assert pod.spec.node_name == "n1"
    assert pod.spec.containers is None
    assert pod.metadata.labels == {"a": "b"}
    assert pod.status is pod.kind is pod.metadata.name is None
    assert fields_of(pod) == ("spec.nodeName", "metadata.labels")
    assert fields_of(pod.spec) == ("nodeName",)


def test_whole_object_holds_all(server: canned.Server, krm: Any) -> None:
    server.answer(canned.listing("pods", [POD]))
    (pod,) = krm.list("pods")
    assert fields_of(pod) is None
    _ = vars(pod)
    assert fields_of(pod) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["metadata.nme"], "did you mean name"),
        (["status.pod_ip"], "did you mean podIP"),
        (["metadata.labels.app"], "nothing below a map"),
        (["metadata..name"], "not readable"),
        (["metadata.name."], "not a path"),
        ([""], "not a path"),
        ([], "at least one"),
        ("metadata.name", "a list of paths"),
    ],
    ids=str,
)
def test_wrong_fields_are_refused_before_anything_is_sent(
    fields: Any, says: str, server: canned.Server, krm: Any
) -> None:
    with pytest.raises(KrmUsageError, match=says):
        krm.list("pods", fields=fields)
    assert server.asked == []


@pytest.mark.parametrize("method", ["list", "frame", "watch"])
@pytest.mark.parametrize(
    ("resource", "asks", "says"),
    [
        ("pods", {"namespaces": "default"}, "a list of names, not one text"),
        ("nodes", {"namespace": "default"}, "nodes have no namespace"),
        ("nodes", {"namespaces": []}, "nodes have no namespace"),
    ],
    ids=str,
)
def test_wrong_namespaces_are_refused_before_anything_is_sent(
    method: str, resource: str, asks: dict[str, Any], says: str, server: canned.Server, krm: Any
) -> None:
    with pytest.raises(KrmUsageError, match=says):
        getattr(krm, method)(resource, **asks)
    assert server.asked == []


SCHEMA = {
    "__schema": {
        "types": [
            {"name": "Pod", "fields": [{"name": "status", "type": {"name": "PodStatus"}}]},
            {
                "name": "PodStatus",
                "fields": [
                    {"name": "phase", "type": {"name": "String"}},
                    {"name": "newerThanThisClient", "type": {"name": "String"}},
                    {
                        "name": "conditions",
                        "type": {"name": None, "ofType": {"name": None, "ofType": {"name": "PodCondition"}}},
                    },
                ],
            },
            {"name": "PodCondition", "fields": [{"name": "type", "type": {"name": "String"}}]},
            {"name": "String", "fields": None},
        ]
    }
}


def test_object_path_takes_what_server_and_client_both_know(server: canned.Server, krm: Any) -> None:
    node = {"status": {"phase": "Running", "conditions": [{"type": "Ready"}]}}
    server.answer(canned.data(SCHEMA), canned.listing("pods", [node], bare=True))
    (pod,) = krm.list("pods", fields=["status"])
    assert "nodes { status { conditions { type } phase } }" in server.asked[1].json["query"]
    assert pod.status.conditions[0].type == "Ready"
    krm.list("pods", fields=["status"])
    assert len(server.asked) == 3, "the schema is asked for once"


def test_field_that_the_server_lacks_is_a_mismatch(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data(SCHEMA))
    with pytest.raises(krm_client.KrmSchemaMismatch, match="spec") as raised:
        krm.list("pods", fields=["status", "spec.nodeName"])
    assert raised.value.field == "spec"


def test_list_arguments_become_variables(krm: Any) -> None:
    explained = krm.explain(
        krm.list,
        "po",
        namespaces=("a", "b"),
        name="x",
        where=[{"path": "status.phase", "eq": "Running"}, {"path": "spec.nodeName", "exists": True}],
        order_by=["-metadata.creationTimestamp", "metadata.name"],
        limit=5,
        max_staleness=timedelta(seconds=2.5),
        min_resource_version="7",
        label_selector="a in (b)",
    )
    assert explained.variables == {
        "namespaces": ["a", "b"],
        "name": "x",
        "where": {"and": [{"path": "status.phase", "eq": "Running"}, {"path": "spec.nodeName", "exists": True}]},
        "orderBy": [
            {"path": "metadata.creationTimestamp", "direction": "DESC"},
            {"path": "metadata.name", "direction": "ASC"},
        ],
        "first": 5,
        "maxStaleness": "2500ms",
        "minResourceVersion": "7",
        "labelSelector": "a in (b)",
    }


def test_cluster_goes_along_everywhere(server: canned.Server) -> None:
    server.answer(canned.listing("nodes", []))
    with KrmClient(server.url, cluster="east", env={}) as krm:
        krm.core_v1.list_node()
        assert server.asked[0].json["variables"] == {"cluster": "east"}
        explained = krm.explain(krm.core_v1.read_node, "n1")
        assert explained.variables == {"cluster": "east", "name": "n1"}


def test_every_explained_text_is_graphql(krm: Any) -> None:
    texts = [krm.explain(krm.list, resource.plural).query for resource in RESOURCES]
    texts += [krm.explain(krm.core_v1.read_namespaced_pod, "a", "b").query, krm.explain(krm.freshness, "pods").query]
    for text in texts:
        parse(text)


def test_explain_takes_only_calls_of_this_client(krm: Any) -> None:
    with pytest.raises(KrmUsageError, match="method of this client"):
        krm.explain(len, [])


def test_unknown_kind_and_argument_are_named(krm: Any) -> None:
    with pytest.raises(KrmUsageError, match="secrets"):
        krm.list("secrets")
    with pytest.raises(TypeError, match="nonsense"):
        krm.list("pods", nonsense=1)


def test_freshness_of_one_resource(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"freshness": [FRESH]}))
    fresh = krm.freshness("po")
    assert server.asked[0].json["variables"] == {"resources": ["pods"]}
    assert fresh.state == State.SYNCED
    assert fresh.verified_at == datetime(2026, 11, 23, 22, 28, 39, 500000, tzinfo=UTC)
    assert fresh.missed.deleted == 2**40


def test_freshness_of_all(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"freshness": [FRESH, {**FRESH, "resource": "nodes"}]}))
    assert [one.resource for one in krm.freshness()] == ["pods", "nodes"]


def test_unknown_state_stays_text(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"freshness": [{**FRESH, "state": "QUIESCED", "newer": 1}]}))
    assert krm.freshness("pods").state == "QUIESCED"


def test_connection_is_used_again(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({}))
    for _ in range(5):
        krm.query("{ a }")
    assert len(server.connections) == 1


def test_threads_share_a_client(server: canned.Server, krm: Any) -> None:
    server.answer_by(lambda asked: canned.data({"echo": asked.json["variables"]["n"]}))
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: krm.query("query ($n: Int) { echo }", {"n": n})["echo"], range(200))
        assert list(answers) == list(range(200))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_connects_anew_after_a_fork(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({"ok": True}))
    krm.query("{ ok }")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover (the child)
        try:
            os.write(writing, json.dumps(krm.query("{ ok }")).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(os.read(reading, 100)) == {"ok": True}
    os.close(reading)
    os.close(writing)
    assert len(server.connections) == 2
    krm.query("{ ok }")
    assert len(server.connections) == 2, "the parent's connection is still its own"


def test_client_that_nobody_closes_leaves_nothing_open(server: canned.Server) -> None:
    server.answer(canned.data({}))
    code = "import sys, krm_client; krm = krm_client.KrmClient(sys.argv[1], env={}); krm.query('{ a }')"
    command = [sys.executable, "-W", "error", "-c", code, server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_closed_client_refuses(server: canned.Server, krm: Any) -> None:
    server.answer(canned.data({}))
    krm.query("{ a }")
    krm.close()
    krm.close()
    with pytest.raises(KrmUsageError, match="closed"):
        krm.query("{ a }")


async def test_awaited_client_gives_the_same(server: canned.Server) -> None:
    async with AsyncKrmClient(server.url, env={}) as krm:
        server.answer(canned.listing("pods", [POD]))
        listed = await krm.core_v1.list_namespaced_pod("default")
        first: Any = listed.items[0]
        assert first.metadata.name == "web-0"
        assert (await krm.list("pods", fields=["metadata.name"])) != []
        server.answer(canned.data({"pod": None}))
        with pytest.raises(ApiException, match="not found"):
            await krm.core_v1.read_namespaced_pod("a", "b")
        server.answer(canned.data({"freshness": [FRESH]}))
        assert (await krm.freshness("pods")).resource == "pods"
        assert (await krm.query("{ freshness }"))["freshness"]
    with pytest.raises(KrmUsageError, match="closed"):
        await krm.query("{ a }")


async def test_awaited_calls_run_side_by_side(server: canned.Server) -> None:
    server.answer_by(lambda asked: canned.data({"echo": asked.json["variables"]["n"]}))
    async with AsyncKrmClient(server.url, env={}) as krm:
        calls = [krm.query("query ($n: Int) { echo }", {"n": n}) for n in range(50)]
        assert [answer["echo"] for answer in await asyncio.gather(*calls)] == list(range(50))


# In a process of its own: asyncio warns of the first loop's connection, which nobody can close once the loop has ended.
def test_awaited_client_works_on_one_loop_after_another(server: canned.Server) -> None:
    server.answer(canned.data({"ok": True}))
    code = (
        "import asyncio, sys; from krm_client import AsyncKrmClient; krm = AsyncKrmClient(sys.argv[1], env={});"
        "print([asyncio.run(krm.query('{ ok }')) for _ in range(2)])"
    )
    done = subprocess.run([sys.executable, "-c", code, server.url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[{'ok': True}, {'ok': True}]"


def test_import_loads_neither_gql_nor_kubernetes() -> None:
    code = (
        "import sys, krm_client, krm_client.errors; from krm_client import KrmClient; KrmClient('http://127.0.0.1:1');"
        "print([name for name in ('gql', 'graphql', 'kubernetes', 'httpx2', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in krm_client.__all__:
        assert getattr(krm_client, name) is not None
    assert set(krm_client.__all__) <= set(dir(krm_client))
    with pytest.raises(AttributeError):
        _ = krm_client.nonsense
