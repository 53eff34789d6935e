"""Runs the API: sockets, TLS, processes, following Redis, and the end on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from fastapi import FastAPI

from krm import garbage
from krm.api import app, folders, metrics, processes
from krm.api.http import Protocol, Server, WebSocketProtocol
from krm.api.live import Live
from krm.auth.callers import ANYBODY, Callers
from krm.errors import ConfigError, KrmError
from krm.schema import build
from krm.settings import Settings
from krm.store.connect import open_store
from krm.store.reading import TableStore
from krm.table.tables import Tables

log = logging.getLogger(__name__)

Admission = Callable[[Live], AbstractAsyncContextManager[Callers]]
DRAIN_S: Final = 10.0
"""What running requests are given to end after SIGTERM; Kubernetes kills after 30."""
BACKLOG: Final = 2_048


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
    for variable, path in (("KRM_TLS_CERT_FILE", settings.tls_cert_file), ("KRM_TLS_KEY_FILE", settings.tls_key_file)):
        if path is not None and not path.is_file():
            raise ConfigError(f"{variable}={path} is not a file")


def configuration(settings: Settings, api: FastAPI) -> uvicorn.Config:
    """uvicorn's configuration. Raises ``ConfigError`` for TLS files that do not fit."""
    config = uvicorn.Config(
        api,
        http=Protocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.max_body,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
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


def run(settings: Settings, sock: socket.socket | None = None, admission: Admission | None = None) -> None:
    """Serve on ``sock`` (by default where the settings say) until SIGTERM or SIGINT, with ``KRM_WORKERS`` processes.

    ``admission`` says who callers are, where ``KRM_AUTH`` asks for that; a process opens it once.
    Raises ``ConfigError`` before anything is served. Must be called without a running event loop or threads.
    """
    check(settings)
    if (settings.auth == "kubernetes") != (admission is not None):
        raise ConfigError("KRM_AUTH=kubernetes and somebody who can review callers go together: krm serve has both")
    listening = sock or listen(settings)
    build.default()  # once, before the processes part
    try:
        with folders.common() if settings.workers > 1 else contextlib.nullcontext() as folder:

            def work(number: int) -> None:
                if folder is not None:
                    metrics.share(folder, number)
                _serve_in_new_loop(settings, listening, admission, folder)

            processes.run(settings.workers, work, listening.close)
    finally:
        listening.close()


def _serve_in_new_loop(
    settings: Settings, sock: socket.socket, admission: Admission | None, folder: Path | None
) -> None:
    garbage.settle()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, sock, admission, folder))


async def serve(
    settings: Settings, sock: socket.socket, admission: Admission | None = None, folder: Path | None = None
) -> None:
    """Follow Redis and serve on ``sock`` until SIGTERM or SIGINT; ``folder``: where several processes count."""
    store = open_store(settings.require_redis())
    stores = [TableStore(store, settings.cluster, resource) for resource in settings.resources]
    tables = Tables.of(stores, redact=settings.redact)
    try:
        live = Live(tables, stores, settings)
        async with tables, _admitting(live, admission) as callers:
            await serve_app(settings, app.create(settings, live, callers, folder), sock)
    finally:
        await store.close()


def _admitting(live: Live, admission: Admission | None) -> AbstractAsyncContextManager[Callers]:
    return contextlib.nullcontext(ANYBODY) if admission is None else admission(live)


async def serve_app(settings: Settings, api: FastAPI, sock: socket.socket) -> None:
    """Serve an application on ``sock`` until SIGTERM or SIGINT, then drain."""
    config = configuration(settings, api)
    server = Server(config, api.state.api.stop)
    log.info("API is listening", extra={"url": url(settings, sock)})
    async with _renewed_certificate(settings, config):
        await server.serve(sockets=[sock])
    if not server.started:
        raise KrmError("the API could not start; the log says why")


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
