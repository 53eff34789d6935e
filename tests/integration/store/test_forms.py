"""Redis with Sentinels and Redis Cluster, plain and with TLS: every call, and the loss of a server amid events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from krm import frames
from krm.errors import ConfigError, StoreError, StoreRefused, StoreUnreachable
from krm.resources import PODS, RESOURCES
from krm.settings import Secret
from krm.store.connect import Store, open_store
from krm.store.head import WorkerStatus
from krm.store.keys import Keys
from krm.store.reading import TableStore
from krm.store.writing import EventWriter, ListWriter, Operation, TableWriter
from tests import redis_forms
from tests.chain import running
from tests.integration.store.checks import check_that_cancelled_reads_never_cross_answers, refusal
from tests.integration.store.samples import added, begun, deleted, event, gap, list_head
from tests.integration.store.test_connection import READS
from tests.looking import looking
from tests.redis_forms import PASSWORD, Cluster, Form, Sentinels
from tests.waiting import wait_until

FORMS: Final[dict[str, Callable[[], AbstractContextManager[Form]]]] = {
    "sentinel": redis_forms.start_sentinels,
    "cluster": redis_forms.start_cluster,
    "sentinel-tls": lambda: redis_forms.start_sentinels(tls=True),
    "cluster-tls": lambda: redis_forms.start_cluster(tls=True, replicas=False),
}
PODS_KEY = Keys.of("c", PODS).table


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> Iterator[Form]:
    """Servers that last for the tests of this file that break nothing."""
    with FORMS[request.param]() as started:
        yield started


@pytest.fixture
async def store(form: Form) -> AsyncIterator[Store]:
    for node in form.nodes:
        if node.is_master():
            node.ask("FLUSHALL")
    opened = open_store(Secret(form.url))
    yield opened
    await opened.close()


async def fill(table: TableStore) -> tuple[EventWriter, ListWriter, TableWriter]:
    """Something under every key, by every script."""
    streamer, verifier = EventWriter(table.store, table), ListWriter(table.store, table)
    aggregator = TableWriter(table.store, table, events_max=1_000, retention_s=60)
    for writer in (streamer, verifier, aggregator):
        assert await writer.acquire() == 0
        await writer.beat(WorkerStatus(role=writer.role))
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"), added("b", "2"))
    line = b'{"kind":"GHOST","namespace":"n","name":"x","uid":"u","version":"1","at_ms":5,"lived_s":null}'
    await kept.apply(Operation("DRIFT", record=line))
    await streamer.append("", "e", "", "10", 100, [gap("10"), event("11")])
    await verifier.put_chunk("l1", 0, b"chunk")
    await verifier.flip(list_head("l1", "10"))
    await verifier.put_dictionary(5, b"five")
    await aggregator.ask_for_list(full=True, reason="why")
    return streamer, verifier, aggregator


async def test_every_call_works(store: Store) -> None:
    assert await store.check(writer=True) == []
    table = TableStore(store, "c", PODS)
    _, verifier, aggregator = await fill(table)
    for name, read in READS.items():
        assert await read(table), name
    entries, newest = await aggregator.follow("0-0", "0-0", block_ms=1, count=10)
    assert [entry.type for entry in entries] == ["G", "M"]
    assert newest != "0-0"
    _, full, reasons = await verifier.requests("0-0", block_ms=1)
    assert (full, reasons) == (True, ["aggregator: why"])


async def test_every_kind_has_a_place_of_its_own(store: Store) -> None:
    for kind in RESOURCES.values():
        await fill(TableStore(store, "c", kind))


async def test_one_table_lies_on_several_servers_of_a_cluster(form: Form, store: Store) -> None:
    table = TableStore(store, "c", PODS)
    aggregator = TableWriter(store, table, events_max=1_000, retention_s=60, shards=4)
    assert await aggregator.acquire() == 0
    kept = await begun(aggregator)
    await kept.apply(*(added(f"u{number}", "1") for number in range(40)))
    await kept.apply(deleted("u1", "1", "2"))
    assert {uid async for part in table.records() for uid, _ in part} == {f"u{n}" for n in range(40) if n != 1}
    assert [record is not None for record in await table.records_of(["u1", "u2", "u3"])] == [False, True, True]
    masters = {form.master_of(table.shard(number).objects).port for number in range(4)}
    assert (len(masters) > 1) == isinstance(form, Cluster)
    head = await table.head()
    assert head is not None
    assert await aggregator.resume(head)


async def test_scripts_are_sent_anew_where_redis_forgot_them(form: Form, store: Store) -> None:
    table = TableStore(store, "c", PODS)
    streamer, _, _ = await fill(table)
    form.master_of(PODS_KEY).ask("SCRIPT", "FLUSH")
    await streamer.append("", "e", "10", "12", 100, [event("12")])


@pytest.mark.parametrize("form", ["sentinel", "cluster"], indirect=True)
async def test_cancelled_reads_never_cross_answers(store: Store) -> None:
    await check_that_cancelled_reads_never_cross_answers(TableStore(store, "c", PODS), 20)


async def test_wrong_password_is_refused_without_being_shown(form: Form) -> None:
    told = await refusal(form.url.replace(PASSWORD, "other-hush"))
    assert "KRM_REDIS_URL" in told
    assert "hush" not in told


@pytest.mark.parametrize("form", ["sentinel-tls", "cluster-tls"], indirect=True)
async def test_certificate_of_nobody_known_is_refused(form: Form) -> None:
    told = await refusal(form.url.partition("?")[0] + "?ssl=true")
    assert "certificate" in told.lower()
    assert PASSWORD not in told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://:hunter2@host:26379", "service"),
        ("redis+sentinel://:hunter2@host:26379/s/x", "service"),
        ("redis+sentinel://:hunter2@host:x/s", "service"),
        ("redis+sentinel://:hunter2@/s", "service"),
        ("redis+sentinel://:hunter2@a:1,::1:2/s", "service"),
        ("redis+cluster://:hunter2@host:0", "redis\\+cluster://host"),
        ("redis+cluster://:hunter2@host:6379/1", "redis\\+cluster://host"),
        ("redis+cluster://:hunter2@host?db=1", "redis\\+cluster://host"),
        ("redis+cluster://:hunter2@host?socket_timeout=x", "redis\\+cluster://host"),
        ("redis+cluster://:hunter2@host?ssl_ca_cert=x", "ssl_ca_cert"),
        ("redis+sentinel://:hunter2@host/s?ssl_ca_cert=x", "ssl_ca_cert"),
        ("redis://:hunter2@host?ssl_ca_cert=x", "ssl_ca_cert"),
        ("rediss://:hunter2@host?ssl_ca_cert=x", "ssl_ca_cert"),
    ],
)
def test_url_that_is_none_is_not_repeated(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        open_store(Secret(url))
    assert "hunter2" not in str(caught.value)


def test_node_of_a_cluster_may_stand_alone_in_the_url() -> None:
    store = open_store(Secret("redis+cluster://[::1],host:7000"))
    assert store.client.given == [("::1", 6379), ("host", 7000)]


async def test_url_of_another_form_is_refused_with_a_hint(form: Form) -> None:
    if not isinstance(form, Cluster):
        assert "no Redis Cluster" in await refusal(
            f"redis+cluster://:{PASSWORD}@127.0.0.1:{form.nodes[0].port}{_query(form)}"
        )
        return
    scheme = "rediss" if form.tls else "redis"
    store = open_store(Secret(f"{scheme}://:{PASSWORD}@127.0.0.1:{form.nodes[0].port}{_query(form)}"))
    elsewhere = next(kind for kind in RESOURCES.values() if form.master_of(Keys.of("c", kind).table) != form.nodes[0])
    with pytest.raises(StoreRefused, match=r"redis\+cluster://"):
        await TableStore(store, "c", elsewhere).head()
    await store.close()


def _query(form: Form) -> str:
    return f"?ssl_ca_certs={form.tls.authority}" if form.tls else ""


async def test_service_that_the_sentinels_do_not_know_is_unreachable(form: Form) -> None:
    if isinstance(form, Sentinels):
        assert "another service" in await refusal(form.url.replace("/krm", "/other", 1))


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:{}/s", "redis+cluster://127.0.0.1:{}"])
async def test_nobody_there_is_unreachable(url: str, free_port: int) -> None:
    store = open_store(Secret(url.format(free_port)))
    with pytest.raises(StoreUnreachable):
        await store.check(writer=False)
    with pytest.raises(StoreUnreachable):
        await store.time("k")
    await store.close()


# The loss of a server.


async def answers(table: TableStore) -> bool:
    try:
        return await table.head() is not None
    except StoreError:
        return False


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_nothing_is_lost_when_a_server_dies_while_events_flow(kind: str, tmp_path: Path) -> None:
    with FORMS[kind]() as form:
        async with running(form.url, tmp_path, pods=60, churn=50) as chain, looking(form.url) as reader:
            await chain.ready()
            await wait_until(lambda: reader.looks > 20, 20)
            key = chain.table().keys.table
            old = await asyncio.to_thread(form.master_of, key)
            before = reader.follower.head
            old.kill()
            await wait_until(lambda: asyncio.to_thread(form.failed_over, old, key), 30, "another server took over")

            async def goes_on() -> bool:
                head = reader.follower.head
                return head is not None and before is not None and head.seq > before.seq and reader.follower.is_ready

            await wait_until(goes_on, 30, "answers go on")
            chain.simulation.set_churn(0)
            await wait_until(lambda: answers(chain.table()), 10, "connections are made anew")
            await chain.converged(30)
            await wait_until(lambda: reader.rows() == chain.truth(), 20, "the replica is the truth")
            assert reader.broken == []
        frame = await asyncio.to_thread(frames.read, form.url, "pods")
        assert set(frame["uid"]) == {state.uid for state in chain.truth().values()}
