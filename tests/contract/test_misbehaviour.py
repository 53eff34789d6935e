"""Faults over real HTTP: each does what it says, as often as it should, and nothing after that."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from krm import simulator
from krm.simulator import kinds
from tests.contract.asking import Client, Stream, pod, serving
from tests.waiting import wait_until

PODS = "/api/v1/pods"


def add_pod(client: Client, name: str, namespace: str = "a") -> int:
    body = pod(name)
    body["metadata"]["namespace"] = namespace
    return client.sim.store.create(kinds.PODS, body).rv


def make_pods(client: Client, count: int) -> None:
    for number in range(count):
        add_pod(client, f"p{number:02d}")


async def read_all(response: aiohttp.ClientResponse) -> bytes:
    """All bytes of an answer, also of one that was cut."""
    found = b""
    try:
        async for piece in response.content.iter_any():
            found += piece
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
        found += b"<cut>"
    return found


# Whole requests


async def test_a_status_is_answered_instead_as_often_as_asked() -> None:
    async with serving() as client:
        client.sim.faults.add("status", status=429, retry_after_s=7, resource="pods", verb="list", count=2)
        assert (await client.ask("GET", "/api/v1/nodes"))[0] == 200
        for _ in range(2):
            async with client.session.get(PODS) as response:
                body = await response.json()
            assert (response.status, response.headers["Retry-After"]) == (429, "7")
            assert (body["reason"], body["details"]["retryAfterSeconds"]) == ("TooManyRequests", 7)
        assert (await client.ask("GET", PODS))[0] == 200


@pytest.mark.parametrize(
    ("code", "reason"),
    [(401, "Unauthorized"), (403, "Forbidden"), (410, "Expired"), (500, "InternalError"), (503, "ServiceUnavailable")],
)
async def test_a_watch_can_be_refused(code: int, reason: str) -> None:
    async with serving() as client:
        client.sim.faults.add("status", status=code, verb="watch")
        found, body = await client.ask("GET", f"{PODS}?watch=1")
        assert (found, body["reason"]) == (code, reason)


async def test_a_hang_answers_nothing_until_the_client_goes(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as client:
        client.sim.faults.add("hang", resource="pods")
        with pytest.raises(asyncio.TimeoutError):
            await client.session.get(PODS, timeout=aiohttp.ClientTimeout(total=0.1))
        assert (await client.ask("GET", PODS))[0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_delay_delays_and_a_reset_resets() -> None:
    async with serving() as client:
        client.sim.faults.add("delay", delay_s=0.2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await client.ask("GET", PODS))[0] == 200
        assert loop.time() - began >= 0.2
        client.sim.faults.add("reset", count=2)
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "a"}})


async def test_lists_can_be_empty_garbage_or_truncated() -> None:
    async with serving() as client:
        make_pods(client, 5)
        client.sim.faults.add("empty_list")
        body = await client.get(PODS)
        assert (body["items"], body["metadata"]) == ([], {"resourceVersion": str(client.sim.store.rv)})
        client.sim.faults.add("garbage_body")
        async with client.session.get(PODS) as response:
            assert (response.status, await response.read()) == (200, b"<html>bad gateway")
        client.sim.faults.add("truncated_list", after_bytes=1000)
        async with client.session.get(PODS) as response:
            raw = await read_all(response)
        assert (len(raw), raw[-5:]) == (1000 + 5, b"<cut>")
        assert len((await client.get(PODS))["items"]) == 5


async def test_a_slow_list_comes_in_small_pieces() -> None:
    async with serving() as client:
        make_pods(client, 5)
        client.sim.faults.add("slow", size=100, delay_s=0.01)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert len((await client.get(PODS))["items"]) == 5
        assert loop.time() - began >= 0.05


async def test_only_the_later_pages_fail() -> None:
    async with serving() as client:
        make_pods(client, 5)
        client.sim.faults.add("later_page", status=410)
        first = await client.get(f"{PODS}?limit=2")
        token = first["metadata"]["continue"]
        code, body = await client.ask("GET", f"{PODS}?limit=2&continue={token}")
        assert (code, body["reason"]) == (410, "Expired")
        assert len((await client.get(f"{PODS}?limit=2&continue={token}"))["items"]) == 2


async def test_initial_events_can_be_refused_as_older_servers_do() -> None:
    async with serving() as client:
        client.sim.faults.add("no_initial_events")
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        code, body = await client.ask("GET", f"{PODS}?{query}")
        assert (code, body["reason"]) == (422, "Invalid")
        assert "sendInitialEvents is forbidden" in body["message"]


async def test_the_date_can_be_off() -> None:
    async with serving() as client:
        client.sim.faults.add("skew", skew_s=3600, count=None)
        for path in (PODS, "/version", "/api/v1/nodes/none"):
            async with client.session.get(path) as response:
                ahead = parsedate_to_datetime(response.headers["Date"]) - datetime.now(UTC)
            assert 3590 < ahead.total_seconds() < 3610


# Streams


async def lines_of(client: Client, new_pods: int, fault: dict[str, Any]) -> list[str]:
    """The names (or raw lines) that a watch shows of some new pods while a fault is set."""
    rv = client.sim.store.rv
    client.sim.faults.add(**fault)
    make_pods(client, new_pods)
    found: list[str] = []
    async with client.session.get(f"{PODS}?watch=1&resourceVersion={rv}&timeoutSeconds=1") as response:
        raw = await read_all(response)
    for line in raw.split(b"\n"):
        try:
            event = json.loads(line)
            found.append(event["object"].get("metadata", {}).get("name") or event["type"])
        except ValueError:
            found.append(repr(line[:20]))
    return found


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "drop", "every": 2, "count": None}, ["p00", "p02", "b''"]),
        ({"kind": "duplicate"}, ["p00", "p00", "p01", "p02", "p03", "b''"]),
        ({"kind": "swap"}, ["p01", "p00", "p02", "p03", "b''"]),
        ({"kind": "swap", "every": 4}, ["p00", "p01", "p02", "p03", "b''"]),
        ({"kind": "late", "delay_s": 0.05}, ["p00", "p01", "p02", "p03", "b''"]),
        ({"kind": "cut_line", "every": 2}, ["p00", 'b\'{"type":"ADDED","obj\'']),
        ({"kind": "cut", "after_bytes": 10}, ['b\'{"type":"A<cut>\'']),
        ({"kind": "end", "every": 2}, ["p00", "b''"]),
        ({"kind": "gone", "every": 2}, ["p00", "ERROR", "b''"]),
        ({"kind": "error", "status": 503, "every": 3}, ["p00", "p01", "ERROR", "b''"]),
        ({"kind": "garbage_line"}, ['b\'{"type":"MODIFIED","\'', "p00", "p01", "p02", "p03", "b''"]),
        ({"kind": "not_utf8_line"}, ['b\'{"type":"MODIFIED","\'', "p00", "p01", "p02", "p03", "b''"]),
        ({"kind": "huge_line", "size": 300_000}, ["MODIFIED", "p00", "p01", "p02", "p03", "b''"]),
        ({"kind": "unknown_type"}, ["RENAMED", "p00", "p01", "p02", "p03", "b''"]),
        ({"kind": "drop", "resource": "nodes", "count": None}, ["p00", "p01", "p02", "p03", "b''"]),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else "",
)
async def test_a_stream_goes_wrong_as_it_should(fault: dict[str, Any], expected: list[str]) -> None:
    async with serving() as client:
        assert await lines_of(client, 4, fault) == expected


async def test_an_error_in_the_stream_carries_its_status() -> None:
    async with serving() as client:
        for fault, code, reason in (
            ({"kind": "gone"}, 410, "Expired"),
            ({"kind": "error", "status": 500}, 500, "InternalError"),
        ):
            client.sim.faults.add(**fault)
            async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}") as stream:
                events = await stream.rest()
            assert [event["type"] for event in events] == ["ERROR"]
            assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (code, reason)


async def test_a_running_stream_is_hit_at_once() -> None:
    async with serving() as client, client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}") as stream:
        assert await stream.is_silent(0.05)
        client.sim.faults.add("gone")
        event = await stream.next()
        assert event is not None
        assert event["type"] == "ERROR"
        assert await stream.next() is None


async def test_a_half_open_stream_says_nothing_and_does_not_end() -> None:
    async with (
        serving() as client,
        client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}&timeoutSeconds=1") as stream,
    ):
        add_pod(client, "before")
        assert await stream.take(1) == [("ADDED", "before")]
        client.sim.faults.add("half_open")
        make_pods(client, 3)
        # Beyond the timeout of the watch: the real end is not told either.
        assert await stream.is_silent(1.3)


async def test_a_storm_of_410_ends_after_its_count() -> None:
    async with serving() as client:
        fault = client.sim.faults.add("gone", count=5)
        for _ in range(5):
            async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}") as stream:
                assert [event["type"] for event in await stream.rest()] == ["ERROR"]
        assert fault.is_spent
        async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}") as stream:
            assert await stream.is_silent(0.05)


# The life of the server


async def test_compaction_makes_old_versions_gone() -> None:
    async with serving() as client:
        make_pods(client, 3)
        old = client.sim.store.rv - 1
        assert client.sim.compact() == client.sim.store.rv
        async with client.watch(f"{PODS}?resourceVersion={old}") as stream:
            event = await stream.next()
        assert event is not None
        assert event["object"]["message"] == f"too old resource version: {old} ({client.sim.store.rv})"
        code, body = await client.ask("GET", f"{PODS}?resourceVersion={old}&resourceVersionMatch=Exact")
        assert (code, body["reason"]) == (410, "Expired")


async def test_old_history_is_compacted_in_time() -> None:
    async with serving(history_s=0.1) as client:
        make_pods(client, 3)
        rv = client.sim.store.rv
        await wait_until(lambda: client.sim.store.collection(kinds.PODS).list_floor >= rv)


async def is_over(stream: Stream) -> bool:
    try:
        return await stream.next() is None
    except aiohttp.ClientError:
        return True


async def test_a_restart_closes_connections_and_forgets_where_watches_were() -> None:
    async with serving() as client:
        make_pods(client, 3)
        async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}") as stream:
            await client.sim.restart()
            assert await is_over(stream)
        async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv - 1}") as stream:
            event = await stream.next()
        assert event is not None
        assert event["object"]["code"] == 410
        assert len((await client.get(PODS))["items"]) == 3


async def test_a_server_that_is_down_refuses_connections_and_comes_back() -> None:
    async with serving() as client:
        address = client.sim.url
        restarting = asyncio.create_task(client.sim.restart(down_s=0.3))

        async def is_refused() -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{address}/version"):
                    return False
            except aiohttp.ClientConnectorError:
                return True
            except aiohttp.ClientError:
                return False

        await wait_until(is_refused)
        await restarting
        assert client.sim.url == address
        assert (await client.ask("GET", "/version"))[0] == 200


async def test_a_restore_takes_the_history_back() -> None:
    async with serving() as client:
        make_pods(client, 2)
        snapshot = client.sim.snapshot()
        add_pod(client, "later")
        ahead = client.sim.store.rv + 10
        async with client.watch(f"{PODS}?resourceVersion={client.sim.store.rv}") as stream:
            client.sim.restore(snapshot)
            assert await is_over(stream)
        body = await client.get(PODS)
        assert [item["metadata"]["name"] for item in body["items"]] == ["p00", "p01"]
        assert body["metadata"]["resourceVersion"] == str(snapshot.rv)
        # A watch from before the restore is accepted, and passes over what is written below its version.
        async with client.watch(f"{PODS}?resourceVersion={ahead}") as stream:
            add_pod(client, "other")
            assert await stream.is_silent(0.05)


async def test_clients_that_go_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(world=simulator.World(pods=50), churn=200) as client:
        before = len(asyncio.all_tasks())
        for _ in range(10):
            async with aiohttp.ClientSession(client.sim.url) as session:
                watch = await session.get(f"{PODS}?watch=1")
                await watch.content.readline()
                listing = await session.get(PODS)
                await listing.content.readany()
                watch.close()
                listing.close()
        await wait_until(lambda: not client.sim.server.watches)
        await wait_until(lambda: len(asyncio.all_tasks()) <= before + 1)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_stopping_ends_streams_properly() -> None:
    async with aiohttp.ClientSession() as session:
        async with simulator.serve() as sim:
            response = await session.get(f"{sim.url}{PODS}?watch=1")
            await wait_until(lambda: len(sim.server.watches) == 1)
        assert await response.content.read() == b""
        response.close()


# Control over HTTP


async def test_faults_are_set_and_counted_over_http() -> None:
    async with serving() as client:
        code, body = await client.ask(
            "POST",
            "/_simulator/faults",
            {"faults": [{"kind": "status", "status": 503, "resource": "pods", "count": 1}]},
        )
        assert (code, body["faults"][0]["happened"]) == (200, 0)
        assert (await client.ask("GET", PODS))[0] == 503
        assert (await client.get("/_simulator/faults"))["faults"][0]["happened"] == 1
        requests = (await client.get("/_simulator/requests"))["requests"]
        assert {"verb": "list", "resource": "pods", "status": 503, "requests": 1}.items() <= requests[0].items()
        await client.ask("DELETE", "/_simulator/requests")
        assert (await client.get("/_simulator/requests"))["requests"] == []
        await client.ask("DELETE", "/_simulator/faults")
        assert (await client.get("/_simulator/faults"))["faults"] == []


async def test_the_server_is_controlled_over_http() -> None:
    async with serving(world=simulator.World(pods=20)) as client:
        rv = client.sim.store.rv
        _, kept = await client.ask("POST", "/_simulator/snapshot")
        assert kept == {"snapshot": "1", "resourceVersion": str(rv)}
        await client.ask("POST", "/_simulator/churn", {"rate": 500})
        await wait_until(lambda: client.sim.store.rv > rv + 50)
        await client.ask("POST", "/_simulator/churn", {"rate": 0})
        _, compacted = await client.ask("POST", "/_simulator/compact")
        assert int(compacted["resourceVersion"]) > rv
        with pytest.raises(aiohttp.ClientError):
            # Its own connection goes with all the others.
            await client.ask("POST", "/_simulator/restore", {"snapshot": "1"})
        state = await client.get("/_simulator/state")
        assert (state["resourceVersion"], state["objects"]["pods"]) == (str(rv), 20)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "faults", b"{", 400),
        ("POST", "faults", {"kind": "explode"}, 400),
        ("POST", "faults", [1], 400),
        ("POST", "faults", 5, 400),
        ("POST", "restore", {"snapshot": "9"}, 400),
        ("POST", "churn", {}, 400),
        ("POST", "churn", {"rate": -1}, 400),
        ("POST", "churn", {"rate": 5}, 400),
        ("POST", "compact", {"rv": "x"}, 400),
        ("POST", "compact", [], 400),
        ("PUT", "faults", {}, 404),
        ("GET", "nothing", None, 404),
    ],
)
async def test_wrong_control_requests_are_refused(method: str, path: str, body: Any, code: int) -> None:
    async with serving() as client:
        assert (await client.ask(method, f"/_simulator/{path}", body))[0] == code


async def test_without_control_there_is_none() -> None:
    async with serving(simulator.ServerSettings()) as client:
        assert (await client.ask("POST", "/_simulator/faults", {"kind": "hang"}))[0] == 404
        assert list(client.sim.faults) == []
