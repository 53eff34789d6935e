"""Runs the API with uvicorn: sockets, processes, TLS, and the end that loses no answer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from krm.errors import ConfigError
from krm.settings import Settings

log = logging.getLogger(__name__)

HEADERS_TIMEOUT_S: Final = 10.0
"""From the connection to the end of the first request's headers. uvicorn itself waits for ever."""
MAX_HEADERS: Final = 65_536
"""Bytes of a request's headers."""
DRAIN_S: Final = 10.0
"""What running requests are given to end after SIGTERM; Kubernetes kills after 30."""
NOT_READY_FIRST_S: Final = 0.5
"""Between readiness going off and closing the socket, so that whoever probes can look away."""
BACKLOG: Final = 2_048


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a deadline and a bound for a request's headers."""

    def connection_made(self, transport: Any) -> None:
        """Start the deadline with the connection."""
        super().connection_made(transport)
        self._headers_size = 0
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

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless it was answered already."""
        self._in_time()
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side went."""
        self._in_time()
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
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server; on the first signal readiness goes off before the socket closes."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._closing: asyncio.TimerHandle | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT; a second one ends at once."""
        if self._closing is not None or sig == signal.SIGINT:
            super().handle_exit(sig, frame)
            return
        self._app.state.api.is_stopping = True
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(NOT_READY_FIRST_S, super().handle_exit, sig, frame)

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


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises ``ConfigError`` that names the variable."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(f"KRM_HOST={settings.host} is not an address of this machine: {error.strerror}") from error
    # localhost is both; programs that are told 127.0.0.1 must find it.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _cannot_listen(settings, error) from error
    sock.set_inheritable(True)
    return sock


def _cannot_listen(settings: Settings, error: OSError) -> ConfigError:
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"{where} is taken by another program: stop it, or set KRM_PORT to a free port (0 picks one)"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"no right to listen on {where}: set KRM_PORT to 1024 or more")
    return ConfigError(f"cannot listen on {where} (KRM_HOST, KRM_PORT): {error.strerror}")


def url(settings: Settings, sock: socket.socket) -> str:
    """Where the API is to be found."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls_cert_file else 'http'}://{host}:{sock.getsockname()[1]}"


def check(settings: Settings) -> None:
    """Everything that can be refused before listening. Raises ``ConfigError``."""
    settings.check_api()
    if settings.auth == "kubernetes":
        raise ConfigError(
            "KRM_AUTH=kubernetes: this version cannot authenticate callers yet, and does not serve without;"
            " use KRM_AUTH=none on a loopback address"
        )
    for variable, path in (("KRM_TLS_CERT_FILE", settings.tls_cert_file), ("KRM_TLS_KEY_FILE", settings.tls_key_file)):
        if path is not None and not path.is_file():
            raise ConfigError(f"{variable}={path} is not a file")


def configuration(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """uvicorn's configuration. Raises ``ConfigError`` for TLS files that do not fit."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="uvloop",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=int(DRAIN_S),
        backlog=BACKLOG,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"KRM_TLS_CERT_FILE and KRM_TLS_KEY_FILE cannot be used together: {error}") from error
    return config


async def serve(settings: Settings, app: FastAPI, sock: socket.socket) -> None:
    """Serve ``app`` on ``sock`` until SIGTERM or SIGINT, then drain."""
    config = configuration(settings, app)
    server = Server(config, app)
    log.info("API is listening", extra={"url": url(settings, sock)})
    async with _renewed_certificate(settings, config):
        await server.serve(sockets=[sock])


@asynccontextmanager
async def _renewed_certificate(settings: Settings, config: uvicorn.Config) -> AsyncIterator[None]:
    """Read the TLS files again when they change: certificates of a cluster live for hours."""
    if settings.tls_cert_file is None or settings.tls_key_file is None or config.ssl is None:
        yield
        return
    watching = asyncio.create_task(_watch_certificate(config, settings.tls_cert_file, settings.tls_key_file))
    try:
        yield
    finally:
        watching.cancel()


async def _watch_certificate(config: uvicorn.Config, cert: Path, key: Path, every_s: float = 5.0) -> None:
    seen = _stamp(cert, key)
    while True:
        await asyncio.sleep(every_s)
        now = _stamp(cert, key)
        if now == seen or config.ssl is None:
            continue
        try:
            config.ssl.load_cert_chain(cert, key)
        except OSError as error:  # half written: the next look has both
            log.warning("TLS files cannot be read", extra={"reason": str(error)})
            continue
        seen = now
        log.info("TLS certificate renewed")


def _stamp(*paths: Path) -> tuple[tuple[int, int, int], ...]:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def run_processes(count: int, work: Callable[[], None]) -> None:
    """Run ``work`` in ``count`` processes (in this one for 1) until SIGTERM or SIGINT; one that dies is replaced.

    To be called before anything of this process has threads or an event loop: the processes are forked.
    """
    if count == 1:
        work()
        return
    children: set[int] = set()
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while children or not stopping:
        while len(children) < count and not stopping:
            children.add(_fork(work))
        pid, status = os.wait()
        children.discard(pid)
        if not stopping:
            log.error("a process of the API ended", extra={"pid": pid, "status": os.waitstatus_to_exitcode(status)})
            time.sleep(0.5)


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    status = 1
    try:
        work()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)
