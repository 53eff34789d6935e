"""The store on both servers that it must work on: Debian's Redis, as old as may be, and the wheel's Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import redis as blocking

from krm.resources import PODS
from krm.settings import Secret
from krm.store import local
from krm.store.connect import Store, open_store
from krm.store.reading import TableStore
from krm.store.writing import EventWriter, ListWriter, TableWriter
from tests import servers
from tests.integration.store.samples import PREFIX, Admin


@pytest.fixture(scope="session", params=["redis", "valkey"])
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that lasts as long as its tests."""
    if request.param == "redis":
        with servers.start_redis() as server:
            yield server.url
    else:
        with local.LocalRedis(program=local.find_program(path="")) as server:
            yield server.url


@pytest.fixture
def admin(server_url: str) -> Iterator[Admin]:
    """A client of the empty server that may do anything; what it configures is undone."""
    with blocking.Redis.from_url(server_url) as client:
        client.flushall()
        client.script_flush()
        yield client
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
        for user in client.acl_users():
            if user != "default":
                client.acl_deluser(user)


@pytest.fixture
async def store(server_url: str, admin: Admin) -> AsyncIterator[Store]:
    """A connection to the empty server."""
    opened = open_store(Secret(server_url))
    yield opened
    await opened.close()


@pytest.fixture
def table(store: Store) -> TableStore:
    """The pods of the cluster ``c``, for reading."""
    found = TableStore(store, "c", PODS)
    assert found.keys.prefix == PREFIX
    return found


@pytest.fixture
async def streamer(store: Store, table: TableStore) -> EventWriter:
    """A streamer that holds its fence."""
    writer = EventWriter(store, table)
    assert await writer.acquire() == 0
    return writer


@pytest.fixture
async def verifier(store: Store, table: TableStore) -> ListWriter:
    """A verifier that holds its fence."""
    writer = ListWriter(store, table)
    assert await writer.acquire() == 0
    return writer


NewAggregator = Callable[[], Awaitable[TableWriter]]


@pytest.fixture
def new_aggregator(store: Store, table: TableStore) -> NewAggregator:
    """Makes aggregators that hold their fence."""

    async def made() -> TableWriter:
        writer = TableWriter(store, table, events_max=1_000, retention_s=60)
        assert await writer.acquire() == 0
        return writer

    return made


@pytest.fixture
async def aggregator(new_aggregator: NewAggregator) -> TableWriter:
    """An aggregator that holds its fence."""
    return await new_aggregator()
