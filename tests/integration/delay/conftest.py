"""A real InfluxDB engine, one a run, with a database a test behind the write route of version 2."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from krm.resources import PODS
from krm.settings import Secret
from krm.simulator.influx import LocalInflux, WriteRoute
from krm.store.connect import Store, open_store
from krm.store.reading import TableStore
from krm.store.writing import EventWriter
from tests import servers

_NUMBERS = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Database:
    """An empty database of a real engine."""

    local: LocalInflux
    name: str
    url: str
    """Where it takes writes of version 2."""

    async def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of all series that a query gives, tags as further columns."""
        answer: Any = await self.local.query(query, self.name)
        (result,) = answer["results"]
        assert "error" not in result, (query, result)
        return [
            {**series.get("tags", {}), **dict(zip(series["columns"], values, strict=True))}
            for series in result.get("series", ())
            for values in series["values"]
        ]


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalInflux]:
    """Debian's influxd."""
    program = servers.influxd_program()
    local = LocalInflux(program.path, program.env())
    try:
        local.spawn()
        asyncio.run(local.ready())
        yield local
    finally:
        local.stop()


@asynccontextmanager
async def served(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """The URL of an application on loopback."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def database(engine: LocalInflux) -> AsyncIterator[Database]:
    """A database of the test."""
    name = f"krm{next(_NUMBERS)}"
    await engine.query(f'CREATE DATABASE "{name}"')
    async with served(WriteRoute(engine.url).application()) as url:
        yield Database(local=engine, name=name, url=url)
    await engine.query(f'DROP DATABASE "{name}"')


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """A connection to an empty Redis."""
    opened = open_store(Secret(redis_url))
    yield opened
    await opened.close()


@pytest.fixture
def table(store: Store) -> TableStore:
    """The pods of the cluster ``c``."""
    return TableStore(store, "c", PODS)


@pytest.fixture
async def streamer(store: Store, table: TableStore) -> EventWriter:
    """A streamer that holds its fence."""
    writer = EventWriter(store, table)
    assert await writer.acquire() == 0
    return writer
