"""Every recording of the real API server, replayed against the simulated one.

For each the recorded state is put into a store at its versions, the recorded request is sent, and status, headers and
body are compared (see `recordings` for what is normalised). The order of JSON members counts too.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from yarl import URL

from krm import simulator
from krm.simulator import kinds
from krm.simulator.kinds import Kind
from tests.contract import recordings
from tests.contract.recordings import Json, Recording

ALICE = simulator.User(name="alice", uid="3", groups=("devs",))
ADMIN = simulator.User(name="admin", uid="1", groups=("system:masters",))
TOKENS = {"alicetoken": ALICE, "admintoken": ADMIN}
TOKEN_OF = {"pods-list-forbidden": "alicetoken", "selfsubjectrulesreview": "alicetoken", "pods-list-unauthorized": "no"}

LISTS: dict[str, Kind] = {
    "deployments": kinds.DEPLOYMENTS,
    "ingresses": kinds.INGRESSES,
    "nodes": kinds.NODES,
    "persistentvolumeclaims": kinds.PERSISTENT_VOLUME_CLAIMS,
    "pods": kinds.PODS,
    "services": kinds.SERVICES,
}
TEAM_1 = ("pods-list-limit-2", "pods-list-continue", "pods-list-rv0-limit-2-ignored-from-cache", "pods-metadata-only")
ERRORS: dict[str, int] = {
    # recording -> version at which the server stood
    "pod-not-found": 7639,
    "pods-list-anonymous": 7639,
    "pods-list-bad-continue": 7639,
    "pods-list-bad-field-selector": 7639,
    "pods-list-bad-label-selector": 7639,
    "pods-list-continue-expired-410": 7744,
    "pods-list-exact-rv-compacted-410": 7744,
    "pods-list-forbidden": 7644,
    "pods-list-too-large-rv": 7639,
    "pods-list-unauthorized": 7639,
    "unknown-resource": 7639,
}
CREATIONS = (
    "namespace-create",
    "role-create",
    "rolebinding-create",
    "crd-create",
    "widget-create-0",
    "widget-create-1",
    "widget-create-2",
)
REVIEWS = (
    "tokenreview-valid",
    "tokenreview-invalid",
    "subjectaccessreview-allowed",
    "subjectaccessreview-denied",
    "selfsubjectrulesreview",
)
DISCOVERY = ("discovery-api-v1", "discovery-apps-v1", "discovery-example-com-v1")
WATCHES = (
    "pods-watch-bookmark-before-timeout",
    "pods-watch-list-send-initial-events",
    "pods-watch-rv-too-large",
    "pods-watch-rv-too-old-410",
)
PARTLY = {
    "pods-as-table": "all but the object of each row, which is compared by pods-metadata-only",
    "openapi-v3-index": "the simulated server serves fewer groups; each entry is compared by its form",
    "openapi-v3-example-com-v1": "only the schema of the custom resource is served, not the documented parameters",
    "version": "the build differs; members, numbers and form are compared",
}


def test_every_recording_is_replayed() -> None:
    lists = [f"{name}-{kind}" for name in LISTS for kind in ("list", "list-empty-or-small", "watch-lifecycle")]
    known = [*lists, *TEAM_1, *ERRORS, *CREATIONS, *REVIEWS, *DISCOVERY, *WATCHES, *PARTLY, "widgets-list"]
    assert sorted(known) == recordings.NAMES


# Putting the recorded state in place


def at_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def filler(item: Json, number: int, namespace: str | None) -> Json:
    """An object behind all recorded ones, for what the recordings only count."""
    made = copy.deepcopy(item)
    made["metadata"] |= {"name": f"zz-filler-{number:04d}", "resourceVersion": "100"}
    made["metadata"]["labels"] = {"app": "filler"}
    if namespace is not None:
        made["metadata"]["namespace"] = namespace
    return made


def load_list(store: simulator.Store, kind: Kind, items: list[Json], remaining: int, rv: int) -> None:
    namespace = "zz-filler" if "namespace" in items[0]["metadata"] and kind.plural == "persistentvolumeclaims" else None
    more = [filler(items[-1], number, namespace) for number in range(remaining)]
    store.load(kind, [*copy.deepcopy(items), *more], keep_versions=True)
    store.rv = rv
    store.compact(rv)


def load_namespaces(store: simulator.Store, *names: str) -> None:
    store.load(kinds.NAMESPACES, [{"metadata": {"name": name}, "spec": {}, "status": {}} for name in names])


def team_1(store: simulator.Store, rv: int) -> None:
    """The state behind the recordings of team-1: ten pods that were recorded and ninety more."""
    items = recordings.load("pods-list-rv0-limit-2-ignored-from-cache").json["items"]
    load_list(store, kinds.PODS, items, 90, rv)


def rights(store: simulator.Store) -> None:
    for name, kind in (("role-create", kinds.ROLES), ("rolebinding-create", kinds.ROLE_BINDINGS)):
        store.load(kind, [copy.deepcopy(recordings.load(name).json)])


SETTINGS = simulator.ServerSettings(
    watch=simulator.WatchSettings(last_bookmark_s=0.5),
    write=simulator.WriteSettings(grace_scale=0.01),
    fresh_wait_s=0.05,
)


@asynccontextmanager
async def serving(store: simulator.Store, token: str | None = "admintoken") -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"User-Agent": "python-requests/2.33.0", "Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with (
        simulator.serve(store=store, settings=SETTINGS, tokens=TOKENS, auth=True) as sim,
        aiohttp.ClientSession(sim.url, headers=headers) as session,
    ):
        yield session


async def ask(session: aiohttp.ClientSession, recording: Recording) -> tuple[int, Any, Any]:
    headers = {"Accept": recording.accept} if recording.accept else {}
    body = None if recording.body is None else json.dumps(recording.body)
    if body is not None:
        headers["Content-Type"] = "application/json"
    # The path is sent as recorded: aiohttp must not quote it again.
    url = URL(f"{session._base_url}".rstrip("/") + recording.path, encoded=True)
    async with session.request(recording.method, url, data=body, headers=headers) as response:
        return response.status, response.headers, json.loads(await response.read())


async def compare(
    recording: Recording, store: simulator.Store, *, keep_times: bool = True, in_order: bool = True
) -> None:
    token = TOKEN_OF.get(recording.name, "admintoken")
    async with serving(store, None if recording.name == "pods-list-anonymous" else token) as session:
        status, headers, body = await ask(session, recording)
    assert status == recording.status
    assert recordings.headers_that_matter(headers) == recordings.headers_that_matter(recording.headers)
    assert recordings.is_audit_id(headers["Audit-Id"])
    assert list(body)[:3] == list(recording.json)[:3]
    ours, theirs = (
        (body, recording.json) if in_order else (recordings.ordered(body), recordings.ordered(recording.json))
    )
    assert recordings.comparable(ours, keep_times=keep_times) == recordings.comparable(theirs, keep_times=keep_times)


# Lists


@pytest.mark.parametrize("name", LISTS)
async def test_list_of_each_kind_is_answered_as_recorded(name: str) -> None:
    recording = recordings.load(f"{name}-list")
    store = simulator.Store()
    load_list(
        store, LISTS[name], recording.json["items"], recording.json["metadata"]["remainingItemCount"], recording.rv
    )
    await compare(recording, store)


@pytest.mark.parametrize("name", LISTS)
async def test_empty_or_small_list_is_answered_as_recorded(name: str) -> None:
    recording = recordings.load(f"{name}-list-empty-or-small")
    store = simulator.Store(first_rv=recording.rv)
    if items := recording.json["items"]:
        load_list(store, LISTS[name], items, recording.json["metadata"]["remainingItemCount"], recording.rv)
    await compare(recording, store)


@pytest.mark.parametrize("name", TEAM_1)
async def test_pages_and_forms_of_one_version_are_answered_as_recorded(name: str) -> None:
    recording = recordings.load(name)
    store = simulator.Store()
    team_1(store, recording.rv)
    await compare(recording, store)


async def test_custom_resources_are_listed_as_recorded() -> None:
    recording = recordings.load("widgets-list")
    store = simulator.Store()
    store.load(kinds.CUSTOM_RESOURCE_DEFINITIONS, [copy.deepcopy(recordings.load("crd-create").json)])
    store.load(store.kind_named("widgets"), copy.deepcopy(recording.json["items"]), keep_versions=True)
    store.rv = recording.rv
    await compare(recording, store)


async def test_table_of_pods_is_answered_as_recorded() -> None:
    recording = recordings.load("pods-as-table")
    store = simulator.Store(clock=lambda: at_time("2026-11-23T16:30:23Z"))
    team_1(store, recording.rv)
    await compare(recording, store)


# Errors


@pytest.mark.parametrize("name", ERRORS)
async def test_failure_is_answered_as_recorded(name: str) -> None:
    store = simulator.Store()
    team_1(store, ERRORS[name])
    rights(store)
    store.rv = ERRORS[name]
    await compare(recordings.load(name), store)


# Creations, reviews, discovery


@pytest.mark.parametrize("name", CREATIONS)
async def test_creation_is_answered_as_recorded(name: str) -> None:
    recording = recordings.load(name)
    store = simulator.Store()
    if name.startswith("widget"):
        store.load(kinds.CUSTOM_RESOURCE_DEFINITIONS, [copy.deepcopy(recordings.load("crd-create").json)])
    if name != "namespace-create":
        load_namespaces(store, "rec", "team-1")
    store.rv = recording.rv - 1
    await compare(recording, store, keep_times=False, in_order=name.startswith("widget"))


@pytest.mark.parametrize("name", REVIEWS)
async def test_review_is_answered_as_recorded(name: str) -> None:
    store = simulator.Store()
    rights(store)
    await compare(recordings.load(name), store, keep_times=False, in_order=False)


@pytest.mark.parametrize("name", DISCOVERY)
async def test_discovery_lists_what_is_served_as_recorded(name: str) -> None:
    recording = recordings.load(name)
    store = simulator.Store()
    store.load(kinds.CUSTOM_RESOURCE_DEFINITIONS, [copy.deepcopy(recordings.load("crd-create").json)])
    async with serving(store) as session:
        status, headers, body = await ask(session, recording)
    served = {entry["name"] for entry in body["resources"]}
    expected = {
        **recording.json,
        "resources": [entry for entry in recording.json["resources"] if entry["name"] in served],
    }
    assert status == 200
    assert headers["Content-Type"] == recording.headers["Content-Type"]
    assert len(body["resources"]) >= 2
    assert recordings.comparable(body) == recordings.comparable(expected)


async def test_version_has_the_form_of_the_recorded_one() -> None:
    recording = recordings.load("version")
    async with serving(simulator.Store()) as session:
        status, headers, body = await ask(session, recording)
    assert (status, headers["Content-Type"]) == (200, recording.headers["Content-Type"])
    assert list(body) == list(recording.json)
    assert (body["major"], body["minor"]) == (recording.json["major"], recording.json["minor"])


async def test_index_of_schemas_has_the_form_of_the_recorded_one() -> None:
    recording = recordings.load("openapi-v3-index")
    async with serving(simulator.Store()) as session:
        status, headers, body = await ask(session, recording)
    assert (status, headers["Content-Type"]) == (200, recording.headers["Content-Type"])
    assert set(body["paths"]) <= set(recording.json["paths"])
    for path, entry in body["paths"].items():
        recorded = recording.json["paths"][path]["serverRelativeURL"]
        assert entry["serverRelativeURL"].partition("=")[0] == recorded.partition("=")[0]
        assert len(entry["serverRelativeURL"]) == len(recorded)


async def test_schema_of_a_custom_resource_has_the_recorded_members() -> None:
    recording = recordings.load("openapi-v3-example-com-v1")
    store = simulator.Store()
    store.load(kinds.CUSTOM_RESOURCE_DEFINITIONS, [copy.deepcopy(recordings.load("crd-create").json)])
    async with serving(store) as session:
        status, headers, body = await ask(session, recording)
    assert (status, headers["Content-Type"]) == (200, recording.headers["Content-Type"])
    name = "com.example.v1.Widget"
    ours, theirs = body["components"]["schemas"][name], recording.json["components"]["schemas"][name]
    assert ours["properties"]["spec"] == theirs["properties"]["spec"]
    assert ours["properties"]["status"] == theirs["properties"]["status"]
    assert ours["x-kubernetes-group-version-kind"] == theirs["x-kubernetes-group-version-kind"]


# Watches


async def read_stream(session: aiohttp.ClientSession, path: str) -> tuple[Any, list[Json]]:
    url = URL(f"{session._base_url}".rstrip("/") + path, encoded=True)
    events: list[Json] = []
    async with session.get(url) as response:
        assert response.status == 200
        async for line in response.content:
            events.append(json.loads(line))
        return response.headers, events


def shortened(path: str) -> str:
    """The recorded request with a timeout of a second: what happens does not depend on it."""
    return path.replace("timeoutSeconds=8", "timeoutSeconds=1").replace("timeoutSeconds=4", "timeoutSeconds=1")


@pytest.mark.parametrize(
    ("name", "rv"),
    [
        ("pods-watch-bookmark-before-timeout", 7639),
        ("pods-watch-list-send-initial-events", 7644),
        ("pods-watch-rv-too-large", 7744),
        ("pods-watch-rv-too-old-410", 7744),
    ],
)
async def test_watch_is_answered_as_recorded(name: str, rv: int) -> None:
    recording = recordings.load(name)
    store = simulator.Store()
    team_1(store, rv)
    async with serving(store) as session:
        headers, events = await read_stream(session, shortened(recording.path).replace("Seconds=3", "Seconds=1"))
    assert recordings.headers_that_matter(headers) == recordings.headers_that_matter(recording.headers)
    assert recordings.comparable(events, keep_times=True) == recordings.comparable(recording.events, keep_times=True)


CONTAINER = {"name": "c", "image": "busybox"}
BODIES: dict[str, Json] = {
    "pods": {
        "metadata": {"name": "p1", "labels": {"app": "rec"}},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [{**CONTAINER, "resources": {"requests": {"cpu": "10m"}}}],
        },
    },
    "deployments": {
        "metadata": {"name": "d1", "labels": {"app": "rec"}},
        "spec": {
            "selector": {"matchLabels": {"app": "rec-d"}},
            "template": {
                "metadata": {"labels": {"app": "rec-d"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [CONTAINER]},
            },
        },
    },
    "persistentvolumeclaims": {
        "metadata": {"name": "c1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
    "services": {
        "metadata": {"name": "s1"},
        "spec": {"selector": {"app": "rec"}, "ports": [{"port": 80}]},
    },
    "ingresses": {
        "metadata": {"name": "i1"},
        "spec": {
            "rules": [
                {
                    "host": "a.example.com",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "s1", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ]
        },
    },
    "nodes": {"metadata": {"name": "rec-node"}},
}


class Lifecycle:
    """Does to an object what was done to it in the recording, one event after the other."""

    def __init__(self, session: aiohttp.ClientSession, store: simulator.Store, name: str) -> None:
        self.session, self.store, self.kind = session, store, LISTS[name]
        self.body = BODIES[name]
        middle = "/namespaces/rec" if self.kind.namespaced else ""
        prefix = f"/apis/{self.kind.group}/v1" if self.kind.group else "/api/v1"
        self.collection = f"{prefix}{middle}/{self.kind.plural}"
        self.path = f"{self.collection}/{self.body['metadata']['name']}"
        self.before: Json | None = None

    async def do(self, event: Json) -> None:
        obj, metadata = event["object"], event["object"]["metadata"]
        before = self.before["metadata"] if self.before is not None else {}
        self.before = obj
        if event["type"] == "ADDED":
            await self._send("POST", self.collection, self.body)
        elif event["type"] == "DELETED":
            if "deletionTimestamp" not in metadata:
                await self._send("DELETE", self.path, None)
        elif "touched" in metadata.get("annotations", {}) and "touched" not in before.get("annotations", {}):
            await self._send("PATCH", self.path, {"metadata": {"annotations": {"touched": "1"}}})
        elif "deletionTimestamp" not in metadata:
            self._as_controller(obj)
        elif "deletionTimestamp" not in before:
            await self._send("DELETE", self.path, None)

    async def _send(self, method: str, path: str, body: Json | None) -> None:
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, path, data=data, headers={"Content-Type": media}) as response:
            assert response.status in (200, 201), await response.text()

    def _as_controller(self, recorded: Json) -> None:
        """What scheduler, kubelet and controllers wrote: the recorded object under our identity."""
        namespace = recorded["metadata"].get("namespace", "")
        version = self.store.get(self.kind, namespace, recorded["metadata"]["name"])
        assert version is not None
        obj = copy.deepcopy(recorded)
        obj["metadata"]["uid"] = version.uid
        self.store.update(self.kind, obj)


def lifecycle_text(events: list[Json]) -> str:
    """The events of a lifecycle with ranks for versions; equal bookmarks in a row count once."""
    versions = sorted({int(event["object"]["metadata"]["resourceVersion"]) for event in events})
    kept: list[Json] = []
    for event in copy.deepcopy(events):
        metadata = event["object"]["metadata"]
        metadata["resourceVersion"] = f"rank-{versions.index(int(metadata['resourceVersion']))}"
        # After the creation only who wrote is compared: the entries are plausible, not exact.
        if event["type"] != "ADDED" and "managedFields" in metadata:
            metadata["managedFields"] = sorted(
                (entry["manager"], entry.get("subresource", "")) for entry in metadata["managedFields"]
            )
        # Addresses are given out by the server.
        for name in ("clusterIP", "clusterIPs"):
            event["object"].get("spec", {}).pop(name, None)
        if event != (kept[-1] if kept else None):
            kept.append(event)
    return recordings.comparable(recordings.ordered(kept))


@pytest.mark.parametrize("name", LISTS)
async def test_lifecycle_of_each_kind_is_watched_as_recorded(name: str) -> None:
    recording = recordings.load(f"{name}-watch-lifecycle")
    store = simulator.Store(first_rv=int(recording.path.partition("resourceVersion=")[2].partition("&")[0]) - 1)
    load_namespaces(store, "rec")
    async with serving(store) as session:
        reading = asyncio.create_task(read_stream(session, shortened(recording.path)))
        life = Lifecycle(session, store, name)
        for event in recording.events:
            if event["type"] != "BOOKMARK":
                await life.do(event)
        headers, events = await reading
    assert recordings.headers_that_matter(headers) == recordings.headers_that_matter(recording.headers)
    assert lifecycle_text(events) == lifecycle_text(recording.events)
