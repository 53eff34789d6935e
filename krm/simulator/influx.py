"""An InfluxDB of one's own, for ``krm demo`` and for tests: influxd 1.x in a private folder that goes with its user.

Debian's influxd is 1.6, which lacks the write interface of version 2. ``WriteRoute`` stands before such a one and maps
that route, and nothing else, onto the engine's own as InfluxDB 1.12 does: ``bucket`` is ``database`` or
``database/retention``, a token is ``user:password``. All else goes through as it is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from krm.errors import KrmError
from krm.store import guard

START_S: Final = 30.0
_PAUSE_S: Final = 0.02
_ATTEMPTS: Final = 5
_PRECISIONS: Final = {"ns": "n", "us": "u", "ms": "ms", "s": "s", "": ""}


def find_influxd(path: str | None = None) -> Path | None:
    """The influxd of version 1 that is installed; None for none (version 2 needs a setup of its own)."""
    found = shutil.which("influxd", path=path)
    return Path(found) if found is not None and version(Path(found))[:1] == (1,) else None


def version(influxd: Path) -> tuple[int, ...]:
    """As it tells itself; empty where it does not."""
    try:
        shown = subprocess.run(  # noqa: S603 (a server that was found on PATH)
            [influxd, "version"], capture_output=True, text=True, timeout=START_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", shown)
    return tuple(int(part) for part in found.groups()) if found else ()


class LocalInflux:
    """One server on a port of loopback, without users; nothing of it outlives ``stop``, nor our own end."""

    def __init__(self, influxd: Path, environment: Mapping[str, str] | None = None) -> None:
        self._influxd = influxd
        self._environment = dict(os.environ if environment is None else environment)
        self._folder = Path(tempfile.gettempdir()) / f"krm-influx-{secrets.token_hex(8)}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop; it has no name, so it leaves no file)
        self._guard: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Its HTTP interface, without a final slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def spawn(self) -> None:
        """Start without waiting."""
        self.end()
        self.port = _free_port()
        folder = self._folder
        settings = {
            "INFLUXDB_META_DIR": str(folder / "meta"),
            "INFLUXDB_DATA_DIR": str(folder / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(folder / "wal"),
            "INFLUXDB_BIND_ADDRESS": "127.0.0.1:0",
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_HTTP_LOG_ENABLED": "false",
            "INFLUXDB_MONITOR_STORE_ENABLED": "false",
            "INFLUXDB_REPORTING_DISABLED": "true",
        }
        command = [sys.executable, "-I", "-S", guard.__file__, str(folder), str(self._influxd), "-config", os.devnull]
        self._guard = subprocess.Popen(  # noqa: S603 (our own guard, and a server that was found)
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            env=self._environment | settings,
            start_new_session=True,  # Ctrl-C is for us; the server goes last
        )

    async def ready(self) -> None:
        """Wait until it answers, on another port where somebody took this one. Raises ``KrmError``."""
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            for _ in range(_ATTEMPTS):
                while self.is_running:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"{self.url}/ping") as answer:
                            if answer.status == 204:
                                return
                    await asyncio.sleep(_PAUSE_S)
                self.spawn()
        self._log.seek(0)
        raise KrmError(f"influxd did not start: {self._log.read()[-500:].decode('utf-8', 'replace')}")

    async def query(self, text: str, database: str = "") -> object:
        """The answer to an InfluxQL statement, as JSON."""
        asked = {"q": text, "db": database}
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/query", data=asked) as answer:
            return await answer.json()

    def end(self) -> None:
        """End the server; its data goes."""
        process, self._guard = self._guard, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.wait(START_S)

    def stop(self) -> None:
        """End it; nothing of it is left."""
        self.end()
        self._log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WriteRoute:
    """The write route of version 2 before the server at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        """To be served."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/api/v2/write", self._write)
        app.router.add_route("*", "/{path:.*}", self._pass)
        app.cleanup_ctx.append(self._connected)
        return app

    async def _connected(self, _app: web.Application) -> AsyncIterator[None]:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        yield
        await self._session.close()

    async def _write(self, request: web.Request) -> web.Response:
        asked = request.query
        precision = asked.get("precision", "")
        if precision not in _PRECISIONS:
            return _refused(400, f'invalid precision "{precision}" (use ns, us, ms or s)')
        database, slash, retention = asked.get("bucket", "").partition("/")
        if not database or (slash and not retention):
            return _refused(404, f'bucket name "{asked.get("bucket", "")}" is not "database/retention-policy"')
        params = {"db": database, "precision": _PRECISIONS[precision]} | ({"rp": retention} if retention else {})
        return await self._forward(request, "/write", params)

    async def _pass(self, request: web.Request) -> web.Response:
        return await self._forward(request, request.path, dict(request.query))

    async def _forward(self, request: web.Request, path: str, params: dict[str, str]) -> web.Response:
        assert self._session is not None
        kept = ("Content-Type", "Authorization")  # the body is unpacked here
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        headers["Accept-Encoding"] = "identity"
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme == "Token":
            headers["Authorization"] = "Basic " + base64.b64encode(token.encode()).decode()
        body = await request.content.read()
        async with self._session.request(
            request.method, f"{self._url}{path}", params=params, data=body, headers=headers
        ) as answer:
            told = {n: v for n, v in answer.headers.items() if n.startswith("X-Influxdb") or n == "Content-Type"}
            return web.Response(status=answer.status, body=await answer.read(), headers=told)


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status, headers={"X-Influxdb-Error": reason})


@contextlib.asynccontextmanager
async def running(
    influxd: Path, listening: socket.socket, *, database: str = "krm", environment: Mapping[str, str] | None = None
) -> AsyncIterator[LocalInflux]:
    """An empty server with ``database``, which ``listening`` leads to, with the write route of version 2."""
    local = LocalInflux(influxd, environment)
    try:
        local.spawn()
        await local.ready()
        await local.query(f'CREATE DATABASE "{database}"')
        runner = web.AppRunner(WriteRoute(local.url).application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield local
        finally:
            await runner.cleanup()
    finally:
        local.stop()
