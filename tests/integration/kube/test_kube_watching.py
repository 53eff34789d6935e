from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler

from krm import errors
from krm.kube import framing, watching
from krm.kube.connect import Cluster
from krm.kube.watching import EventType, WatchEvent
from tests.integration.kube import apiserver
from tests.integration.kube.conftest import Open

PODS = "/api/v1/pods"


def line(type_: str, version: str, **members: Any) -> bytes:
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "é", "resourceVersion": version}, **members}
    return json.dumps({"type": type_, "object": obj}, ensure_ascii=False).encode() + b"\n"


def bookmark(version: str, **annotations: str) -> bytes:
    meta = {"resourceVersion": version, **({"annotations": annotations} if annotations else {})}
    return json.dumps({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": meta}}).encode() + b"\n"


def error(code: int, message: str) -> bytes:
    status = {"kind": "Status", "status": "Failure", "message": message, "code": code, "metadata": {}}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


def watch(cluster: Cluster, version: str = "5", **options: Any) -> AsyncGenerator[list[WatchEvent], None]:
    return watching.watch(cluster, PODS, version, **{"timeout_s": 60, "silence_s": 10, **options})


async def collect(cluster: Cluster, **options: Any) -> tuple[list[str], Exception | None]:
    """Versions of all events, and what ended the watch."""
    got: list[str] = []
    try:
        async for batch in watch(cluster, **options):
            assert batch
            got += [event.version for event in batch]
    except errors.KrmError as failure:
        return got, failure
    return got, None


async def test_events_come_as_they_were_sent_until_the_server_ends(connected: Open) -> None:
    sent = [line("ADDED", "6"), line("MODIFIED", "7"), bookmark("9"), line("DELETED", "10")]
    async with apiserver.running(apiserver.stream(*sent)) as server:
        cluster = await connected(server.url)
        opened: list[bool] = []
        events = [e async for batch in watch(cluster, on_open=lambda: opened.append(True)) for e in batch]
        types = [EventType.ADDED, EventType.MODIFIED, EventType.BOOKMARK, EventType.DELETED]
        assert [(e.type, e.version) for e in events] == list(zip(types, ["6", "7", "9", "10"], strict=True))
        assert events[0].raw == sent[0][len(b'{"type": "ADDED", "object": ') : -2]
        assert opened == [True]
        assert cluster.bytes_received == sum(map(len, sent))
        assert cluster.requests == 1


async def test_what_comes_while_it_rests_is_left_where_it_is_and_read_in_one_piece(
    connected: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[bytes] = []
    receive = ResponseHandler.data_received

    def received(self: ResponseHandler, data: bytes) -> None:
        pieces.append(data)
        receive(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", received)
    sent, more = [line("ADDED", "6"), line("MODIFIED", "7"), line("MODIFIED", "8")], asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        first, *others = [b"%x\r\n%b\r\n" % (len(one), one) for one in sent]
        writer.write(apiserver.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}) + first)
        await asyncio.wait_for(more.wait(), 10)
        for chunk in others:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)  # its own turn of the loop
        written.set()
        await asyncio.wait_for(rested.wait(), 10)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    written, rested, rests = asyncio.Event(), asyncio.Event(), []

    async def rest(events: int) -> None:
        rests.append(events)
        more.set()
        before = len(pieces)
        await asyncio.wait_for(written.wait(), 10)
        for _ in range(20):  # on one machine what was written can be read at once
            await asyncio.sleep(0)
        assert len(pieces) == before
        rested.set()

    async with apiserver.running(answer) as server:
        cluster = await connected(server.url)
        batches = [[event.version for event in batch] async for batch in watch(cluster, rest=rest)]
        assert batches == [["6"], ["7", "8"]]
        assert rests == [1, 2]


async def test_what_is_asked_for(connected: Open) -> None:
    async with apiserver.running(apiserver.stream()) as server:
        cluster = await connected(server.url)
        await collect(cluster, params={"labelSelector": "a=b"}, timeout_s=289.6)
        await collect(cluster, version="", initial_events=True, bookmarks=False)  # their end is a bookmark
        await collect(cluster, bookmarks=False)
        plain = {"watch": "1", "timeoutSeconds": "60", "resourceVersion": "5"}
        assert [r.query for r in server.requests] == [
            {**plain, "allowWatchBookmarks": "true", "timeoutSeconds": "290", "labelSelector": "a=b"},
            {
                "watch": "1",
                "timeoutSeconds": "60",
                "allowWatchBookmarks": "true",
                "sendInitialEvents": "true",
                "resourceVersionMatch": "NotOlderThan",
            },
            plain,
        ]
        assert {r.path for r in server.requests} == {PODS}


@pytest.mark.parametrize("version", ["", "0"])
async def test_a_watch_from_no_version_is_refused(connected: Open, version: str) -> None:
    async with apiserver.running(apiserver.stream()) as server:
        cluster = await connected(server.url)
        with pytest.raises(ValueError, match="cannot be resumed"):
            await anext(aiter(watch(cluster, version)))
        assert server.requests == []


async def test_the_end_of_initial_events_is_told(connected: Open) -> None:
    sent = [line("ADDED", "900"), line("ADDED", "100"), bookmark("950", **{"k8s.io/initial-events-end": "true"})]
    async with apiserver.running(apiserver.stream(*sent, bookmark("960"))) as server:
        cluster = await connected(server.url)
        events = [e async for batch in watch(cluster, version="", initial_events=True) for e in batch]
        assert [e.ends_initial for e in events] == [False, False, True, False]


@pytest.mark.parametrize("seed", range(20))
async def test_chunks_cut_anywhere_change_nothing(connected: Open, seed: int) -> None:
    rand = random.Random(seed)
    sent = b"".join(line("MODIFIED", str(n), pad="ü" * rand.randrange(200)) for n in range(1, 40))
    borders = sorted({0, len(sent), *(rand.randrange(len(sent)) for _ in range(rand.randrange(1, 60)))})
    chunks = [sent[a:b] for a, b in pairwise(borders)]
    async with apiserver.running(apiserver.stream(*chunks)) as server:
        got, ended = await collect(await connected(server.url))
        assert (got, ended) == ([str(n) for n in range(1, 40)], None)


async def test_a_partial_last_line_is_dropped_at_a_proper_end(connected: Open) -> None:
    async with apiserver.running(apiserver.stream(line("ADDED", "6"), line("ADDED", "7")[:-1])) as server:
        assert await collect(await connected(server.url)) == (["6"], None)


async def test_a_reset_within_a_line_is_an_error_after_the_events_before_it(connected: Open) -> None:
    seen = asyncio.Event()
    broken = apiserver.stream(line("ADDED", "6"), line("ADDED", "7")[:20], end="reset", after=seen)
    async with apiserver.running(broken) as server:
        cluster = await connected(server.url)
        got = []
        with pytest.raises(errors.ClusterUnreachable, match=f"{PODS}.*broke"):  # noqa: PT012 - after the events
            async for batch in watch(cluster):
                got += [event.version for event in batch]
                seen.set()
        assert got == ["6"]


@pytest.mark.parametrize("end", ["cut", "garbage"])
async def test_a_stream_that_is_cut_or_garbled_is_an_error(connected: Open, end: str) -> None:
    async with apiserver.running(apiserver.stream(line("ADDED", "6"), end=end)) as server:
        _, ended = await collect(await connected(server.url))
        assert isinstance(ended, errors.ClusterUnreachable | errors.BadData)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"garbage\n", id="garbage"),
        pytest.param(b'{"type":"ADDED","object":{"a":"\xff"}}\n', id="not UTF-8"),
        pytest.param(line("CHANGED", "8"), id="unknown type"),
        pytest.param(line("ADDED", "8", kind="Table"), id="table"),
        pytest.param(line("ADDED", "8")[:-3] + b"\n", id="cut line"),
    ],
)
async def test_a_bad_line_is_never_skipped(connected: Open, bad: bytes) -> None:
    async with apiserver.running(apiserver.stream(line("ADDED", "6") + bad + line("ADDED", "9"))) as server:
        got, ended = await collect(await connected(server.url))
        assert got == ["6"]
        assert isinstance(ended, errors.BadData)


async def test_a_line_over_the_limit_is_bad_data(connected: Open) -> None:
    assert framing.MAX_LINE_BYTES == 64 * 2**20
    chunks = [line("ADDED", "6"), *[b"x" * 1000] * 100]
    async with apiserver.running(apiserver.stream(*chunks, end="hang")) as server:
        got, ended = await collect(await connected(server.url), max_line_bytes=50_000)
        assert got == ["6"]
        assert isinstance(ended, errors.BadData)


@pytest.mark.parametrize(
    ("code", "kind"), [(410, errors.Gone), (429, errors.Throttled), (500, errors.ServerFailed), (403, errors.Forbidden)]
)
@pytest.mark.parametrize("form", ["status", "event"])
async def test_refusals_mean_the_same_as_status_and_in_the_stream(
    connected: Open, code: int, kind: type[errors.ClusterError], form: str
) -> None:
    in_stream = apiserver.stream(line("ADDED", "6") + error(code, "because"))
    async with apiserver.running(in_stream if form == "event" else apiserver.refusal(code, "because")) as server:
        got, ended = await collect(await connected(server.url))
        assert got == (["6"] if form == "event" else [])
        assert type(ended) is kind
        assert "because" in str(ended)


async def test_silence_is_an_error_after_its_bound(connected: Open) -> None:
    async with apiserver.running(apiserver.stream(line("ADDED", "6"), end="hang")) as server:
        got, ended = await collect(await connected(server.url), silence_s=0.2)
        assert got == ["6"]
        assert isinstance(ended, errors.ClusterUnreachable)
        assert "not a byte" in str(ended)


async def test_a_server_that_never_answers_is_an_error_after_its_bound(connected: Open) -> None:
    async with apiserver.running(apiserver.hang) as server:
        got, ended = await collect(await connected(server.url), silence_s=0.2)
        assert (got, type(ended)) == ([], errors.ClusterUnreachable)


async def test_a_watch_that_outlives_its_time_is_left(connected: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_GRACE_S", 0.1)
    async with apiserver.running(apiserver.stream(line("ADDED", "6"), end="hang")) as server:
        assert await collect(await connected(server.url), timeout_s=0.1) == (["6"], None)


async def test_leaving_early_closes_the_connection(connected: Open) -> None:
    async with apiserver.running(apiserver.stream(line("ADDED", "6"), end="hang")) as server:
        cluster = await connected(server.url)
        async with aclosing(watch(cluster)) as batches:
            assert [e.version for e in await anext(aiter(batches))] == ["6"]
        assert not cluster._session.connector._acquired  # type: ignore[union-attr]


async def test_a_slow_consumer_is_not_silence(connected: Open) -> None:
    more = asyncio.Event()
    async with apiserver.running(apiserver.stream(line("ADDED", "6"), line("ADDED", "7"), after=more)) as server:
        cluster = await connected(server.url)
        batches = aiter(watch(cluster, silence_s=0.1))
        got = [e.version for e in await anext(batches)]
        loop = asyncio.get_running_loop()
        timer = loop.create_future()
        loop.call_later(0.3, timer.set_result, None)  # three times the bound, spent by the consumer
        await timer
        more.set()
        async for batch in batches:
            got += [e.version for e in batch]
        assert got == ["6", "7"]


async def test_the_kernel_is_asked_to_find_dead_connections(connected: Open) -> None:
    async with apiserver.running(apiserver.stream(line("ADDED", "6"), end="hang")) as server:
        cluster = await connected(server.url)
        async with aclosing(watch(cluster)) as batches:
            await anext(aiter(batches))
            (protocol,) = cluster._session.connector._acquired  # type: ignore[union-attr]
            raw = protocol.transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [raw.getsockopt(socket.IPPROTO_TCP, o) for o in options] == [5, 5, 3]
