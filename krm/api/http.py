"""uvicorn with what it lacks for strangers: a deadline and a bound for headers, and an end that loses no answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEADERS_TIMEOUT_S: Final = 10.0
"""From the connection to the end of the first request's headers. uvicorn itself waits for ever."""
WRITE_TIMEOUT_S: Final = 30.0
"""What a reader is given to take one buffer full (some hundred kilobytes); slower ones would hold large answers."""
MAX_HEADERS: Final = 65_536
"""Bytes of a request's headers."""
LINGER_S: Final = 0.5
"""How long a connection without a request is kept when the server ends: one may be on its way."""
UNREAD_S: Final = 10.0
"""How long what a WebSocket's client has not read is kept for it after the socket was closed."""
ACCEPT_TURNS: Final = 10
ACCEPT_MOST: Final = 10_000
"""Connections that are taken from the queue of a socket that closes."""
NOT_READY_FIRST_S: Final = 0.5
"""Between readiness going off and closing the socket, so that whoever probes can look away."""


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a deadline and a bound for a request's headers."""

    def connection_made(self, transport: Any) -> None:
        """Start the deadline with the connection."""
        super().connection_made(transport)
        self._headers_size = 0
        self._is_ending = False
        self._stalled: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(HEADERS_TIMEOUT_S, self._too_slow)

    def on_message_begin(self) -> None:
        """A further request on the connection."""
        super().on_message_begin()
        self._headers_size = 0
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_TIMEOUT_S, self._too_slow)

    def on_url(self, url: bytes) -> None:
        """Part of the request line."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are there: the body has a deadline of its own."""
        self._in_time()
        super().on_headers_complete()
        if self._is_ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def _should_upgrade(self) -> bool:
        """uvicorn takes every method for a handshake; what is none is a request, and refused as requests are."""
        return self.scope["method"] == "GET" and super()._should_upgrade()

    def shutdown(self) -> None:
        """The server ends: a request that is here or on its way is answered, then the connection closes."""
        self._is_ending = True
        if self._is_idle():
            self.loop.call_later(LINGER_S, self._close_if_idle)
        else:
            super().shutdown()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        """The other side does not read as fast as we write: from here on it has a deadline."""
        super().pause_writing()
        self._stalled = self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It took what waited."""
        self._flows()
        super().resume_writing()

    def _flows(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless it was answered already."""
        self._in_time()
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side went."""
        self._in_time()
        self._flows()
        super().connection_lost(exc)

    def _grow(self, size: int) -> None:
        self._headers_size += size
        if self._headers_size > MAX_HEADERS:
            self._refuse(b"431 Request Header Fields Too Large")
            raise ValueError("headers are too large")  # ends the parsing

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        self.transport.write(_without_body(status))
        self.transport.close()


def _without_body(status: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, which leaves a handshake without an answer that is none (a POST, a header of 10 kB)."""

    async def send(self, message: Any) -> None:
        """As uvicorn, but closing does not wait until the other side has read: the reason goes behind what waits."""
        if message["type"] == "websocket.close" and not self.writable.is_set():
            self.writable.set()
            self.loop.call_later(UNREAD_S, self.transport.abort)
        await super().send(message)

    def data_received(self, data: bytes) -> None:
        """The handshake as uvicorn spells it, then what the client sends."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(_without_body(b"400 Bad Request"))
            self.transport.close()


def _emptied(sock: socket.socket) -> list[socket.socket]:
    """Every connection that waits to be accepted; then the socket is closed, at once."""
    sock.setblocking(False)
    found: list[socket.socket] = []
    with contextlib.suppress(OSError), sock:  # EAGAIN: there are no more
        while len(found) < ACCEPT_MOST:
            connection, _ = sock.accept()
            connection.setblocking(False)
            found.append(connection)
    return found


class Server(uvicorn.Server):
    """uvicorn's server; on the first signal readiness goes off before the socket closes."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._closing: asyncio.TimerHandle | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT; a second one ends at once."""
        if self._closing is not None or sig == signal.SIGINT:
            super().handle_exit(sig, frame)
            return
        self._stopping()
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(NOT_READY_FIRST_S, super().handle_exit, sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what has connected already, then close: the kernel resets what nobody has accepted.

        The event loop's own way would leave some turns between the last look at the queue and the end of the socket.
        """
        self._stopping()
        kept = [sock.dup() for sock in sockets or ()]
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        taken = [connection for sock in kept for connection in _emptied(sock)]
        await asyncio.gather(*map(self._take_over, taken), return_exceptions=True)
        await super().shutdown([])

    async def _take_over(self, connection: socket.socket) -> None:
        config = self.config
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: config.http_protocol_class(  # type: ignore[call-arg] # what uvicorn gives it
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            ),
            connection,
            ssl=config.ssl,
            ssl_handshake_timeout=HEADERS_TIMEOUT_S if config.ssl else None,
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As the parent's, without raising the signal again: a signal is a regular end (exit status 0)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
