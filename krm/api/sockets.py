"""``graphql-transport-ws`` on ``/graphql``: subscriptions, and queries too, over one WebSocket.

The older protocol ``graphql-ws`` is not served. A page of another origin is refused, since a browser would let it open
a socket with whatever the user's machine may reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from krm.api import bodies
from krm.api.bodies import Refusal
from krm.api.door import Door
from krm.auth.callers import Caller
from krm.errors import AnswerError, Code
from krm.schema.context import Context
from krm.schema.engine import Answer, Engine
from krm.schema.engine import Request as Question

log = logging.getLogger(__name__)

PROTOCOL: Final = "graphql-transport-ws"
INIT_TIMEOUT_S: Final = 10.0
SEND_TIMEOUT_S: Final = 30.0
"""A reader that takes nothing for that long is told so and given up."""
TRY_AGAIN_LATER: Final = 1013
TOO_SLOW: Final = "read too slowly; subscribe again with the last resumeToken"
REVIEW_EVERY_S: Final = 60.0
REVIEW_LEAST_S: Final = 1.0
REVIEWS: Final = 6
"""An API server that cannot be asked is asked so often within that time, then the socket ends."""
MAX_OPERATIONS: Final = 100
"""Running at once on one socket."""


class Closed(Exception):
    """The socket is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Socket:
    """One WebSocket."""

    def __init__(
        self,
        websocket: WebSocket,
        engine: Engine,
        door: Door,
        context: Callable[[Caller], Context],
        count: Callable[[Answer], None],
        slot: Callable[[Caller], AbstractContextManager[None]],
    ) -> None:
        self._websocket = websocket
        self._engine = engine
        self._door = door
        self._context = context
        self._caller: Caller | None = None
        self._expelled: Closed | None = None
        self._watching: asyncio.Task[None] | None = None
        self._count = count
        self._slot = slot
        self._payload: Any = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Serve until one side closes."""
        if not same_origin(self._websocket):
            await self._websocket.close(1008)
            return
        if PROTOCOL not in self._websocket.scope.get("subprotocols", ()):
            await self._websocket.accept()
            await self._websocket.close(4406, f"only {PROTOCOL} is served")
            return
        await self._websocket.accept(PROTOCOL)
        try:
            async with asyncio.timeout(INIT_TIMEOUT_S) as patience:
                while True:
                    await self._take(await self._receive())
                    if self._caller is not None and self._watching is None:
                        patience.reschedule(None)
                        self._watching = asyncio.create_task(self._watch(self._caller, patience))
        except TimeoutError:
            closed = self._expelled or Closed(4408, "Connection initialisation timeout")
            await self._close(closed.code, str(closed))
        except Closed as closed:
            await self._close(closed.code, str(closed))
        except WebSocketDisconnect:
            pass  # the other side went; the finally below ends what runs for it
        finally:
            await self._end()

    async def _receive(self) -> dict[str, Any]:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        try:
            found = orjson.loads(text) if isinstance(text, str) else None
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("type"), str):
            raise Closed(4400, "not a message of the protocol")
        return found

    async def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "connection_init":
            if self._caller is not None:
                raise Closed(4429, "Too many initialisation requests")
            self._payload = message.get("payload")
            self._caller = await self._introduced()
            await self._send({"type": "connection_ack"})
        elif kind == "ping":
            await self._send({"type": "pong"})
        elif kind == "pong":
            return
        elif kind == "subscribe":
            self._start(message)
        elif kind == "complete":
            task = self._running.pop(str(message.get("id")), None)
            if task is not None:
                task.cancel()
        else:
            raise Closed(4400, "unknown type of message")

    async def _introduced(self, *, anew: bool = False) -> Caller:
        try:
            return await self._door.introduced(self._payload, anew=anew)
        except AnswerError as error:
            if error.code == Code.UNAUTHENTICATED:
                raise Closed(4401, "Unauthorized") from error
            raise Closed(1013, "Try again later: callers cannot be reviewed") from error

    async def _watch(self, caller: Caller, patience: asyncio.Timeout) -> None:
        """Have the token reviewed again each minute, and when it expires; end the socket when it does not hold."""
        if self._door.is_open:
            return
        while self._expelled is None:
            await self._wait(caller)
            try:
                is_same = (await self._again()).key == caller.key
            except Closed as closed:
                self._expelled = closed
            else:
                self._expelled = None if is_same else Closed(4401, "Unauthorized: the token is somebody else's now")
        patience.reschedule(asyncio.get_running_loop().time())

    @staticmethod
    async def _wait(caller: Caller) -> None:
        left_s = REVIEW_EVERY_S if caller.expires_at_s is None else caller.expires_at_s - time.time()
        await asyncio.sleep(max(REVIEW_LEAST_S, min(REVIEW_EVERY_S, left_s)))

    async def _again(self) -> Caller:
        """As the API server says now; while it says nothing, it is asked again for a while. Raises ``Closed``."""
        for _ in range(REVIEWS - 1):
            try:
                return await self._introduced(anew=True)
            except Closed as closed:
                if closed.code == 4401:
                    raise
            await asyncio.sleep(REVIEW_EVERY_S / REVIEWS)
        return await self._introduced(anew=True)

    def _start(self, message: dict[str, Any]) -> None:
        if self._caller is None:
            raise Closed(4401, "Unauthorized")
        identifier, payload = message.get("id"), message.get("payload")
        if not isinstance(identifier, str) or not identifier or len(identifier) > 200 or not isinstance(payload, dict):
            raise Closed(4400, "subscribe needs an id and a payload")
        if identifier in self._running:
            raise Closed(4409, f"Subscriber for {identifier} already exists")
        if len(self._running) >= MAX_OPERATIONS:
            raise Closed(4429, f"more than {MAX_OPERATIONS} operations on one socket")
        self._running[identifier] = asyncio.create_task(self._operate(identifier, payload, self._caller))

    async def _operate(self, identifier: str, payload: dict[str, Any], caller: Caller) -> None:
        try:
            async for answer in self._answers(payload, caller):
                self._count(answer)
                await self._send_answer(identifier, answer)
                if answer.status != 200:
                    return
            await self._send({"type": "complete", "id": identifier})
        except Closed as closed:
            log.info("a subscriber is given up", extra={"reason": str(closed)})
            await self._close(closed.code, str(closed))
        except (WebSocketDisconnect, TimeoutError, RuntimeError) as error:
            log.info("a subscriber has gone", extra={"reason": type(error).__name__})
        finally:
            if self._running.get(identifier) is asyncio.current_task():
                del self._running[identifier]

    async def _answers(self, payload: dict[str, Any], caller: Caller) -> AsyncGenerator[Answer]:
        try:
            asked: Question = bodies.checked(payload)
        except Refusal as refusal:
            yield self._engine.refusal(refusal.code, str(refusal))
            return
        slot = partial(self._slot, caller)
        async with contextlib.aclosing(self._engine.answers(asked, self._context(caller), slot)) as answers:
            async for answer in answers:
                yield answer

    async def _send_answer(self, identifier: str, answer: Answer) -> None:
        if answer.status == 200:
            await self._send_text(_message(identifier, b"next", answer.body))
        else:
            errors = orjson.dumps(orjson.loads(answer.body)["errors"])
            await self._send_text(_message(identifier, b"error", errors))

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_text(orjson.dumps(message))

    async def _send_text(self, text: bytes) -> None:
        """Raises ``Closed`` for a reader that takes nothing."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S), self._sending:
                await self._websocket.send_text(text.decode())
        except TimeoutError as error:
            raise Closed(TRY_AGAIN_LATER, TOO_SLOW) from error

    async def _close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError):  # the other side was faster
                await self._websocket.close(code, reason)

    async def _end(self) -> None:
        running = [*self._running.values(), *([self._watching] if self._watching is not None else [])]
        self._running.clear()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _message(identifier: str, kind: bytes, payload: bytes) -> bytes:
    return b'{"type":"' + kind + b'","id":' + orjson.dumps(identifier) + b',"payload":' + payload + b"}"


def same_origin(websocket: WebSocket) -> bool:
    """Whether no page, or one of our own, opens the socket."""
    origin = websocket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == websocket.headers.get("host", "")
