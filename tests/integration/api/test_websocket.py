"""graphql-transport-ws over a real socket, with the library that the client uses."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import aiohttp
import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from krm.api import sockets
from tests.integration.api.conftest import Running
from tests.sources import pod
from tests.waiting import wait_until

WATCH = "subscription { pods { type object { metadata { name } } resumeToken } }"


async def opened(api: Running, **more: Any) -> aiohttp.ClientWebSocketResponse:
    socket: aiohttp.ClientWebSocketResponse = await api.client.ws_connect(
        f"{api.url}/graphql", protocols=["graphql-transport-ws"], **more
    )
    return socket


async def begun(api: Running) -> aiohttp.ClientWebSocketResponse:
    socket = await opened(api)
    await socket.send_json({"type": "connection_init"})
    assert await socket.receive_json(timeout=5) == {"type": "connection_ack"}
    return socket


def subscribe(query: str, identifier: str = "1", **payload: Any) -> dict[str, Any]:
    return {"type": "subscribe", "id": identifier, "payload": {"query": query, **payload}}


async def closed_with(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        continue
    return socket.close_code


async def test_the_clients_library_gets_events(api: Running) -> None:
    transport = WebsocketsTransport(url=api.url.replace("http", "ws") + "/graphql")
    seen = []
    async with Client(transport=transport) as session:
        async for event in session.subscribe(gql(WATCH)):
            seen.append((event["pods"]["type"], event["pods"]["object"]["metadata"]["name"]))
            if len(seen) == 20:
                api.source.change("pods", pod("new-1"))
            if len(seen) == 21:
                break
    assert seen[0] == ("ADDED", "p-0")
    assert seen[-1] == ("ADDED", "new-1")


async def test_queries_are_answered_and_completed(api: Running) -> None:
    socket = await begun(api)
    await socket.send_json(subscribe("{ pods { totalCount nodes { kind } } }"))
    answer = await socket.receive_json(timeout=5)
    assert answer["type"] == "next"
    assert answer["payload"]["data"]["pods"]["totalCount"] == 20
    assert await socket.receive_json(timeout=5) == {"type": "complete", "id": "1"}
    await socket.close()


@pytest.mark.parametrize(
    ("payload", "code"),
    {
        "{ nope }": "GRAPHQL_VALIDATION",
        "subscription { pods { nope } }": "GRAPHQL_VALIDATION",
        "subscription { pods(resumeToken: 5) { type } }": "GRAPHQL_VALIDATION",
        'subscription { pods(labelSelector: "!") { type } }': "SELECTOR_INVALID",
        "subscription { " + "a: pods { type } " * 60 + "}": "QUERY_TOO_COMPLEX",
        "": "BAD_REQUEST",
    }.items(),
)
async def test_what_is_refused_is_an_error_message_with_its_code(api: Running, payload: str, code: str) -> None:
    socket = await begun(api)
    await socket.send_json(subscribe(payload))
    answer = await socket.receive_json(timeout=5)
    assert (answer["type"], answer["id"]) == ("error", "1")
    assert answer["payload"][0]["extensions"]["code"] == code
    await socket.send_json({"type": "ping"})
    while (await socket.receive_json(timeout=5))["type"] != "pong":  # the socket lives on
        continue
    await socket.close()


async def test_a_completed_subscription_is_silent(api: Running) -> None:
    socket = await begun(api)
    await socket.send_json(subscribe('subscription { nodes(name: "n") { type } }'))
    assert (await socket.receive_json(timeout=5))["type"] == "next"
    await socket.send_json({"type": "complete", "id": "1"})
    await socket.send_json({"type": "ping"})
    assert await socket.receive_json(timeout=5) == {"type": "pong"}
    await wait_until(lambda: not api.source.feeds["nodes"])
    await socket.close()


async def test_a_subscriber_that_goes_leaves_nothing(api: Running) -> None:
    socket = await begun(api)
    await socket.send_json(subscribe(WATCH))
    await socket.receive_json(timeout=5)
    assert api.source.feeds["pods"]
    await socket.close()
    await wait_until(lambda: not api.source.feeds["pods"])


@pytest.mark.parametrize(
    ("messages", "code"),
    {
        "no JSON": (["x"], 4400),
        "no object": (["[]"], 4400),
        "unknown type": (['{"type": "x"}'], 4400),
        "too early": (['{"type": "subscribe", "id": "1", "payload": {"query": "{ nodes { totalCount } }"}}'], 4401),
        "twice": (['{"type": "connection_init"}', '{"type": "connection_init"}'], 4429),
        "no id": (['{"type": "connection_init"}', '{"type": "subscribe", "payload": {"query": "{ a }"}}'], 4400),
        "no payload": (['{"type": "connection_init"}', '{"type": "subscribe", "id": "1"}'], 4400),
        "same id": (
            [
                '{"type": "connection_init"}',
                *['{"type": "subscribe", "id": "1", "payload": {"query": "subscription { pods { type } }"}}'] * 2,
            ],
            4409,
        ),
    }.values(),
    ids=["no JSON", "no object", "unknown type", "too early", "twice", "no id", "no payload", "same id"],
)
async def test_what_breaks_the_protocol_closes_the_socket(api: Running, messages: list[str], code: int) -> None:
    socket = await opened(api)
    for message in messages:
        await socket.send_str(message)
    assert await asyncio.wait_for(closed_with(socket), 5) == code


async def test_a_large_message_closes_the_socket(api: Running) -> None:
    socket = await begun(api)
    await socket.send_str(" " * 300_000)
    assert await asyncio.wait_for(closed_with(socket), 5) == 1009


async def test_the_older_protocol_and_other_origins_are_refused(api: Running) -> None:
    socket = await api.client.ws_connect(f"{api.url}/graphql", protocols=["graphql-ws"])
    assert await asyncio.wait_for(closed_with(socket), 5) == 4406
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await opened(api, headers={"Origin": "https://elsewhere.example"})
    assert refused.value.status == 403
    socket = await opened(api, headers={"Origin": api.url})
    await socket.close()


async def test_who_never_begins_is_given_up(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "INIT_TIMEOUT_S", 0.05)
    assert await asyncio.wait_for(closed_with(await opened(api)), 5) == 4408


async def test_a_subscription_over_post_is_refused(api: Running) -> None:
    status, answer = await api.ask(WATCH)
    assert (status, answer["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")
    assert "WebSocket" in answer["errors"][0]["message"]


LARGE = 'subscription { pods(name: "p-0") { type object { metadata { resourceVersion } object } resumeToken } }'


def grow(api: Running, first: int, last: int) -> None:
    """Changes of a pod of 600 kB, which soon fill what a socket takes without a reader."""
    for number in range(first, last):
        api.source.change("pods", pod("p-0", number=number, status={"message": random.randbytes(300_000).hex()}))


async def test_who_reads_nothing_is_told_why_and_closed(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SEND_TIMEOUT_S", 0.3)
    socket = await begun(api)
    await socket.send_json(subscribe(LARGE))
    await socket.receive_json(timeout=5)
    grow(api, 1, 60)
    await wait_until(lambda: not api.source.feeds["pods"])
    seen = [message async for message in socket]
    versions = [
        int(json.loads(m.data)["payload"]["data"]["pods"]["object"]["metadata"]["resourceVersion"]) for m in seen
    ]
    assert versions == list(range(1_001, 1_001 + len(versions)))  # each once, in order, up to the end
    assert len(versions) < 59
    assert socket.close_code == sockets.TRY_AGAIN_LATER


async def test_who_falls_behind_is_told_to_begin_again(api: Running) -> None:
    api.source.feed_most = 5
    socket = await begun(api)
    await socket.send_json(subscribe(LARGE))
    await socket.receive_json(timeout=5)
    for number in range(1, 60):
        grow(api, number, number + 1)
        await asyncio.sleep(0)
    told: list[tuple[str, Any]] = []
    while not told or told[-1] != ("ADDED", "1059"):
        event = (await socket.receive_json(timeout=20))["payload"]["data"]["pods"]
        told.append((event["type"], event["object"] and event["object"]["metadata"]["resourceVersion"]))
    place = told.index(("RESYNC", None))
    assert told[:place] == [("MODIFIED", str(1_001 + n)) for n in range(place)]
    assert told[place:] == [("RESYNC", None), ("ADDED", "1059")]
    await socket.close()
