"""Real servers for tests: started on loopback, ended with the tests, never replaced by a fake.

``start_redis`` runs Debian's redis-server. Where that cannot be had, the server that the product brings for
``krm demo`` takes its place and the test run says so; it has no TLS, so what needs TLS then fails.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from krm.store import local
from tests import debian
from tests.waiting import block_until

_OLDEST_REDIS: Final = (7, 0)
_START_S: Final = 20.0
_DEMO_START_S: Final = 60.0
_ATTEMPTS: Final = 5


class ServerFailedError(RuntimeError):
    """A server did not start; the message ends with what it printed."""


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """A running Redis: on a unix socket and on a TCP port of loopback, without persistence or password."""

    process: subprocess.Popen[bytes]
    socket: Path
    port: int
    version: str
    stands_in_because: str | None
    """Why it is not Debian's Redis but the server that ``krm demo`` brings."""

    @property
    def url(self) -> str:
        """Through the unix socket, database 0."""
        return f"unix://{self.socket}?db=0"

    @property
    def tcp_url(self) -> str:
        """Through TCP, database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def empty(self) -> None:
        """Remove every key, and what tests may have changed: configuration, users, functions, scripts."""
        with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10) as client:
            client.flushall()
            client.script_flush()


def free_port() -> int:
    """A TCP port of loopback that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_program() -> tuple[debian.Program, str | None]:
    """The Redis to test against, and why it is not Debian's where it is another."""
    try:
        found = debian.program("redis-server", package="redis-server")
        if _version(found) >= _OLDEST_REDIS:
            return found, None
        reason = f"{found.path} is older than {_OLDEST_REDIS[0]}.{_OLDEST_REDIS[1]}"
    except debian.UnavailableError as error:
        reason = str(error)
    return debian.Program(path=local.find_program(path="").path), reason


def chromium_program() -> debian.Program:
    """Debian's Chromium, without the shell script around it, which reads the system's configuration."""
    return debian.program("chromium", package="chromium", folder="usr/lib/chromium")


def influxd_program() -> debian.Program:
    """Debian's InfluxDB, 1.6: the real engine, to be put behind ``krm.simulator.influx.WriteRoute``."""
    return debian.program("influxd", package="influxdb")


def _version(program: debian.Program) -> tuple[int, ...]:
    shown = subprocess.run([program.path, "--version"], env=program.env(), capture_output=True, text=True, check=True)
    found = re.search(r"v=(\d+)\.(\d+)\.(\d+)", shown.stdout)
    return tuple(int(part) for part in found.groups()) if found else (0,)


@contextmanager
def start_redis(*options: str) -> Iterator[RedisServer]:
    """A Redis of one's own with further ``options`` (``"--maxmemory", "10mb"``), ended at the exit."""
    program, reason = redis_program()
    folder = Path(tempfile.mkdtemp(prefix="krm-redis-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        for attempt in range(_ATTEMPTS):
            port = free_port()  # another process may take it before Redis does: hence the attempts
            process = _spawn([str(program.path), *_redis_options(folder, port), *options], program, folder)
            if _answers(process, folder / "socket"):
                break
            if attempt == _ATTEMPTS - 1:
                raise ServerFailedError((folder / "log").read_text()[-2000:])
            end(process)
        assert process is not None
        version = ".".join(map(str, _version(program)))
        yield RedisServer(
            process=process, socket=folder / "socket", port=port, version=version, stands_in_because=reason
        )
    finally:
        if process is not None:
            end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _redis_options(folder: Path, port: int) -> list[str]:
    listen = ["--bind", "127.0.0.1", "--port", str(port), "--unixsocket", str(folder / "socket"), "--unixsocketperm"]
    keep_nothing = ["--save", "", "--appendonly", "no", "--dir", str(folder), "--daemonize", "no"]
    return [*listen, "700", *keep_nothing]


def _spawn(command: Sequence[str], program: debian.Program, folder: Path) -> subprocess.Popen[bytes]:
    # The kernel ends it with us, even if the tests are killed.
    tied = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*tied, *command], env=program.env(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )


def _answers(process: subprocess.Popen[bytes], path: Path) -> bool:
    def answered() -> bool:
        if process.poll() is not None:
            return True
        try:
            with redis.Redis(unix_socket_path=str(path), socket_timeout=2) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    block_until(answered, _START_S, "redis-server answers")
    return process.poll() is None


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A running ``krm demo``."""

    process: subprocess.Popen[bytes]
    url: str
    """Of its API, without a final slash."""
    log: Path
    """What it has printed so far."""


@contextmanager
def start_demo(*options: str, krm: Path | None = None) -> Iterator[Demo]:
    """``krm demo`` on a free port with further ``options``, as a user starts it; ends as Ctrl-C ends it.

    ``krm``: that of another environment than ours.
    """
    folder = Path(tempfile.mkdtemp(prefix="krm-demo-"))
    command = [str(krm or Path(sys.executable).parent / "krm"), "demo", "--port", "0", *options]
    process = _spawn(command, debian.Program(path=Path(command[0])), folder)

    def shown() -> str | None:
        printed = (folder / "log").read_text()
        if process.poll() is not None:
            raise ServerFailedError(printed[-2000:])
        # The log has addresses too; the one that people are told comes when there is something to see.
        found = re.search(r"in a browser +(http://127\.0\.0\.1:[1-9]\d*)", printed)
        return found.group(1) if found else None

    try:
        yield Demo(
            process=process,
            url=block_until(shown, _DEMO_START_S, "krm demo says where its API is") or "",
            log=folder / "log",
        )
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        end(process, _DEMO_START_S)
        shutil.rmtree(folder, ignore_errors=True)


def end(process: subprocess.Popen[bytes], timeout_s: float = 10.0) -> None:
    """SIGTERM, then SIGKILL for one that stays. A stopped (SIGSTOP) one is continued first."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout_s)


def main() -> None:
    """Fetch what the tests need before they start, so that a slow mirror is seen as that and not as a slow test."""
    for name, fetch in (
        ("redis-server", redis_program),
        ("chromium", chromium_program),
        ("influxd", influxd_program),
    ):
        print(f"{name} ...", end=" ", flush=True)
        try:
            found = fetch()
        except debian.UnavailableError as error:
            print(f"not available, its tests will fail: {error}")
            continue
        program, reason = found if isinstance(found, tuple) else (found, None)
        print(f"{program.path}" + (f", since {reason}" if reason else ""))


if __name__ == "__main__":
    main()
