"""Samples to collect, collectors that run as in a process of theirs, and an InfluxDB that does what it is told."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from krm.influx import Influx
from krm.settings import Secret, Settings
from krm.store import delays
from krm.store.delays import Sample
from krm.store.head import WorkerStatus
from krm.store.reading import TableStore
from krm.store.writing import EventWriter
from krm.workers.collector import Collector
from krm.workers.runner import cancel
from tests.waiting import wait_until


def sample(name: str, delay_s: float | None = 0.5, **more: Any) -> Sample:
    """A sample of a pod."""
    given = {
        "event": "ADDED",
        "basis": "creation",
        "skew_s": -0.1,
        "version": "7",
        "namespace": "n",
        "uid": "u",
        **more,
    }
    return Sample(name=name, delay_s=delay_s, **given)


async def write(streamer: EventWriter, samples: Sequence[Sample]) -> None:
    """Write samples as a streamer does, with an event."""
    for start in range(0, len(samples), 200):
        part = samples[start : start + 200]
        entries = [("G", "1", 1, b""), *(delays.entry(one) for one in part)]
        assert await streamer.append("", "e", "1", "1", 1_000, entries) == 0


@asynccontextmanager
async def collecting(
    table: TableStore, url: str, *, bucket: str = "krm", token: str | None = "t", timeout_s: float = 10.0
) -> AsyncIterator[Collector]:
    """A collector at work."""
    settings = Settings.load({"collect_interval_s": 0.05}, {})
    influx = Influx(url, None if token is None else Secret(token), org="org", bucket=bucket, timeout_s=timeout_s)
    collector = Collector(table.resource, settings, table, influx)
    life = asyncio.create_task(collector.live())
    try:
        yield collector
    finally:
        await cancel([life])
        await influx.close()


async def told(table: TableStore, word: str) -> WorkerStatus:
    """The collector's status, once its reason has a word."""

    async def reason() -> WorkerStatus | None:
        status = (await table.statuses()).get("collector")
        return status if status is not None and word in (status.reason or "") else None

    found = await wait_until(reason, 30, f"the collector says {word!r}")
    assert found is not None
    return found


async def emptied(table: TableStore) -> WorkerStatus:
    """The collector's status, once all samples are settled."""

    async def empty() -> WorkerStatus | None:
        left = await table.store.client.xlen(table.keys.delays)
        status = (await table.statuses()).get("collector")
        if left or status is None or status.waiting:  # a status may be older than what is left
            return None
        return status if status.written + status.rejected else None

    found = await wait_until(empty, 30, "all samples are settled")
    assert found is not None
    return found


class Scripted:
    """Answers writes as it is told, one after the other; then it takes them all."""

    def __init__(self, *answers: web.Response | str) -> None:
        self.answers = deque(answers)
        self.lines: list[str] = []
        self.asked: list[web.Request] = []
        self.ended = asyncio.Event()

    def application(self) -> web.Application:
        """To be served."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/api/v2/write", self._write)
        app.on_shutdown.append(self._end)
        return app

    async def _end(self, _app: web.Application) -> None:
        self.ended.set()

    async def _write(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        packed = request.headers.get("Content-Encoding") == "gzip" and body.startswith(b"\x1f\x8b")
        lines = (gzip.decompress(body) if packed else body).decode().split("\n")
        self.asked.append(request)
        answer = self.answers.popleft() if self.answers else web.Response(status=204)
        if answer == "hang":
            await self.ended.wait()
        if answer == "cut":
            self.lines += lines  # written, but nobody is told
            response = web.StreamResponse(status=204, headers={"Content-Length": "0"})
            assert request.transport is not None
            request.transport.abort()
            return response
        if answer == "half":
            response = web.StreamResponse(status=500, headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"{")
            assert request.transport is not None
            request.transport.abort()
            return response
        assert isinstance(answer, web.Response)
        if answer.status == 204:
            self.lines += lines
        return answer
