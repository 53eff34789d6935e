"""What is refused before GraphQL, and how; every refusal is JSON with a stable code, never a 500."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from krm.api import app, bodies, http
from tests.integration.api.conftest import Running, running
from tests.sources import FilledSource, node
from tests.waiting import wait_until

JSON = {"Content-Type": "application/json"}
POST = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GOOD = json.dumps({"query": "{ pods { totalCount } }"}).encode()


async def post(api: Running, body: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and the first error's code and text."""
    async with api.client.post(f"{api.url}/graphql", data=body, headers=headers or JSON) as answer:
        assert answer.content_type == "application/json"
        found = await answer.json()
        error: Any = found["errors"][0] if "errors" in found else {"extensions": {"code": ""}, "message": ""}
        return answer.status, f"{error['extensions']['code']} {error['message']}"


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "null": b"null",
    "a number": b"5",
    "a text": b'"query"',
    "invalid UTF-8": b'{"query": "\xff"}',
    "nested brackets": b"[" * 200_000,
    "a batch": b'[{"query": "{ pods { totalCount } }"}]',
    "no query": b"{}",
    "query is no text": b'{"query": 5}',
    "query is empty": b'{"query": " "}',
    "variables are no object": b'{"query": "{ pods { totalCount } }", "variables": []}',
    "operation name is no text": b'{"query": "{ pods { totalCount } }", "operationName": 1}',
    "unknown operation": b'{"query": "query A { pods { totalCount } }", "operationName": "B"}',
    "two operations": b'{"query": "query A { nodes { totalCount } } query B { pods { totalCount } }"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_is_no_request_is_refused(api: Running, body: bytes) -> None:
    status, error = await post(api, body)
    assert (status, error.split()[0]) == (400, "BAD_REQUEST")


async def test_a_refusal_names_the_member(api: Running) -> None:
    for member, body in {
        "variables": BODIES["variables are no object"],
        "query": b"{}",
        "operationName": BODIES["two operations"],
    }.items():
        assert member in (await post(api, body))[1]
    assert "BATCHING_DISABLED" in (await post(api, BODIES["a batch"]))[1]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "",
    ],
)
async def test_only_json_is_taken(api: Running, content_type: str) -> None:
    status, error = await post(api, GOOD, {"Content-Type": content_type})
    assert (status, error.split()[0]) == (415, "BAD_REQUEST")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_is_taken_however_it_is_spelled(api: Running, content_type: str) -> None:
    assert (await post(api, GOOD, {"Content-Type": content_type}))[0] == 200


async def test_a_query_in_the_url_is_refused(api: Running) -> None:
    async with api.client.get(f"{api.url}/graphql", params={"query": "{ pods { totalCount } }"}) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_refused(api: Running, method: str) -> None:
    async with api.client.request(method, f"{api.url}/graphql", data=GOOD, headers=JSON) as answer:
        assert answer.status == 405
        assert (await answer.json())["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_a_large_body_is_refused_by_its_announced_length(api: Running) -> None:
    head = POST + b"Content-Length: 99999999999\r\n\r\n"
    assert (await api.send(head)).startswith(b"HTTP/1.1 413")


async def test_a_large_body_without_a_length_is_refused(api: Running) -> None:
    async def endless() -> Any:
        for _ in range(1_000):
            yield b" " * 10_000

    status, _ = await post(api, endless())
    assert status == 413


async def test_a_body_that_unpacks_to_much_is_refused(api: Running) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 2**18
    status, error = await post(api, bomb, {**JSON, "Content-Encoding": "gzip"})
    assert (status, error.split()[0]) == (413, "BAD_REQUEST")


async def test_a_packed_body_is_taken(api: Running) -> None:
    assert (await post(api, gzip.compress(GOOD), {**JSON, "Content-Encoding": "gzip"}))[0] == 200
    assert (await post(api, b"no gzip", {**JSON, "Content-Encoding": "gzip"}))[0] == 400
    assert (await post(api, gzip.compress(GOOD)[:-5], {**JSON, "Content-Encoding": "gzip"}))[0] == 400
    assert (await post(api, GOOD, {**JSON, "Content-Encoding": "br"}))[0] == 415


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch, api: Running) -> None:
    monkeypatch.setattr(bodies.question, "__kwdefaults__", {"timeout_s": 0.05})
    head = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    answer = await api.send(head)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"BAD_REQUEST" in answer


async def test_headers_that_do_not_arrive_are_given_up(monkeypatch: pytest.MonkeyPatch, source: FilledSource) -> None:
    monkeypatch.setattr(http, "HEADERS_TIMEOUT_S", 0.05)
    async with running(source) as api:
        assert (await api.send(b"")).startswith(b"HTTP/1.1 408")
        assert (await api.send(b"GET / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408")
        async with api.client.get(f"{api.url}/healthz") as answer:
            assert answer.status == 200


async def test_large_headers_are_refused(api: Running) -> None:
    request = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1_000) for n in range(80))
        + b"\r\n"
    )
    assert (await api.send(request)).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("path", ["//graphql", "/graphql/", "/nothing", "/static/../app.py", "/static/%2e%2e/app.py"])
async def test_other_paths_are_not_found(api: Running, path: str) -> None:
    answer = await api.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")


async def test_http_1_0_and_rubbish_are_answered(api: Running) -> None:
    assert b" 200 " in (await api.send(b"GET /healthz HTTP/1.0\r\n\r\n")).splitlines()[0]
    assert (await api.send(b"\x16\x03\x01 rubbish\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_hostile_headers_and_texts_do_no_harm(api: Running) -> None:
    for text in ("\x00", "\u202e", "\ud800", "x" * 100_000):
        body = json.dumps({"query": "query Q($n: String) { pods(name: $n) { totalCount } }", "variables": {"n": text}})
        status, error = await post(api, body)
        assert (status, error.split()[0]) in ((200, "BAD_ARGUMENT"), (400, "BAD_REQUEST"))


class Held(FilledSource):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__({"nodes": [node("n")]})
        self.go = asyncio.Event()
        self.arrived = 0

    async def wait(self, *arguments: Any, **more: Any) -> Any:
        self.arrived += 1
        await self.go.wait()
        return await super().wait(*arguments, **more)


async def test_a_caller_with_too_much_in_flight_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    # Over HTTP/1.1 a connection has one request at a time; callers are told apart by more once they authenticate.
    monkeypatch.setattr(app.Api, "caller", staticmethod(lambda _request, _visitor: "one"))
    async with running(Held(), max_in_flight="2") as api:
        held = api.source
        assert isinstance(held, Held)
        first = [asyncio.create_task(api.ask("{ nodes { totalCount } }")) for _ in range(2)]
        await wait_until(lambda: held.arrived == 2)
        async with api.client.post(f"{api.url}/graphql", data=GOOD, headers=JSON) as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "1"
            assert (await answer.json())["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        held.go.set()
        assert [(await task)[0] for task in first] == [200, 200]
        assert (await api.ask("{ nodes { totalCount } }"))[0] == 200


async def test_queries_on_a_socket_are_in_flight_too_and_subscriptions_are_not() -> None:
    async with running(Held(), max_in_flight="2") as api:
        held = api.source
        assert isinstance(held, Held)
        async with api.client.ws_connect(f"{api.url}/graphql", protocols=["graphql-transport-ws"]) as socket:
            await socket.send_json({"type": "connection_init"})
            await socket.receive_json(timeout=5)
            asked = ["subscription { nodes { type } }", *["{ nodes { totalCount } }"] * 3]
            for number, query in enumerate(asked):
                await socket.send_json({"type": "subscribe", "id": str(number), "payload": {"query": query}})
            refused = await socket.receive_json(timeout=10)
            assert (refused["type"], refused["id"]) == ("error", "3")
            assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
            assert held.arrived == 3
            held.go.set()
            seen = [await socket.receive_json(timeout=10) for _ in range(5)]
            assert sorted((m["id"], m["type"]) for m in seen) == [
                ("0", "next"),
                *[(number, kind) for number in "12" for kind in ("complete", "next")],
            ]
            await socket.send_json({"type": "subscribe", "id": "4", "payload": {"query": "{ nodes { totalCount } }"}})
            assert (await socket.receive_json(timeout=10))["type"] == "next"
