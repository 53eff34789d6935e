"""The connection: rights, cuts, cancellation; and what damaged or missing values become."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from krm.errors import ConfigError, CorruptData, StoreError, StoreRefused, StoreUnreachable
from krm.settings import Secret
from krm.store import compression, connect
from krm.store.compression import Compressor
from krm.store.connect import Store, open_store
from krm.store.head import WorkerStatus
from krm.store.reading import FOREIGN, TableStore
from krm.store.writing import UNREADABLE, EventWriter, ListWriter, Operation, TableWriter
from tests.integration.store.checks import check_that_cancelled_reads_never_cross_answers
from tests.integration.store.samples import PREFIX, Admin, added, begun, event, gap, list_head, record, table_head
from tests.waiting import wait_until

READ_ONLY = ("+@read", "+@connection", "+time")
WORKER = ("+@read", "+@write", "+@connection", "+time", "+evalsha", "+eval", "+script|load")


@pytest.fixture
def as_user(server_url: str, admin: Admin) -> Callable[..., Store]:
    """Opens the store as a user with the given rights on the keys of KRM."""

    def opened(*rights: str) -> Store:
        admin.acl_setuser("someone", enabled=True, passwords=["+pw"], keys=["krm:*"], commands=list(rights), reset=True)
        return open_store(Secret(server_url.replace("unix://", "unix://someone:pw@")))

    return opened


@pytest.fixture
async def filled(streamer: EventWriter, verifier: ListWriter, aggregator: TableWriter) -> None:
    """Something under every key."""
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"), added("b", "2"))
    line = b'{"kind":"GHOST","namespace":"n","name":"x","uid":"u","version":"1","at_ms":5,"lived_s":null}'
    await kept.apply(Operation("DRIFT", record=line))
    await streamer.append("", "e", "", "10", 100, [gap("10"), event("11")])
    await streamer.beat(WorkerStatus(role="streamer"))
    await verifier.put_chunk("l1", 0, b"chunk")
    await verifier.flip(list_head("l1", "10"))
    await verifier.put_dictionary(5, b"five")
    await aggregator.ask_for_list(full=True, reason="why")


async def _records(table: TableStore) -> object:
    return [part async for part in table.records()]


READS: dict[str, Callable[[TableStore], Awaitable[object]]] = {
    "head": lambda table: table.head(),
    "now_ms": lambda table: table.now_ms(),
    "statuses": lambda table: table.statuses(),
    "list_heads": lambda table: table.list_heads(),
    "last_list": lambda table: table.last_list(),
    "next_list": lambda table: table.next_list("0-0", block_ms=1),
    "chunk": lambda table: table.chunk("l1", 0),
    "records": _records,
    "records_from": lambda table: table.records_from(0),
    "records_of": lambda table: table.records_of(["u1"]),
    "last_change": lambda table: table.last_change(),
    "oldest_change": lambda table: table.oldest_change(),
    "changes": lambda table: table.changes("0-0", block_ms=1),
    "changes_between": lambda table: table.changes_between("-", "+"),
    "newest_changes": lambda table: table.newest_changes(10),
    "drift": lambda table: table.drift(),
    "drift_count": lambda table: table.drift_count(),
    "dictionaries": lambda table: table.dictionaries(),
}


def test_every_way_to_read_is_tried() -> None:
    assert {*READS, "memory", "shard"} == {
        name for name, value in vars(TableStore).items() if callable(value) and name[0] != "_"
    }


@pytest.mark.parametrize("read", READS)
async def test_reading_needs_only_the_right_to_read(
    read: str, as_user: Callable[..., Store], filled: None, table: TableStore
) -> None:
    store = as_user(*READ_ONLY)
    mine = TableStore(store, table.cluster, table.resource)
    found, expected = await READS[read](mine), await READS[read](table)
    assert found == expected or read == "now_ms"
    assert found
    await store.close()


async def test_memory_is_told_to_whoever_may_ask_for_it(as_user: Callable[..., Store], table: TableStore) -> None:
    used, most = await table.memory()
    assert used > 0
    assert most is None or most > used
    store = as_user(*READ_ONLY)
    with pytest.raises(StoreRefused):
        await TableStore(store, table.cluster, table.resource).memory()
    await store.close()


async def test_reader_can_write_nothing(as_user: Callable[..., Store], filled: None, table: TableStore) -> None:
    store = as_user(*READ_ONLY)
    streamer, verifier = EventWriter(store, table), ListWriter(store, table)
    aggregator = TableWriter(store, table, events_max=1_000, retention_s=60)
    tries: list[Awaitable[object]] = [
        streamer.acquire(),
        streamer.beat(WorkerStatus(role="streamer")),
        streamer.append("", "e", "", "10", 100, [gap("10")]),
        streamer.trim(table_head("r")),
        streamer.ask_for_list(full=True, reason=""),
        verifier.put_chunk("l2", 0, b""),
        verifier.flip(list_head("l1", "11", chunks=0)),
        verifier.put_dictionary(1, b""),
        aggregator.begin(),
        aggregator.apply(table_head("r"), []),
    ]
    for one in tries:
        with pytest.raises(StoreRefused):
            await one
    await store.close()


async def test_user_sees_no_key_beside_those_of_krm(as_user: Callable[..., Store]) -> None:
    store = as_user(*READ_ONLY)
    with pytest.raises(StoreRefused), connect.translated():
        await store.client.get("other")
    await store.close()


async def test_worker_needs_no_more_than_keys_and_scripts(as_user: Callable[..., Store], table: TableStore) -> None:
    store = as_user(*WORKER)
    streamer, verifier = EventWriter(store, table), ListWriter(store, table)
    aggregator = TableWriter(store, table, events_max=1_000, retention_s=60)
    for writer in (streamer, verifier, aggregator):
        assert await writer.acquire() == 0
        await writer.beat(WorkerStatus(role=writer.role))
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"))
    await streamer.append("", "e", "", "10", 100, [gap("10")])
    await streamer.trim(table_head("r"))
    await verifier.put_chunk("l1", 0, b"chunk")
    await verifier.flip(list_head("l1", "10"))
    await streamer.release()
    await store.close()


async def test_rights_taken_away_at_run_time_are_a_refusal(
    admin: Admin, as_user: Callable[..., Store], table: TableStore
) -> None:
    store = as_user(*READ_ONLY)
    mine = TableStore(store, table.cluster, table.resource)
    await mine.head()
    admin.acl_setuser("someone", commands=["-@all"], keys=[], enabled=True)
    with pytest.raises(StoreRefused):
        await mine.head()
    await store.close()


async def test_wrong_password_is_a_refusal_that_does_not_repeat_it(server_url: str, admin: Admin) -> None:
    admin.acl_setuser("someone", enabled=True, passwords=["+pw"], reset=True)
    store = open_store(Secret(server_url.replace("unix://", "unix://someone:hunter2@")))
    with pytest.raises(StoreRefused) as caught:
        await store.check(writer=False)
    assert "hunter2" not in str(caught.value)
    await store.close()


# Fitness.


async def test_empty_redis_without_eviction_is_fit(store: Store) -> None:
    assert await store.check(writer=True) == []
    assert await store.check(writer=False) == []


async def test_redis_that_evicts_is_refused_by_writers(admin: Admin, store: Store) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    assert "noeviction" in (await store.check(writer=True))[0]
    admin.config_set("maxmemory", "1gb")
    with pytest.raises(ConfigError, match="allkeys-lru"):
        await store.check(writer=True)
    assert await store.check(writer=False) == []


async def test_fitness_that_may_not_be_asked_for_is_a_warning(as_user: Callable[..., Store]) -> None:
    store = as_user(*READ_ONLY)
    assert "INFO" in (await store.check(writer=True))[0]
    await store.close()


async def test_redis_that_is_too_old_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "MIN_VERSION", (99, 0))
    with pytest.raises(ConfigError, match=r"needs 7\.0"):
        await store.check(writer=False)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2/x@host:6379",
        "redis://h:hunter2",
        "redis://h:6379?socket_timeout=hunter2",
        "redis://h?db=hunter2",
    ],
)
def test_url_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(Secret(url))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# Cuts.


async def test_no_redis_is_unreachable(free_port: int) -> None:
    store = open_store(Secret(f"redis://:hunter2@127.0.0.1:{free_port}/0"))
    with pytest.raises(StoreUnreachable) as caught:
        await store.check(writer=False)
    assert "hunter2" not in str(caught.value)
    await store.close()


async def test_cut_connection_is_unreachable_and_the_next_call_works(
    admin: Admin, table: TableStore, filled: None
) -> None:
    await table.head()
    waiting = asyncio.create_task(table.changes(await table.last_change(), block_ms=30_000))
    await wait_until(lambda: any(client["cmd"] == "xread" for client in admin.client_list()))
    for client in admin.client_list():
        if client["cmd"] == "xread":
            admin.client_kill_filter(_id=client["id"])
    with pytest.raises(StoreUnreachable):
        await waiting
    head = await table.head()
    assert head is not None
    assert head.rows == 2


async def test_cut_idle_connections_do_not_matter_for_long(admin: Admin, table: TableStore, filled: None) -> None:
    await table.head()
    admin.client_kill_filter(_type="normal", skipme=True)
    for _ in range(2):
        try:
            assert await table.head() is not None
            break
        except StoreUnreachable:
            continue
    else:
        pytest.fail("the next call does not work")


async def test_cancelled_reads_never_cross_answers(table: TableStore) -> None:
    await check_that_cancelled_reads_never_cross_answers(table, 30)


async def test_busy_redis_is_an_error_in_time(admin: Admin, table: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    admin.config_set("busy-reply-threshold", "1")
    spinning = asyncio.create_task(
        asyncio.to_thread(_spin, admin)  # until SCRIPT KILL
    )
    while not spinning.done():
        try:
            await table.head()
        except StoreError:
            break
        await asyncio.sleep(0.005)
    with connect.translated():
        await table.store.client.script_kill()
    await spinning
    assert await table.head() is None
    admin.config_set("busy-reply-threshold", "5000")


def _spin(admin: Admin) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        admin.eval("while true do end", 0)


# Damage.

DAMAGE: list[tuple[str, str, Callable[[Admin], object]]] = [
    ("head", "head", lambda a: a.hset(f"{PREFIX}table", mapping={"run": "r", "seq": "x"})),
    ("statuses", "status", lambda a: a.hset(f"{PREFIX}status", "streamer", b"\x80\x04pickle")),
    ("list_heads", "list", lambda a: a.hset(f"{PREFIX}verified", "", b"\x80\x04pickle")),
    ("drift", "drift", lambda a: a.xadd(f"{PREFIX}drift", {"x": "y"})),
]


@pytest.mark.parametrize(("read", "named", "plant"), DAMAGE, ids=[one[0] for one in DAMAGE])
async def test_planted_junk_is_corrupt_data(
    read: str, named: str, plant: Callable[[Admin], object], admin: Admin, table: TableStore
) -> None:
    plant(admin)
    with pytest.raises(CorruptData, match=named):
        await READS[read](table)


@pytest.mark.parametrize("junk", [{"x": b"\x80\x04pickle"}, {"n": "x", "t": "ADDED"}], ids=["other", "number"])
@pytest.mark.parametrize("read", ["changes", "changes_between", "newest_changes"])
async def test_planted_change_is_told_apart_and_stops_nobody(
    read: str, junk: dict[str, Any], admin: Admin, table: TableStore
) -> None:
    admin.xadd(f"{PREFIX}changes", junk)
    found: Any = await READS[read](table)
    assert [change.type for change in found] == [FOREIGN]


async def test_planted_event_is_unreadable_and_stops_nobody(admin: Admin, aggregator: TableWriter) -> None:
    admin.xadd(f"{PREFIX}events", {"t": "A"})
    entries, _ = await aggregator.follow("0-0", "0-0", block_ms=1, count=10)
    assert [entry.type for entry in entries] == [UNREADABLE]


async def test_damaged_dictionary_counts_as_lost_and_is_stored_again(
    admin: Admin, table: TableStore, verifier: ListWriter
) -> None:
    samples = [record("u", str(number)) + str(number).encode() * 50 for number in range(200)]
    dictionary = compression.train(samples)
    assert dictionary is not None
    compressor = Compressor()
    identifier = compressor.add(dictionary, use=True)
    assert await verifier.restore_dictionaries(compressor) == 1
    assert await verifier.restore_dictionaries(compressor) == 0
    sealed = admin.hget(f"{PREFIX}dictionary", str(identifier))
    admin.hset(f"{PREFIX}dictionary", mapping={str(identifier): sealed[:-1] + b"?", "junk": b"x", "77": b""})
    assert await table.dictionaries() == ({}, 0)
    assert await verifier.restore_dictionaries(compressor) == 1
    assert await table.dictionaries() == ({identifier: dictionary}, identifier)


async def test_damaged_current_dictionary_is_none(admin: Admin, table: TableStore) -> None:
    admin.hset(f"{PREFIX}dictionary", "current", b"x")
    assert await table.dictionaries() == ({}, 0)
