"""A watch tells every event once and in order, goes on after a break, and never hides a gap."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import gql
import pytest
from gql.transport.common.adapters.websockets import WebSocketsAdapter
from gql.transport.common.listener_queue import ListenerQueue
from gql.transport.exceptions import TransportError
from graphql import ExecutionResult
from kubernetes import client as k8s
from websockets.sync.server import ServerConnection

from krm_client import (
    AsyncKrmClient,
    KrmAuthError,
    KrmClient,
    KrmConnectError,
    KrmForbidden,
    KrmNotReady,
    KrmQueryError,
    KrmSchemaMismatch,
    KrmTlsError,
    KrmUsageError,
    subscriptions,
    watches,
)
from krm_client.settings import ClientSettings
from krm_client.watches import Watch
from tests.unit.client.telling import Teller, TellingServer, telling


@pytest.fixture
def server() -> Iterator[TellingServer]:
    with telling() as running:
        yield running


@pytest.fixture
def krm(server: TellingServer) -> Iterator[KrmClient]:
    with KrmClient(server.url, timeout=2, env={}) as client:
        yield client


def _three(teller: Teller) -> None:
    for number in range(3):
        teller.tell("ADDED", f"p-{number}", f"t-{number}")
    teller.wait()


def _take(watch: Watch, count: int) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for event in watch:
        found.append((event["type"], event["object"].metadata.name if event["object"] else None))
        if len(found) == count:
            break
    return found


def test_event_has_type_object_and_manifest(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    event = next(krm.watch("pods", namespace="default", label_selector="a=b"))
    assert list(event) == ["type", "object", "raw_object"]
    assert event["type"] == "ADDED"
    assert isinstance(event["object"], k8s.V1Pod)
    pod: Any = event["object"]
    assert (pod.metadata.name, pod.kind, pod.api_version) == ("p-0", "Pod", "v1")
    assert event["raw_object"] == {"metadata": {"name": "p-0"}, "newField": 1}
    assert server.tellers[0].variables == {"namespace": "default", "labelSelector": "a=b"}
    assert "object { object }" in server.tellers[0].payload["query"]


def test_events_come_in_order_and_the_token_with_them(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    watch = krm.watch("pods")
    assert watch.resume_token is None
    assert _take(watch, 3) == [("ADDED", "p-0"), ("ADDED", "p-1"), ("ADDED", "p-2")]
    assert watch.resume_token == "t-2"


def test_earlier_token_goes_along(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    next(krm.watch("pods", resume_token="earlier"))
    assert server.tellers[0].variables == {"resumeToken": "earlier"}


def test_broken_connection_goes_on_after_the_last_event(server: TellingServer, krm: KrmClient) -> None:
    def breaks(teller: Teller) -> None:
        teller.tell("ADDED", "p-0", "t-0")
        teller.tell("MODIFIED", "p-0", "t-1")
        teller.close()

    def goes_on(teller: Teller) -> None:
        teller.tell("DELETED", "p-0", "t-2")
        teller.wait()

    server.play(breaks, goes_on)
    watch = krm.watch("pods", name="p-0")
    assert _take(watch, 3) == [("ADDED", "p-0"), ("MODIFIED", "p-0"), ("DELETED", "p-0")]
    assert server.tellers[1].variables == {"name": "p-0", "resumeToken": "t-1"}


def test_server_that_ends_a_subscription_is_asked_again(server: TellingServer, krm: KrmClient) -> None:
    def ends(teller: Teller) -> None:
        teller.tell("ADDED", "p-0", "t-0")
        teller.complete()

    server.play(ends, _three)
    assert _take(krm.watch("pods"), 2) == [("ADDED", "p-0"), ("ADDED", "p-0")]
    assert server.tellers[1].variables == {"resumeToken": "t-0"}


def test_gap_is_told(server: TellingServer, krm: KrmClient) -> None:
    def gap(teller: Teller) -> None:
        teller.tell("RESYNC", None, "t-9")
        teller.tell("ADDED", "p-1", "t-10")
        teller.wait()

    server.play(gap)
    event = next(krm.watch("pods"))
    assert event == {"type": "RESYNC", "object": None, "raw_object": None}


def test_token_that_the_server_no_longer_reads_is_a_gap(server: TellingServer, krm: KrmClient) -> None:
    def breaks(teller: Teller) -> None:
        teller.tell("ADDED", "p-0", "t-0")
        teller.close()

    server.play(breaks, lambda teller: teller.refuse("CURSOR_INVALID"), _three)
    assert _take(krm.watch("pods"), 3) == [("ADDED", "p-0"), ("RESYNC", None), ("ADDED", "p-0")]
    assert server.tellers[2].variables == {}


def test_wrong_token_of_the_caller_is_an_error(server: TellingServer, krm: KrmClient) -> None:
    server.play(lambda teller: teller.refuse("CURSOR_INVALID", "not a token"))
    with pytest.raises(KrmQueryError, match="not a token"):
        next(krm.watch("pods", resume_token="nonsense"))


@pytest.mark.parametrize(
    ("code", "error"), [("FORBIDDEN", KrmForbidden), ("SELECTOR_INVALID", KrmQueryError), ("NOT_READY", KrmNotReady)]
)
def test_refusal_is_raised(code: str, error: type[Exception], server: TellingServer, krm: KrmClient) -> None:
    server.play(lambda teller: teller.refuse(code, "the reason"))
    watch = krm.watch("pods")
    with pytest.raises(error, match="the reason"):
        next(watch)
    with pytest.raises(StopIteration):
        next(watch)


def test_error_beside_an_event_is_raised(server: TellingServer, krm: KrmClient) -> None:
    def revoked(teller: Teller) -> None:
        teller.tell("ADDED", "p-0", "t-0")
        errors = [{"message": "the right was taken away", "extensions": {"code": "FORBIDDEN"}}]
        teller.send({"type": "next", "id": teller.id, "payload": {"data": None, "errors": errors}})
        teller.wait()

    server.play(revoked)
    watch = krm.watch("pods")
    next(watch)
    with pytest.raises(KrmForbidden, match="taken away"):
        next(watch)


def test_server_that_is_not_ready_after_a_break_is_waited_for(server: TellingServer, krm: KrmClient) -> None:
    def breaks(teller: Teller) -> None:
        teller.tell("ADDED", "p-0", "t-0")
        teller.close()

    server.play(breaks, lambda teller: teller.refuse("NOT_READY"), _three)
    assert len(_take(krm.watch("pods"), 2)) == 2


def test_event_of_another_form_is_a_mismatch(server: TellingServer, krm: KrmClient) -> None:
    server.play(lambda teller: teller.send({"type": "next", "id": teller.id, "payload": {"data": {"pods": {}}}}))
    with pytest.raises(KrmSchemaMismatch):
        next(krm.watch("pods"))


def test_refused_connection_is_an_error_after_the_timeout(free_tcp_port: int) -> None:
    with KrmClient(f"http://127.0.0.1:{free_tcp_port}", timeout=0.3, env={}) as krm:
        watch = krm.watch("pods")
        with pytest.raises(KrmConnectError, match=str(free_tcp_port)):
            next(watch)


def test_patience_ends_when_the_server_stays_away(server: TellingServer, krm: KrmClient) -> None:
    def breaks(teller: Teller) -> None:
        teller.tell("ADDED", "p-0", "t-0")
        teller.close()

    server.play(breaks, lambda teller: teller.close())
    watch = krm.watch("pods", patience=0.3)
    next(watch)
    with pytest.raises(KrmConnectError):
        next(watch)


def test_certificates_count_for_watches_too() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = Path(__file__).parent / "data" / "loopback-certificate.pem"
    tls.load_cert_chain(certificate, certificate.with_name("loopback-key.pem"))
    with telling(tls) as server:
        server.play(_three)
        with KrmClient(server.url, timeout=30, env={}) as untrusting, pytest.raises(KrmTlsError, match="KRM_CA_FILE"):
            next(untrusting.watch("pods"))
        with KrmClient(server.url, env={"KRM_CA_FILE": str(certificate)}) as trusting:
            assert next(trusting.watch("pods"))["type"] == "ADDED"


def test_token_goes_along_in_the_first_message(server: TellingServer) -> None:
    server.play(_three)
    with KrmClient(server.url, token="mine", env={}) as krm:
        next(krm.watch("pods"))
    assert server.tellers[0].hello == {"type": "connection_init", "payload": {"authorization": "Bearer mine"}}


def test_unknown_caller_is_an_auth_error(server: TellingServer, krm: KrmClient) -> None:
    def refuse(connection: ServerConnection, hello: dict[str, Any]) -> bool:
        connection.close(4403, "Forbidden")
        return False

    server.greet = refuse
    with pytest.raises(KrmAuthError, match="Forbidden"):
        next(krm.watch("pods"))


def test_token_that_expires_is_read_anew(server: TellingServer, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")

    def expires(teller: Teller) -> None:
        teller.tell("ADDED", "p-0", "t-0")
        path.write_text("the second")
        teller.close(4401, "the token has expired")

    server.play(expires, _three)
    with KrmClient(server.url, env={"KRM_TOKEN_FILE": str(path)}) as krm:
        assert len(_take(krm.watch("pods"), 2)) == 2
    hellos = [teller.hello["payload"]["authorization"] for teller in server.tellers]
    assert hellos == ["Bearer first", "Bearer the second"]


def test_time_of_a_watch_ends_it(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    assert len(list(krm.watch("pods", timeout_seconds=0.5))) == 3
    assert server.gone.acquire(timeout=5)


def test_letting_go_of_a_watch_ends_its_connection_and_thread(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    before = threading.active_count()
    for _ in krm.watch("pods"):
        break
    gc.collect()
    assert server.gone.acquire(timeout=5)
    assert threading.active_count() <= before


def test_closing_the_client_ends_its_watches(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    watch = krm.watch("pods")
    next(watch)
    krm.close()
    assert server.gone.acquire(timeout=5)
    assert list(watch) == []


def test_interrupted_anywhere_a_watch_leaves_nothing_behind(server: TellingServer, krm: KrmClient) -> None:
    """Before each call in turn that taking an event makes, as a signal may come at any; warnings are errors here."""
    where = (watches.__file__, asyncio.tasks.__file__, asyncio.base_events.__file__)
    for number in range(100):
        server.play(_three)
        watch = krm.watch("pods")
        next(watch)
        calls = itertools.count()

        def interrupt(frame: FrameType, event: str, _: object, at: int = number, calls: Any = calls) -> None:
            if event == "call" and frame.f_code.co_filename in where and next(calls) == at:
                sys.setprofile(None)
                raise KeyboardInterrupt

        sys.setprofile(interrupt)
        try:
            next(watch)
            break
        except KeyboardInterrupt:
            gc.collect()
        finally:
            sys.setprofile(None)
            watch.close()
    assert 3 < number < 99
    assert all(thread.name != "krm-watch" for thread in threading.enumerate())


def test_closing_from_another_thread_ends_the_loop(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    watch = krm.watch("pods")
    _take(watch, 3)
    closer = threading.Timer(0.1, watch.close)
    closer.start()
    assert list(watch) == []
    closer.join()


async def test_blocking_watch_works_where_a_loop_runs(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    assert len(_take(krm.watch("pods"), 3)) == 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_watch_does_not_survive_a_fork(server: TellingServer, krm: KrmClient) -> None:
    server.play(_three)
    watch = krm.watch("pods")
    next(watch)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover (the child)
        try:
            next(watch)
        except KrmUsageError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"fork" in os.read(reading, 200)
    os.close(reading)
    os.close(writing)
    assert len(_take(watch, 2)) == 2, "the parent's goes on"


async def test_no_more_is_taken_from_the_socket_than_may_wait() -> None:
    transport = subscriptions._BoundedTransport(url="ws://127.0.0.1:1")
    transport.listeners[1] = ListenerQueue(1, send_stop=False)
    event = ExecutionResult(data={})
    for _ in range(subscriptions._WAITING_EVENTS):
        await transport._handle_answer("data", 1, event)
    one_more = asyncio.ensure_future(transport._handle_answer("data", 1, event))
    done, _ = await asyncio.wait([one_more], timeout=0.05)
    assert not done
    transport.taken()
    await asyncio.wait_for(one_more, 5)


async def test_nothing_waits_for_a_reader_that_has_left() -> None:
    transport = subscriptions._BoundedTransport(url="ws://127.0.0.1:1")
    transport.listeners[1] = ListenerQueue(1, send_stop=False)
    event = ExecutionResult(data={})
    for _ in range(subscriptions._WAITING_EVENTS):
        await transport._handle_answer("data", 1, event)
    one_more = asyncio.ensure_future(transport._handle_answer("data", 1, event))
    await asyncio.sleep(0)
    transport.leave()
    await asyncio.wait_for(one_more, 5)
    await asyncio.wait_for(transport._handle_answer("data", 1, event), 5)


async def test_event_that_comes_before_its_listener_is_kept() -> None:
    transport = subscriptions._BoundedTransport(url="ws://127.0.0.1:1")
    handling = asyncio.ensure_future(transport._handle_answer("data", 1, ExecutionResult(data={"n": 1})))
    await asyncio.sleep(0)
    transport.listeners[1] = listener = ListenerQueue(1, send_stop=False)
    await asyncio.wait_for(handling, 5)
    assert (await asyncio.wait_for(listener.get(), 5))[1] == ExecutionResult(data={"n": 1})


def test_slow_reader_loses_nothing(server: TellingServer, krm: KrmClient) -> None:
    def many(teller: Teller) -> None:
        for number in range(3000):
            teller.tell("MODIFIED", "p" * 2000, f"t-{number}")
        teller.wait()

    server.play(many)
    watch = krm.watch("pods")
    assert [watch.resume_token for _ in zip(range(3000), watch, strict=False)] == [f"t-{n}" for n in range(3000)]


async def test_awaited_reader_that_is_far_behind_leaves_no_task(
    server: TellingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "_WAITING_EVENTS", 2)
    told = threading.Event()

    def more_than_may_wait(teller: Teller) -> None:
        for number in range(10):
            teller.tell("MODIFIED", "p", f"t-{number}")
        told.set()
        teller.wait()

    server.play(more_than_may_wait)
    before = asyncio.all_tasks()
    async with AsyncKrmClient(server.url, env={}) as krm, krm.watch("pods") as watch:
        await anext(watch)
        assert await asyncio.to_thread(told.wait, 10)
        for _ in range(100):  # until what came has been handled as far as it can be
            await asyncio.sleep(0)
    left = asyncio.all_tasks() - before
    if left:
        await asyncio.wait(left, timeout=5)
    assert not {task for task in left if not task.done()}


async def test_goodbye_behind_unread_events_is_heard(server: TellingServer) -> None:
    told = threading.Event()

    def many(teller: Teller) -> None:
        for number in range(200):
            teller.tell("ADDED", "p" * 2000, f"t-{number}")
        told.set()
        teller.wait()

    server.play(many)
    settings = ClientSettings.of(server.url, env={})
    transport = subscriptions._BoundedTransport(**subscriptions._options(settings))
    async with gql.Client(transport=transport, fetch_schema_from_transport=False) as session:
        with contextlib.suppress(TransportError):
            async for _ in session.subscribe(gql.gql("subscription { pods { type } }")):
                assert told.wait(10), "while this loop stands still, so that what has come lies unread"
                assert isinstance(transport.adapter, WebSocketsAdapter)
                websocket, transport.adapter.websocket = transport.adapter.websocket, None  # as when gql closes it
                break
        assert websocket is not None
        await websocket.close()
    assert websocket.close_code == 1000, "not 1006, which is what a server that says nothing ends as"


def test_reader_that_is_far_behind_can_leave(server: TellingServer, krm: KrmClient) -> None:
    def many(teller: Teller) -> None:
        for number in range(5000):
            teller.tell("MODIFIED", "p" * 2000, f"t-{number}")

    server.play(many)
    watch = krm.watch("pods")
    next(watch)
    watch.close()
    assert server.gone.acquire(timeout=10)


def test_explain_shows_the_subscription(krm: KrmClient) -> None:
    explained = krm.explain(krm.watch, "nodes", name="n1")
    assert explained.query.startswith("subscription ($name: String, $resumeToken: String)")
    assert explained.variables == {"name": "n1"}


def test_unknown_argument_is_named(krm: KrmClient) -> None:
    arguments: dict[str, Any] = {"order_by": "metadata.name"}
    with pytest.raises(TypeError, match="order_by"):
        krm.watch("pods", **arguments)


async def test_awaited_watch(server: TellingServer) -> None:
    server.play(_three)
    async with AsyncKrmClient(server.url, env={}) as krm:
        names = []
        async with krm.watch("pods", timeout_seconds=0.5) as watch:
            async for event in watch:
                names.append(event["object"].metadata.name)
            assert watch.resume_token == "t-2"
        assert names == ["p-0", "p-1", "p-2"]
        async with krm.watch("pods") as watch:
            await anext(watch)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
