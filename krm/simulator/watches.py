"""Watches: streams of changes from a version on, with bookmarks, and with the faults that are set for them.

A watcher has no queue of its own: it stands at a position of the collection's log and sends what lies after it, in
one write. A watcher that falls too far behind is ended, as the real server ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from aiohttp import web

from krm.simulator import encoding, status
from krm.simulator.counters import Count
from krm.simulator.encoding import Shape
from krm.simulator.faults import Fault, FaultKind, Faults
from krm.simulator.history import Collection, CompactedError, Event, EventType
from krm.simulator.kinds import Kind
from krm.simulator.objects import Version
from krm.simulator.options import ListOptions, Selection
from krm.simulator.store import Store

logger = logging.getLogger(__name__)

_BATCH_EVENTS = 256


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """How watches behave."""

    bookmark_interval_s: float = 60.0
    """The real server: about every minute."""
    last_bookmark_s: float = 2.0
    """How long before the end of a watch its last bookmark is sent."""
    max_lag_events: int = 10_000
    """A watcher further behind than this is ended: the bound of the memory that a slow reader holds."""
    timeout_s: float = 1800.0
    """For requests that name no timeout; the real server takes 30 to 60 minutes."""


class StreamClosedError(Exception):
    """The stream ends here; whoever raises it has closed it as it should be closed."""


class Watch:
    """One watch request being answered."""

    def __init__(
        self,
        *,
        store: Store,
        kind: Kind,
        options: ListOptions,
        shape: Shape,
        settings: WatchSettings,
        faults: Faults,
        count: Count,
    ) -> None:
        self.kind = kind
        self.sent_bytes = 0
        self._count = count
        self._store = store
        self._options = options
        self._selection: Selection = options.selection
        self._shape = shape
        self._settings = settings
        self._faults = faults
        self._names = (kind.plural, kind.qualified)
        self._collection: Collection = store.collection(kind)
        self._position = 0
        self._start_rv = 0
        self._awake = asyncio.Event()
        self._ended = False
        self._half_open = False
        self._held: bytes | None = None
        self._request: web.Request | None = None
        self._response = web.StreamResponse()

    # Life

    def end(self) -> None:
        """Let the stream end properly, soon."""
        self._ended = True
        self._awake.set()

    def abort(self) -> None:
        """Close the connection, now."""
        self._ended = True
        self._awake.set()
        if self._request is not None and self._request.transport is not None:
            self._request.transport.abort()

    def wake(self) -> None:
        """Look at the log and the faults again."""
        self._awake.set()
        if self._collection.end - self._position > self._settings.max_lag_events and not self._half_open:
            logger.info("watch ended, reader too slow", extra={"resource": self.kind.qualified})
            self.abort()

    async def run(self, request: web.Request, response: web.StreamResponse) -> None:
        """Answer the request until the stream ends; `response` has its headers but is not prepared."""
        self._request, self._response = request, response
        loop = asyncio.get_running_loop()
        timeout_s = self._options.timeout_s or self._settings.timeout_s
        deadline = loop.time() + timeout_s
        initial, problem = self._begin()
        await response.prepare(request)
        self._collection.listeners.add(self.wake)
        try:
            if problem is not None:
                await self._write(encoding.line("ERROR", orjson.dumps(problem.body)))
            else:
                await self._send_initial(initial)
                await self._follow(deadline)
                if self._held is not None:
                    await self._write(self._held)
            await response.write_eof()
        except StreamClosedError:
            pass
        except ConnectionError:
            logger.debug("watch ended by its reader", extra={"resource": self.kind.qualified})
        finally:
            self._collection.listeners.discard(self.wake)

    # Beginning

    def _begin(self) -> tuple[Sequence[Version] | None, status.StatusError | None]:
        """Fix the version from which the watch goes on; the answer is the initial state to send first, if any."""
        options, now = self._options, self._store.rv
        from_any = options.rv in (None, 0)
        if options.send_initial or (options.send_initial is None and from_any):
            self._start_rv, self._position = now, self._collection.end
            return self._collection.at(now, self._selection.namespace), None
        self._start_rv = now if from_any or options.rv is None else options.rv
        try:
            self._position = self._collection.position_after(self._start_rv)
        except CompactedError as error:
            return None, status.expired(f"too old resource version: {self._start_rv} ({error.floor})")
        return None, None

    async def _send_initial(self, versions: Sequence[Version] | None) -> None:
        await self._idle_faults()
        if versions is None:
            return
        self._collection.progress = max(self._collection.progress, self._start_rv)
        waiting: list[bytes] = []
        size = 0
        for version in versions:
            if self._selection.matches(version):
                made = encoding.object_line(EventType.ADDED, version, self._shape)
                waiting.append(made)
                size += len(made)
                if size >= encoding.PIECE_BYTES:
                    await self._emit(waiting)
                    waiting, size = [], 0
        if self._options.bookmarks:
            waiting.append(encoding.bookmark_line(self.kind, self._start_rv, self._shape, initial_end=True))
        await self._emit(waiting)

    # Following

    async def _follow(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        next_bookmark = self._next_bookmark(deadline)
        while not self._ended:
            self._awake.clear()
            await self._idle_faults()
            events = self._collection.events_from(self._position, _BATCH_EVENTS)
            if events is None:
                # What the watcher has not read yet is gone: it cannot go on.
                return
            if events:
                self._position += len(events)
                await self._emit(self._lines(events))
                continue
            if self._collection.is_withdrawn:
                return
            now = loop.time()
            if now >= deadline and not self._half_open:
                return
            if now >= next_bookmark:
                next_bookmark = self._next_bookmark(deadline)
                await self._bookmark()
                continue
            await self._sleep(min(deadline, next_bookmark) - now)

    async def _sleep(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(None if self._half_open else max(timeout_s, 0.0)):
                await self._awake.wait()
        except TimeoutError:
            return

    def _next_bookmark(self, deadline: float) -> float:
        if not self._options.bookmarks:
            return float("inf")
        now = asyncio.get_running_loop().time()
        due = min(now + self._settings.bookmark_interval_s, deadline - self._settings.last_bookmark_s)
        return due if due > now else float("inf")

    async def _bookmark(self) -> None:
        # As the real server: nothing to say when the watch began at or after that version.
        if self._collection.progress > self._start_rv:
            await self._emit([encoding.bookmark_line(self.kind, self._collection.progress, self._shape)])

    def _lines(self, events: Iterable[Event]) -> list[bytes]:
        made: list[bytes] = []
        selection = self._selection
        is_simple = not selection.is_filtered
        for event in events:
            # A watch from a version that the server has not reached yet passes over what lies before it.
            if event.rv <= self._start_rv:
                continue
            if is_simple:
                if not selection.namespace or event.version.namespace == selection.namespace:
                    made.append(encoding.event_line(event, event.type, self._shape))
                continue
            if (type_ := self._type_for(event)) is not None:
                made.append(encoding.event_line(event, type_, self._shape))
        return made

    def _type_for(self, event: Event) -> EventType | None:
        is_now = event.type is not EventType.DELETED and self._selection.matches(event.version)
        was = event.previous is not None and self._selection.matches(event.previous)
        if is_now:
            return EventType.MODIFIED if was else EventType.ADDED
        return EventType.DELETED if was else None

    # Writing, and what goes wrong in it

    async def _write(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        self._count.bytes += len(data)
        await self._response.write(data)

    async def _emit(self, lines: list[bytes]) -> None:
        if self._half_open:
            return
        if self._held is None and not self._faults.any_for_stream(self._names, self._selection.namespace):
            if lines:
                await self._write(b"".join(lines))
            return
        for made in lines:
            await self._emit_faulty(made)
            if self._half_open:
                return

    def _take(self, kind: FaultKind) -> Fault | None:
        return self._faults.take(kind, self._names, "watch", self._selection.namespace)

    async def _idle_faults(self) -> None:
        """Faults that end or stop a stream do so at once, not only at its next line."""
        if self._half_open or not self._faults.any_for_stream(self._names, self._selection.namespace):
            return
        for kind in (FaultKind.HALF_OPEN, FaultKind.GONE, FaultKind.ERROR, FaultKind.END):
            fault = self._faults.take_at_once(kind, self._names, self._selection.namespace)
            if fault is not None:
                await self._stop(fault)

    async def _stop(self, fault: Fault) -> None:
        if fault.kind is FaultKind.HALF_OPEN:
            self._half_open = True
            return
        if fault.kind is not FaultKind.END:
            problem = _problem(fault, self._start_rv, self._store.rv)
            await self._write(encoding.line("ERROR", orjson.dumps(problem.body)))
        await self._response.write_eof()
        raise StreamClosedError

    async def _cut(self, data: bytes) -> None:
        await self._write(data)
        # One turn of the loop lets the bytes leave before the connection is gone.
        await asyncio.sleep(0)
        self.abort()
        raise StreamClosedError

    async def _emit_faulty(self, made: bytes) -> None:
        for kind in (FaultKind.HALF_OPEN, FaultKind.GONE, FaultKind.ERROR, FaultKind.END):
            if (fault := self._take(kind)) is not None:
                await self._stop(fault)
                if self._half_open:
                    return
        if self._take(FaultKind.DROP) is not None:
            return
        if (fault := self._take(FaultKind.LATE)) is not None:
            await asyncio.sleep(fault.delay_s)
        await self._insert_wrong_lines()
        if (
            fault := self._faults.take_after(self.sent_bytes + len(made), self._names, self._selection.namespace)
        ) is not None:
            await self._cut(made[: max(fault.after_bytes - self.sent_bytes, 0)])
        if self._take(FaultKind.CUT_LINE) is not None:
            await self._cut(made[: len(made) // 2])
        if self._held is None and self._take(FaultKind.SWAP) is not None:
            self._held = made
            return
        await self._write(made)
        if self._take(FaultKind.DUPLICATE) is not None:
            await self._write(made)
        if self._held is not None:
            held, self._held = self._held, None
            await self._write(held)

    async def _insert_wrong_lines(self) -> None:
        if self._take(FaultKind.GARBAGE_LINE) is not None:
            await self._write(b'{"type":"MODIFIED","object":{"kind":\n')
        if self._take(FaultKind.NOT_UTF8_LINE) is not None:
            await self._write(b'{"type":"MODIFIED","object":{"metadata":{"name":"\xff\xfe\xc3("}}}\n')
        if (fault := self._take(FaultKind.HUGE_LINE)) is not None:
            await self._write(b'{"type":"MODIFIED","object":{"filler":"' + b"x" * fault.size + b'"}}\n')
        if self._take(FaultKind.UNKNOWN_TYPE) is not None:
            await self._write(b'{"type":"RENAMED","object":{"kind":"Pod","apiVersion":"v1","metadata":{}}}\n')


def _problem(fault: Fault, start_rv: int, now: int) -> status.StatusError:
    if fault.kind is FaultKind.GONE:
        return status.expired(fault.message or f"too old resource version: {start_rv} ({now})")
    return status.from_code(fault.status, fault.message, fault.retry_after_s)
