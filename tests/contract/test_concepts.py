"""What the recordings lack, after the API concepts of Kubernetes: watches, writes, forms, rights."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from krm import simulator
from krm.simulator import kinds
from tests.contract.asking import MERGE, QUICK, Client, Json, make_namespace, pod, serving
from tests.waiting import wait_until

PODS = "/api/v1/namespaces/a/pods"


async def with_pods(client: Client, *names: str) -> None:
    await make_namespace(client, "a", "b")
    for name in names:
        code, body = await client.ask("POST", PODS, pod(name, app=name))
        assert code == 201, body


# Watches


async def test_a_watch_from_a_version_shows_all_that_came_after_it() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        rv = client.sim.store.rv
        await client.ask("POST", PODS, pod("y"))
        await client.ask("PATCH", f"{PODS}/x", {"metadata": {"labels": {"k": "v"}}}, media=MERGE)
        async with client.watch(f"{PODS}?resourceVersion={rv}") as stream:
            assert await stream.take(2) == [("ADDED", "y"), ("MODIFIED", "x")]
            await client.ask("DELETE", f"{PODS}/y?gracePeriodSeconds=0")
            deleted = await stream.next()
        assert deleted is not None
        assert deleted["type"] == "DELETED"
        assert deleted["object"]["metadata"]["resourceVersion"] == str(client.sim.store.rv)


async def test_a_watch_of_a_selection_sees_objects_come_and_go() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        rv = client.sim.store.rv
        for label in ("in", "in", "out", "in"):
            labels = {"where": label, "turn": str(client.sim.store.rv)}
            await client.ask("PATCH", f"{PODS}/x", {"metadata": {"labels": labels}}, media=MERGE)
        async with client.watch(
            f"/api/v1/pods?labelSelector=where%3Din&resourceVersion={rv}&timeoutSeconds=1"
        ) as stream:
            events = await stream.rest()
        assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
        gone = events[2]["object"]["metadata"]
        assert gone["labels"]["where"] == "in"
        assert gone["resourceVersion"] == str(rv + 3)


async def test_a_watch_of_a_namespace_or_a_name_sees_nothing_else() -> None:
    async with serving() as client:
        await with_pods(client, "x", "y")
        rv = client.sim.store.rv
        await client.ask("POST", "/api/v1/namespaces/b/pods", pod("other"))
        for name in ("x", "y"):
            await client.ask("PATCH", f"{PODS}/{name}", {"metadata": {"labels": {"k": "v"}}}, media=MERGE)
        query = f"resourceVersion={rv}"
        for path, expected in (
            (f"{PODS}?{query}", ["x", "y"]),
            (f"{PODS}/y?{query}", ["y"]),
            (f"/api/v1/pods?fieldSelector=metadata.name%3Dy&{query}", ["y"]),
            (f"/api/v1/pods?{query}", ["other", "x", "y"]),
        ):
            async with client.watch(path) as stream:
                assert [name for _, name in await stream.take(len(expected))] == expected
                assert await stream.is_silent(0.05)


async def test_a_watch_without_a_version_begins_with_the_present() -> None:
    async with serving() as client:
        await with_pods(client, "y", "x")
        for query in ("", "resourceVersion=0&"):
            async with client.watch(f"{PODS}?{query}timeoutSeconds=1") as stream:
                events = await stream.rest()
            assert [(each["type"], each["object"]["metadata"]["name"]) for each in events] == [
                ("ADDED", "x"),
                ("ADDED", "y"),
            ]


async def test_initial_events_can_be_left_out() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        query = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
        async with client.watch(f"{PODS}?{query}") as stream:
            assert await stream.rest() == []


async def test_initial_events_wait_for_a_version_that_is_coming() -> None:
    settings = simulator.ServerSettings(fresh_wait_s=5)
    async with serving(settings) as client:
        await with_pods(client, "x")
        soon = client.sim.store.rv + 1
        query = (
            f"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={soon}&allowWatchBookmarks=true"
        )
        asked = asyncio.create_task(client.session.get(f"{PODS}?watch=1&{query}"))
        await wait_until(lambda: len(client.sim.server.store._waiting) == 1)
        await client.ask("POST", PODS, pod("y"))
        async with await asked as response:
            lines = [json.loads(await response.content.readline()) for _ in range(3)]
        assert [line["type"] for line in lines] == ["ADDED", "ADDED", "BOOKMARK"]
        assert lines[2]["object"]["metadata"]["resourceVersion"] == str(soon)


async def test_initial_events_of_a_version_that_does_not_come_are_refused() -> None:
    async with serving() as client:
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=9999"
        code, body = await client.ask("GET", f"/api/v1/pods?{query}")
        assert (code, body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


async def test_a_list_waits_for_a_version_that_is_coming() -> None:
    async with serving(simulator.ServerSettings(fresh_wait_s=5)) as client:
        await with_pods(client, "x")
        soon = client.sim.store.rv + 1
        asked = asyncio.create_task(client.names(f"{PODS}?resourceVersion={soon}&resourceVersionMatch=NotOlderThan"))
        await wait_until(lambda: len(client.sim.server.store._waiting) == 1)
        await client.ask("POST", PODS, pod("y"))
        assert await asked == ["x", "y"]


async def test_a_watch_from_the_future_passes_over_what_lies_before_it() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        start = client.sim.store.rv + 2
        async with client.watch(f"{PODS}?resourceVersion={start}&allowWatchBookmarks=true&timeoutSeconds=1") as stream:
            for turn in ("1", "2", "3"):
                await client.ask("PATCH", f"{PODS}/x", {"metadata": {"labels": {"turn": turn}}}, media=MERGE)
            events = await stream.rest()
        changes = [event["object"]["metadata"]["labels"]["turn"] for event in events if event["type"] != "BOOKMARK"]
        assert changes == ["3"]


async def test_bookmarks_come_at_their_interval_only_when_asked_for_and_tell_the_progress() -> None:
    settings = simulator.ServerSettings(watch=simulator.WatchSettings(bookmark_interval_s=0.05))
    async with serving(settings) as client:
        await with_pods(client, "x")
        rv = client.sim.store.rv
        await make_namespace(client, "other")
        async with (
            client.watch(f"{PODS}?resourceVersion={rv}&allowWatchBookmarks=true") as stream,
            client.watch(f"{PODS}?resourceVersion={rv}") as plain,
        ):
            # Nothing of this kind has happened since: there is nothing to tell.
            assert await stream.is_silent()
            # A consistent list makes the server learn that its pods are as of now.
            await client.get("/api/v1/pods")
            first = await stream.next()
            second = await stream.next()
            assert await plain.is_silent()
        assert first == second
        assert first is not None
        assert first["type"] == "BOOKMARK"
        assert first["object"]["metadata"] == {"resourceVersion": str(client.sim.store.rv)}


async def test_a_watch_of_metadata_carries_metadata_only() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        client.session.headers["Accept"] = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        async with client.watch(f"{PODS}?allowWatchBookmarks=true&timeoutSeconds=1") as stream:
            events = await stream.rest()
        assert [event["type"] for event in events][:2] == ["ADDED", "BOOKMARK"]
        for event in events:
            assert list(event["object"]) == ["kind", "apiVersion", "metadata"]
            assert event["object"]["kind"] == "PartialObjectMetadata"


async def test_a_watcher_that_reads_too_slowly_is_ended() -> None:
    settings = simulator.ServerSettings(watch=simulator.WatchSettings(max_lag_events=200))
    async with serving(settings) as client:
        await make_namespace(client, "a")
        big = pod("x")
        big["metadata"]["annotations"] = {"filler": "x" * 100_000}
        await client.ask("POST", PODS, big)
        async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}"):
            await wait_until(lambda: len(client.sim.server.watches) == 1)
            store = client.sim.store
            version = store.get(kinds.PODS, "a", "x")
            assert version is not None
            for _ in range(2000):
                store.update(kinds.PODS, version.parse())
                await asyncio.sleep(0)
            await wait_until(lambda: not client.sim.server.watches)


async def test_watchers_share_the_encoding_of_a_line() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        rv = client.sim.store.rv
        async with (
            client.watch(f"{PODS}?resourceVersion={rv}") as first,
            client.watch(f"/api/v1/pods?resourceVersion={rv}") as second,
        ):
            await client.ask("POST", PODS, pod("y"))
            assert await first.next() == await second.next()
        event = client.sim.store.collection(kinds.PODS).log[-1]
        assert len(event.lines) == 1


async def test_the_watch_of_a_withdrawn_kind_ends() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        code, _ = await client.ask("POST", CRDS, definition())
        assert code == 201
        path = "/apis/example.com/v1/namespaces/a/widgets"
        await client.ask("POST", path, {"metadata": {"name": "w"}, "spec": {"size": 1}})
        async with client.watch(f"/apis/example.com/v1/widgets?resourceVersion={client.sim.store.rv}") as stream:
            code, _ = await client.ask("DELETE", f"{CRDS}/widgets.example.com")
            assert code == 200
            assert [event["type"] for event in await stream.rest()] == ["DELETED"]
        code, body = await client.ask("GET", path)
        assert (code, body["reason"]) == (404, "NotFound")


# Writes

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition() -> Json:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {"size": {"type": "integer"}, "color": {"type": "string", "enum": ["red"]}},
            }
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


async def test_names_are_generated_and_must_be_unique() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        code, made = await client.ask("POST", PODS, {**pod(""), "metadata": {"generateName": "job-"}})
        assert code == 201
        assert made["metadata"]["name"].startswith("job-")
        assert len(made["metadata"]["name"]) == len("job-") + 5
        code, body = await client.ask("POST", PODS, pod("x"))
        assert (code, body["reason"], body["message"]) == (409, "AlreadyExists", 'pods "x" already exists')


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        ("POST", PODS, b"not json", 400, "BadRequest"),
        ("POST", PODS, [1], 400, "BadRequest"),
        ("POST", PODS, {"metadata": {}}, 422, "Invalid"),
        ("POST", PODS, {"metadata": {"name": "Upper"}}, 422, "Invalid"),
        ("POST", PODS, {"metadata": {"name": "../up"}}, 422, "Invalid"),
        ("POST", PODS, {"metadata": {"name": "x" * 254}}, 422, "Invalid"),
        ("POST", PODS, {"kind": "Node", "metadata": {"name": "x"}}, 400, "BadRequest"),
        ("POST", PODS, {"apiVersion": "v9", "metadata": {"name": "x"}}, 400, "BadRequest"),
        ("POST", PODS, {"metadata": {"name": "x", "namespace": "b"}}, 400, "BadRequest"),
        ("POST", PODS, {"metadata": {"name": "x", "resourceVersion": "5"}}, 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/none/pods", {"metadata": {"name": "x"}}, 404, "NotFound"),
        ("POST", "/api/v1/pods", {"metadata": {"name": "x"}}, 405, "MethodNotAllowed"),
        ("POST", f"{PODS}/x", {"metadata": {"name": "x"}}, 405, "MethodNotAllowed"),
        ("PUT", PODS, {"metadata": {"name": "x"}}, 405, "MethodNotAllowed"),
        ("PUT", f"{PODS}/none", {"metadata": {"name": "none"}}, 404, "NotFound"),
        ("PUT", f"{PODS}/x", {"metadata": {"name": "y"}}, 400, "BadRequest"),
        ("PATCH", f"{PODS}/none", {}, 415, "UnsupportedMediaType"),
        ("DELETE", f"{PODS}/none", None, 404, "NotFound"),
        ("DELETE", "/api/v1/namespaces", None, 405, "MethodNotAllowed"),
        ("GET", f"{PODS}/x/nothing", None, 404, "NotFound"),
        ("GET", "/api/v1/nodes/n/pods/x", None, 404, "NotFound"),
        ("GET", "/api/v1/namespaces/a/nodes", None, 404, "NotFound"),
        ("GET", "/apis/nothing/v1/things", None, 404, "NotFound"),
        ("GET", "/api/v2/pods", None, 404, "NotFound"),
        ("GET", "/nothing", None, 404, "NotFound"),
        ("OPTIONS", PODS, None, 405, "MethodNotAllowed"),
        ("GET", "/_simulator/nothing/here", None, 404, None),
    ],
)
async def test_wrong_requests_are_refused_with_a_status(
    method: str, path: str, body: Any, code: int, reason: str | None
) -> None:
    async with serving() as client:
        await with_pods(client, "x")
        rv = client.sim.store.rv
        found, answer = await client.ask(method, path, body)
        assert (found, answer.get("reason")) == (code, reason)
        assert reason is None or answer["code"] == code
        assert client.sim.store.rv == rv


async def test_a_body_beyond_the_limit_is_refused() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        large = io.BytesIO(b" " * (3 * 1024 * 1024 + 1))
        async with client.session.post(PODS, data=large) as response:
            body = await response.json()
        assert (response.status, body["reason"]) == (413, "RequestEntityTooLarge")


async def test_yaml_is_accepted() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        text = b"metadata:\n  name: x\nspec:\n  containers:\n  - {name: c, image: busybox}\n"
        code, made = await client.ask("POST", PODS, text, media="application/yaml")
        assert (code, made["spec"]["containers"][0]["imagePullPolicy"]) == (201, "Always")
        code, _ = await client.ask("POST", PODS, b"a: [", media="application/yaml")
        assert code == 400
        code, _ = await client.ask("POST", PODS, b"x", media="application/vnd.kubernetes.protobuf")
        assert code == 415


async def test_a_write_over_another_version_is_a_conflict() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        stale = await client.get(f"{PODS}/x")
        await client.ask("PATCH", f"{PODS}/x", {"metadata": {"labels": {"k": "v"}}}, media=MERGE)
        code, body = await client.ask("PUT", f"{PODS}/x", stale)
        assert (code, body["reason"]) == (409, "Conflict")
        assert "please apply your changes to the latest version" in body["message"]
        fresh = await client.get(f"{PODS}/x")
        fresh["metadata"]["labels"]["k"] = "w"
        code, body = await client.ask("PUT", f"{PODS}/x", fresh)
        assert (code, body["metadata"]["labels"]["k"]) == (200, "w")
        code, body = await client.ask("PATCH", f"{PODS}/x", {"metadata": {"uid": "other"}}, media=MERGE)
        assert code == 409


async def test_a_write_that_changes_nothing_is_no_event() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        rv = client.sim.store.rv
        same = await client.get(f"{PODS}/x")
        code, body = await client.ask("PUT", f"{PODS}/x", same)
        assert (code, body["metadata"]["resourceVersion"]) == (200, str(rv))
        code, _ = await client.ask("PATCH", f"{PODS}/x", {"metadata": {"labels": {"app": "x"}}}, media=MERGE)
        assert (code, client.sim.store.rv) == (200, rv)


async def test_status_changes_by_its_own_path_only() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        code, body = await client.ask("PATCH", f"{PODS}/x", {"status": {"phase": "Running"}}, media=MERGE)
        assert (code, body["status"]["phase"]) == (200, "Pending")
        patch = {"status": {"phase": "Running"}, "spec": {"nodeName": "other"}}
        code, body = await client.ask("PATCH", f"{PODS}/x/status", patch, media=MERGE)
        assert (code, body["status"]["phase"], body["spec"]["nodeName"]) == (200, "Running", "n1")
        assert body["metadata"]["generation"] == 1
        written = {(each["manager"], each.get("subresource")) for each in body["metadata"]["managedFields"]}
        assert written == {("tester", None), ("tester", "status")}


async def test_the_generation_follows_the_spec() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        path = "/apis/apps/v1/namespaces/a/deployments"
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": []}}}
        await client.ask("POST", path, {"metadata": {"name": "d"}, "spec": spec})
        generations = []
        for patch in ({"metadata": {"labels": {"k": "v"}}}, {"spec": {"replicas": 3}}, {"spec": {"replicas": 3}}):
            _, body = await client.ask("PATCH", f"{path}/d", patch, media=MERGE)
            generations.append(body["metadata"]["generation"])
        assert generations == [1, 2, 2]


async def test_an_applied_object_is_created_then_merged() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        media = "application/apply-patch+yaml"
        path = f"{PODS}/x?fieldManager=me"
        text = b"metadata: {name: x}\nspec: {containers: [{name: c, image: 'i:1'}]}\n"
        code, _ = await client.ask("PATCH", path, text, media=media)
        assert code == 201
        code, body = await client.ask("PATCH", path, text.replace(b"i:1", b"i:2"), media=media)
        assert (code, body["spec"]["containers"][0]["image"]) == (200, "i:2")
        assert [each["manager"] for each in body["metadata"]["managedFields"]] == ["me"]


async def test_a_pod_goes_after_its_grace_period() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    async with serving(store=simulator.Store(clock=lambda: now)) as client:
        await with_pods(client, "x")
        async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}") as stream:
            code, body = await client.ask("DELETE", f"{PODS}/x", {"gracePeriodSeconds": 20})
            assert (code, body["kind"]) == (200, "Pod")
            assert body["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:20Z"
            assert body["metadata"]["deletionGracePeriodSeconds"] == 20
            assert await stream.take(3) == [("MODIFIED", "x"), ("MODIFIED", "x"), ("DELETED", "x")]


async def test_a_second_deletion_can_only_shorten_the_grace_period() -> None:
    async with serving(simulator.ServerSettings()) as client:
        await with_pods(client, "x")
        await client.ask("DELETE", f"{PODS}/x", {"gracePeriodSeconds": 100})
        _, body = await client.ask("DELETE", f"{PODS}/x", {"gracePeriodSeconds": 500})
        assert body["metadata"]["deletionGracePeriodSeconds"] == 100
        _, body = await client.ask("DELETE", f"{PODS}/x", {"gracePeriodSeconds": 50})
        assert body["metadata"]["deletionGracePeriodSeconds"] == 50
        await client.ask("DELETE", f"{PODS}/x?gracePeriodSeconds=0")
        assert await client.names(PODS) == []


async def test_a_pod_made_anew_is_not_taken_for_the_one_that_was_deleted() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        await client.ask("DELETE", f"{PODS}/x", {"gracePeriodSeconds": 20})
        await client.ask("DELETE", f"{PODS}/x", {"gracePeriodSeconds": 0})
        _, made = await client.ask("POST", PODS, pod("x"))
        await asyncio.sleep(0.15)
        assert (await client.get(f"{PODS}/x"))["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_pod_that_was_never_scheduled_goes_at_once() -> None:
    async with serving(simulator.ServerSettings()) as client:
        await make_namespace(client, "a")
        body = pod("x")
        del body["spec"]["nodeName"]
        await client.ask("POST", PODS, body)
        await client.ask("DELETE", f"{PODS}/x")
        assert await client.names(PODS) == []


async def test_preconditions_of_a_deletion_are_held() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        for condition in ({"uid": "other"}, {"resourceVersion": "1"}):
            code, body = await client.ask("DELETE", f"{PODS}/x", {"preconditions": condition})
            assert (code, body["reason"]) == (409, "Conflict")
            assert "Precondition failed" in body["message"]
        uid = (await client.get(f"{PODS}/x"))["metadata"]["uid"]
        code, _ = await client.ask("DELETE", f"{PODS}/x", {"preconditions": {"uid": uid}, "gracePeriodSeconds": 0})
        assert code == 200


async def test_finalizers_hold_an_object_until_they_are_gone() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        path = "/api/v1/namespaces/a/configmaps"
        await client.ask(
            "POST", path, {"metadata": {"name": "c", "finalizers": ["example.com/hold"]}, "data": {"k": "v"}}
        )
        code, body = await client.ask("DELETE", f"{path}/c")
        assert (code, body["kind"]) == (200, "ConfigMap")
        assert "deletionTimestamp" in (await client.get(f"{path}/c"))["metadata"]
        code, _ = await client.ask("PATCH", f"{path}/c", {"metadata": {"finalizers": None}}, media=MERGE)
        assert code == 200
        assert await client.names(path) == []


async def test_a_collection_is_deleted_by_selection() -> None:
    async with serving() as client:
        await with_pods(client, "x", "y", "z")
        code, body = await client.ask("DELETE", f"{PODS}?labelSelector=app%21%3Dy", {"gracePeriodSeconds": 0})
        assert (code, body["kind"], len(body["items"])) == (200, "PodList", 2)
        assert await client.names(PODS) == ["y"]


async def test_a_namespace_takes_its_objects_with_it() -> None:
    async with serving() as client:
        await with_pods(client, "x", "y")
        await client.ask("POST", "/api/v1/namespaces/b/pods", pod("stays"))
        async with client.watch(f"/api/v1/pods?resourceVersion={client.sim.store.rv}") as stream:
            code, _ = await client.ask("DELETE", "/api/v1/namespaces/a")
            assert code == 200
            assert await stream.take(2) == [("DELETED", "x"), ("DELETED", "y")]
        assert await client.names("/api/v1/pods") == ["stays"]
        assert await client.names("/api/v1/namespaces") == ["b"]


async def test_an_eviction_ends_a_pod() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        code, body = await client.ask("POST", f"{PODS}/x/eviction", {"metadata": {"name": "x"}})
        assert (code, body["status"]) == (201, "Success")
        await wait_until(lambda: not client.sim.store.all(kinds.PODS))


async def test_custom_resources_are_held_to_their_schema() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        await client.ask("POST", CRDS, definition())
        path = "/apis/example.com/v1/namespaces/a/widgets"
        for spec, text in (
            ({}, "spec.size: Required value"),
            ({"size": "big"}, "must be of type integer"),
            ({"size": 1, "color": "blue"}, 'Unsupported value: "blue"'),
        ):
            code, body = await client.ask("POST", path, {"metadata": {"name": "w"}, "spec": spec})
            assert (code, body["reason"]) == (422, "Invalid")
            assert text in body["message"]
        code, _ = await client.ask("POST", path, {"metadata": {"name": "w"}, "spec": {"size": 1}})
        assert code == 201
        code, body = await client.ask("PATCH", f"{path}/w/status", {"status": {"ready": True}}, media=MERGE)
        assert (code, body["status"]) == (200, {"ready": True})


# Forms of answers


async def test_a_log_is_text() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        assert await client.ask("GET", f"{PODS}/x/log") == (200, b"Pending on n1\n")


async def test_large_bodies_are_compressed_for_those_who_accept_it() -> None:
    async with serving(world=simulator.World(pods=60)) as client:
        plain = await client.get("/api/v1/pods", Accept_Encoding="identity")
        async with aiohttp.ClientSession(client.sim.url, auto_decompress=False) as session:
            async with session.get("/api/v1/pods", headers={"Accept-Encoding": "gzip"}) as response:
                assert response.headers["Content-Encoding"] == "gzip"
                assert response.headers["Vary"] == "Accept-Encoding"
                packed = await response.read()
            async with session.get("/api/v1/pods?limit=1", headers={"Accept-Encoding": "gzip"}) as response:
                assert "Content-Encoding" not in response.headers
        assert json.loads(gzip.decompress(packed)) == plain
        assert len(packed) * 5 < len(json.dumps(plain))


async def test_tables_of_other_kinds_have_a_name_and_custom_ones_their_columns() -> None:
    async with serving() as client:
        await make_namespace(client, "a")
        await client.ask("POST", CRDS, definition())
        await client.ask(
            "POST", "/apis/example.com/v1/namespaces/a/widgets", {"metadata": {"name": "w"}, "spec": {"size": 7}}
        )
        table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
        body = await client.get("/apis/example.com/v1/widgets", **table)
        assert [column["name"] for column in body["columnDefinitions"]] == ["Name", "Size"]
        assert [row["cells"] for row in body["rows"]] == [["w", 7]]
        body = await client.get("/api/v1/namespaces/a", **table)
        assert body["rows"][0]["cells"][0] == "a"
        assert body["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        body = await client.get("/api/v1/namespaces?includeObject=Object", **table)
        assert body["rows"][0]["object"]["kind"] == "Namespace"


async def test_an_encoding_that_is_not_offered_is_not_acceptable() -> None:
    async with serving() as client:
        for accept in ("application/vnd.kubernetes.protobuf", "text/html"):
            code, body = await client.ask("GET", "/api/v1/pods", Accept=accept)
            assert (code, body["reason"]) == (406, "NotAcceptable")
        await client.get("/api/v1/pods", Accept="application/vnd.kubernetes.protobuf, application/json")


async def test_one_object_is_answered_in_the_form_that_is_asked_for() -> None:
    async with serving() as client:
        await with_pods(client, "x")
        whole = await client.get(f"{PODS}/x")
        part = await client.get(f"{PODS}/x", Accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        assert list(whole) == ["kind", "apiVersion", "metadata", "spec", "status"]
        assert part == {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": whole["metadata"],
        }


async def test_what_discovery_lists_is_served() -> None:
    async with serving() as client:
        groups = [group["preferredVersion"]["groupVersion"] for group in (await client.get("/apis"))["groups"]]
        for prefix in ["/api/v1", *(f"/apis/{group}" for group in groups)]:
            for resource in (await client.get(prefix))["resources"]:
                if "list" in resource["verbs"]:
                    assert (await client.get(f"{prefix}/{resource['name']}"))["kind"] == f"{resource['kind']}List"
        for path in ("/healthz", "/livez", "/readyz"):
            assert await client.ask("GET", path) == (200, b"ok")


# Rights

TOKENS = {
    "admin": simulator.User(name="root", groups=("system:masters",)),
    "alice": simulator.User(name="alice", uid="3", groups=("devs",)),
}
RBAC = "/apis/rbac.authorization.k8s.io/v1"


async def test_rights_open_what_they_name_and_close_when_revoked() -> None:
    async with serving(auth=True, tokens=TOKENS) as client:
        client.session.headers["Authorization"] = "Bearer admin"
        await with_pods(client, "x")
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
        await client.ask("POST", f"{RBAC}/namespaces/a/roles", {"metadata": {"name": "r"}, "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
        binding = {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [{"kind": "Group", "name": "devs"}]}
        await client.ask("POST", f"{RBAC}/namespaces/a/rolebindings", binding)
        client.session.headers["Authorization"] = "Bearer alice"
        codes = [
            (await client.ask("GET", path))[0]
            for path in (PODS, f"{PODS}/x", f"{PODS}?watch=1", "/api/v1/namespaces/b/pods", "/api/v1/pods", "/metrics")
        ]
        assert codes == [200, 200, 403, 403, 403, 403]
        review = {"spec": {"resourceAttributes": {"namespace": "a", "verb": "list", "resource": "pods"}}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        _, body = await client.ask("POST", path, review)
        assert body["status"]["allowed"] is True
        code, _ = await client.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert code == 403
        client.sim.store.delete(kinds.ROLE_BINDINGS, "a", "r")
        code, body = await client.ask("GET", PODS)
        assert code == 403
        assert body["message"] == (
            'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "a"'
        )


async def test_a_token_is_reviewed_for_its_audiences() -> None:
    tokens = {"t": simulator.User(name="bot", audiences=("krm",), extra={"k": ("v",)})}
    async with serving(tokens=tokens) as client:
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        _, body = await client.ask("POST", path, {"spec": {"token": "t", "audiences": ["krm", "else"]}})
        assert body["status"]["authenticated"] is True
        assert body["status"]["audiences"] == ["krm"]
        assert body["status"]["user"]["extra"] == {"k": ["v"]}
        _, body = await client.ask("POST", path, {"spec": {"token": "t"}})
        assert "authenticated" not in body["status"]
        assert "is invalid for the target audiences" in body["status"]["error"]


async def test_nobody_sees_more_than_public_paths_without_a_token() -> None:
    async with serving(auth=True) as client:
        codes = {path: (await client.ask("GET", path))[0] for path in ("/version", "/healthz", "/api", "/api/v1/nodes")}
        assert codes == {"/version": 200, "/healthz": 200, "/api": 403, "/api/v1/nodes": 403}


async def test_requests_are_counted_by_verb_resource_and_status() -> None:
    async with serving(QUICK) as client:
        await with_pods(client, "x")
        before = client.sim.requests.total_bytes("list", "pods", 200)
        await client.get(PODS)
        await client.get(PODS)
        await client.ask("GET", f"{PODS}/none")
        async with client.watch(f"{PODS}?timeoutSeconds=1") as stream:
            assert client.sim.requests.open_watches["pods"] == 1
            await stream.rest()
        counted = client.sim.requests
        assert counted.total("list", "pods", 200) == 2
        assert counted.total("get", "pods", 404) == 1
        assert counted.total("create", "pods", 201) == 1
        assert counted.total("watch", "pods") == 1
        assert counted.total_bytes("list", "pods", 200) > before + 1000
        assert counted.total_bytes("watch", "pods") > 500
        await wait_until(lambda: counted.open_watches["pods"] == 0)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PODS, {"metadata": "text"}),
        ("POST", PODS, {"metadata": {"name": 5}}),
        ("POST", PODS, {"metadata": {"name": "y", "labels": ["a"]}}),
        ("POST", PODS, {"metadata": {"name": "y", "labels": {"a": 1}}}),
        ("POST", PODS, {"metadata": {"name": "y"}, "spec": "text"}),
        ("POST", PODS, {"metadata": {"name": "y"}, "spec": {"containers": "text"}}),
        ("POST", PODS, {"metadata": {"name": "y"}, "spec": {"containers": [1]}}),
        ("POST", CRDS, {"metadata": {"name": "y"}, "spec": {}}),
        ("PUT", f"{PODS}/x", {"metadata": {"name": "x"}, "spec": {"containers": 7}}),
        ("DELETE", f"{PODS}/x", {"gracePeriodSeconds": "long"}),
        ("DELETE", f"{PODS}/x", {"preconditions": 1}),
        ("DELETE", f"{PODS}/x?gracePeriodSeconds=-1", None),
    ],
)
async def test_a_body_of_the_wrong_shape_is_refused(method: str, path: str, body: Any) -> None:
    async with serving() as client:
        await with_pods(client, "x")
        rv = client.sim.store.rv
        code, answer = await client.ask(method, path, body)
        assert (code, answer["reason"]) in ((400, "BadRequest"), (422, "Invalid"))
        assert client.sim.store.rv == rv
