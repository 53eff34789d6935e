"""Clients that come to several replicas of the API, one of which is behind: nothing goes back or is told twice."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.client.exceptions import ApiException

from krm_client import AsyncKrmClient
from krm_client.dropin import session as sessions
from krm_client.kubernetes import client, config
from tests import chain, servers
from tests.chain import Chain
from tests.faults import proxy
from tests.faults.judge import Truth
from tests.faults.proxy import Proxy
from tests.integration.api.test_serving import Program, serving
from tests.servers import RedisServer

pytestmark = pytest.mark.timeout(180)

LATE_S: Final = 0.05
"""How long each piece of an answer of Redis is on its way to the replica that is behind."""
AT_ONCE: Final = 40
"""Events that a subscriber takes from one replica."""


@dataclass
class Replicas:
    """Two of them over one cluster."""

    chain: Chain
    prompt: Program
    late: Program
    way: Proxy
    """Of the late one to Redis."""


@pytest.fixture
async def replicas(redis_url: str, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Replicas]:
    ports = servers.free_port(), servers.free_port()
    async with (
        chain.running(redis_url, tmp_path, pods=60, verify_interval_s=600.0) as cluster,
        proxy.to("127.0.0.1", redis_server.port) as way,
        serving(redis_url, ports[0]) as prompt,
        serving(f"redis://127.0.0.1:{way.port}/0", ports[1]) as late,
    ):
        await prompt.ready()
        await late.ready()
        way.delay_s = LATE_S
        yield Replicas(cluster, prompt, late, way)


# -- subscriptions -----------------------------------------------------------------------------------------------------


@dataclass
class Subscriber:
    """What one holds who believes every event, and what was wrong with them."""

    versions: dict[str, list[str]]
    """Of each uid the versions that it had, in order."""
    held: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    resyncs: int = 0

    def take(self, event: Any) -> None:
        if event["type"] == "RESYNC":
            self.held.clear()
            self.resyncs += 1
            return
        metadata = event["raw_object"]["metadata"]
        of, version = metadata["uid"], metadata["resourceVersion"]
        before = self.held.get(of)
        if (before is None) != (event["type"] == "ADDED"):
            self.wrong.append(f"{event['type']} of {of}, which is held at {before}")
        if event["type"] == "DELETED":
            self.held.pop(of, None)
            return
        history = self.versions[of]
        if before is not None and history.index(version) != history.index(before) + 1:
            self.wrong.append(f"{of} went from {before} to {version}: {history}")
        self.held[of] = version


def histories(truth: Truth) -> dict[str, list[str]]:
    """Of each uid the versions that it had, kept up to date."""
    found: dict[str, list[str]] = defaultdict(list)
    for state in truth.now().values():
        found[state.uid].append(state.version)
    note = truth._note

    def noted(key: Any, version: int, state: Any) -> None:
        note(key, version, state)
        if state is not None:
            found[state.uid].append(state.version)

    truth._note = noted  # type: ignore[method-assign]
    return found


def held(truth: Truth) -> dict[str, str]:
    """What a subscriber holds who has been told everything."""
    return {state.uid: state.version for state in truth.now().values()}


async def test_a_subscription_goes_on_at_another_replica_without_loss_or_repetition(replicas: Replicas) -> None:
    truth = Truth(replicas.chain.simulation)
    subscriber, token = Subscriber(histories(truth)), None
    replicas.chain.simulation.set_churn(50)
    # From the prompt one to the one that has not yet got so far, and back.
    for number in range(8):
        api = replicas.late if number % 2 else replicas.prompt
        async with AsyncKrmClient(api.url) as krm, krm.watch("pods", resume_token=token) as watch:
            for _ in range(AT_ONCE + (60 if token is None else 0)):
                subscriber.take(await anext(watch))
            while watch.resume_token is None:  # in the middle of a beginning
                subscriber.take(await anext(watch))
            token = watch.resume_token
    replicas.chain.simulation.set_churn(0)
    async with AsyncKrmClient(replicas.late.url) as krm, krm.watch("pods", resume_token=token) as watch:
        while subscriber.held != held(truth):
            subscriber.take(await asyncio.wait_for(anext(watch), 30))
    assert not subscriber.wrong
    assert subscriber.resyncs == 0, "one that is behind is waited for"


async def test_a_subscription_that_cannot_go_on_at_another_replica_says_so(replicas: Replicas) -> None:
    truth = Truth(replicas.chain.simulation)
    subscriber = Subscriber(histories(truth))
    async with AsyncKrmClient(replicas.prompt.url) as krm, krm.watch("pods") as watch:
        for _ in range(60):
            subscriber.take(await anext(watch))
        token = watch.resume_token
    assert replicas.chain.simulation.churn is not None
    for _ in range(80):
        replicas.chain.simulation.churn.step()
    await replicas.chain.converged()
    table = replicas.chain.table()
    await replicas.chain.store.client.xtrim(table.keys.changes, maxlen=1, approximate=False)
    async with AsyncKrmClient(replicas.late.url) as krm, krm.watch("pods", resume_token=token) as watch:
        while subscriber.held != held(truth):
            subscriber.take(await asyncio.wait_for(anext(watch), 30))
    assert subscriber.resyncs == 1
    assert not subscriber.wrong


# -- what a program wrote itself ---------------------------------------------------------------------------------------


class Alternating:
    """One address before the replicas: each request goes to another one than the last."""

    def __init__(self, *urls: str) -> None:
        self._urls = urls
        self.asked: Counter[str] = Counter()

    async def handle(self, request: web.Request) -> web.Response:
        url = self._urls[sum(self.asked.values()) % len(self._urls)]
        self.asked[url] += 1
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}{request.path_qs}", data=await request.read(), headers=headers) as answer,
        ):
            return web.Response(
                body=await answer.read(), status=answer.status, content_type="application/json", charset="utf-8"
            )


@asynccontextmanager
async def alternating(*urls: str) -> AsyncIterator[tuple[Alternating, str]]:
    door = Alternating(*urls)
    application = web.Application()
    application.router.add_post("/graphql", door.handle)
    async with TestServer(application) as server:
        yield door, str(server.make_url("")).rstrip("/")


@dataclass
class Lag:
    is_told: bool = False


@contextmanager
def may_be_behind() -> Iterator[Lag]:
    """A replica may say that it is behind, which is no lie."""
    lag = Lag()
    try:
        yield lag
    except ApiException as error:
        if error.status != 504:
            raise
        lag.is_told = True


@pytest.fixture
def _own_sessions() -> Iterator[None]:
    sessions._sessions.clear()
    yield
    for session in sessions._sessions.values():
        session.krm.close()
    sessions._sessions.clear()


@pytest.mark.usefixtures("_own_sessions")
async def test_a_program_reads_what_it_wrote_whichever_replica_answers(
    replicas: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    behind = stale = 0
    namespace = next(iter(replicas.chain.truth()))[0]

    async def late_has(name: str, version: str) -> bool:
        query = f'{{ pod(namespace: "{namespace}", name: "{name}") {{ metadata {{ resourceVersion }} }} }}'
        found = (await replicas.late.ask(query))["data"]["pod"]
        return found is not None and int(found["metadata"]["resourceVersion"]) >= int(version)

    def program() -> None:
        nonlocal behind, stale
        api_client: Any = config.new_client_from_config(str(tmp_path / "kubeconfig"))
        v1: Any = client.CoreV1Api(api_client)
        body = {"spec": {"containers": [{"name": "a", "image": "b"}]}}
        for _ in range(6):
            name = f"w-{uuid.uuid4().hex[:8]}"
            made = v1.create_namespaced_pod(namespace, {"metadata": {"name": name}, **body}).metadata
            for label in ("one", "two"):  # each of them answers one of the reads
                known = asyncio.run_coroutine_threadsafe(late_has(name, made.resource_version), loop).result(30)
                behind += not known
                with may_be_behind() as lag:
                    found = v1.read_namespaced_pod(name, namespace).metadata
                    assert (found.uid, int(found.resource_version) >= int(made.resource_version)) == (made.uid, True)
                    listed = v1.list_namespaced_pod(namespace).items
                    assert made.uid in [one.metadata.uid for one in listed]
                stale += lag.is_told
                made = v1.patch_namespaced_pod(name, namespace, {"metadata": {"labels": {"l": label}}}).metadata
            v1.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
            for _ in range(2):
                with pytest.raises(ApiException) as raised:
                    v1.read_namespaced_pod(name, namespace)
                assert raised.value.status in (404, 504), raised.value
                stale += raised.value.status == 504
        api_client.close()

    async with alternating(replicas.prompt.url, replicas.late.url) as (door, url):
        monkeypatch.setenv("KRM_URL", url)
        await asyncio.to_thread(program)
        assert set(door.asked) == {replicas.prompt.url, replicas.late.url}
    assert behind > 2, "without the version of the write an answer would have been older"
    assert stale < 8, "and waiting helps"
