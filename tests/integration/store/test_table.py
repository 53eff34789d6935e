"""The table: rows, changes and head in step, proven by reading everything back."""

from __future__ import annotations

import random

import pytest

from krm.errors import OutOfStep
from krm.store.connect import Store
from krm.store.head import Missed
from krm.store.reading import TableStore
from krm.store.rows import DIGEST_MODULUS, digest
from krm.store.writing import Operation, TableWriter
from tests.integration.store.samples import (
    CODEC,
    PREFIX,
    Admin,
    Kept,
    added,
    begun,
    deleted,
    modified,
    record,
    table_head,
)


async def rows(table: TableStore) -> dict[str, str]:
    found: dict[str, str] = {}
    async for part in table.records():
        for uid, data in part:
            row = CODEC.decode(data)
            assert row.uid == uid
            found[uid] = row.version
    return found


async def test_there_is_no_head_before_the_first(table: TableStore) -> None:
    assert await table.head() is None
    assert await table.last_change() == "0-0"
    assert await table.oldest_change() is None


async def test_begin_withdraws_the_table_and_its_changes(table: TableStore, aggregator: TableWriter) -> None:
    first = await begun(aggregator)
    await first.apply(added("a", "1"))
    again = await aggregator.begin()
    head = await table.head()
    assert head is not None
    assert (head.run, head.seq, head.state, head.change) == (again, 0, "building", "0-0")
    assert again != first.head.run
    assert await rows(table) == {}
    assert await table.oldest_change() is None
    with pytest.raises(OutOfStep):
        await first.apply(added("b", "2"))


async def test_rows_changes_and_head_stay_in_step(table: TableStore, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    rng = random.Random(7)
    expected: dict[str, str] = {}
    versions = iter(range(1, 10_000))
    for _ in range(60):
        operations: list[Operation] = []
        for uid in rng.sample("abcdefghij", rng.randint(1, 6)):
            version = str(next(versions))
            if uid not in expected:
                operations.append(added(uid, version))
                expected[uid] = version
            elif rng.random() < 0.5:
                operations.append(modified(uid, expected[uid], version))
                expected[uid] = version
            else:
                operations.append(deleted(uid, expected.pop(uid), version, seen=rng.random() < 0.5))
        await kept.apply(*operations)
        head = await table.head()
        assert head is not None
        stored = await rows(table)
        assert stored == expected
        assert head.rows == len(stored)
        assert head.digest == sum(digest(*row) for row in stored.items()) % DIGEST_MODULUS
        assert head.change == await table.last_change()
    changes = await table.changes("0-0", count=10_000)
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    replayed: dict[str, bytes] = {}
    for change in changes:
        assert change.previous == replayed.get(change.uid, b"")
        if change.type == "DELETED":
            assert change.record == (change.previous if change.unseen else record(change.uid, change.version))
            del replayed[change.uid]
        else:
            assert (change.type == "ADDED") == (change.uid not in replayed)
            replayed[change.uid] = change.record
    assert {uid: CODEC.decode(data).version for uid, data in replayed.items()} == expected


async def test_rows_of_a_new_table_are_no_changes(table: TableStore, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    await kept.apply(Operation("PUT", "a", "1", record("a", "1"), rows=1, digest=digest("a", "1")))
    head = await table.head()
    assert head is not None
    assert (head.seq, head.rows, head.change) == (0, 1, "0-0")
    assert await rows(table) == {"a": "1"}
    assert await table.oldest_change() is None


@pytest.mark.parametrize(("run", "seq"), [("another", 0), ("", 1), ("", 7)], ids=["run", "seq", "seq-far"])
async def test_writer_that_is_not_at_the_stored_step_is_refused(
    run: str, seq: int, table: TableStore, aggregator: TableWriter
) -> None:
    begun_run = await aggregator.begin()
    with pytest.raises(OutOfStep, match="table"):
        await aggregator.apply(table_head(run or begun_run, seq=seq), [added("a", "1")])
    assert await rows(table) == {}


@pytest.mark.parametrize("lost", ["objects", "table"])
async def test_lost_rows_or_head_are_noticed_by_the_next_step(lost: str, admin: Admin, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"), added("b", "2"))
    admin.delete(PREFIX + lost)
    with pytest.raises(OutOfStep):
        await kept.apply(modified("a", "1", "3"))


async def test_one_lost_row_is_noticed_by_the_next_step(admin: Admin, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"), added("b", "2"))
    admin.hdel(f"{PREFIX}objects", "a")
    with pytest.raises(OutOfStep, match="objects"):
        await kept.apply(modified("b", "2", "3"))


async def test_head_alone_is_written_without_a_step(table: TableStore, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"))
    await kept.apply(missed=Missed(added=3), cursor="5-5", last_event_ms=77)
    head = await table.head()
    assert head is not None
    assert (head.seq, head.missed, head.cursor, head.last_event_ms) == (1, Missed(added=3), "5-5", 77)
    assert head == kept.head


async def test_changes_are_trimmed_by_number(admin: Admin, table: TableStore, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    for start in range(0, 2_000, 200):
        await kept.apply(*(added(f"u{number}", str(number + 1)) for number in range(start, start + 200)))
    # Redis trims by whole nodes of the stream.
    assert 1_000 <= admin.xlen(f"{PREFIX}changes") <= 1_200
    assert admin.hlen(f"{PREFIX}objects") == 2_000


async def test_changes_are_trimmed_by_age(admin: Admin, table: TableStore, store: Store) -> None:
    writer = TableWriter(store, table, events_max=100_000, retention_s=0)
    await writer.acquire()
    kept = await begun(writer)
    for number in range(5):
        await kept.apply(*(added(f"u{number}-{more}", "1") for more in range(200)))
    now_ms = await table.now_ms()
    while await table.now_ms() == now_ms:  # a change of this millisecond is not yet older than nothing
        continue
    await kept.apply(added("last", "2"))
    assert admin.xlen(f"{PREFIX}changes") <= 200


async def test_changes_are_read_behind_a_cursor_and_between(table: TableStore, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"), added("b", "2"), added("c", "3"))
    first, second, third = await table.changes("0-0")
    assert first.id == await table.oldest_change()
    assert third.id == await table.last_change()
    assert [change.uid for change in await table.changes(first.id, count=1)] == ["b"]
    assert await table.changes(third.id) == []
    assert await table.changes(third.id, block_ms=1) == []
    assert [c.uid for c in await table.changes_between(f"({first.id}", "+")] == ["b", "c"]
    assert [c.uid for c in await table.changes_between("-", second.id, count=5)] == ["a", "b"]
    assert abs(first.at_ms - await table.now_ms()) < 60_000


async def test_drift_is_a_stream_of_its_own(table: TableStore, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    line = b'{"kind":"GHOST","namespace":"n","name":"%s","uid":"u","version":"1","at_ms":5,"lived_s":null}'
    await kept.apply(Operation("DRIFT", record=line % b"a"), Operation("DRIFT", record=line % b"b"))
    found = await table.drift()
    assert [one.name for one in found] == ["b", "a"]
    assert found[0].id > found[1].id
    assert [one.name for one in await table.drift(f"({found[0].id}", count=1)] == ["a"]
    assert await table.drift_count() == 2
    assert (await table.oldest_change(), kept.head.seq) == (None, 0)


async def test_records_of_chosen_rows(table: TableStore, aggregator: TableWriter) -> None:
    kept = await begun(aggregator)
    await kept.apply(added("a", "1"))
    assert await aggregator.records_of(["a", "b"]) == [record("a", "1"), None]
    assert await aggregator.records_of([]) == []


async def test_many_rows_come_in_slices(table: TableStore, aggregator: TableWriter) -> None:
    kept: Kept = await begun(aggregator)
    for start in range(0, 5_000, 500):
        await kept.apply(*(added(f"u{number}", "1") for number in range(start, start + 500)))
    parts = [part async for part in table.records()]
    assert len(parts) > 1
    assert len({uid for part in parts for uid, _ in part}) == 5_000
