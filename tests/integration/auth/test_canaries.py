"""Secrets that are planted everywhere come out nowhere: not in Redis, in logs, metrics, answers or texts of errors."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
import redis

from krm import logs, simulator
from krm.api.live import Live
from krm.auth import reviewed
from krm.objects.redact import LAST_APPLIED
from krm.resources import PODS, Resource
from krm.settings import Secret, Settings
from krm.simulator import kinds
from krm.store.compression import Compressor
from krm.store.connect import open_store
from krm.store.reading import TableStore
from krm.table.tables import Tables
from tests import chain
from tests.integration.api.conftest import Running, running
from tests.integration.auth.conftest import USERS, grant_reviews
from tests.servers import RedisServer
from tests.waiting import wait_until

CANARY = "c4n4ry"
SECRETS = Resource(plural="secrets", singular="secret", kind="Secret", list_field="secrets", single_field="secret")
REDACTED = "spec.containers[*].env,metadata.annotations['a.example/key']"
TOKEN = f"{CANARY}-token-of-a-caller"


def planted(name: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {
                LAST_APPLIED: json.dumps({"spec": CANARY}),
                "a.example/key": CANARY,
                "kept": "plain to see",
            },
            "managedFields": [{"manager": CANARY, "operation": "Update"}],
        },
        "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "PASSWORD", "value": CANARY}]}]},
    }


def secret(name: str) -> dict[str, Any]:
    data = {"data": {"k": CANARY}, "stringData": {"k": CANARY}}
    return {"metadata": {"name": name, "namespace": "default", "annotations": {LAST_APPLIED: CANARY}}, **data}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, down to debug, as the programs write it."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers = []
    for formatter in (logs.JsonFormatter(), logs.TextFormatter()):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        handlers.append(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    yield stream
    for handler in handlers:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that is stored compressed, before it is."""
    seen: list[bytes] = []
    plainly = Compressor.compress

    def compress(self: Compressor, body: bytes) -> Any:
        seen.append(bytes(body))
        return plainly(self, body)

    monkeypatch.setattr(Compressor, "compress", compress)
    return seen


@pytest.fixture
def secret_url(redis_server: RedisServer, redis_url: str) -> Iterator[str]:
    """The same Redis for a user whose password is a canary."""
    assert redis_url
    with redis.Redis(unix_socket_path=str(redis_server.socket)) as admin:
        admin.acl_setuser(
            "secretive", enabled=True, passwords=[f"+{CANARY}-of-redis"], keys=["*"], categories=["+@all"], reset=True
        )
        yield f"unix://secretive@{redis_server.socket}?db=0&password={quote(CANARY)}-of-redis"
        admin.acl_deluser("secretive")


def everything_in(server: RedisServer) -> list[bytes]:
    """Keys and values of all of Redis."""
    reads: dict[bytes, Any] = {
        b"string": lambda client, key: client.get(key),
        b"hash": lambda client, key: client.hgetall(key),
        b"stream": lambda client, key: client.xrange(key),
        b"set": lambda client, key: client.smembers(key),
        b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
        b"list": lambda client, key: client.lrange(key, 0, -1),
    }
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        return [repr((key, reads[client.type(key)](client, key))).encode() for key in client.scan_iter()]


async def everything_answered(api: Running) -> str:
    """What callers with and without a token get, whatever they ask."""
    good = {"Authorization": f"Bearer {TOKEN}"}
    found = []
    for headers in (good, {}, {"Authorization": f"Bearer {CANARY}-nobodys"}, {"Cookie": CANARY}):
        for query in (
            "{ pods { nodes { object metadata { annotations managedFields { manager } } } freshness { reason } } }",
            '{ changes(resource: "pods") { nodes { object previous } } drift { nodes { name } } }',
            '{ pods(where: { path: "spec.containers[*].env[*].value", exists: true }) { totalCount } }',
            '{ pods(namespace: "hidden") { totalCount } pods(labelSelector: "!!") { totalCount } }',
            "{ nodes { totalCount } nope }",
        ):
            async with api.client.post(f"{api.url}/graphql", json={"query": query}, headers=headers) as answer:
                found.append(f"{answer.headers}{await answer.text()}")
        for path in ("/", "/metrics", "/frames/pods", "/frames/nodes", "/nothing", "/readyz"):
            async with api.client.get(f"{api.url}{path}", headers=headers) as answer:
                found.append(f"{answer.headers}{(await answer.read()).decode(errors='replace')}")
    return "".join(found)


async def asked(folder: Path, cluster: simulator.Simulation, url: str) -> AsyncIterator[str]:
    """Answers of an API over this Redis; once with its rights, once without."""
    settings = Settings.load({"redis_url": Secret(url), "resources": (PODS,)}, {"KRM_INFLUX_TOKEN": CANARY})
    store = open_store(settings.require_redis())
    tables = Tables.of([table := TableStore(store, settings.cluster, PODS)])
    live = Live(tables, [table], settings)
    kubeconfig = folder / "api"
    kubeconfig.write_text(cluster.kubeconfig("krm-token"))
    try:
        async with (
            tables,
            reviewed.reviewed(kubeconfig, None, live, audience=None) as callers,
            running(cast("Any", live), callers, auth="kubernetes") as api,
        ):
            await wait_until(lambda: tables.is_ready, 30)
            yield await everything_answered(api)
            with redis.Redis.from_url(url.replace("secretive@", "").partition("&")[0]) as admin:
                admin.acl_setuser("secretive", commands=["-@all"], enabled=True)
            yield await everything_answered(api)
    finally:
        await store.close()


async def test_planted_secrets_come_out_nowhere(
    tmp_path: Path, redis_server: RedisServer, secret_url: str, log: io.StringIO, texts: list[bytes]
) -> None:
    names = [f"p-{number}" for number in range(80)]  # enough for a dictionary to be trained
    async with chain.running(
        secret_url, tmp_path, pods=0, kinds=(PODS, SECRETS), redact=REDACTED, started=False, influx_token=Secret(CANARY)
    ) as world:
        cluster = world.simulation
        cluster.access.tokens.update(USERS, **{TOKEN: simulator.User(name="admin", groups=("system:masters",))})
        for name in names:
            cluster.store.create(kinds.PODS, planted(name))
            cluster.store.create(kinds.SECRETS, secret(name))
        await world.start_all()
        await world.converged()
        cluster.store.create(kinds.PODS, planted("later"))
        cluster.store.create(kinds.SECRETS, secret("later"))
        cluster.store.delete(kinds.PODS, "default", "p-1")
        await world.converged()
        grant_reviews(cluster.store)
        cluster.access.enabled = True
        answers = [text async for text in asked(tmp_path, cluster, secret_url)]
        await asyncio.sleep(0)
    stored = everything_in(redis_server)
    assert any(b"plain to see" in text for text in texts)
    assert any(b":events" in each for each in stored)
    assert any(b":dictionary" in each for each in stored)
    assert "plain to see" in answers[0]
    assert [each[:200] for each in stored if CANARY.encode() in each] == []
    assert [each[:200] for each in texts if CANARY.encode() in each] == []
    assert [answer for answer in answers if CANARY in answer] == []
    said = log.getvalue()
    assert "request refused" in said
    assert [line for line in said.splitlines() if CANARY in line] == []
