"""F20 to F41: faults of the workers' processes, of Redis, of the API's clients and of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio as aioredis
from redis.exceptions import RedisError

from krm import errors, resources
from krm.settings import Secret
from krm.simulator import FaultKind
from krm.store.connect import open_store
from krm.store.reading import TableStore
from tests import servers
from tests.faults import lab, proxy
from tests.faults.figures import Figures
from tests.faults.lab import WORKERS, RedisProcess
from tests.faults.scale import scaled
from tests.integration.kube import certificates
from tests.waiting import NotInTimeError, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(scaled(1_800, 7_200))]

LEASE_S = 5.0
F31 = "Redis takes rights away, has another password or an expired certificate"


async def test_f20(figures: Figures, tmp_path: Path) -> None:
    figures.name("F20", "streamer, verifier, aggregator killed at any moment")
    rng = random.Random(20)
    async with lab.running(tmp_path, figures, interval_s=3.0) as it:
        for number in range(scaled(9, 200)):
            name = WORKERS[number % 3]
            living = asyncio.create_task(it.live(0.3 + rng.random()))
            await asyncio.sleep(rng.random())
            it.signal(name, signal.SIGKILL)
            it.start(name)
            await living
            await it.heals()
        await it.proven()


@pytest.mark.parametrize("pods", [300, 10_000])
async def test_f21(figures: Figures, tmp_path: Path, pods: int) -> None:
    figures.name("F21", "Redis killed, comes back empty")
    async with lab.running(tmp_path, figures, pods=pods, interval_s=30.0, KRM_LIST_PAGE_SIZE="500") as it:
        for _ in range(scaled(3, 20)):
            it.redis.end()
            it.churn(20)
            await asyncio.sleep(1)
            await it.redis.start()
            it.judge.state = ""
            took_s = await it.heals(deadline_s=120)
            figures.note(**{f"whole_after_s_at_{pods}": took_s})


@pytest.mark.parametrize("how", ["stopped", "paused", "asleep"])
async def test_f22(figures: Figures, tmp_path: Path, how: str) -> None:
    figures.name("F22", "Redis stops for seconds (SIGSTOP, CLIENT PAUSE, DEBUG SLEEP)")
    async with lab.running(tmp_path, figures, interval_s=3.0) as it:
        seconds = 10
        for _ in range(scaled(1, 20)):
            it.judge.slowest_s = 0.0
            if how == "stopped":
                assert it.redis.process is not None
                it.redis.process.send_signal(signal.SIGSTOP)
                await it.live(seconds)
                it.redis.process.send_signal(signal.SIGCONT)
            else:
                async with it.redis.client() as client:
                    ask = ("CLIENT", "PAUSE", str(seconds * 1000)) if how == "paused" else ("DEBUG", "SLEEP", seconds)
                    asking = asyncio.create_task(client.execute_command(*ask))
                    await it.live(seconds)
                    await asyncio.wait([asking])
                    asking.exception()
            figures.note(slowest_answer_meanwhile_s=it.judge.slowest_s)
            await it.heals()


async def test_f23(figures: Figures, tmp_path: Path) -> None:
    figures.name("F23", "Redis full (maxmemory, noeviction)")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it, it.redis.client() as client:
        for _ in range(scaled(2, 20)):
            used = (await client.info("memory"))["used_memory"]
            await client.config_set("maxmemory", used - 100_000)
            await it.live(4)
            await wait_until(lambda: it.judge.state != "SYNCED", 30)
            assert "full" in it.judge.reason or it.judge.codes, it.judge.reason
            await client.config_set("maxmemory", 0)
            await it.heals()


@pytest.mark.parametrize("how", ["flushall", "evicted", "other type"])
async def test_f24(figures: Figures, tmp_path: Path, how: str) -> None:
    figures.name("F24", "keys evicted, of another type, or all gone (FLUSHALL)")
    rng = random.Random(24)
    async with lab.running(tmp_path, figures, interval_s=2.0) as it, it.redis.client() as client:
        for _ in range(scaled(4, 20)):
            keys = sorted(await client.keys("krm:*"))
            if how == "flushall":
                await client.flushall()
            else:
                victim = rng.choice(keys)
                await client.delete(victim)
                if how == "other type":
                    await client.set(victim, "another")
            it.churn(20)
            await asyncio.sleep(0.5)
            await it.heals()
        await it.proven()


async def test_f25(figures: Figures, tmp_path: Path) -> None:
    figures.name("F25", "a byte of a stored row or list flipped")
    rng = random.Random(25)
    async with lab.running(tmp_path, figures, interval_s=2.0) as it, it.redis.client() as client:
        table = it.table()
        try:
            for _ in range(scaled(6, 50)):
                uid = rng.choice(await client.hkeys(table.keys.objects))
                record = bytearray(await client.hget(table.keys.objects, uid))
                record[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
                await client.hset(table.keys.objects, uid, bytes(record))
                for chunk in [key for key in await client.keys("*verified:*") if rng.random() < 0.5]:
                    await client.setrange(chunk, rng.randrange(max(1, await client.strlen(chunk))), b"\xff")
                it.signal("serve", signal.SIGKILL)  # one that must load what is damaged
                it.start("serve")
                it.churn(10)
                await it.heals()
            await it.proven()
        finally:
            await table.store.close()


async def test_f26(figures: Figures, tmp_path: Path) -> None:
    figures.name("F26", "replica promoted that lacks the last writes")
    folder = tmp_path / "replica"
    folder.mkdir()
    replica = RedisProcess(folder)
    await replica.start()
    try:
        async with lab.running(tmp_path, figures, interval_s=3.0) as it:
            for _ in range(scaled(3, 20)):
                async with it.redis.client() as old, replica.client() as new:
                    await new.execute_command("REPLICAOF", "127.0.0.1", str(it.redis.port))

                    async def caught_up(new: aioredis.Redis = new) -> bool:
                        return str((await new.info("replication")).get("master_link_status")) == "up"

                    await wait_until(caught_up, 20)
                    await it.whole()
                    await new.execute_command("REPLICAOF", "127.0.0.1", "1")  # it hears nothing more
                    it.churn(40)
                    await it.whole()
                    await new.execute_command("REPLICAOF", "NO", "ONE")
                    it.redis_proxy.target = ("127.0.0.1", replica.port)
                    it.redis_proxy.reset()
                    await it.heals()
                    await old.flushall()
                it.redis, replica = replica, it.redis
            await it.proven()
    finally:
        replica.end()


async def test_f28(figures: Figures, tmp_path: Path) -> None:
    figures.name("F28", "scripts forgotten (SCRIPT FLUSH), Redis busy with a script that is killed")
    async with lab.running(tmp_path, figures, interval_s=3.0) as it, it.redis.client() as client:
        await client.config_set("busy-reply-threshold", 200)
        for number in range(scaled(6, 40)):
            if number % 2:
                busy: asyncio.Task[object] = asyncio.create_task(client.eval("while true do end", 0))
                await it.live(2)
                async with it.redis.client() as other:
                    await other.execute_command("SCRIPT", "KILL")
                with contextlib.suppress(RedisError):
                    await busy
            else:
                await client.script_flush()
                it.churn(20)
            await it.heals()
        await it.proven()


@pytest.mark.parametrize("name", WORKERS)
async def test_f29(figures: Figures, tmp_path: Path, name: str) -> None:
    figures.name("F29", "two instances; the writing one stops, the other takes over, the first wakes")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it:
        it.start(f"{name}-2")
        await wait_until(lambda: '"works"' in it.log(f"{name}-2").read_text(), 60, "the other instance is there")
        for _ in range(scaled(2, 10)):
            table = it.table()
            role = {"verify": "verifier", "stream": "streamer", "aggregate": "aggregator"}[name]

            async def owner(table: TableStore = table, role: str = role) -> bytes:
                return bytes((await table.store.client.hget(table.keys.fence, role)).split(b":")[0])

            before = await owner()
            stopped = name
            it.signal(name, signal.SIGSTOP)
            began = time.monotonic()

            async def taken(before: bytes = before, owner: Callable[[], Awaitable[bytes]] = owner) -> bool:
                return await owner() != before

            try:
                await wait_until(taken, LEASE_S + 3)
            except NotInTimeError:  # the standby was the one that stopped
                it.signal(name, signal.SIGCONT)
                stopped = f"{name}-2"
                it.signal(stopped, signal.SIGSTOP)
                began = time.monotonic()
                await wait_until(taken, LEASE_S + 3)
            figures.note(takeover_s=time.monotonic() - began)
            it.churn(30)
            it.signal(stopped, signal.SIGCONT)
            await it.heals()
            await table.store.close()
        await it.proven()


async def test_f30(figures: Figures, tmp_path: Path) -> None:
    figures.name("F30", "requests cancelled while Redis is slow: no answer is another's")
    redis = RedisProcess(tmp_path)
    await redis.start()
    rng = random.Random(30)
    try:
        async with redis.client() as client, proxy.to("127.0.0.1", redis.port) as way:
            way.delay_s = 0.002
            store = open_store(Secret(f"redis://127.0.0.1:{way.port}/0"), connections=8)
            tables = [TableStore(store, name, resources.PODS) for name in ("one", "two")]
            for table in tables:
                await client.hset(table.keys.table, mapping={"state": "building", "run": table.cluster, "seq": 1})
            asked = scaled(4_000, 100_000)

            async def ask(number: int) -> None:
                table = tables[number % 2]
                head = await table.head()
                assert head is not None
                if head.run != table.cluster:
                    figures.unflagged_stale += 1

            for start in range(0, asked, 40):
                tasks = [asyncio.create_task(ask(number)) for number in range(start, start + 40)]
                await asyncio.sleep(rng.random() * 0.004)
                for task in tasks:
                    if rng.random() < 0.5:
                        task.cancel()
                for found in await asyncio.gather(*tasks, return_exceptions=True):
                    assert found is None or isinstance(found, asyncio.CancelledError | errors.StoreUnreachable), found
            figures.times += asked
            await store.close()
        assert figures.broken == 0
    finally:
        redis.end()


async def test_f31(figures: Figures, tmp_path: Path) -> None:
    figures.name("F31", F31)
    async with lab.running(tmp_path, figures, interval_s=2.0) as it, it.redis.client() as client:
        lines = {name: len(it.log(name).read_text().splitlines()) for name in it.processes}
        for take, give in [
            (("ACL", "SETUSER", "default", "-@write", "-@scripting"), ("ACL", "SETUSER", "default", "+@all")),
            (("ACL", "SETUSER", "default", "-@stream"), ("ACL", "SETUSER", "default", "+@all")),
        ]:
            await client.execute_command(*take)
            await it.live(8)
            assert it.judge.state != "SYNCED", it.judge.reason
            await client.execute_command(*give)
            await it.heals()
        for name, before in lines.items():
            figures.note(log_lines=len(it.log(name).read_text().splitlines()) - before)


async def test_f31_password(figures: Figures, tmp_path: Path) -> None:
    figures.name("F31", F31)
    async with lab.running(tmp_path, figures, interval_s=2.0) as it, it.redis.client() as client:
        for _ in range(scaled(2, 20)):
            await client.config_set("requirepass", "another")
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await told(it, "password")
            await client.config_set("requirepass", "")
            await it.heals()
        await it.proven()


async def test_f31_certificate(figures: Figures, tmp_path: Path) -> None:
    figures.name("F31", F31)
    files = certificates.make(tmp_path / "authority")
    sign = "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile server.ext"
    certificates.openssl(files.folder, f"{sign} -days -1 -out expired.crt")
    certificate, key = files.pair("server")
    port = servers.free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(files.ca)]
    options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files.ca}"
    async with (
        lab.running(tmp_path, figures, interval_s=2.0, redis_options=options, KRM_REDIS_URL=url) as it,
        it.redis.client() as client,
    ):
        for _ in range(scaled(2, 20)):
            await client.config_set("tls-cert-file", str(files.folder / "expired.crt"))
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await told(it, "certificate has expired")
            await client.config_set("tls-cert-file", str(certificate))
            await it.heals()
        await it.proven()


async def told(it: lab.Lab, reason: str) -> None:
    """Answers say why they are not current, for as long as that lasts, and nobody's log runs over."""
    await wait_until(
        lambda: it.judge.state == "STALE" and reason in it.judge.reason, 30, f"{reason}: {it.judge.reason}"
    )
    lines = {name: len(it.log(name).read_text().splitlines()) for name in it.processes}
    await it.live(8)
    assert it.judge.state == "STALE"
    for name, before in lines.items():
        more = len(it.log(name).read_text().splitlines()) - before
        it.figures.note(log_lines=more)
        assert more < 20, it.tails()


@pytest.mark.parametrize("skew_s", [3_600.0, -3_600.0])
async def test_f33(figures: Figures, tmp_path: Path, skew_s: float) -> None:
    figures.name("F33", "API server's clock an hour off")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it:
        it.simulation.faults.add(FaultKind.SKEW, skew_s=skew_s, count=None)
        for _ in range(scaled(2, 10)):
            it.churn(60)
            await asyncio.sleep(0.5)
            await it.heals()


async def test_f34(figures: Figures, tmp_path: Path) -> None:
    figures.name("F34", "clients that read a byte a second")
    async with lab.running(tmp_path, figures, pods=2_000, interval_s=10.0) as it:
        body = b'{"query": "{ pods { nodes { object } } }"}'
        head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        before, slow = it.rss_mib("serve"), []
        for _ in range(scaled(20, 200)):
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port, limit=1)
            writer.write(head.encode() + body)
            slow.append((reader, writer))
        it.judge.slowest_s = 0.0
        await it.live(10)
        figures.note(slowest_other_answer_s=it.judge.slowest_s, memory_more_mib=it.rss_mib("serve") - before)
        for _, writer in slow:
            writer.transport.abort()
        await it.heals()


async def test_f35(figures: Figures, tmp_path: Path) -> None:
    figures.name("F35", "clients that never finish their request (slowloris)")
    async with lab.running(tmp_path, figures, interval_s=10.0) as it:
        slow = []
        for _ in range(scaled(100, 500)):
            _, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(b"POST /graphql HTTP/1.1\r\nHost: loc")
            slow.append(writer)
        it.judge.slowest_s = 0.0
        looks = it.judge.looks
        for _ in range(14):
            await it.live(1)
            for writer in slow:
                if not writer.is_closing():
                    writer.write(b"a")
        assert it.judge.looks - looks > 20
        figures.note(slowest_other_answer_s=it.judge.slowest_s)
        figures.note(still_open=sum(not writer.is_closing() for writer in slow))
        for writer in slow:
            writer.transport.abort()
        await it.heals()


async def test_f36(figures: Figures, tmp_path: Path) -> None:
    figures.name("F36", "API ends (SIGTERM) under load; one of its processes killed")
    async with lab.running(tmp_path, figures, interval_s=10.0, KRM_WORKERS="2") as it:
        failed = asked = reset = 0
        ending = asyncio.Event()

        async def ask() -> None:
            nonlocal failed, asked, reset
            timeout = aiohttp.ClientTimeout(total=10)
            while not ending.is_set():
                async with aiohttp.ClientSession(timeout=timeout) as session:
                    asked += 1
                    try:
                        async with session.post(f"{it.url}/graphql", json={"query": "{pods{totalCount}}"}) as answer:
                            failed += answer.status != 200 or (await answer.json()).get("data") is None
                    except aiohttp.ClientConnectorError:
                        return  # it listens no more: what was asked before was answered
                    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                        reset += 1  # it came as the socket closed: nothing of it was answered, it can be asked again
                        return
                    except aiohttp.ClientError:
                        failed += 1

        for _ in range(scaled(3, 20)):
            ending.clear()
            askers = [asyncio.create_task(ask()) for _ in range(10)]
            await asyncio.sleep(1)
            it.signal("serve", signal.SIGTERM)
            await asyncio.gather(*askers)
            await asyncio.to_thread(it.processes["serve"].wait, 20)
            it.start("serve")
            await it.heals()
        os.kill(it.children("serve")[0], signal.SIGKILL)
        await it.heals()
        figures.note(asked=asked, failed=failed, reset_unanswered=reset)
        assert failed == reset == 0


@pytest.mark.parametrize("limit", ["descriptors", "memory", "output"])
async def test_f37(figures: Figures, tmp_path: Path, limit: str) -> None:
    figures.name("F37", "few descriptors, little memory, output that nobody reads")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it:
        prefix = {"descriptors": ["prlimit", "--nofile=64"], "memory": ["prlimit", "--as=1500000000"], "output": []}
        for name in WORKERS:
            it.signal(name, signal.SIGKILL)
            more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if limit == "output" else {}
            it.start(name, prefix=prefix[limit], **more)
        if limit == "output":  # much to say, and nobody who listens
            it.simulation.faults.add(FaultKind.GARBAGE_LINE, resource="pods", every=3, count=40)
        await it.live(6)
        await it.heals()
        for name in WORKERS:
            for pipe in (it.processes[name].stdout, it.processes[name].stderr):
                if pipe is not None:
                    pipe.close()


async def test_f38(figures: Figures, tmp_path: Path) -> None:
    figures.name("F38", "API server's name does not resolve, its address swallows everything, a proxy is not there")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it, swallowing("::1") as hole:
        good = it.kubeconfig.read_text()
        server = f"127.0.0.1:{it.api_proxy.port}"
        proxied = f"    server: http://{server}\n    proxy-url: http://127.0.0.1:{servers.free_port()}"
        for bad in (
            good.replace("127.0.0.1", "no-such-host.invalid"),
            good.replace("127.0.0.1", "127.0.0.2"),
            good.replace(server, f"[::1]:{hole}"),
            good.replace(f"    server: http://{server}", proxied),
        ):
            assert bad != good
            it.kubeconfig.write_text(bad)
            for name in ("verify", "stream"):
                it.signal(name, signal.SIGKILL)
                it.start(name)
            await it.live(7)
            assert it.judge.state != "SYNCED"
            it.kubeconfig.write_text(good)
            for name in ("verify", "stream"):
                it.signal(name, signal.SIGKILL)
                it.start(name)
            await it.heals()


@contextlib.asynccontextmanager
async def swallowing(host: str) -> AsyncIterator[int]:
    """A port whose queue is full: the kernel drops whatever comes to it, as a black hole on the way does."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_INET6))
        listening.bind((host, 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(socket.AF_INET6))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listening.getsockname())
        yield listening.getsockname()[1]


async def test_f39(figures: Figures, tmp_path: Path) -> None:
    figures.name("F39", "kind is served no more (404), then again")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it:
        it.simulation.faults.add(FaultKind.STATUS, resource="pods", status=404, count=None)
        it.simulation.faults.add(FaultKind.END, resource="pods", count=1)
        began = time.monotonic()
        await wait_until(lambda: it.judge.state == "GONE", 30)
        figures.note(told_after_s=time.monotonic() - began)
        it.simulation.faults.clear()
        await it.heals(deadline_s=75)


async def test_f40(figures: Figures, tmp_path: Path) -> None:
    figures.name("F40", "API started while Redis is down")
    async with lab.running(tmp_path, figures, interval_s=2.0) as it:
        for _ in range(scaled(2, 20)):
            it.redis.end()
            it.signal("serve", signal.SIGKILL)
            it.start("serve")
            it.judge.codes.clear()
            await wait_until(lambda: "NOT_READY" in it.judge.codes, lab.READY_S)
            assert not it.judge.rows
            await it.redis.start()
            await it.heals()


async def test_f41(figures: Figures, tmp_path: Path) -> None:
    figures.name("F41", "changes trimmed past a reader (XTRIM)")
    async with lab.running(tmp_path, figures, interval_s=5.0) as it, it.redis.client() as client:
        table = it.table()
        try:
            for _ in range(scaled(8, 50)):
                it.signal("serve", signal.SIGSTOP)
                it.churn(60)
                await asyncio.sleep(0.3)
                await client.xtrim(table.keys.changes, maxlen=2, approximate=False)
                it.signal("serve", signal.SIGCONT)
                await it.heals()
        finally:
            await table.store.close()
