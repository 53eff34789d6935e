"""A table over several shards: whatever step is cut short, it is the one that the log tells of, or is told from it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from krm.errors import OutOfStep, StoreUnreachable
from krm.resources import PODS
from krm.store.connect import Store
from krm.store.head import Head
from krm.store.reading import TableStore, shard_of
from krm.store.rows import DIGEST_MODULUS, digest
from krm.store.shards import FINISHED_MOST
from krm.store.writing import Operation, TableWriter
from krm.table.follow import Follower
from krm.table.replica import Replica
from krm.workers.runner import cancel
from tests.integration.store.samples import CODEC, Admin, Kept, added, begun, deleted, modified, record
from tests.waiting import wait_until

SHARDS = 3


def prefix(shard: int) -> str:
    return f"krm:1:{{c/core/v1/pods#{shard}}}:"


async def writer_of(store: Store, table: TableStore, shards: int = SHARDS) -> TableWriter:
    """An aggregator's that takes over from whoever was before."""
    writer = TableWriter(store, table, events_max=1_000, retention_s=60, shards=shards)
    await store.client.delete(table.keys.fence)
    assert await writer.acquire() == 0
    return writer


async def read(table: TableStore) -> tuple[Head, dict[str, str]]:
    """What a reader makes of what is stored: the rows, and the changes that they may lack."""
    head = await table.head()
    assert head is not None
    rows = {uid: CODEC.decode(data).version async for part in table.records() for uid, data in part}
    for change in await table.changes(head.applied[1], count=10_000):
        if change.type == "DELETED":
            rows.pop(change.uid, None)
        else:
            rows[change.uid] = change.version
    return head, rows


def fits(head: Head, rows: dict[str, str]) -> bool:
    return (head.rows, head.digest) == (len(rows), sum(digest(*row) for row in rows.items()) % DIGEST_MODULUS)


class Crash(Store):
    """Ends with an error after so many scripts, as a process that dies between two."""

    def __init__(self, client: Any, left: int) -> None:
        super().__init__(client)
        self.left = left

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        self.left -= 1
        if self.left < 0:
            raise StoreUnreachable("crashed")
        return await super().run(script, keys, args)


class History:
    """Random operations, and what they make of the rows."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.rows: dict[str, str] = {}
        self.version = 0

    def batch(self) -> list[Operation]:
        made = []
        for uid in self.rng.choices([f"uid-{n}" for n in range(20)], k=self.rng.randint(0, 6)):
            self.version += 1
            version, before = str(self.version), self.rows.get(uid)
            if before is None:
                made.append(added(uid, version))
            elif self.rng.random() < 0.6:
                made.append(modified(uid, before, version))
            else:
                made.append(deleted(uid, before, version, seen=self.rng.random() < 0.5))
                del self.rows[uid]
                continue
            self.rows[uid] = version
        return made


def test_rows_lie_where_they_always_lay() -> None:
    assert {shard_of(f"uid-{n}", 3) for n in range(30)} == {0, 1, 2}
    assert {shard_of(f"uid-{n}", 1) for n in range(30)} == {0}
    assert shard_of("5b2f6c1e-8a0c-4b8f-9d53-0b8f3a5b7c11", 7) == 1


async def test_rows_changes_and_head_stay_in_step(store: Store, table: TableStore, admin: Admin) -> None:
    history, kept = History(7), await begun(await writer_of(store, table))
    for _ in range(60):
        await kept.apply(*history.batch())
        head, rows = await read(table)
        assert rows == history.rows
        assert fits(head, rows)
    assert sorted(admin.hlen(f"{prefix(n)}objects") for n in range(SHARDS))[0] > 0
    assert admin.exists(f"{prefix(SHARDS)}objects") == 0
    changes = await table.changes("0-0", count=10_000)
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    assert await table.newest_changes(2) == changes[-2:]
    assert await table.newest_changes(0) == []
    replayed: dict[str, bytes] = {}
    for change in changes:
        assert change.previous == replayed.get(change.uid, b"")
        if change.type == "DELETED":
            assert change.record == (change.previous if change.unseen else record(change.uid, change.version))
            del replayed[change.uid]
        else:
            replayed[change.uid] = change.record
    assert {uid: CODEC.decode(data).version for uid, data in replayed.items()} == history.rows


async def test_drift_goes_to_its_stream_and_to_no_shard(store: Store, table: TableStore, admin: Admin) -> None:
    kept = await begun(await writer_of(store, table))
    line = b'{"kind":"GHOST","namespace":"n","name":"x","uid":"u","version":"1","at_ms":5,"lived_s":null}'
    await kept.apply(Operation("DRIFT", record=line), added("a", "1"))
    assert [one.name for one in await table.drift()] == ["x"]
    assert (await read(table))[1] == {"a": "1"}
    assert sum(admin.hlen(f"{prefix(n)}objects") for n in range(SHARDS)) == 1


async def test_rows_of_chosen_uids_and_slices(store: Store, table: TableStore) -> None:
    kept = await begun(await writer_of(store, table))
    uids = [f"u{n}" for n in range(3_500)]
    for start in range(0, len(uids), 250):
        await kept.apply(
            *(Operation("PUT", u, "1", record(u, "1"), 1, digest(u, "1")) for u in uids[start : start + 250])
        )
    head = await table.head()
    assert head is not None
    assert (head.seq, head.rows, head.shards, table.shards) == (0, 3_500, SHARDS, SHARDS)
    assert await table.records_of(["u5", "none", "u0"]) == [record("u5", "1"), None, record("u0", "1")]
    parts = [part async for part in table.records()]
    assert len(parts) > SHARDS
    assert {uid for part in parts for uid, _ in part} == set(uids)


@pytest.mark.parametrize("seed", range(3))
async def test_crash_between_any_two_steps_is_finished_by_the_next_writer(
    seed: int, store: Store, table: TableStore
) -> None:
    history = History(seed)
    kept = await begun(await writer_of(store, table))
    crashes = 0
    for _ in range(15):
        await kept.apply(*history.batch())
        batch = history.batch()
        kept.writer.store = Crash(store.client, left=history.rng.randint(1, SHARDS))
        kept.writer._shards._table.store = kept.writer.store
        try:
            await kept.apply(*batch)
        except StoreUnreachable:
            crashes += 1
        # The log has it: a reader of now gets it whole, whichever shards lack it.
        head, rows = await read(table)
        assert rows == history.rows
        assert fits(head, rows)
        writer = await writer_of(store, table)
        assert await writer.resume(head)
        kept = Kept(writer, head.run)
        kept.head = head
        stored = {uid: CODEC.decode(data).version async for part in table.records() for uid, data in part}
        assert stored == history.rows
    assert crashes > 8


async def test_late_writer_puts_nothing_where_another_went_on(store: Store, table: TableStore) -> None:
    kept = await begun(await writer_of(store, table))
    await kept.apply(added("a", "1"))
    late = kept.writer._shards
    run = kept.head.run
    other = await begun(await writer_of(store, table))
    with pytest.raises(OutOfStep):
        await late.place(run, 1, 2, [modified("a", "1", "2")])
    await other.apply(added("b", "1"))
    with pytest.raises(OutOfStep):
        await late.place(other.head.run, 0, 1, [added("c", "1")])
    assert (await read(table))[1] == {"b": "1"}


@pytest.mark.parametrize("lost", ["objects", "applied"])
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_lost_shard_is_noticed_by_the_next_step_wherever_it_goes(
    lost: str, shard: int, store: Store, table: TableStore, admin: Admin
) -> None:
    kept = await begun(await writer_of(store, table))
    await kept.apply(*(added(f"u{n}", "1") for n in range(12)))
    admin.delete(prefix(shard) + lost)
    with pytest.raises(OutOfStep):
        await kept.apply()
    head = await table.head()
    assert head is not None
    assert not await (await writer_of(store, table)).resume(head)


@pytest.mark.parametrize("name", ["objects", "applied"])
async def test_key_of_another_type_goes(name: str, store: Store, table: TableStore, admin: Admin) -> None:
    kept = await begun(await writer_of(store, table))
    await kept.apply(*(added(f"u{n}", "1") for n in range(12)))
    admin.delete(prefix(2) + name)
    admin.set(prefix(2) + name, "not ours")
    writer = await writer_of(store, table)
    head = await table.head()
    assert head is not None
    assert not await writer.resume(head)
    assert admin.exists(prefix(2) + name) == 0
    await (await begun(writer)).apply(added("b", "1"))
    assert (await read(table))[1] == {"b": "1"}


async def test_shard_that_is_ahead_or_lacks_too_much_is_built_anew(
    store: Store, table: TableStore, admin: Admin
) -> None:
    kept = await begun(await writer_of(store, table))
    for start in range(0, FINISHED_MOST + 10, 200):
        await kept.apply(*(added(f"u{n}", "1") for n in range(start, min(start + 200, FINISHED_MOST + 10))))
    head = await table.head()
    assert head is not None
    for stands, is_enough in ((head.seq, True), (head.seq + 1, False), (5, False), (head.seq - 5, True)):
        admin.hset(f"{prefix(1)}applied", "seq", stands)
        assert await (await writer_of(store, table)).resume(head) is is_enough
    admin.hset(f"{prefix(1)}applied", "seq", head.seq - 5)
    admin.xtrim(table.keys.changes, maxlen=2, approximate=False)
    assert not await (await writer_of(store, table)).resume(head)


async def test_another_number_of_shards_is_another_life_of_the_table(
    store: Store, table: TableStore, admin: Admin
) -> None:
    for shards in (3, 2, 1, 4):
        writer = await writer_of(store, table, shards)
        head = await table.head()
        assert head is None or not await writer.resume(head)
        kept = await begun(writer)
        await kept.apply(*(added(f"u{n}", "1") for n in range(20)))
        head, rows = await read(table)
        assert (head.shards, len(rows)) == (shards, 20)
        assert fits(head, rows)
        left = {int(key.decode().split("#")[1].split("}")[0]) for key in admin.keys("*objects")}
        assert left == set(range(shards))
        assert admin.exists(f"{prefix(0)}applied") == (shards > 1)


async def test_damaged_head_is_no_hindrance_to_another_table(store: Store, table: TableStore, admin: Admin) -> None:
    await begun(await writer_of(store, table))
    admin.hset(table.keys.table, "shards", "1000")
    kept = await begun(await writer_of(store, table))
    await kept.apply(added("a", "1"))
    assert (await read(table))[1] == {"a": "1"}


async def test_replica_loads_and_follows_while_steps_are_cut_in_two(store: Store, table: TableStore) -> None:
    history, kept = History(3), await begun(await writer_of(store, table))
    await kept.apply(added("first", "1"))
    history.rows["first"] = "1"
    place = kept.writer._shards.place

    async def late(run: str, before: int, after: int, operations: Sequence[Operation]) -> None:
        for _ in range(3):  # meanwhile the log tells of what no shard has yet
            await table.now_ms()
        await place(run, before, after, operations)

    kept.writer._shards.place = late  # type: ignore[method-assign, assignment]
    shown: list[str] = []
    for _ in range(12):
        source = TableStore(store, "c", PODS)
        follower = Follower(source, Replica(PODS, CODEC, cluster="c"))
        running = asyncio.create_task(follower.run())
        while not follower.is_ready:
            await kept.apply(*history.batch())
            await asyncio.sleep(0)
        for _ in range(3):
            await kept.apply(*history.batch())
        seq = kept.head.seq
        await wait_until(lambda seen=follower, to=seq: seen.is_ready and seen.replica.seq == to, 10)  # type: ignore[misc]
        assert {row.uid: row.version for row in follower.replica.rows()} == history.rows
        shown.append(str(follower.loads))
        await cancel([running])
    assert set(shown) == {"1"}
