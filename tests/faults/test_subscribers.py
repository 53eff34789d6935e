"""A thousand subscribers on one replica: each change once and in order, and on again at another replica."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest

from tests.faults.figures import quantile
from tests.integration.api.conftest import Running, running
from tests.sources import FilledSource, pod

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SUBSCRIBERS: Final = 1_000
NAMESPACES: Final = 20
CHANGES: Final = 200
MISSED: Final = 60
PATIENCE_S: Final = 120.0
FIELDS: Final = "{ type resumeToken object { metadata { name resourceVersion } status { phase } } }"


class Subscriber:
    """One WebSocket that watches one namespace, or all of them."""

    def __init__(self, number: int) -> None:
        self.namespace = None if number % 50 == 0 else f"ns-{number % NAMESPACES}"
        self.token: str | None = None
        self.seen: list[tuple[str, str]] = []
        self.told_at: list[float] = []

    def meets(self, namespace: str) -> bool:
        return self.namespace in (None, namespace)

    @asynccontextmanager
    async def connected(
        self, api: Running, client: aiohttp.ClientSession
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        arguments = ['where: { path: "status.phase", ne: "Failed" }']
        if self.namespace is not None:
            arguments.append(f'namespace: "{self.namespace}"')
        if self.token is not None:
            arguments.append(f'resumeToken: "{self.token}"')
        query = f"subscription {{ pods({', '.join(arguments)}) {FIELDS} }}"
        async with client.ws_connect(f"{api.url}/graphql", protocols=["graphql-transport-ws"]) as socket:
            await socket.send_json({"type": "connection_init"})
            await socket.receive_json(timeout=PATIENCE_S)
            await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
            yield socket

    async def take(self, socket: aiohttp.ClientWebSocketResponse, count: int) -> None:
        """Read so many events."""
        for _ in range(count):
            message: dict[str, Any] = await socket.receive_json(timeout=PATIENCE_S)
            event = message["payload"]["data"]["pods"]
            self.token = event["resumeToken"]
            self.told_at.append(time.monotonic())
            self.seen.append((event["type"], event["object"] and event["object"]["metadata"]["resourceVersion"]))


def changed(number: int) -> tuple[str, dict[str, Any]]:
    namespace = f"ns-{number % NAMESPACES}"
    return namespace, pod(f"p-{number % 100}", namespace, number=1_000 + number, phase="Running")


async def play(
    source: FilledSource, pairs: list[tuple[Subscriber, aiohttp.ClientWebSocketResponse]], numbers: range
) -> list[float]:
    """Make changes, one every few milliseconds; how long each took to reach its last subscriber."""
    made: dict[str, list[float]] = {f"ns-{n}": [] for n in range(NAMESPACES)}
    order: list[tuple[str, float]] = []
    expected = {s: sum(s.meets(changed(n)[0]) for n in numbers) for s, _ in pairs}
    before = {s: len(s.told_at) for s, _ in pairs}
    reading = [asyncio.create_task(s.take(socket, expected[s])) for s, socket in pairs]
    for number in numbers:
        namespace, obj = changed(number)
        order.append((namespace, time.monotonic()))
        made[namespace].append(order[-1][1])
        source.change("pods", obj)
        await asyncio.sleep(0.02)
    await asyncio.gather(*reading)
    last = [0.0] * len(order)
    for subscriber, _ in pairs:
        mine = [place for place, (namespace, _) in enumerate(order) if subscriber.meets(namespace)]
        for place, at in zip(mine, subscriber.told_at[before[subscriber] :], strict=True):
            last[place] = max(last[place], at - order[place][1])
    return last


async def test_a_thousand_subscribers_are_told_each_change_once_and_go_on_at_another_replica() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    source = FilledSource(
        {"pods": [pod(f"p-{n}", f"ns-{n % NAMESPACES}", number=n, phase="Running") for n in range(100)]}
    )
    subscribers = [Subscriber(number) for number in range(SUBSCRIBERS)]
    versions = {s: [str(2_000 + n) for n in range(CHANGES) if s.meets(changed(n)[0])] for s in subscribers}
    connector = aiohttp.TCPConnector(limit=0)
    async with running(source) as api, running(source) as other, aiohttp.ClientSession(connector=connector) as client:
        async with open_all(api, client, subscribers) as pairs:
            rows = [100 if s.namespace is None else 100 // NAMESPACES for s in subscribers]
            await asyncio.gather(*(s.take(socket, count) for (s, socket), count in zip(pairs, rows, strict=True)))
            for subscriber in subscribers:
                assert {kind for kind, _ in subscriber.seen} == {"ADDED"}
                subscriber.seen.clear()
            cpu = time.process_time()
            delays = await play(source, pairs, range(CHANGES))
            cpu = time.process_time() - cpu
        events = sum(map(len, versions.values()))
        for subscriber in subscribers:
            assert subscriber.seen == [("MODIFIED", version) for version in versions[subscriber]]
            subscriber.seen.clear()
        for number in range(CHANGES, CHANGES + MISSED):
            source.change("pods", changed(number)[1])
        missed = {s: [n for n in range(CHANGES, CHANGES + MISSED) if s.meets(changed(n)[0])] for s in subscribers}
        async with open_all(other, client, subscribers) as pairs:
            await asyncio.gather(*(s.take(socket, len(missed[s])) for s, socket in pairs))
        for subscriber in subscribers:
            assert subscriber.seen == [("MODIFIED", str(2_000 + n)) for n in missed[subscriber]]
    print(
        f"\n{SUBSCRIBERS:,} subscribers, {CHANGES} changes, {events:,} events told: a change has reached its last"
        f" subscriber after p50 {quantile(delays, 0.5) * 1_000:.0f} ms, p99 {quantile(delays, 0.99) * 1_000:.0f} ms;"
        f" {1_000_000 * cpu / events:.0f} us of CPU an event, subscribers' side included"
    )


@asynccontextmanager
async def open_all(
    api: Running, client: aiohttp.ClientSession, subscribers: list[Subscriber]
) -> AsyncIterator[list[tuple[Subscriber, aiohttp.ClientWebSocketResponse]]]:
    """All of them connected, fifty at a time."""
    stacks = [each.connected(api, client) for each in subscribers]
    sockets: list[aiohttp.ClientWebSocketResponse] = []
    for start in range(0, len(stacks), 50):
        sockets += await asyncio.gather(*(stack.__aenter__() for stack in stacks[start : start + 50]))
    try:
        yield list(zip(subscribers, sockets, strict=True))
    finally:
        await asyncio.gather(*(stack.__aexit__(None, None, None) for stack in stacks[: len(sockets)]))
