"""What every test may use, and what every test is held to: nothing that it started outlives it."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from playwright.async_api import Page, async_playwright

from krm.simulator import Simulation, World, serve
from tests import debian, servers
from tests.servers import RedisServer
from tests.waiting import NotInTimeError, block_until, wait_until

_GRACE_S: Final = 5.0

# What hypothesis draws is the same in every run, so that a run tells of the change that it is for, and of no other.
# Others are looked for by: make test ARGS=--hypothesis-profile=explore
hypothesis.settings.register_profile("explore", derandomize=False)
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")

# A shell that runs the tests as a job in the background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    """One real Redis for the whole run (with pytest-xdist: one a process)."""
    with servers.start_redis() as server:
        if server.stands_in_because:
            _say(pytestconfig, f"No redis-server of Debian, testing with krm demo's: {server.stands_in_because}")
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address (unix socket) of a real and empty Redis."""
    redis_server.empty()
    return redis_server.url


@pytest.fixture
def free_port() -> int:
    """A TCP port of loopback that nothing listens on."""
    return servers.free_port()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulation]:
    """A simulated cluster of twenty pods in which nothing happens until the test does it."""
    async with serve(world=World(pods=20, seed=1)) as simulation:
        yield simulation


@pytest.fixture(scope="session")
def chromium() -> debian.Program:
    """A real browser, for ``page`` or to be started otherwise."""
    return servers.chromium_program()


@pytest.fixture
async def page(chromium: debian.Program) -> AsyncIterator[Page]:
    """An empty page of a browser of its own; nothing of it outlives the test."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium.path, env=dict(chromium.env()))
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings or the cluster of whoever runs it."""
    for name in os.environ:
        if name.startswith("KRM_") or name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_process_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    # Servers of the session may start during a test; they are not the test's.
    before = _children()
    yield
    kept = {server.process.pid for server in _session_servers(request)}
    try:
        block_until(lambda: not (_children() - before - kept), _GRACE_S)
    except NotInTimeError:
        left = [f"{pid} {_command(pid)}" for pid in sorted(_children() - before - kept)]
        pytest.fail(f"the test left processes: {', '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True)
def _no_task_is_left(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_tasks_end")


@pytest.fixture
async def _tasks_end() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield

    def left() -> set[asyncio.Task[object]]:
        return asyncio.all_tasks() - before - {asyncio.current_task()}

    try:
        await wait_until(lambda: not left(), _GRACE_S)
    except NotInTimeError:
        pytest.fail(f"the test left tasks: {[task.get_coro() for task in left()]}", pytrace=False)


def _say(config: pytest.Config, line: str) -> None:
    """Print past the capture of output: it must be seen when all tests pass, too."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stderr.write(f"\n{line}\n")


def _session_servers(request: pytest.FixtureRequest) -> list[RedisServer]:
    return [request.getfixturevalue("redis_server")] if "redis_server" in request.fixturenames else []


def _children() -> set[int]:
    """The process ids of our children, of whichever thread, ended ones that nobody waited for included."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in listing.read_text().split())
        except OSError:  # the thread has ended meanwhile
            continue
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip() or "(ended, never waited for)"
    except OSError:
        return "(gone)"
