"""``POST /graphql``: the way of a question through the API, without a framework's layers in between.

Most requests are questions, and most questions are small: routing and the layers of a framework would cost them as much
as their answers. What a question meets is the same as on every route: hosts, door, bounds, headers, count.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from krm.api import bodies, headers
from krm.api.bodies import Refusal, refused
from krm.api.hosts import WRONG_HOST, Hosts
from krm.api.metrics import Metrics
from krm.auth.callers import Caller
from krm.errors import Code, CorruptData
from krm.schema import parts
from krm.schema.context import Context
from krm.schema.engine import Answer, Engine
from krm.schema.parts import Part

log = logging.getLogger(__name__)

PATH: Final = "/graphql"
STREAMED_FROM: Final = 2**20
"""Bytes of an answer that is sent in pieces."""
LOOK_AFTER_S: Final = 0.1
"""A request that takes longer is worth looking whether anybody still waits for it."""
_JSON: Final = (b"content-type", b"application/json")
_RETRY: Final = (b"retry-after", b"1")


class Asking:
    """ASGI application."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        hosts: Hosts,
        context: Callable[[Caller], Context],
        enter: Callable[[Request], Awaitable[tuple[Caller, object]]],
        leave: Callable[[object], None],
        *,
        max_body: int,
        timeout_s: float,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._hosts = hosts
        self._context = context
        self._enter = enter
        self._leave = leave
        self._max_body = max_body
        self._timeout_s = timeout_s
        self._is_stopping = is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        sending = _Sending(send, self._is_stopping)
        try:
            if self._hosts.refuses(scope):
                await sending.whole(400, WRONG_HOST.raw_headers, bytes(WRONG_HOST.body))
            else:
                await self._ask(Request(scope, receive), sending)
        finally:
            self._metrics.observe(PATH, sending.status, time.monotonic() - started)

    async def _ask(self, request: Request, sending: _Sending) -> None:
        try:
            visitor, caller = await self._enter(request)
            try:
                question = await bodies.question(request, self._max_body)
                with Departure(request.receive) as departure:
                    answer = await self._engine.answer(question, self._context(visitor))
                    self._count(answer)
                    await self._send(answer, sending, departure)
            finally:
                self._leave(caller)
        except Refusal as refusal:
            self._metrics.count_errors([refusal.code])
            log.info("request refused", extra={"status": refusal.status, "code": str(refusal.code)})
            response = refused(refusal)
            await sending.whole(refusal.status, response.raw_headers, bytes(response.body))

    def _count(self, answer: Answer) -> None:
        self._metrics.count(answer)
        if answer.status != 200:
            log.info("request refused", extra={"status": answer.status, "code": ",".join(answer.codes)})

    async def _send(self, answer: Answer, sending: _Sending, departure: Departure) -> None:
        size = answer.size
        about = [(b"content-length", b"%d" % size), _JSON]
        if answer.status == 429:
            about.append(_RETRY)
        if size <= STREAMED_FROM:
            await sending.whole(answer.status, about, answer.body)
            return
        departure.look_at_once()
        await sending.begin(answer.status, about)
        try:
            await self._pieces(answer.parts, sending)
        except (CorruptData, TimeoutError) as error:
            # Without an end the connection is closed: fewer bytes than were announced are no answer.
            self._metrics.count_errors([Code.TIMEOUT if isinstance(error, TimeoutError) else Code.INTERNAL])
            log.warning("an answer was broken off", extra={"reason": str(error)})

    async def _pieces(self, of: Iterable[Part], sending: _Sending) -> None:
        """Raises ``CorruptData``, and ``TimeoutError`` where making them takes too long; a reader may take its time."""
        pieces = parts.pieces(of)
        worked_s = 0.0
        while True:
            began = time.monotonic()
            piece = next(pieces, None)
            worked_s += time.monotonic() - began
            if piece is None:
                await sending.end()
                return
            if worked_s > self._timeout_s:
                raise TimeoutError(f"no whole answer within {self._timeout_s:g} s (KRM_QUERY_TIMEOUT)")
            await sending.piece(piece)
            await asyncio.sleep(0)  # others have their turn, whether the socket takes all of it at once or not


class _Sending:
    """The answer on its way, with the headers that every answer carries."""

    def __init__(self, send: Send, is_stopping: Callable[[], bool]) -> None:
        self._send = send
        self._is_stopping = is_stopping
        self.status = 0
        """0 before it begins."""

    async def begin(self, status: int, about: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        dressed = headers.dressed(about, is_stopping=self._is_stopping())
        await self._send({"type": "http.response.start", "status": status, "headers": dressed})

    async def whole(self, status: int, about: list[tuple[bytes, bytes]], body: bytes) -> None:
        await self.begin(status, about)
        await self._send({"type": "http.response.body", "body": body})

    async def piece(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})


class Departure:
    """Inside of it a request ends once its client has gone; looked for only where it takes longer than a moment."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._listening: asyncio.Task[None] | None = None
        self._has_gone = False

    def __enter__(self) -> Departure:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._timer = loop.call_later(LOOK_AFTER_S, self.look_at_once)
        return self

    def look_at_once(self) -> None:
        """Do not wait any longer: what is sent to a client that has gone is taken without a word."""
        self._timer.cancel()
        if self._listening is None:
            self._listening = asyncio.create_task(self._wait(), name="departure")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # more of a body that was whole
        if self._task is not None:
            self._has_gone = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        task, self._task = self._task, None
        if self._listening is not None:
            self._listening.cancel()
        if not self._has_gone or task is None:
            return False
        task.uncancel()
        if kind is not asyncio.CancelledError:
            return False
        log.info("a client has gone before its answer was whole")
        return True
