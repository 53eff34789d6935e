"""One watch request: events from a version on, in batches, until the server ends it or something is wrong.

Reads the raw stream itself. A line that is not a valid event ends the watch with ``BadData``; it is never skipped, as
what it said would then be lost without a trace. The caller resumes from the version it has reached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import aiohttp

from krm import errors
from krm.kube import events, failures, framing
from krm.kube.connect import Cluster
from krm.kube.events import EventType, See, WatchEvent

__all__ = ["EventType", "WatchEvent", "watch"]

_ACCEPT_S = 30.0
"""An API server accepts a watch at once, long before there is an event."""
_GRACE_S = 30.0
"""A server that keeps a watch this long beyond the asked time is left; the caller resumes."""


async def watch(
    cluster: Cluster,
    path: str,
    version: str,
    *,
    timeout_s: float,
    silence_s: float,
    bookmarks: bool = True,
    initial_events: bool = False,
    params: Mapping[str, str] | None = None,
    max_line_bytes: int = framing.MAX_LINE_BYTES,
    on_open: Callable[[], None] | None = None,
    see: See | None = None,
    rest: Callable[[int], Awaitable[None]] | None = None,
    wall: Callable[[], float] = time.time,
) -> AsyncGenerator[list[WatchEvent], None]:
    """Events at ``path`` after ``version``; each list (never empty) is what one read from the network completed.

    The server is asked to end after ``timeout_s`` (whole seconds, the caller spreads them); the iteration then ends
    normally. ``silence_s`` without a byte is ``ClusterUnreachable``: ask for bookmarks, which come about once a minute.
    ``initial_events`` asks for all objects that exist first, ended by a bookmark with ``ends_initial``; only then may
    ``version`` be empty. ``params`` may hold selectors. ``on_open`` is called when the server has accepted the watch.
    ``see`` looks at each object. ``rest`` is awaited after each batch, with its length; nothing is read meanwhile.

    Events before an error are given first. Raises ``Gone``, ``Throttled``, ``ServerFailed``, ``Unauthorized``,
    ``Forbidden``, ``NotFound`` for a refusal, as status or in the stream; ``BadData`` for a damaged stream;
    ``ClusterUnreachable`` for a broken one. Close the iterator (``contextlib.aclosing``) when leaving it early.
    """
    if not initial_events and version in ("", "0"):
        raise ValueError("a watch from no version sends objects in no order, which cannot be resumed")
    where = f"watch {path}"
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s + _GRACE_S
    peer = cluster.peer
    framer = framing.Framer(max_line_bytes=max_line_bytes)
    query = _query(version, timeout_s, bookmarks, initial_events, params or {})
    async with cluster.answer(
        "GET",
        path,
        where=where,
        timeout_s=min(silence_s, _ACCEPT_S),
        query=query,
        headers={"Accept-Encoding": "identity"},
    ) as response:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise errors.BadData(f"{where}: the stream is packed, which was not asked for")
        if on_open is not None:
            on_open()
        while (left_s := deadline - loop.time()) > 0:
            data = await _read(peer, response, where, silence_s, left_s)
            if not data:
                return
            cluster.bytes_received += len(data)
            batch, failure = _batch(framer, data, wall(), peer, where, see)
            if batch:
                yield batch
            if failure is not None:
                raise failure
            if rest is not None:
                await _rested(response, rest(len(batch)))


async def _read(
    peer: failures.Peer, response: aiohttp.ClientResponse, where: str, silence_s: float, left_s: float
) -> bytes:
    """What has come; empty at the end of the stream, or when the watch has outlived its time."""
    try:
        async with asyncio.timeout(min(silence_s, left_s)):
            with failures.translated(peer, where):
                return await response.content.readany()
    except TimeoutError as error:
        if left_s <= silence_s:
            return b""
        raise errors.ClusterUnreachable(
            f"{where}: not a byte from {peer.server} in {silence_s:.3g} s; the connection is taken for dead"
        ) from error


async def _rested(response: aiohttp.ClientResponse, resting: Awaitable[None]) -> None:
    """Let what comes wait in the kernel, where it wakes nobody, and is read in one piece."""
    connection = response.connection
    transport = None if connection is None else connection.transport
    if transport is None or not transport.is_reading():  # aiohttp has more than it wants, and reads on later
        await resting
        return
    transport.pause_reading()
    try:
        await resting
    finally:
        if not transport.is_closing():
            transport.resume_reading()


def _batch(
    framer: framing.Framer,
    data: bytes,
    now_s: float,
    peer: failures.Peer,
    where: str,
    see: See | None,
) -> tuple[list[WatchEvent], errors.ClusterError | None]:
    batch: list[WatchEvent] = []
    try:
        for line in framer.feed(data):
            batch.append(events.decode(line, now_s, peer, where, see))  # noqa: PERF401 - what came before an error stays
    except errors.ClusterError as error:  # handed over, to be raised behind the events before it
        return batch, error
    return batch, None


def _query(
    version: str, timeout_s: float, bookmarks: bool, initial_events: bool, params: Mapping[str, str]
) -> dict[str, str]:
    query = {**params, "watch": "1", "timeoutSeconds": str(max(1, round(timeout_s)))}
    if bookmarks or initial_events:  # the mark at the end of the initial events is a bookmark
        query["allowWatchBookmarks"] = "true"
    if version:
        query["resourceVersion"] = version
    if initial_events:
        query["sendInitialEvents"] = "true"
        query["resourceVersionMatch"] = "NotOlderThan"
    return query
