"""The right to write: one writer a role, whatever the others believe."""

from __future__ import annotations

import asyncio

import pytest

from krm.errors import Fenced, OutOfStep, StoreRefused
from krm.store import writing
from krm.store.connect import Store
from krm.store.delays import SampleReader
from krm.store.head import WorkerStatus
from krm.store.reading import TableStore
from krm.store.writing import EventWriter, ListWriter, TableWriter
from tests.integration.store.conftest import NewAggregator
from tests.integration.store.samples import PREFIX, Admin, added, begun, deleted, event, gap, list_head, table_head

STATUS = WorkerStatus(role="streamer", state="running", events=7)


def forget_leases(admin: Admin) -> None:
    """As if every holder had been silent for longer than its lease."""
    for role, held in admin.hgetall(f"{PREFIX}fence").items():
        admin.hset(f"{PREFIX}fence", role, held.rsplit(b" ", 1)[0] + b" 1")


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_what_was_stored_by_other_rules_is_removed_with_the_right_to_write(
    is_damaged: bool, admin: Admin, store: Store, table: TableStore
) -> None:
    first, second = ListWriter(store, table), ListWriter(store, table)
    first.rules, second.rules = "", "spec.secret"
    assert await first.acquire() == 0
    await first.put_chunk("l1", 0, b"chunk")
    await first.flip(list_head("l1", "10"))
    await first.release()
    if is_damaged:
        admin.hset(f"{PREFIX}verified", "", b"\x80\x04pickle")
    assert await second.acquire() == 0
    assert await table.list_heads() == {}
    assert admin.exists(f"{PREFIX}verified:l1:0") == (1 if is_damaged else 0)  # nobody can find it any more
    await second.put_chunk("l2", 0, b"chunk")
    await second.flip(list_head("l2", "20"))
    assert list(await table.list_heads()) == [""]


async def test_second_writer_waits_for_the_first(store: Store, table: TableStore, streamer: EventWriter) -> None:
    wait_s = await EventWriter(store, table).acquire()
    assert 0 < wait_s <= writing.LEASE_MS / 1000


async def test_roles_do_not_wait_for_each_other(streamer: EventWriter, store: Store, table: TableStore) -> None:
    assert await ListWriter(store, table).acquire() == 0


async def test_released_right_is_taken_at_once(store: Store, table: TableStore, streamer: EventWriter) -> None:
    await streamer.release()
    await streamer.release()
    assert await EventWriter(store, table).acquire() == 0


async def test_own_right_is_renewed_under_another_token(admin: Admin, streamer: EventWriter) -> None:
    before = admin.hget(f"{PREFIX}fence", "streamer")
    assert await streamer.acquire() == 0
    after = admin.hget(f"{PREFIX}fence", "streamer")
    assert before.split(b":")[0] == after.split(b":")[0]
    assert before.split(b" ")[0] != after.split(b" ")[0]


async def test_beat_tells_the_status_and_the_time(table: TableStore, streamer: EventWriter) -> None:
    now_ms = await streamer.beat(STATUS)
    told = (await table.statuses())["streamer"]
    assert (told.state, told.events, told.at_ms) == ("running", 7, now_ms)
    assert abs(await table.now_ms() - now_ms) < 60_000


async def test_beat_keeps_the_lease(admin: Admin, store: Store, table: TableStore, streamer: EventWriter) -> None:
    forget_leases(admin)
    await streamer.beat(STATUS)
    assert await EventWriter(store, table).acquire() > 0


async def test_stopped_and_resumed_writer_writes_nothing(
    admin: Admin, store: Store, table: TableStore, streamer: EventWriter
) -> None:
    await streamer.append("", "e", "", "10", 100, [gap("10")])
    forget_leases(admin)
    successor = EventWriter(store, table)
    assert await successor.acquire() == 0
    await successor.beat(STATUS)
    before = dump(admin)
    with pytest.raises(Fenced):
        await streamer.append("", "e", "10", "11", 100, [event("11")])
    with pytest.raises(Fenced):
        await streamer.trim(table_head("r", cursor="9999999999999-0"))
    with pytest.raises(Fenced):
        await streamer.beat(WorkerStatus(role="streamer", state="stopped"))
    assert dump(admin) == before
    await successor.append("", "e", "10", "11", 100, [event("11")])


# Tokens of a Lease.


async def test_a_higher_token_takes_the_right_at_once_and_a_lower_one_waits(store: Store, table: TableStore) -> None:
    old, new = EventWriter(store, table), EventWriter(store, table)
    assert await old.acquire("99") == 0
    assert await new.acquire("98") > 0
    assert await new.acquire("99") > 0
    assert await new.acquire("100") == 0  # by value, not by text
    with pytest.raises(Fenced):
        await old.append("", "e", "", "10", 100, [gap("10")])
    assert await old.acquire("99") > 0
    await new.append("", "e", "", "10", 100, [gap("10")])


async def test_a_token_takes_the_right_from_who_has_none(
    store: Store, table: TableStore, streamer: EventWriter
) -> None:
    led = EventWriter(store, table)
    assert await led.acquire("12345678901234567890") == 0
    with pytest.raises(Fenced):
        await streamer.beat(STATUS)
    assert await streamer.acquire() > 0


async def test_a_lower_token_takes_the_right_from_who_has_gone_silent(
    admin: Admin, store: Store, table: TableStore
) -> None:
    # The cluster's versions start again after its backup was restored.
    assert await EventWriter(store, table).acquire("500") == 0
    forget_leases(admin)
    again = EventWriter(store, table)
    assert await again.acquire("7") == 0
    await again.beat(STATUS)


async def test_the_same_holder_takes_the_right_again_with_the_same_token(
    admin: Admin, store: Store, table: TableStore
) -> None:
    writer = EventWriter(store, table)
    assert await writer.acquire("5") == 0
    assert await writer.acquire("5") == 0
    admin.flushall()
    assert await writer.acquire("5") == 0
    await writer.beat(STATUS)


async def test_fenced_verifier_installs_nothing(
    admin: Admin, store: Store, table: TableStore, verifier: ListWriter
) -> None:
    await verifier.put_chunk("l1", 0, b"chunk")
    forget_leases(admin)
    assert await ListWriter(store, table).acquire() == 0
    with pytest.raises(Fenced):
        await verifier.flip(list_head("l1", "10"))
    assert await table.list_heads() == {}


async def test_fenced_aggregator_changes_nothing(
    admin: Admin, aggregator: TableWriter, new_aggregator: NewAggregator
) -> None:
    run = await aggregator.begin()
    forget_leases(admin)
    await new_aggregator()
    before = dump(admin)
    with pytest.raises(Fenced):
        await aggregator.apply(table_head(run), [added("a", "1")])
    with pytest.raises(Fenced):
        await aggregator.begin()
    assert dump(admin) == before


async def test_writer_of_an_emptied_redis_is_fenced(admin: Admin, streamer: EventWriter) -> None:
    admin.flushall()
    with pytest.raises(Fenced):
        await streamer.append("", "e", "", "10", 100, [gap("10")])
    with pytest.raises(Fenced):
        await streamer.beat(STATUS)
    assert admin.keys() == []


async def test_standby_does_not_speak_for_who_writes(store: Store, table: TableStore, streamer: EventWriter) -> None:
    await streamer.beat(STATUS)
    await EventWriter(store, table).beat(WorkerStatus(role="streamer", state="stopped"))
    assert (await table.statuses())["streamer"].state == "running"


async def test_who_holds_nothing_speaks_where_nobody_does(store: Store, table: TableStore) -> None:
    await EventWriter(store, table).beat(WorkerStatus(role="streamer", state="failing"))
    assert (await table.statuses())["streamer"].state == "failing"


@pytest.mark.parametrize(
    ("role", "name"),
    [(role, name) for role, names in writing.OWN_KEYS.items() for name in names] + [("streamer", "fence")],
)
async def test_key_of_another_type_is_refused_and_goes_when_the_writer_starts_again(
    role: str, name: str, admin: Admin, store: Store, table: TableStore
) -> None:
    admin.set(PREFIX + name, b"not what it should be")
    writer = {"streamer": EventWriter, "verifier": ListWriter, "collector": SampleReader}.get(role)
    made = writer(store, table) if writer else TableWriter(store, table, events_max=1_000, retention_s=60)
    assert await made.acquire() == 0
    assert admin.type(PREFIX + name) in (b"none", b"hash")


async def test_wrong_type_at_a_key_is_a_refusal(admin: Admin, table: TableStore, aggregator: TableWriter) -> None:
    run = await aggregator.begin()
    admin.delete(f"{PREFIX}table")
    admin.set(f"{PREFIX}table", b"x")
    with pytest.raises(StoreRefused, match="wrong kind of value"):
        await table.head()
    with pytest.raises(StoreRefused):
        await aggregator.apply(table_head(run), [added("a", "1")])


async def test_scripts_are_loaded_anew_where_redis_forgot_them(
    admin: Admin, streamer: EventWriter, verifier: ListWriter, aggregator: TableWriter
) -> None:
    run = await aggregator.begin()
    admin.script_flush()
    await streamer.append("", "e", "", "10", 100, [gap("10")])
    admin.script_flush()
    await streamer.beat(STATUS)
    admin.script_flush()
    await aggregator.apply(table_head(run), [added("a", "1")])
    admin.script_flush()
    await verifier.flip(list_head("l", "10", chunks=0))
    assert admin.xlen(f"{PREFIX}events") == 1


async def test_writers_at_once_never_both_write(store: Store, table: TableStore) -> None:
    writers = [EventWriter(store, table) for _ in range(20)]
    waits = await asyncio.gather(*(writer.acquire() for writer in writers))
    assert waits.count(0.0) == 1


async def test_redis_out_of_memory_leaves_nothing_half_written(
    admin: Admin,
    table: TableStore,
    streamer: EventWriter,
    verifier: ListWriter,
    aggregator: TableWriter,
) -> None:
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"), added("b", "2"))
    await streamer.append("", "e", "", "10", 100, [gap("10")])
    await verifier.put_chunk("l1", 0, b"chunk")
    admin.config_set("maxmemory", "1")
    before = dump(admin)
    full = "full"
    with pytest.raises(StoreRefused, match=full):
        await streamer.append("", "e", "10", "12", 100, [event("11"), event("12")])
    with pytest.raises(StoreRefused, match=full):
        await kept.apply(added("c", "3"), added("d", "4"))
    with pytest.raises(StoreRefused, match=full):
        await verifier.put_chunk("l2", 0, b"chunk")
    with pytest.raises(StoreRefused, match=full):
        await streamer.beat(STATUS)
    assert dump(admin) == before
    # What begins with a command that needs no memory runs whole: Redis looks at its memory before the first write only.
    await kept.apply(deleted("a", "1", "9", seen=False), added("c", "3"), added("d", "4"))
    await verifier.flip(list_head("l1", "10"))
    admin.config_set("maxmemory", "0")
    assert set(admin.hkeys(f"{PREFIX}objects")) == {b"b", b"c", b"d"}
    assert await table.oldest_change() is not None


async def test_store_that_was_rolled_back_is_out_of_step(
    admin: Admin, streamer: EventWriter, aggregator: TableWriter
) -> None:
    kept = await begun(aggregator)
    await streamer.append("", "e", "", "10", 100, [gap("10")])
    copy = {key: admin.dump(key) for key in admin.scan_iter()}
    await kept.apply(added("a", "1"))
    await streamer.append("", "e", "10", "11", 100, [event("11")])
    admin.flushall()
    for key, value in copy.items():
        admin.restore(key, 0, value)
    with pytest.raises(OutOfStep):
        await streamer.append("", "e", "11", "12", 100, [event("12")])
    with pytest.raises(OutOfStep):
        await kept.apply(added("b", "2"))
    assert admin.xlen(f"{PREFIX}events") == 1
    assert admin.hlen(f"{PREFIX}objects") == 0


def dump(admin: Admin) -> dict[bytes, bytes | None]:
    """Everything that is stored."""
    return {key: admin.dump(key) for key in sorted(admin.keys())}
