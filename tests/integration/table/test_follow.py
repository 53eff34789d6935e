"""A follower against a real Redis and the real writer of the table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from krm.errors import AnswerError, Code, StoreUnreachable
from krm.query import lists
from krm.resources import PODS
from krm.settings import Secret
from krm.store import compression
from krm.store.connect import Store, open_store
from krm.store.head import Head, Missed, ScopeHead, WorkerStatus, head_fields
from krm.store.reading import TableStore
from krm.store.rows import DIGEST_MODULUS, Codec, Row, digest
from krm.store.writing import EventWriter, ListWriter, Operation, TableWriter, Writer
from krm.table.follow import CLOCKS_MS, Follower
from krm.table.freshness import State
from krm.table.replica import Replica
from krm.table.tables import Tables
from tests.samples import pod, row
from tests.waiting import alongside, wait_until


class Table:
    """The aggregator's part, played by hand."""

    def __init__(self, store: Store) -> None:
        self.source = TableStore(store, "default", PODS)
        self.writer = TableWriter(store, self.source, events_max=10_000, retention_s=60)
        self.codec = Codec(PODS)
        self.rows: dict[str, Row] = {}
        self.run = ""
        self.seq = 0
        self.version = "1"
        self.age_ms = 0

    async def build(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """A new life of the table with these objects."""
        await self.writer.acquire()
        self.run = await self.writer.begin()
        self.seq = 0
        made = [row(self.codec, obj) for obj in objects]
        self.rows = {each.uid: each for each in made}
        await self._apply([Operation("PUT", each.uid, each.version, each.record) for each in made])

    async def put(self, *objects: Mapping[str, Any]) -> None:
        """Add or change objects, in one step."""
        operations = []
        for obj in objects:
            made = row(self.codec, obj)
            kind = "MODIFIED" if made.uid in self.rows else "ADDED"
            self.rows[made.uid] = made
            operations.append(Operation(kind, made.uid, made.version, made.record))
            self.version = max(self.version, made.version, key=int)
        await self._apply(operations)

    async def drop(self, uid: str) -> None:
        """Delete an object."""
        gone = self.rows.pop(uid)
        await self._apply([Operation("DELETED", uid, gone.version, gone.record)])

    async def verify(self) -> None:
        """Publish a head that was verified just now."""
        await self._apply([])

    async def _apply(self, operations: list[Operation]) -> None:
        now = await self.source.now_ms() - self.age_ms
        scope = ScopeHead(
            scope="",
            epoch="e/0",
            listing="l",
            listed_at="1",
            verified_at_ms=now,
            took_s=0.1,
            window_start="1",
            window_end=self.version,
            contiguous=True,
        )
        head = Head(
            run=self.run,
            seq=self.seq,
            change="",
            state="ready",
            rows=len(self.rows),
            digest=sum(digest(each.uid, each.version) for each in self.rows.values()) % DIGEST_MODULUS,
            epoch="e/0",
            scopes=(scope,),
            missed=Missed(),
            at_ms=0,
            last_event_ms=now,
        )
        self.seq, _, _ = await self.writer.apply(head, operations)

    async def break_digest(self) -> None:
        """A writer's defect: the head says something else than the rows."""
        await self.writer._redis.hset(self.source.keys.table, mapping=await self.fields(digest=7))

    async def fields(self, **changes: Any) -> dict[str, bytes]:
        """What the head says, changed, as it is stored."""
        head = await self.source.head()
        assert head is not None
        return head_fields(msgspec.structs.replace(head, **changes))


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    opened = open_store(Secret(redis_url))
    yield opened
    await opened.close()


@pytest.fixture
def table(store: Store) -> Table:
    return Table(store)


@asynccontextmanager
async def following(table: Table) -> AsyncIterator[Tables]:
    async with Tables.of([table.source]) as tables:
        yield tables


def names(tables: Tables) -> list[str]:
    return [each.name for each in tables.get(PODS).rows()]


async def is_ready(tables: Tables) -> None:
    await wait_until(lambda: tables.follower(PODS).is_ready, what="ready")


async def beat(store: Store, table: Table) -> None:
    """All three workers say that they work."""
    writers: dict[str, Writer] = {
        "streamer": EventWriter(store, table.source),
        "verifier": ListWriter(store, table.source),
        "aggregator": table.writer,
    }
    for role, writer in writers.items():
        await writer.acquire()
        await writer.beat(WorkerStatus(role=role, state="running", connected=True, interval_s=30.0))


async def test_nothing_in_redis_is_not_ready_and_never_empty(table: Table) -> None:
    async with following(table) as tables:
        await wait_until(lambda: "no verified list" in (tables.freshness(PODS).reason or ""))
        with pytest.raises(AnswerError) as caught:
            tables.get(PODS)
        assert caught.value.code is Code.NOT_READY


async def test_rows_are_loaded_and_followed(table: Table) -> None:
    await table.build([pod("a"), pod("b")])
    async with following(table) as tables:
        await is_ready(tables)
        assert names(tables) == ["a", "b"]
        await table.put(pod("c", version=5), pod("a", version=6, phase="Running"))
        await table.drop("uid-default-b")
        await wait_until(lambda: names(tables) == ["a", "c"])
        replica = tables.get(PODS)
        assert replica.seq == table.seq
        assert replica.digest == sum(digest(r.uid, r.version) for r in table.rows.values()) % DIGEST_MODULUS
        assert lists.run(replica, lists.parse(PODS, field_selector="status.phase=Running")).total == 1


async def test_load_while_changes_go_on_ends_in_the_table(table: Table) -> None:
    await table.build([pod(f"p{n}") for n in range(3_000)])
    async with following(table) as tables:
        for step in range(40):
            await table.put(*(pod(f"p{n}", version=10 + step) for n in range(step, 3_000, 100)), pod(f"new{step}"))
            await table.drop(f"uid-default-p{step * 7 + 300}")
        await is_ready(tables)
        await wait_until(lambda: tables.get(PODS).seq == table.seq)
        assert {r.uid: r.version for r in tables.get(PODS).rows()} == {r.uid: r.version for r in table.rows.values()}
        assert tables.follower(PODS).loads == 1


async def test_a_table_that_is_built_anew_is_loaded_anew(table: Table) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        await table.build([pod("b"), pod("c")])
        await wait_until(lambda: tables.follower(PODS).is_ready and names(tables) == ["b", "c"])


async def test_a_store_that_lost_everything_is_not_ready_until_the_table_is_back(table: Table, store: Store) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        await store.client.flushall()
        await wait_until(lambda: not tables.follower(PODS).is_ready)
        await table.build([pod("a")])
        await is_ready(tables)
        assert names(tables) == ["a"]


async def test_changes_that_are_gone_cause_a_new_load(table: Table, store: Store) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        async with store.client.pipeline(transaction=True) as pipe:
            pipe.multi()
            made = row(table.codec, pod("z", version=9))
            pipe.hset(table.source.keys.objects, made.uid, made.record)
            both = (digest("uid-default-a", "1") + digest(made.uid, "9")) % DIGEST_MODULUS
            pipe.hset(table.source.keys.table, mapping={"seq": 1, **await table.fields(rows=2, digest=both)})
            await pipe.execute()
        await wait_until(lambda: tables.follower(PODS).is_ready and names(tables) == ["a", "z"])
        assert tables.follower(PODS).loads == 2


async def test_a_gap_in_the_numbers_of_the_changes_causes_a_new_load(table: Table, store: Store) -> None:
    await table.build([pod("a")])
    made = row(table.codec, pod("z", version=9))
    both = (digest("uid-default-a", "1") + digest(made.uid, "9")) % DIGEST_MODULUS
    change = {"t": "ADDED", "u": made.uid, "v": "9", "r": made.record, "p": b"", "n": 2, "x": "0"}
    async with following(table) as tables:
        await is_ready(tables)
        head = {"seq": 2, "change": "9999999999999-1", **await table.fields(rows=2, digest=both)}
        async with store.client.pipeline(transaction=True) as pipe:
            pipe.hset(table.source.keys.objects, made.uid, made.record)
            pipe.xadd(table.source.keys.changes, change, id="9999999999999-1")
            pipe.hset(table.source.keys.table, mapping=head)
            await pipe.execute()
        await wait_until(lambda: tables.follower(PODS).is_ready and names(tables) == ["a", "z"])
        assert tables.follower(PODS).loads == 2


async def test_a_row_that_vanished_from_redis_is_noticed(table: Table, store: Store) -> None:
    await table.build([pod("a"), pod("b")])
    key, uid = table.source.keys.objects, "uid-default-b"
    await store.client.hdel(key, uid)
    async with following(table) as tables:
        await wait_until(lambda: "is not the table" in (tables.freshness(PODS).reason or ""))
        assert not tables.follower(PODS).is_ready
        await store.client.hset(key, uid, table.rows[uid].record)
        await is_ready(tables)
        assert names(tables) == ["a", "b"]


async def test_digest_that_does_not_fit_is_not_served(table: Table) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        await table.break_digest()
        await wait_until(lambda: not tables.follower(PODS).is_ready)
        with pytest.raises(AnswerError, match=r"NOT_READY"):
            tables.get(PODS)
        await table.verify()
        await is_ready(tables)


async def test_corrupt_record_is_not_served(table: Table, store: Store) -> None:
    await table.build([pod("a"), pod("b")])
    record = table.rows["uid-default-b"].record
    await store.client.hset(table.source.keys.objects, "uid-default-b", record[:-1] + bytes([record[-1] ^ 1]))
    async with following(table) as tables:
        await wait_until(lambda: "checksum" in (tables.freshness(PODS).reason or ""))
        assert not tables.follower(PODS).is_ready
        await store.client.hset(table.source.keys.objects, "uid-default-b", record)
        await is_ready(tables)


async def test_dictionary_that_comes_later_is_learned(table: Table, store: Store) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        samples = [f'{{"n": {n}, "text": "some words that come again {n % 7}"}}'.encode() * 3 for n in range(500)]
        trained = compression.train(samples)
        assert trained is not None
        identifier = table.codec.compressor.add(trained, use=True)
        await ListWriter(store, table.source).put_dictionary(identifier, trained)
        await table.put(pod("b", version=3))
        await wait_until(lambda: names(tables) == ["a", "b"])
        found = lists.run(tables.get(PODS), lists.parse(PODS, field_selector="metadata.uid=uid-default-b"))
        assert [r.name for r in found.rows] == ["b"]


async def test_redis_away_keeps_the_table_and_says_stale(table: Table, store: Store, redis_server: Any) -> None:
    await table.build([pod("a")])
    await beat(store, table)
    async with following(table) as tables:
        await wait_until(lambda: tables.follower(PODS).is_ready and tables.freshness(PODS).state is State.SYNCED)
        follower = tables.follower(PODS)
        real, follower.source = follower.source, _Away()
        await wait_until(lambda: tables.freshness(PODS).state is State.STALE)
        assert names(tables) == ["a"]
        follower.source = real
        await beat(store, table)
        await wait_until(lambda: tables.freshness(PODS).state is State.SYNCED)
        assert follower.loads == 1


class _Away:
    """A store that cannot be reached."""

    cluster, resource = "default", PODS

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: Any, **__: Any) -> Any:
            raise StoreUnreachable("Redis cannot be reached")

        return fail


async def test_minimum_version_is_waited_for(table: Table) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        await table.put(pod("a", version=77))
        now = await tables.wait(PODS, min_version="77")
        assert now.resource_version == "77"


async def test_version_that_does_not_come_is_stale_replica(table: Table) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        with pytest.raises(AnswerError) as caught:
            await tables.wait(PODS, min_version="10000000000000000000000000")
        assert caught.value.code is Code.STALE_REPLICA


async def test_age_is_bounded(table: Table) -> None:
    table.age_ms = 60_000
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        now = await tables.wait(PODS, max_staleness_s=90)
        assert now.verified_age_s is not None
        assert 60 <= now.verified_age_s < 90
        with pytest.raises(AnswerError) as caught:
            await tables.wait(PODS, max_staleness_s=30)
        assert caught.value.code is Code.TOO_STALE


async def test_a_head_that_was_overtaken_by_a_newer_one_takes_no_version_back(table: Table) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        follower = tables.follower(PODS)
        older = await table.source.head()
        table.version = "50"  # a bookmark: no row changes, so the number stays
        await table.verify()
        await wait_until(lambda: follower.freshness().resource_version == "50")
        follower._consider(older)
        assert follower.freshness().resource_version == "50"


async def test_a_table_older_than_what_was_served_is_held_back(table: Table) -> None:
    await table.build([pod("a")])
    await table.put(pod("a", version=50))
    async with following(table) as tables:
        await wait_until(lambda: tables.freshness(PODS).resource_version == "50")
        table.version = "40"
        await table.build([pod("a", version=40)])
        await wait_until(lambda: "older than what was answered" in (tables.freshness(PODS).reason or ""))
        assert not tables.follower(PODS).is_ready
        await table.put(pod("a", version=60))
        await is_ready(tables)
        assert [r.version for r in tables.get(PODS).rows()] == ["60"]


async def test_what_was_loaded_a_moment_ago_counts_as_served(table: Table) -> None:
    table.version = "50"
    follower = Follower(table.source, Replica(PODS, Codec(PODS)))
    await table.build([pod("a", version=50)])
    await follower._load()
    table.version = "40"
    await table.build([pod("a", version=40)])
    loading = asyncio.create_task(follower._load())
    await wait_until(lambda: "older than what was answered" in (follower.trouble or ""))
    loading.cancel()
    await asyncio.wait([loading])


async def test_a_list_that_began_later_and_is_older_proves_that_history_went_back(table: Table) -> None:
    await table.build([pod("a")])
    await table.put(pod("a", version=50))
    async with following(table) as tables:
        await wait_until(lambda: tables.freshness(PODS).resource_version == "50")
        table.version, table.age_ms = "40", -2 * CLOCKS_MS  # as if it had been listed so much later
        await table.build([pod("a", version=40)])
        await wait_until(lambda: tables.freshness(PODS).resource_version == "40")
        table.version, table.age_ms = "30", 0
        await table.build([pod("a", version=30)])
        await wait_until(lambda: "older than what was answered" in (tables.freshness(PODS).reason or ""))


async def test_following_ends_at_once_whenever_it_is_cancelled(table: Table) -> None:
    await table.build([pod("a")])
    for round_ in range(12):
        tables = Tables.of([table.source])
        await tables.start()
        await is_ready(tables)
        await table.put(pod("a", version=100 + round_))
        await asyncio.wait_for(tables.stop(), 5)


async def test_no_answer_is_given_before_its_age_can_be_told(table: Table) -> None:
    table.age_ms = 60_000
    await table.build([pod("a")])
    source = _SlowClock(table.source)
    source.may_tell.clear()
    follower = Follower(source, Replica(PODS, Codec(PODS)))
    async with alongside(follower.run()):
        await wait_until(lambda: source.is_asked and len(follower.replica) == 1)
        assert not follower.is_ready
        source.may_tell.set()
        await wait_until(lambda: follower.is_ready)
        assert (follower.freshness().verified_age_s or 0) >= 60


class _SlowClock:
    """A store that tells the time when it may, and late: the caller's clock has gone on meanwhile."""

    def __init__(self, source: TableStore, on_told: Callable[[], None] = lambda: None) -> None:
        self._source = source
        self._on_told = on_told
        self.cluster, self.resource = source.cluster, source.resource
        self.is_asked = False
        self.may_tell = asyncio.Event()
        self.may_tell.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def now_ms(self) -> int:
        self.is_asked = True
        await self.may_tell.wait()
        told = await self._source.now_ms()
        self._on_told()
        return told


async def test_an_age_is_never_told_too_small_however_long_redis_takes_to_tell_the_time(table: Table) -> None:
    clock_s = 100.0

    def told_late() -> None:
        nonlocal clock_s
        clock_s += 4.0

    source = _SlowClock(table.source, told_late)
    follower = Follower(source, Replica(PODS, Codec(PODS)), monotonic=lambda: clock_s)
    before = await table.source.now_ms()
    await follower._read_clock()
    assert (follower.now_ms() or 0) >= before + 4_000


async def test_feed_tells_rows_before_and_after(table: Table) -> None:
    await table.build([pod("a")])
    async with following(table) as tables:
        await is_ready(tables)
        with tables.follower(PODS).feed() as feed:
            await table.put(pod("a", version=5))
            deltas = await feed.take(timeout_s=5)
            assert deltas is not None
            assert [(d.before and d.before.version, d.after and d.after.version) for d in deltas] == [("1", "5")]
            await table.build([pod("a")])
            assert await feed.take(timeout_s=5) is None
