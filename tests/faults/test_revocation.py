"""Rights and tokens that are taken away: what a running API still shows, by the clock on the wall.

Elsewhere the clock is injected; here ``krm run`` is a process of its own, the API server says what is true, and time
passes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from krm import simulator
from krm.simulator import kinds
from tests.integration.auth.conftest import USERS, grant
from tests.integration.cli import programs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

REVOKED_S = 10.0
"""The promise: from the moment that a right or a token is gone to the last answer that rests on it ..."""
SOCKET_S = 60.0 + REVOKED_S
"""... and for a token on a WebSocket that is open."""
GRANTED_S = 3.0
"""Until something that was given shows."""
SLOWNESS_S = 2.0
"""What a loaded machine may take to tell."""
QUERY = {"query": "{ pods { totalCount } }"}
WATCH = {"type": "subscribe", "id": "1", "payload": {"query": "subscription { pods { type } }"}}


class Caller:
    """Somebody with a token, over HTTP and WebSocket."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session, self._url, self._token = session, f"{url}/graphql", token

    async def asks(self) -> str:
        """ "data", the code of the error, or the status of a refusal."""
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._session.post(self._url, json=QUERY, headers=headers) as answer:
            said = await answer.json()
            if answer.status != 200:
                return str(answer.status)
            return said["errors"][0]["extensions"]["code"] if said.get("errors") else "data"

    async def connects(self) -> aiohttp.ClientWebSocketResponse:
        socket: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
            self._url, protocols=["graphql-transport-ws"]
        )
        await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {self._token}"}})
        return socket

    async def is_let_in(self) -> bool:
        socket = await self.connects()
        try:
            return (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT
        finally:
            await socket.close()

    async def subscribes(self) -> aiohttp.ClientWebSocketResponse:
        """A subscription that shows something; that the right to watch was given may be known 3 s later."""
        began = time.monotonic()
        while True:
            socket = await self.connects()
            assert (await socket.receive_json(timeout=10))["type"] == "connection_ack"
            await socket.send_json(WATCH)
            if (await socket.receive_json(timeout=10))["type"] == "next":
                return socket
            assert time.monotonic() - began < GRANTED_S + SLOWNESS_S
            await socket.close()


async def gone_after(look: Callable[[], Awaitable[bool]], limit_s: float) -> float:
    """Seconds until ``look`` is true; asks all the time, so that whatever is remembered is renewed if it can be."""
    began = time.monotonic()
    while not await look():
        assert time.monotonic() - began < limit_s + SLOWNESS_S, f"still there after {limit_s} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def last_word(socket: aiohttp.ClientWebSocketResponse, limit_s: float) -> dict[str, Any] | int | None:
    """The error that ends a subscription, or the code with which the socket is closed."""
    async with asyncio.timeout(limit_s + SLOWNESS_S):
        async for message in socket:
            said = json.loads(message.data)
            if said["type"] == "error":
                found: dict[str, Any] = said["payload"][0]["extensions"]
                return found
    return socket.close_code


async def test_what_is_taken_away_is_gone_within_ten_seconds(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("t")
    async with simulator.serve(world=simulator.World(pods=30, seed=3), churn=20.0, auth=True, tokens=USERS) as cluster:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig("admin-token"))
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
        arguments = ("run", "--port", "0", "--resources", "pods", "--kubeconfig", str(kubeconfig))
        with programs.long(folder, *arguments, env={"KRM_AUTH": "kubernetes"}) as running:
            await asyncio.to_thread(running.until_ready)
            async with aiohttp.ClientSession() as session:
                ann = Caller(session, running.url, "ann-token")
                assert await ann.asks() == "FORBIDDEN"
                grant(cluster.store, "ann", [rule])

                async def may() -> bool:
                    return await ann.asks() == "data"

                async def may_not() -> bool:
                    return await ann.asks() == "FORBIDDEN"

                async def is_unknown() -> bool:
                    return await ann.asks() == "401"

                async def is_shut_out() -> bool:
                    return not await ann.is_let_in()

                print(
                    f"\na right given: {await gone_after(may, GRANTED_S):.1f} s until the first answer (3 s promised)"
                )

                socket = await ann.subscribes()
                cluster.store.delete(kinds.CLUSTER_ROLE_BINDINGS, "", "ann")
                told = asyncio.create_task(last_word(socket, REVOKED_S))
                print(f"a right taken: {await gone_after(may_not, REVOKED_S):.1f} s until FORBIDDEN over HTTP (10 s)")
                ended = await told
                assert isinstance(ended, dict), ended
                assert ended["code"] == "FORBIDDEN"
                await socket.close()

                grant(cluster.store, "ann", [rule])
                await gone_after(may, GRANTED_S)
                socket, began = await ann.subscribes(), time.monotonic()
                del cluster.access.tokens["ann-token"]
                both = await asyncio.gather(gone_after(is_unknown, REVOKED_S), gone_after(is_shut_out, REVOKED_S))
                print(f"a token revoked: {both[0]:.1f} s until 401, {both[1]:.1f} s until no socket opens (10 s)")
                assert await last_word(socket, SOCKET_S) == 4401
                print(f"an open socket of that token closed after {time.monotonic() - began:.1f} s (70 s)")
