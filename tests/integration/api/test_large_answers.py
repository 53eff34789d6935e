"""Large answers: sent while they are made, of one version of the table, whole or visibly not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
import pytest

from krm import resources
from krm.api import http
from krm.errors import CorruptData
from krm.schema import whole
from krm.store.rows import Codec, Row
from tests.integration.api.conftest import Running, running
from tests.integration.api.test_requests import POST, Held
from tests.sources import FilledSource, pod
from tests.waiting import wait_until

NOTE = os.urandom(25_000).hex()
WHOLE = {"query": "{ pods { totalCount nodes { object } } }"}
PODS = [pod(f"p-{n:03}", annotations={"n": NOTE}) for n in range(400)]
"""20 MB: more than the sockets between server and a client with a small one hold."""


def shown(body: bytes) -> list[Any]:
    return [node["object"] for node in orjson.loads(body)["data"]["pods"]["nodes"]]


async def begin(api: Running, limit: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A question whose answer nobody has read yet."""
    body = json.dumps(WHOLE).encode()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # else the machine may hold all of it
    sock.connect(("127.0.0.1", api.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
    writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await reader.readexactly(1_000)
    return reader, writer


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were made at a time, of whole objects."""
    counts: list[int] = []
    bodies = Codec.bodies

    def counted(self: Codec, rows: Sequence[Row]) -> Any:
        counts.append(len(rows))
        return bodies(self, rows)

    monkeypatch.setattr(Codec, "bodies", counted)
    return counts


async def test_it_comes_in_pieces_and_whole(made: list[int]) -> None:
    async with (
        running(FilledSource({"pods": PODS})) as api,
        api.client.post(f"{api.url}/graphql", json=WHOLE) as answer,
    ):
        body = await answer.read()
        assert answer.headers["Content-Type"] == "application/json"
        assert int(answer.headers["Content-Length"]) == len(body)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert shown(body) == PODS
    assert sum(made) == len(PODS)
    assert max(made) < 20


async def test_it_is_of_one_version_while_the_table_changes(made: list[int]) -> None:
    source = FilledSource({"pods": PODS})
    async with running(source) as api, api.client.post(f"{api.url}/graphql", json=WHOLE) as answer:
        begun = await answer.content.readexactly(100)
        assert sum(made) < len(PODS)
        source.change("pods", None, uid=PODS[-1]["metadata"]["uid"])
        source.change("pods", pod("p-398", annotations={"n": "other"}))
        source.change("pods", pod("p-999"))
        body = begun + await answer.read()
    assert shown(body) == PODS


async def test_a_damaged_object_breaks_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FilledSource({"pods": PODS})
    bodies = Codec.bodies

    def damaged(self: Codec, rows: Sequence[Row]) -> Any:
        if any(row.name == "p-300" for row in rows):
            raise CorruptData("a test damaged it")
        return bodies(self, rows)

    monkeypatch.setattr(Codec, "bodies", damaged)
    async with running(source) as api:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with api.client.post(f"{api.url}/graphql", json=WHOLE) as answer:
                await answer.read()
        assert (await api.ask("{ pods { totalCount } }"))[0] == 200


async def test_an_object_that_is_not_as_long_as_its_record_says_breaks_it_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Codec, "bodies", lambda _self, rows: [b"{}" for _ in rows])
    objects = whole.Objects(Codec(resources.PODS), FilledSource({"pods": PODS[:3]}).get(resources.PODS).rows())
    with pytest.raises(CorruptData):
        b"".join(objects.pieces())


async def test_its_size_is_checked_before_anything_is_made(made: list[int]) -> None:
    async with running(FilledSource({"pods": PODS}), max_response="10Mi") as api:
        status, answer = await api.ask(WHOLE["query"])
    assert status == 200
    assert answer["data"] == {"pods": None}
    assert "KRM_MAX_RESPONSE" in answer["errors"][0]["message"]
    assert not made


async def test_nothing_more_is_made_once_the_client_has_gone(made: list[int]) -> None:
    async with running(FilledSource({"pods": PODS})) as api:
        _reader, writer = await begin(api, 1_000)
        writer.transport.abort()
        await wait_until(lambda: not api.uvicorn.server_state.tasks, 20, "the answer is given up")
        assert sum(made) < len(PODS)


async def test_a_question_ends_when_its_client_has_gone() -> None:
    held = Held()
    async with running(held) as api:
        asking = asyncio.create_task(api.ask("{ nodes { totalCount } }"))
        await wait_until(lambda: held.arrived == 1)
        asking.cancel()
        await wait_until(lambda: not api.uvicorn.server_state.tasks, 20, "nobody waits for the answer")


async def test_what_takes_too_long_to_make_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(FilledSource({"pods": PODS})) as api:
        served: Any = api.uvicorn.config.app
        monkeypatch.setattr(served.asking.app, "_timeout_s", 0.0)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with api.client.post(f"{api.url}/graphql", json=WHOLE) as answer:
                await answer.read()


async def test_a_reader_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WRITE_TIMEOUT_S", 0.1)
    async with running(FilledSource({"pods": PODS})) as api:
        _reader, writer = await begin(api, 1_000)
        await wait_until(lambda: not api.uvicorn.server_state.connections, 20, "the connection is given up")
        writer.close()
        assert (await api.ask("{ pods { totalCount } }"))[0] == 200
