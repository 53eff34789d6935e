"""The API as a program: over the tables that workers write, in its own processes, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from krm import resources
from krm.api import server
from krm.errors import ConfigError
from krm.schema.relations import RELATIONS
from krm.settings import Settings
from tests import chain
from tests.waiting import wait_until

T = TypeVar("T")

PROGRAM = """
import json, os, sys
from krm import logs
from krm.api import server
from krm.settings import Settings
logs.configure("json", "info")
server.run(Settings.load({}, json.loads(sys.argv[1])))
"""


@dataclass
class Program:
    process: asyncio.subprocess.Process
    url: str
    client: aiohttp.ClientSession

    async def status(self, path: str) -> int:
        """0 where nothing listens."""
        try:
            async with self.client.get(self.url + path) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def ask(self, query: str) -> dict[str, Any]:
        async with self.client.post(f"{self.url}/graphql", json={"query": query}) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return await self.status("/readyz") == 200

        await wait_until(is_ready, 30, "the API is ready")


@asynccontextmanager
async def serving(redis_url: str, port: int, env: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    variables = {"KRM_REDIS_URL": redis_url, "KRM_PORT": str(port), "KRM_RESOURCES": "pods", **(env or {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(variables), stderr=asyncio.subprocess.PIPE
    )
    drained = asyncio.create_task(process.communicate())
    scheme = "https" if "KRM_TLS_CERT_FILE" in variables else "http"
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, force_close=True)) as client:
            program = Program(process, f"{scheme}://127.0.0.1:{port}", client)

            async def listens() -> bool:
                assert process.returncode is None, (await drained)[1]
                return await program.status("/healthz") == 200

            await wait_until(listens, 30, "the API listens")
            yield program
    finally:
        if process.returncode is None:
            left = children(process.pid)
            process.kill()
            for child in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        await drained


async def test_answers_follow_the_cluster(redis_url: str, tmp_path: Path, free_port: int) -> None:
    async with chain.running(redis_url, tmp_path, pods=30, churn=30.0) as running, serving(redis_url, free_port) as api:
        await api.ready()
        for _ in range(5):
            answer = await api.ask(
                "{ pods { totalCount resourceVersion nodes { metadata { name uid resourceVersion } } } }"
            )
            pods = answer["data"]["pods"]
            assert len(pods["nodes"]) == pods["totalCount"]
            assert int(pods["resourceVersion"]) <= running.simulation.store.rv
            waited = await api.ask(f'{{ pods(minResourceVersion: "{pods["resourceVersion"]}") {{ resourceVersion }} }}')
            assert int(waited["data"]["pods"]["resourceVersion"]) >= int(pods["resourceVersion"])
        too_new = await api.ask('{ pods(minResourceVersion: "999999999999") { totalCount } }')
        assert too_new["errors"][0]["extensions"]["code"] == "STALE_REPLICA"
        async with api.client.get(f"{api.url}/metrics") as answered:
            shown = await answered.text()
        assert 'krm_apiserver_requests_total{resource="pods",role="verifier"}' in shown
        assert 'krm_state{resource="pods",state="SYNCED"} 1.0' in shown


async def test_however_many_ask_the_api_server_is_not_asked(redis_url: str, tmp_path: Path, free_port: int) -> None:
    env = {"KRM_WORKERS": "2", "KRM_MAX_IN_FLIGHT": "200"}
    async with (
        chain.running(redis_url, tmp_path, pods=30) as running,
        serving(redis_url, free_port, env) as api,
    ):
        await api.ready()
        for role in chain.ROLES:
            await running.kill(role)  # they ask on their own account, whoever else does
        await wait_until(lambda: not sum(running.simulation.requests.open_watches.values()), 20, "watches have ended")
        before = running.simulation.requests.total()
        query = "{ pods { nodes { metadata { uid } object } } freshness { state } drift { totalCount } }"
        first = await api.ask(query)
        assert len(first["data"]["pods"]["nodes"]) == 30
        for _ in range(3):
            answers = await asyncio.gather(*(api.ask(query) for _ in range(50)))
            assert all(answer["data"]["pods"] == first["data"]["pods"] for answer in answers)
        assert before > 0
        assert running.simulation.requests.total() == before


async def test_a_subscription_tells_what_the_cluster_does(redis_url: str, tmp_path: Path, free_port: int) -> None:
    async with chain.running(redis_url, tmp_path, pods=10, churn=20.0) as _, serving(redis_url, free_port) as api:
        await api.ready()
        socket = await api.client.ws_connect(f"{api.url}/graphql", protocols=["graphql-transport-ws"])
        await socket.send_json({"type": "connection_init"})
        query = "subscription { pods { type object { metadata { uid resourceVersion } } } }"
        await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        assert (await socket.receive_json(timeout=10))["type"] == "connection_ack"
        known: dict[str, str] = {}
        changes = 0
        while changes < 30:
            event = (await socket.receive_json(timeout=20))["payload"]["data"]["pods"]
            uid, version = (event["object"]["metadata"][k] for k in ("uid", "resourceVersion"))
            if event["type"] == "ADDED":
                assert uid not in known
            else:
                assert uid in known
                changes += 1
            known[uid] = version
            if event["type"] == "DELETED":
                del known[uid]
        await socket.close()


async def test_without_a_table_it_is_healthy_but_not_ready(redis_url: str, free_port: int) -> None:
    async with serving(redis_url, free_port) as api:
        assert await api.status("/readyz") == 503
        answer = await api.ask("{ pods { totalCount } freshness { state } }")
        assert answer["errors"][0]["extensions"]["code"] == "NOT_READY"
        assert answer["data"] == {"pods": None, "freshness": [{"state": "NOT_READY"}]}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigterm_ends_it_without_losing_an_answer(redis_url: str, free_port: int, workers: str) -> None:
    async with serving(redis_url, free_port, {"KRM_WORKERS": workers}) as api:
        answered, refused, resets = 0, 0, 0

        async def keep_asking() -> None:
            nonlocal answered, refused, resets
            while True:
                try:
                    assert "freshness" in (await api.ask("{ freshness { state } }"))["data"]
                    answered += 1
                except aiohttp.ClientConnectorError:
                    refused += 1  # after the end, and the end only: nothing that was taken was dropped
                    return
                except aiohttp.ClientOSError as error:
                    if error.errno != errno.ECONNRESET:
                        raise
                    # A connection that was idle when the server ended it: the question was never taken. It is asked
                    # again, on a new one, as every HTTP client does; an answer cut off would be another error.
                    resets += 1
                    assert resets <= 4

        asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
        await wait_until(lambda: answered > 20)
        api.process.send_signal(signal.SIGTERM)
        await wait_until_gone(api)
        await asyncio.wait_for(asyncio.gather(*asking), 15)
        assert await asyncio.wait_for(api.process.wait(), 15) == 0
        assert refused == 4


async def wait_until_gone(api: Program) -> None:
    async def not_ready() -> bool:
        return await api.status("/readyz") in (0, 503)

    await wait_until(not_ready, 10)


async def test_a_process_that_is_killed_is_replaced(redis_url: str, free_port: int) -> None:
    async with serving(redis_url, free_port, {"KRM_WORKERS": "2"}) as api:
        before = children(api.process.pid)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        await wait_until(lambda: len(children(api.process.pid)) == 2 and children(api.process.pid) != before, 15)

        async def answers() -> bool:
            return await api.status("/healthz") == 200

        await wait_until(answers)
        api.process.terminate()
        assert await asyncio.wait_for(api.process.wait(), 15) == 0


async def test_processes_that_are_left_alone_end(redis_url: str, free_port: int) -> None:
    async with serving(redis_url, free_port, {"KRM_WORKERS": "2"}) as api:
        left = children(api.process.pid)
        assert len(left) == 2
        api.process.kill()
        await wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), 30, "they end")


async def test_several_processes_answer_alike_and_count_together(
    redis_url: str, tmp_path: Path, free_port: int
) -> None:
    async with (
        chain.running(redis_url, tmp_path, pods=30) as running,
        serving(redis_url, free_port, {"KRM_WORKERS": "2"}) as api,
    ):
        await running.converged(deadline_s=30)
        head = await running.table().head()
        assert head is not None
        query = f'{{ pods(minResourceVersion: "{head.resource_version}") {{ nodes {{ object }} totalCount }} }}'
        answers: list[bytes] = []

        async def of_both(ask: Callable[[aiohttp.ClientSession], Awaitable[T]]) -> list[T]:
            """What many requests at once gave, each on a connection of its own; nothing where one process had none."""
            async with aiohttp.ClientSession() as client:
                found = await asyncio.gather(*[ask(client) for _ in range(20)])
                is_shared = all(connections(child, free_port) > 1 for child in children(api.process.pid))
                return found if is_shared else []

        async def status(client: aiohttp.ClientSession) -> int:
            async with client.get(f"{api.url}/readyz") as found:
                return found.status

        async def answer(client: aiohttp.ClientSession) -> bytes:
            async with client.post(f"{api.url}/graphql", json={"query": query}) as found:
                answers.append(await found.read())
                return answers[-1]

        async def both_are_ready() -> bool:
            return set(await of_both(status)) == {200}

        async def both_have_answered() -> bool:
            return bool(await of_both(answer))

        await wait_until(both_are_ready, 30)
        await wait_until(both_have_answered, 30)
        assert json.loads(answers[0])["data"]["pods"]["totalCount"] == 30
        assert set(answers) == {answers[0]}
        assert {await counted(api) for _ in range(10)} == {float(len(answers))}
        before = children(api.process.pid)
        os.kill(min(before), signal.SIGKILL)
        await wait_until(lambda: len(children(api.process.pid)) == 2 and children(api.process.pid) != before, 15)
        assert {await counted(api) for _ in range(10)} == {float(len(answers))}


async def counted(api: Program) -> float:
    async with api.client.get(f"{api.url}/metrics") as found:
        lines = (await found.text()).splitlines()
    told = [line for line in lines if line.startswith('krm_http_requests_total{route="/graphql",status="200"}')]
    assert len(told) == 1, lines
    assert sum(line.startswith("krm_rows{") for line in lines) == 1
    return float(told[0].split()[-1])


def connections(pid: int, port: int) -> int:
    """How many sockets of a process are connections to its port, or the port itself."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {f"socket:[{line.split()[9]}]" for line in lines if int(line.split()[1].rpartition(":")[2], 16) == port}
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += str(link.readlink()) in inodes
    return found


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    return {"KRM_TLS_CERT_FILE": str(tmp_path / "c.pem"), "KRM_TLS_KEY_FILE": str(tmp_path / "k.pem")}


def make_certificate(files: Mapping[str, str], name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", f"/CN={name}"]
    command += ["-keyout", files["KRM_TLS_KEY_FILE"], "-out", files["KRM_TLS_CERT_FILE"]]
    subprocess.run(command, check=True, capture_output=True)


async def test_tls_is_served_and_its_files_are_read_again(
    redis_url: str, free_port: int, certificate: dict[str, str]
) -> None:
    make_certificate(certificate, "one")
    async with serving(redis_url, free_port, certificate) as api:

        def shown() -> bytes:
            return ssl.get_server_certificate(("127.0.0.1", free_port)).encode()

        first = await asyncio.to_thread(shown)
        make_certificate(certificate, "two")

        async def renewed() -> bool:
            return await asyncio.to_thread(shown) != first

        await wait_until(renewed, 30, "the new certificate is served")
        assert await api.status("/healthz") == 200


REFUSED = {
    "kubernetes": ({"KRM_AUTH": "kubernetes"}, "KRM_AUTH=kubernetes"),
    "anybody": ({"KRM_HOST": "0.0.0.0"}, "--insecure-no-auth"),
    "half a certificate": ({"KRM_TLS_CERT_FILE": "/nothing"}, "KRM_TLS_KEY_FILE"),
    "no certificate": ({"KRM_TLS_CERT_FILE": "/nothing", "KRM_TLS_KEY_FILE": "/nothing"}, "KRM_TLS_CERT_FILE"),
}


@pytest.mark.parametrize(("env", "named"), REFUSED.values(), ids=REFUSED)
def test_what_must_not_be_served_is_refused_before_listening(env: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        server.run(Settings.load({}, {"KRM_REDIS_URL": "redis://127.0.0.1:1", **env}))


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings.load({"port": other.getsockname()[1]}, {})
        with pytest.raises(ConfigError, match="KRM_PORT"):
            server.listen(settings)


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(ConfigError, match="KRM_HOST"):
        server.listen(Settings.load({"host": "nowhere.invalid"}, {}))


def test_every_registered_kind_has_its_relations() -> None:
    assert set(RELATIONS) == set(resources.RESOURCES)
