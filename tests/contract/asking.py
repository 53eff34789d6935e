"""How the tests talk to a simulated API server over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from krm import simulator

Json = dict[str, Any]

QUICK = simulator.ServerSettings(
    watch=simulator.WatchSettings(last_bookmark_s=0.2),
    write=simulator.WriteSettings(grace_scale=0.005),
    fresh_wait_s=0.05,
    control=True,
)
"""As the real server, with the long waits cut short."""

MERGE = "application/merge-patch+json"


class Client:
    """A session with one server."""

    def __init__(self, session: aiohttp.ClientSession, sim: simulator.Simulation) -> None:
        self.session, self.sim = session, sim

    async def ask(
        self, method: str, path: str, body: Any = None, *, media: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        """(status, parsed body) of one request."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.request(method, path, data=data, headers=sent) as response:
            raw = await response.read()
            return response.status, json.loads(raw) if "json" in response.content_type else raw

    async def get(self, path: str, **headers: str) -> Json:
        """The body of a GET that must succeed."""
        code, body = await self.ask("GET", path, **headers)
        assert code == 200, body
        return dict(body)

    async def names(self, path: str) -> list[str]:
        """The names in a list."""
        return [item["metadata"]["name"] for item in (await self.get(path))["items"]]

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[Stream]:
        """A watch, open while the block lasts."""
        joint = "&" if "?" in path else "?"
        async with self.session.get(f"{path}{joint}watch=1") as response:
            assert response.status == 200, await response.text()
            yield Stream(response)


class Stream:
    """The events of a watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, timeout_s: float = 5.0) -> Json | None:
        """The next event; None when the stream has ended properly."""
        async with asyncio.timeout(timeout_s):
            line = await self.response.content.readline()
        return json.loads(line) if line else None

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        found: list[tuple[str, str]] = []
        while len(found) < count and (event := await self.next()) is not None:
            found.append((event["type"], event["object"]["metadata"].get("name", "")))
        return found

    async def rest(self) -> list[Json]:
        """All events until the stream ends."""
        found: list[Json] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found

    async def is_silent(self, for_s: float = 0.15) -> bool:
        """Whether nothing comes for a moment."""
        try:
            await self.next(for_s)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def serving(settings: simulator.ServerSettings = QUICK, **more: Any) -> AsyncIterator[Client]:
    """A server with an empty store (unless `world` or `store` is given) and a client of it."""
    async with (
        simulator.serve(settings=settings, **more) as sim,
        aiohttp.ClientSession(sim.url, headers={"User-Agent": "tester/1"}) as session,
    ):
        yield Client(session, sim)


async def make_namespace(client: Client, *names: str) -> None:
    """Create namespaces."""
    for name in names:
        code, body = await client.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert code == 201, body


def pod(name: str, **labels: str) -> Json:
    """A small pod that is scheduled, as a client posts it."""
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": "n1", "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1"}]},
    }
