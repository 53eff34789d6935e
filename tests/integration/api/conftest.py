"""A real server on a real socket, over replicas that the test fills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from krm.api import app, http, server
from krm.auth.callers import ANYBODY, Callers
from krm.settings import Settings
from tests.sources import FilledSource, node, pod
from tests.waiting import wait_until


@dataclass
class Running:
    """A server, and a client for it."""

    url: str
    port: int
    source: FilledSource
    client: aiohttp.ClientSession
    uvicorn: http.Server

    async def ask(self, query: str, **more: Any) -> tuple[int, dict[str, Any]]:
        async with self.client.post(f"{self.url}/graphql", json={"query": query, **more}) as answer:
            return answer.status, await answer.json()

    async def send(self, raw: bytes, *, wait_s: float = 15.0) -> bytes:
        """What the server answers to these bytes until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            return await asyncio.wait_for(reader.read(), wait_s)
        finally:
            writer.close()


@asynccontextmanager
async def running(source: FilledSource, callers: Callers = ANYBODY, **flags: object) -> AsyncIterator[Running]:
    settings = Settings.load({"port": 0, **flags}, {})
    server.check(settings)
    api = app.create(settings, source, callers)
    listening = server.listen(settings)
    uvicorn = http.Server(server.configuration(settings, api), api.state.api.stop)
    life = asyncio.create_task(uvicorn.serve(sockets=[listening]))
    try:
        await wait_until(lambda: uvicorn.started)
        async with aiohttp.ClientSession() as client:
            port = listening.getsockname()[1]
            yield Running(server.url(settings, listening), port, source, client, uvicorn)
    finally:
        uvicorn.should_exit = True
        await life


@pytest.fixture
def source() -> FilledSource:
    return FilledSource({"pods": [pod(f"p-{n}", number=n) for n in range(20)], "nodes": [node("n")]})


@pytest.fixture
async def api(source: FilledSource) -> AsyncIterator[Running]:
    async with running(source) as started:
        yield started
