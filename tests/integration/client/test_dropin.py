"""``krm_client.kubernetes`` on a real stack: who answers what, its own writes, watches without gaps, falling back."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as official
from kubernetes.client.exceptions import ApiException, ApiTypeError
from urllib3.exceptions import ReadTimeoutError

from krm_client import KrmConnectError, KrmStale, registry
from krm_client.dropin import session as sessions
from krm_client.dropin.written import Deleted
from krm_client.kubernetes import client, config, watch
from tests.integration.client import cluster
from tests.integration.client.cluster import Cluster, Door
from tests.waiting import block_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster.running(tmp_path_factory.mktemp("cluster"), resources="pods,deployments.apps") as running:
        yield running


def _client_from(kubeconfig: Path) -> Any:
    return config.new_client_from_config(str(kubeconfig))


@dataclass(kw_only=True)
class World:
    """A program's APIs and the door to the API server that they go through."""

    v1: Any
    apps: Any
    door: Door
    krm: Door
    """The door to KRM."""
    beside: Any
    """The official client, which does not go through the door."""
    namespace: str
    cluster: Cluster

    def reads(self) -> int:
        """Of pods and deployments."""
        return sum(
            count
            for what, count in self.door.counts.items()
            if what.startswith("GET ") and ("pods" in what or "deployments" in what)
        )

    def pod(self, name: str, api: Any = None, **labels: str) -> Any:
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "a", "image": "b"}]},
        }
        return (api or self.v1).create_namespaced_pod(self.namespace, body)


@pytest.fixture
def world(there: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    sessions._sessions.clear()
    with there.door(tmp_path) as (door, kubeconfig), there.krm_door() as krm:
        monkeypatch.setenv("KRM_URL", f"http://127.0.0.1:{krm.port}")
        api_client = _client_from(kubeconfig)
        beside = official.CoreV1Api(_client_from(there.kubeconfig))
        namespace = f"n-{uuid.uuid4().hex[:8]}"
        beside.create_namespace(official.V1Namespace(metadata=official.V1ObjectMeta(name=namespace)))
        yield World(
            v1=client.CoreV1Api(api_client),
            apps=client.AppsV1Api(api_client),
            door=door,
            krm=krm,
            beside=beside,
            namespace=namespace,
            cluster=there,
        )
        api_client.close()
        beside.api_client.close()
    for session in sessions._sessions.values():
        session.krm.close()


def _names(found: Any) -> list[str]:
    return [one.metadata.name for one in found.items]


def _take(stream: Iterator[Any], count: int) -> list[tuple[str, str]]:
    return [(event["type"], event["object"].metadata.name) for _, event in zip(range(count), stream, strict=False)]


# -- who answers ----------------------------------------------------------------------------------------------------


def test_cached_reads_never_reach_the_api_server(world: World) -> None:
    pods = world.v1.list_pod_for_all_namespaces()
    assert isinstance(pods, official.V1PodList)
    one: Any = pods.items[0].metadata
    assert world.v1.read_namespaced_pod(one.name, one.namespace).metadata.uid == one.uid
    assert world.v1.list_namespaced_pod(namespace=one.namespace, _request_timeout=(3, 30), pretty="true").items
    assert world.apps.list_deployment_for_all_namespaces().items
    assert not world.door.counts


def test_everything_else_is_the_api_server_s(world: World) -> None:
    assert world.v1.list_namespace().items
    assert world.v1.list_config_map_for_all_namespaces() is not None
    assert world.door.counts["GET"] == 2


def test_kind_that_krm_does_not_hold_is_asked_of_the_api_server(world: World) -> None:
    assert world.v1.list_node().items
    assert world.v1.list_node().items
    assert world.door.counts["GET /api/v1/nodes"] == 2


@pytest.mark.parametrize(
    "asks", [{"_headers": {"x-a": "b"}}, {"resource_version_match": "Exact", "resource_version": "1000000"}]
)
def test_what_only_the_api_server_has_is_asked_there(world: World, asks: dict[str, Any]) -> None:
    refused = pytest.raises(ApiException) if "resource_version" in asks else contextlib.nullcontext()
    with refused:
        world.v1.list_namespaced_pod(world.namespace, **asks)
    assert world.reads() == 1


def test_another_cluster_is_not_krm_s(world: World, there: Cluster) -> None:
    world.v1.list_namespaced_pod(world.namespace)
    other: Any = client.CoreV1Api(world.beside.api_client)  # another address
    beside = world.pod("only-there", api=world.beside)
    assert other.read_namespaced_pod("only-there", world.namespace).metadata.uid == beside.metadata.uid
    assert world.reads() == 0


def test_async_req_is_refused_where_krm_answers(world: World) -> None:
    with pytest.raises(ApiTypeError, match="async_req"):
        world.v1.list_namespaced_pod(world.namespace, async_req=True)


def test_unknown_argument_is_a_type_error(world: World) -> None:
    with pytest.raises((ApiTypeError, TypeError)):
        world.v1.list_namespaced_pod(world.namespace, nonsense=1)


def test_raw_answers_are_json(world: World) -> None:
    world.pod("raw")
    listed = world.v1.list_namespaced_pod(world.namespace, _preload_content=False)
    assert [item["metadata"]["name"] for item in json.loads(listed.data)["items"]] == ["raw"]
    read = world.v1.read_namespaced_pod("raw", world.namespace, _preload_content=False)
    assert json.loads(read.read())["kind"] == "Pod"


def test_pages_bear_the_first_one_s_version(world: World) -> None:
    for number in range(5):
        world.pod(f"p-{number}")
    first = world.v1.list_namespaced_pod(world.namespace, limit=2)
    world.pod("p-1a", api=world.beside)
    world.v1.list_namespaced_pod(world.namespace, resource_version=_version_of(world, "p-1a"))
    second = world.v1.list_namespaced_pod(world.namespace, limit=9, _continue=first.metadata._continue)
    assert first.metadata.resource_version == second.metadata.resource_version
    stream = watch.Watch().stream(
        world.v1.list_namespaced_pod, world.namespace, resource_version=second.metadata.resource_version
    )
    assert _take(stream, 1) == [("ADDED", "p-1a")]
    assert world.reads() == 0


def _version_of(world: World, name: str) -> str:
    found: str = world.beside.read_namespaced_pod(name, world.namespace).metadata.resource_version
    return found


def test_missing_object_is_an_api_exception(world: World) -> None:
    with pytest.raises(ApiException) as raised:
        world.v1.read_namespaced_pod("nope", world.namespace)
    assert (raised.value.status, json.loads(raised.value.body or "")["reason"]) == (404, "NotFound")


# -- its own writes -------------------------------------------------------------------------------------------------


def test_a_program_reads_what_it_wrote(world: World) -> None:
    for round_ in range(10):
        name = f"w-{round_}"
        created = world.pod(name, round=str(round_))
        assert world.v1.read_namespaced_pod(name, world.namespace).metadata.uid == created.metadata.uid
        patched = world.v1.patch_namespaced_pod(name, world.namespace, {"metadata": {"labels": {"seen": "yes"}}})
        found = world.v1.list_namespaced_pod(world.namespace, label_selector=f"seen=yes,round={round_}").items
        assert [one.metadata.resource_version for one in found] == [patched.metadata.resource_version]
        world.v1.delete_namespaced_pod(name, world.namespace, grace_period_seconds=0)
        with pytest.raises(ApiException) as raised:
            world.v1.read_namespaced_pod(name, world.namespace)
        assert raised.value.status == 404
        assert _names(world.v1.list_namespaced_pod(world.namespace)) == []
    assert world.reads() == 0


def test_deletion_without_a_version_waits_for_the_uid(world: World) -> None:
    """A deployment's deletion is answered with a Status."""
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    body = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    for _ in range(5):
        uid = world.apps.create_namespaced_deployment(world.namespace, body).metadata.uid
        assert world.apps.read_namespaced_deployment("web", world.namespace).metadata.uid == uid
        world.apps.delete_namespaced_deployment("web", world.namespace)
        assert _names(world.apps.list_namespaced_deployment(world.namespace)) == []
        world.apps.create_namespaced_deployment(world.namespace, body)
        again = world.apps.read_namespaced_deployment("web", world.namespace).metadata.uid
        assert again != uid
        world.apps.delete_namespaced_deployment("web", world.namespace)
        with pytest.raises(ApiException) as raised:
            world.apps.read_namespaced_deployment("web", world.namespace)
        assert raised.value.status == 404
    assert world.reads() == 0


def test_deletion_of_many_is_read_back(world: World) -> None:
    for number in range(4):
        world.pod(f"m-{number}", group="a" if number < 3 else "b")
    chosen = {"label_selector": "group=a", "grace_period_seconds": 0}
    world.v1.delete_collection_namespaced_pod(world.namespace, **chosen)
    assert _names(world.v1.list_namespaced_pod(world.namespace)) == ["m-3"]


def test_other_forms_of_writing_are_read_back(world: World) -> None:
    body = {"metadata": {"name": "f"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    for _ in range(3):
        made, status, _ = world.v1.create_namespaced_pod_with_http_info(
            world.namespace, body, _return_http_data_only=False
        )
        assert status == 201
        seen = world.v1.read_namespaced_pod("f", world.namespace)
        assert seen.metadata.uid == made.metadata.uid
        raw = world.v1.patch_namespaced_pod_status(
            "f", world.namespace, {"status": {"phase": "Running"}}, _preload_content=False
        )
        version = json.loads(raw.data)["metadata"]["resourceVersion"]
        seen = world.v1.read_namespaced_pod("f", world.namespace)
        assert (seen.status.phase, seen.metadata.resource_version) == ("Running", version)
        seen.metadata.labels = {"replaced": "yes"}
        world.v1.replace_namespaced_pod("f", world.namespace, seen)
        assert _names(world.v1.list_namespaced_pod(world.namespace, label_selector="replaced=yes")) == ["f"]
        assert world.reads() == 0
        world.v1.create_namespaced_pod_eviction("f", world.namespace, {"metadata": {"name": "f"}})
        gone = _names(world.v1.list_namespaced_pod(world.namespace, label_selector="replaced=yes"))
        there = world.beside.list_namespaced_pod(world.namespace).items
        assert gone == [one.metadata.name for one in there]
        assert [one.metadata.deletion_timestamp for one in there] == [
            one.metadata.deletion_timestamp for one in world.v1.list_namespaced_pod(world.namespace).items
        ]
        world.v1.delete_collection_namespaced_pod_with_http_info(world.namespace, grace_period_seconds=0)
        assert _names(world.v1.list_namespaced_pod(world.namespace)) == []
        world.door.counts.clear()


def test_write_in_a_thread_of_the_client_is_read_back(world: World) -> None:
    body = {"metadata": {"name": "later"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    made = world.v1.create_namespaced_pod(world.namespace, body, async_req=True).get(30)
    assert world.v1.read_namespaced_pod("later", world.namespace).metadata.uid == made.metadata.uid


def test_own_deletion_that_krm_does_not_see_is_stale(world: World) -> None:
    kept = world.pod("kept")
    assert world.v1.read_namespaced_pod("kept", world.namespace) is not None
    session = sessions.current()
    kind = registry.find("pods")
    assert kind is not None
    one = Deleted(namespace=world.namespace, name="kept", uid=kept.metadata.uid)
    session.written.gone(kind, [one])
    with pytest.raises(KrmStale) as raised:
        world.v1.read_namespaced_pod("kept", world.namespace)
    assert raised.value.status == 504
    with pytest.raises(KrmStale):
        world.v1.list_namespaced_pod(world.namespace)
    assert world.v1.list_namespaced_pod("default") is not None  # of another namespace


def test_threads_share_an_api_object(world: World) -> None:
    """Each reads its own writes, while another follows them all."""
    rounds, names = 5, [f"t-{number}" for number in range(4)]
    told: list[tuple[str, str]] = []
    follower = watch.Watch()
    stream = follower.stream(world.v1.list_namespaced_pod, world.namespace, _request_timeout=(5, 60))
    world.pod("first")
    assert _take(stream, 1) == [("ADDED", "first")], "it has begun"

    def follow() -> None:
        deletions = 0
        while deletions < rounds * len(names):
            event = next(stream)
            told.append((event["type"], event["object"].metadata.name))
            deletions += event["type"] == "DELETED"

    def write_and_read(name: str) -> None:
        for number in range(rounds):
            made = world.pod(name, round=str(number))
            assert world.v1.read_namespaced_pod(name, world.namespace).metadata.uid == made.metadata.uid
            found = world.v1.list_namespaced_pod(world.namespace, label_selector=f"round={number}").items
            assert made.metadata.uid in [one.metadata.uid for one in found]
            world.v1.delete_namespaced_pod(name, world.namespace, grace_period_seconds=0)
            with pytest.raises(ApiException) as raised:
                world.v1.read_namespaced_pod(name, world.namespace)
            assert raised.value.status == 404

    with ThreadPoolExecutor(len(names) + 1) as pool:
        following = pool.submit(follow)
        try:
            list(pool.map(write_and_read, names))
            following.result(60)
        finally:
            follower.stop()
    for name in names:
        assert [kind for kind, of in told if of == name] == ["ADDED", "DELETED"] * rounds
    assert world.reads() == 0


# -- watches --------------------------------------------------------------------------------------------------------


def test_watch_without_a_version_begins_with_what_is_there(world: World) -> None:
    world.pod("a", app="x")
    world.pod("b", app="y")
    stream = watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace, label_selector="app=x")
    event = next(stream)
    assert (event["type"], event["object"].metadata.name, event["object"].kind) == ("ADDED", "a", "Pod")
    assert event["raw_object"]["metadata"]["name"] == "a"
    assert isinstance(event["object"], official.V1Pod)
    world.v1.patch_namespaced_pod("b", world.namespace, {"metadata": {"labels": {"app": "x"}}})
    world.v1.delete_namespaced_pod("a", world.namespace, grace_period_seconds=0)
    assert _take(stream, 2) == [("ADDED", "b"), ("DELETED", "a")]
    assert world.reads() == 0


def test_nothing_is_lost_between_list_and_watch(world: World) -> None:
    world.pod("a")
    listed = world.v1.list_namespaced_pod(world.namespace)
    world.v1.delete_namespaced_pod("a", world.namespace, grace_period_seconds=0)
    world.pod("b")
    world.v1.list_namespaced_pod(world.namespace)
    follower = watch.Watch()
    stream = follower.stream(
        world.v1.list_namespaced_pod, world.namespace, resource_version=listed.metadata.resource_version
    )
    assert _take(stream, 2) == [("DELETED", "a"), ("ADDED", "b")]
    # And on from the last event, as programs do that keep its version.
    world.pod("c")
    again = watch.Watch().stream(
        world.v1.list_namespaced_pod, world.namespace, resource_version=follower.resource_version
    )
    assert _take(again, 1) == [("ADDED", "c")]
    assert world.reads() == 0


def test_watch_from_a_version_of_elsewhere_goes_to_the_api_server(world: World) -> None:
    made = world.pod("a", api=world.beside)
    world.pod("b", api=world.beside)
    stream = watch.Watch().stream(
        world.v1.list_namespaced_pod, world.namespace, resource_version=made.metadata.resource_version
    )
    assert _take(stream, 1) == [("ADDED", "b")]
    assert world.door.counts["WATCH"] == 1


def test_watch_ends_after_its_time_and_by_stop(world: World) -> None:
    world.pod("a")
    assert _take(watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace, timeout_seconds=1), 5) == [
        ("ADDED", "a")
    ]
    stopped = watch.Watch()
    stream = stopped.stream(world.v1.list_namespaced_pod, world.namespace)
    next(stream)
    threading.Timer(0.2, stopped.stop).start()
    assert list(stream) == []


def test_silence_longer_than_the_request_timeout_is_the_official_error(world: World) -> None:
    stream = watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace, _request_timeout=(3, 0.3))
    with pytest.raises(ReadTimeoutError):
        next(stream)


def test_watch_survives_a_restart_of_the_api(world: World) -> None:
    world.pod("a")
    stream: Any = watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace)
    assert _take(stream, 1) == [("ADDED", "a")]
    world.krm.shut()
    world.pod("b", api=world.beside)
    world.beside.delete_namespaced_pod("a", world.namespace, grace_period_seconds=0)
    with world.cluster.another_api() as port:
        world.krm.leads_to = ("127.0.0.1", port)
        world.krm.reopen()
        assert _take(stream, 2) == [("ADDED", "b"), ("DELETED", "a")]
        stream.close()
    assert world.reads() == 0


def test_gap_is_410(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.pod("a")
    listed = world.v1.list_namespaced_pod(world.namespace)
    session = sessions.current()
    lost = _token_of_another_run(session, world)
    monkeypatch.setattr(session.places, "place_of", lambda *_: lost)
    stream = watch.Watch().stream(
        world.v1.list_namespaced_pod, world.namespace, resource_version=listed.metadata.resource_version
    )
    with pytest.raises(ApiException) as raised:
        next(stream)
    assert raised.value.status == 410
    assert raised.value.reason.startswith("Expired: too old resource version")


def test_new_list_goes_on_though_its_version_was_lost_before(world: World) -> None:
    """A quiet cluster's lists keep their version when KRM's tables are built anew, and with them all places in them."""
    world.pod("a")
    session = sessions.current()
    lost = _token_of_another_run(session, world)
    version = world.v1.list_namespaced_pod(world.namespace).metadata.resource_version
    asked = ("pods", world.namespace, "", "")
    session.places._by_version._kept[asked, version] = lost
    with pytest.raises(ApiException) as raised:
        next(watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace, resource_version=version))
    assert raised.value.status == 410
    assert session.places.place_of(asked, version) is None
    version = world.v1.list_namespaced_pod(world.namespace).metadata.resource_version
    stream: Any = watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace, resource_version=version)
    world.pod("c")
    assert _take(stream, 1) == [("ADDED", "c")]
    stream.close()


def _token_of_another_run(session: Any, world: World) -> str:
    """A token that nothing can be continued from: that of an event within the beginning."""
    world.pod("b")
    world.v1.list_namespaced_pod(world.namespace)
    with session.krm.watch("pods", namespace=world.namespace) as events:
        next(events)
        token: str = events.resume_token
    return token


def test_events_need_not_be_made_into_objects(world: World) -> None:
    world.pod("a")
    event = next(watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace, deserialize=False))
    assert sorted(event) == ["object", "type"]
    assert event["object"]["kind"] == "Pod"


# -- falling back ---------------------------------------------------------------------------------------------------


@pytest.fixture
def down(world: World) -> Iterator[None]:
    world.krm.shut()
    yield
    world.krm.reopen()


def test_error_is_never_an_empty_list(world: World, down: None) -> None:
    with pytest.raises(KrmConnectError):
        world.v1.list_namespaced_pod(world.namespace)
    with pytest.raises(KrmConnectError):
        next(watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace))
    assert world.reads() == 0


def test_reads_fall_back_where_they_may(world: World, down: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRM_FALLBACK", "direct")
    for name in ("a", "b", "c"):
        world.pod(name)
    first = world.v1.list_namespaced_pod(world.namespace, limit=2)
    assert _names(first) == ["a", "b"]
    rest = world.v1.list_namespaced_pod(world.namespace, limit=2, _continue=first.metadata._continue)
    assert _names(rest) == ["c"]
    assert world.v1.read_namespaced_pod("a", world.namespace).metadata.name == "a"
    stream = watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace)
    assert _take(stream, 3) == [("ADDED", name) for name in ("a", "b", "c")]
    assert world.reads() == 4


def test_watch_falls_back_without_a_gap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRM_FALLBACK", "direct")
    world.pod("a")
    stream = watch.Watch().stream(world.v1.list_namespaced_pod, world.namespace)
    assert _take(stream, 1) == [("ADDED", "a")]
    world.krm.shut()
    world.pod("b", api=world.beside)
    assert _take(stream, 1) == [("ADDED", "b")]
    assert world.door.counts["WATCH"] == 1
    world.krm.reopen()


def test_stale_answers_fall_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRM_FALLBACK", "direct")
    with pytest.raises(ApiException) as raised:  # the API server's own word about it
        world.v1.list_namespaced_pod(world.namespace, resource_version=str(10**15))
    assert not isinstance(raised.value, KrmStale)
    assert world.reads() == 1


def test_wrong_setting_names_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRM_FALLBACK", "maybe")
    with pytest.raises(ValueError, match="KRM_FALLBACK: 'maybe'"):
        world.v1.list_namespaced_pod(world.namespace)


# -- the names ------------------------------------------------------------------------------------------------------


def test_every_other_name_is_the_official_one() -> None:
    import kubernetes

    from krm_client import kubernetes as ours
    from krm_client.kubernetes.client import exceptions, models, rest

    assert ours.client.V1Pod is official.V1Pod
    assert ours.client.ApiClient is official.ApiClient
    assert vars(official.rest)["ApiException"] is rest.ApiException is exceptions.ApiException
    assert ours.client.rest is official.rest
    assert models.V1Pod is official.V1Pod
    assert ours.config.load_kube_config is kubernetes.config.load_kube_config
    assert ours.dynamic is kubernetes.dynamic
    assert set(dir(official)) <= set(dir(ours.client))
    assert issubclass(client.CoreV1Api, official.CoreV1Api)
    assert issubclass(watch.Watch, kubernetes.watch.Watch)


def test_a_forked_child_reads_and_writes_too(world: World) -> None:
    world.pod("before")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            world.pod("in-child")
            found = ",".join(_names(world.v1.list_namespaced_pod(world.namespace)))
            os.write(writing, found.encode())
        finally:
            os._exit(0)
    os.close(writing)
    block_until(lambda: os.waitpid(child, os.WNOHANG)[0] == child, 60)
    assert os.read(reading, 1_000).decode() == "before,in-child"
    os.close(reading)
