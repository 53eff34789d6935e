"""F1 to F19: faults of the API server and of the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from krm.simulator import Fault, FaultKind, User
from krm.store.head import ListHead
from tests.faults import lab
from tests.faults.figures import Figures
from tests.faults.scale import FULL, scaled
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(scaled(1_800, 7_200))]

PAGE_SIZE: Final = "25"
"""Of which lists have several pages, those of metadata, too."""


async def happened(fault: Fault, times: int = 1, deadline_s: float = 60.0) -> None:
    """Wait until a fault has happened."""
    await wait_until(lambda: fault.happened >= times, deadline_s, f"{fault.kind} happens")


async def watched_anew(it: lab.Lab, watches: int, deadline_s: float) -> None:
    """Wait until there was another watch than the first ``watches``."""
    await wait_until(lambda: it.simulation.requests.total("watch", "pods") > watches, deadline_s, "another watch")


async def test_f1(figures: Figures, tmp_path: Path) -> None:
    figures.name("F1", "watch ended by the server")
    async with lab.running(tmp_path, figures, interval_s=600) as it:
        lists = it.simulation.requests.total("list", "pods")
        gaps: list[float] = []
        for _ in range(scaled(100, 1_000)):
            ended = it.simulation.faults.add(FaultKind.END, resource="pods", count=1)
            await happened(ended)
            began = time.monotonic()
            await it.sees(it.touch())
            gaps.append(time.monotonic() - began)
            figures.times += 1
        figures.seconds += gaps
        figures.note(relists=it.simulation.requests.total("list", "pods") - lists)
        assert it.simulation.requests.total("list", "pods") == lists
        await it.whole()


async def test_f2(figures: Figures, tmp_path: Path) -> None:
    figures.name("F2", "reset in the middle of an event")
    rng = random.Random(2)
    async with lab.running(tmp_path, figures, interval_s=600) as it:
        for _ in range(scaled(15, 200)):
            await wait_until(lambda: it.api_proxy.cut(rng.randint(1, 20_000), lambda one: one.is_watch))
            it.churn(20)
            await it.heals()
        assert it.judge.contiguous


@pytest.mark.parametrize("interval_s", [3.0, 30.0])
async def test_f3(figures: Figures, tmp_path: Path, interval_s: float) -> None:
    figures.name("F3", "half-open: the watch's socket swallows everything")
    rng = random.Random(3)
    async with lab.running(tmp_path, figures, interval_s=interval_s) as it:
        for _ in range(scaled(4, 20) if interval_s < 30 else scaled(2, 20)):
            await asyncio.sleep(rng.random() * interval_s)
            watches = it.simulation.requests.total("watch", "pods")
            assert it.api_proxy.hole(lambda one: one.is_watch) == 1
            it.churn(20)
            began = time.monotonic()
            await watched_anew(it, watches, 2 * interval_s + 30)
            figures.note(**{f"found_after_s_at_interval_{interval_s:g}": time.monotonic() - began})
            assert time.monotonic() - began < interval_s + 5 + 2
            await it.heals()


async def test_f4(figures: Figures, tmp_path: Path) -> None:
    figures.name("F4", "API server stopped (SIGSTOP): its kernel accepts, nobody answers")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it, forwarder(it) as process:
        for _ in range(scaled(2, 20)):
            process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            it.churn(10)
            await wait_until(lambda: it.judge.state == "STALE", 30)
            figures.note(flagged_after_s=time.monotonic() - began)
            await it.live(3)
            process.send_signal(signal.SIGCONT)
            await it.heals()


@contextlib.asynccontextmanager
async def forwarder(it: lab.Lab) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that stands for the API server from now on, as far as sockets and signals go."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.forwarder", str(it.simulation.port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        it.api_proxy.target = ("127.0.0.1", int(await asyncio.wait_for(process.stdout.readline(), 60)))
        it.api_proxy.reset()
        await it.whole()
        yield process
    finally:
        it.api_proxy.target = ("127.0.0.1", it.simulation.port)
        process.kill()
        await process.wait()


@pytest.mark.parametrize("form", ["stream", "status"])
async def test_f5(figures: Figures, tmp_path: Path, form: str) -> None:
    figures.name("F5", "410, in the stream and as a status; then a storm of them")
    async with lab.running(tmp_path, figures, interval_s=60) as it:

        def gone(count: int | None) -> None:
            if form == "stream":
                it.simulation.faults.add(FaultKind.GONE, resource="pods", count=count)
            else:
                it.simulation.faults.add(FaultKind.STATUS, resource="pods", verb="watch", status=410, count=count)
                it.simulation.faults.add(FaultKind.END, resource="pods", count=1)

        for _ in range(scaled(3, 20)):
            gone(1)
            it.churn(20)
            await asyncio.sleep(0.3)
            await it.heals()
        lists, seconds = it.simulation.requests.total("list", "pods"), scaled(60, 120)
        gone(None)
        await it.live(seconds)
        it.simulation.faults.clear()
        pages = -(-len(it.truth.now()) // 100)
        per_minute = (it.simulation.requests.total("list", "pods") - lists) / pages / seconds * 60
        figures.note(lists_a_minute_in_the_storm=per_minute)
        assert per_minute <= 12
        await it.heals()


async def test_f6(figures: Figures, tmp_path: Path) -> None:
    figures.name("F6", "history compacted while the streamer is stopped")
    async with lab.running(tmp_path, figures, interval_s=60) as it:
        for _ in range(scaled(3, 20)):
            it.signal("stream", signal.SIGSTOP)
            it.api_proxy.reset(lambda one: one.is_watch)
            it.churn(400)
            it.simulation.compact()
            it.signal("stream", signal.SIGCONT)
            await it.heals()
            await it.sees(it.touch())  # the stream goes on: what comes next is no storm of lost places


@pytest.mark.parametrize("what", ["500", "503", "504", "429", "unknown type"])
async def test_f7(figures: Figures, tmp_path: Path, what: str) -> None:
    figures.name("F7", "errors in the stream, 429, events of an unknown type")
    async with lab.running(tmp_path, figures, interval_s=600) as it:
        lists = it.simulation.requests.total("list", "pods")
        if what == "unknown type":
            it.simulation.faults.add(FaultKind.UNKNOWN_TYPE, resource="pods", count=2)
        elif what == "429":
            it.simulation.faults.add(FaultKind.END, resource="pods", count=1)
            it.simulation.faults.add(
                FaultKind.STATUS, resource="pods", verb="watch", status=429, retry_after_s=1, count=None
            )
        else:
            it.simulation.faults.add(FaultKind.ERROR, resource="pods", status=int(what), count=None)
        watches = it.simulation.requests.total("watch", "pods")
        seconds = scaled(20, 60)
        await it.live(seconds)
        rate = (it.simulation.requests.total("watch", "pods") - watches) / seconds
        figures.note(requests_a_second=rate)
        assert rate <= 0.5
        assert it.simulation.requests.total("list", "pods") == lists
        it.simulation.faults.clear()
        await it.heals()


async def test_f8(figures: Figures, tmp_path: Path) -> None:
    figures.name("F8", "API server down: connections refused, then it is back")
    async with lab.running(tmp_path, figures, interval_s=3.0) as it:
        for down_s in [0.5, 2, 8, 12] if not FULL else [1, 5, 15, 45] * 4 + [60, 60, 120, 300]:
            await it.api_proxy.refuse()
            await it.live(down_s)
            await it.api_proxy.listen()
            await it.heals()


async def test_f9(figures: Figures, tmp_path: Path) -> None:
    figures.name("F9", "token rotated in its file, the old one revoked")
    token = tmp_path / "token"
    token.write_text("first")
    admin = User(name="krm", groups=("system:masters",))

    def with_token(plain: str) -> str:
        return plain.replace("    {}\n", f"    tokenFile: {token}\n")

    async with lab.running(tmp_path, figures, interval_s=2.0, tokens={"first": admin}, kubeconfig=with_token) as it:
        for number in range(scaled(4, 20)):
            is_late = number % 2 == 1
            it.simulation.access.tokens.clear()
            it.simulation.access.tokens[f"token{number}"] = admin
            if not is_late:
                token.write_text(f"token{number}")
            it.api_proxy.reset()
            it.churn(20)
            if is_late:
                await it.live(3)
                token.write_text(f"token{number}")
            await it.heals(deadline_s=75)


async def test_f10(figures: Figures, tmp_path: Path) -> None:
    figures.name("F10", "right to one kind removed (403)")
    async with lab.running(tmp_path, figures, interval_s=3.0, KRM_RESOURCES="pods,services") as it:
        it.simulation.faults.add(FaultKind.STATUS, resource="services", status=403, count=None)
        it.simulation.faults.add(FaultKind.END, resource="services", count=1)
        await asyncio.sleep(4)
        before = it.simulation.requests.total("list", "services") + it.simulation.requests.total("watch", "services")
        seconds = scaled(25, 120)
        await it.live(seconds)
        after = it.simulation.requests.total("list", "services") + it.simulation.requests.total("watch", "services")
        figures.note(requests_a_minute=(after - before) / seconds * 60)
        await it.heals()


@pytest.mark.parametrize("kind", ["garbage_line", "not_utf8_line", "cut_line", "huge_line"])
async def test_f11(figures: Figures, tmp_path: Path, kind: str) -> None:
    figures.name("F11", "garbage, bytes that are not text, lines cut, a line of 65 MiB")
    async with lab.running(tmp_path, figures, interval_s=600) as it:
        before = it.rss_mib("stream")
        for _ in range(1 if kind == "huge_line" else scaled(3, 20)):
            it.simulation.faults.add(FaultKind(kind), resource="pods", count=1, size=65 * 2**20)
            it.churn(30)
            await asyncio.sleep(0.2)
            await it.heals()
        figures.note(memory_more_mib=it.rss_mib("stream") - before)
        assert it.rss_mib("stream") - before < 128
        assert it.judge.contiguous


async def test_f12(figures: Figures, tmp_path: Path) -> None:
    figures.name("F12", "events dropped silently: each is named by the next list")
    async with lab.running(tmp_path, figures, interval_s=2.0, lossless=False) as it:
        table = it.table()
        try:
            for _ in range(scaled(5, 50)):
                names = [name for _, name in list(it.truth.now())[:5]]
                lines = await table.drift_count()
                fault = it.simulation.faults.add(FaultKind.DROP, resource="pods", count=len(names))
                for name in names:
                    it.touch(name)
                await happened(fault, len(names))
                for node in range(3):  # the stream goes on
                    it.touch([name for _, name in it.truth.now()][20 + node])
                began = time.monotonic()

                async def named(wanted: int = lines + len(names)) -> bool:
                    return await table.drift_count() == wanted

                await wait_until(named, 30, "every dropped event is named")
                figures.note(named_after_s=time.monotonic() - began)
                await it.heals()
                figures.note(dropped=len(names) * figures.times, named=await table.drift_count())
            assert await table.drift_count() == 5 * figures.times
        finally:
            await table.store.close()


@pytest.mark.parametrize("kind", ["duplicate", "swap"])
async def test_f13(figures: Figures, tmp_path: Path, kind: str) -> None:
    figures.name("F13", "lines twice, lines in another order")
    async with lab.running(tmp_path, figures, interval_s=600, lossless=kind == "duplicate") as it:
        for _ in range(scaled(3, 20)):
            it.simulation.faults.add(FaultKind(kind), resource="pods", count=30, every=2)
            it.churn(80)
            await asyncio.sleep(0.2)
            it.simulation.faults.clear()
            it.touch()  # what was held back for a swap goes behind this
            await it.heals()


async def test_f14(figures: Figures, tmp_path: Path) -> None:
    figures.name("F14", "list and watch cut at any byte, from their first on")
    rng = random.Random(14)
    async with lab.running(tmp_path, figures, interval_s=1.0) as it:
        for _ in range(scaled(25, 500)):
            it.api_proxy.cut(rng.choice([rng.randint(1, 500), rng.randint(1, 100_000)]))
            it.churn(5)
            await asyncio.sleep(rng.random() * 0.5)
            await it.heals()


@pytest.mark.parametrize("kind", ["410", "reset", "cut", "never ends"])
async def test_f15(figures: Figures, tmp_path: Path, kind: str) -> None:
    figures.name("F15", "list breaks at its second page, or never ends")
    async with lab.running(tmp_path, figures, interval_s=1.0, KRM_LIST_PAGE_SIZE=PAGE_SIZE) as it:
        table = it.table()
        try:
            for _ in range(1 if kind == "never ends" else scaled(3, 20)):
                faults = it.simulation.faults
                if kind == "410":
                    fault = faults.add(FaultKind.LATER_PAGE, resource="pods", verb="list", status=410, count=2)
                elif kind == "reset":
                    fault = faults.add(FaultKind.RESET, resource="pods", verb="list", every=2, count=2)
                elif kind == "cut":
                    fault = faults.add(FaultKind.TRUNCATED_LIST, resource="pods", after_bytes=9_000, every=2, count=2)
                else:
                    fault = faults.add(FaultKind.HANG, resource="pods", verb="list", every=2, count=1, delay_s=600)
                await happened(fault, fault.count or 1)
                it.churn(20)
                for head in (await table.list_heads()).values():
                    assert head.rows > 200, "half a list was installed"
                took_s = await it.heals(deadline_s=90)
                if kind == "never ends":
                    figures.note(hanging_list_left_after_s=took_s)
        finally:
            await table.store.close()


async def test_f16(figures: Figures, tmp_path: Path) -> None:
    figures.name("F16", "list is slow while everything changes")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it:
        for _ in range(scaled(2, 20)):
            fault = it.simulation.faults.add(
                FaultKind.DELAY, resource="pods", verb="list", delay_s=scaled(2, 15), count=4
            )
            await it.live(scaled(7, 60), per_s=150)
            fault.count = 0
            await it.heals()


@pytest.mark.parametrize("writes_after", [0, 300])
async def test_f17(figures: Figures, tmp_path: Path, writes_after: int) -> None:
    figures.name("F17", "etcd restored from an older snapshot")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it:
        for _ in range(scaled(3, 20)):
            backup = it.simulation.snapshot()
            it.churn(150)
            await it.whole()
            it.simulation.restore(backup)
            it.restored()
            it.churn(writes_after)
            await it.heals()


async def test_f18(figures: Figures, tmp_path: Path) -> None:
    figures.name("F18", "list, or a page of it, answers 200 without items")
    rng = random.Random(18)
    async with lab.running(tmp_path, figures, interval_s=1.0, KRM_LIST_PAGE_SIZE=PAGE_SIZE) as it:
        table = it.table()
        try:
            for _ in range(scaled(6, 20)):
                before = await table.list_heads()
                fault = it.simulation.faults.add(
                    FaultKind.EMPTY_LIST, resource="pods", count=1, every=rng.choice([1, 2, 3])
                )
                await happened(fault)  # at the first page, or at one that was told to have more
                it.churn(10)

                async def is_listed_again(before: Mapping[str, ListHead] = before) -> bool:
                    return await table.list_heads() != before

                await wait_until(is_listed_again, 60, "another list")  # which the next fault must not hit
                await it.heals()
        finally:
            await table.store.close()


async def test_f19(figures: Figures, tmp_path: Path) -> None:
    figures.name("F19", "namespace of thousands of pods deleted; a burst of events")
    many = scaled(2_000, 5_000)
    async with lab.running(tmp_path, figures, pods=many, interval_s=30.0) as it:
        steady = {name: it.rss_mib(name) for name in it.processes}
        pods = it.simulation.store.kind_named("pods")
        names = [name for _, name in it.truth.now()][:500]
        for _ in range(scaled(2, 10)):
            for number in range(scaled(4_000, 40_000)):
                it.touch(names[number % len(names)])
                if number % 200 == 0:
                    await asyncio.sleep(0)
            await it.heals()
        doomed = [key for key in it.truth.now() if key[0] == max(it.truth.now())[0]]
        for namespace, name in doomed:
            it.simulation.store.delete(pods, namespace, name)
        await it.heals()
        figures.note(deleted=len(doomed), memory_times=max(it.rss_mib(name) / steady[name] for name in steady))
