"""The twenty-eight adversarial schedules, one by one: each says what happens in which order, and the only right answer.

What a merge by time, by name or by the objects' own versions would answer instead stands beside each name. Where the
books alone decide, only they take part; where the workers, Redis or the API server do, these are real.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from krm import errors, simulator
from krm.errors import Fenced, Gone
from krm.kube import connect, listing, watching
from krm.kube.backoff import Backoff
from krm.kube.clock import Skew
from krm.kube.events import EventType, WatchEvent
from krm.merge import Event, Key, State
from krm.objects import times
from krm.objects.versions import newer
from krm.resources import PODS
from krm.settings import Secret
from krm.simulator import FaultKind, Simulation
from krm.store.connect import open_store
from krm.store.head import Head, Missed, ScopeHead, WorkerStatus
from krm.store.reading import TableStore
from krm.store.rows import Codec
from krm.store.writing import EventWriter, Operation, TableWriter
from krm.table import freshness as fresh
from krm.table.tables import Tables
from krm.workers import measuring
from krm.workers.ledger import Drift, DriftKind, Ledger
from krm.workers.measuring import Measurer
from tests.chain import Chain, running
from tests.integration.store.samples import begun
from tests.samples import pod, row
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)

EPOCH = "uid/0"
X: Key = ("a", "x")
Y: Key = ("a", "y")
HOUR_MS = 3_600_000


@dataclass
class World:
    """What a schedule may use."""

    redis_url: str
    folder: Path
    patch: pytest.MonkeyPatch


SCHEDULES: dict[str, Callable[[World], Any]] = {}


def schedule(name: str, naive: str) -> Callable[[Callable[[World], Any]], Callable[[World], Any]]:
    """``naive``: what simpler merges do."""

    def named(play: Callable[[World], Any]) -> Callable[[World], Any]:
        assert name not in SCHEDULES
        SCHEDULES[name] = play
        return play

    return named


class Books:
    """An aggregator's books and the table that they make, without a store."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.table: dict[str, str] = {}
        self.now_ms = 0

    def lists(
        self, at: str, rows: Mapping[Key, State] | None = None, *, scope: str = "", epoch: str = EPOCH
    ) -> list[Operation]:
        """Install a whole list."""
        listed = rows or {}
        book = self.ledger.book(scope)
        first = not book.merged.listed_at
        touched = iter(self.ledger.touched(scope, listed, epoch))
        prediction = self.ledger.install(scope, listed, at, epoch, patience_until_ms=self.now_ms + 10_000)
        if prediction is None:
            return []
        records = dict.fromkeys(listed, b"r")
        return self._took(self.ledger.reconcile(scope, touched, records, None if first else prediction, 1_000))

    def see(self, key: Key, uid: str, at: str, *, deleted: bool = False, scope: str = "") -> list[Operation]:
        """An event of the stream."""
        self.ledger.book(scope).epoch = EPOCH
        return self._took(self.ledger.event(scope, key, Event(uid, at, deleted), b"r"))

    def _took(self, operations: list[Operation]) -> list[Operation]:
        for one in operations:
            if one.kind == "DELETED":
                del self.table[one.uid]
            else:
                self.table[one.uid] = one.version
        return operations

    def drift(self) -> list[Drift]:
        return self.ledger.drifted("", self.now_ms)


# -- a list and the stream ---------------------------------------------------------------------------------------------


@schedule("S1", "the object is resurrected")
def deletion_seen_while_a_list_is_on_its_way(_: World) -> None:
    books = Books()
    books.lists("90", {X: State("u", "80")})
    books.see(X, "u", "105", deleted=True)
    books.lists("100", {X: State("u", "80")})
    assert books.table == {}


@schedule("S2", "it is resurrected once the tombstone's time is over")
def the_same_and_the_list_takes_longer_than_any_tombstone_lives(_: World) -> None:
    books = Books()
    books.lists("90", {X: State("u", "80")})
    books.see(X, "u", "105", deleted=True)
    books.now_ms += 24 * HOUR_MS
    assert books.drift() == []
    books.lists("100", {X: State("u", "80")})
    assert books.table == {}
    books.lists("106")
    assert books.table == {}
    assert books.ledger.book("").merged.events == {}  # spent by version, not by time (I4)


@schedule("S3", "the object is hidden for ever")
def addition_lost_after_a_deletion_that_was_seen(_: World) -> None:
    books = Books()
    books.lists("100", {X: State("u", "80")})
    books.see(X, "u", "105", deleted=True)
    books.lists("120", {X: State("u", "110")})
    assert books.table == {"u": "110"}


@schedule("S4", "the object is kept for ever")
def deletion_lost(_: World) -> None:
    books = Books()
    books.lists("80")
    books.see(X, "u", "90")
    made = books.lists("100")
    assert books.table == {}
    assert [(one.kind, one.uid, one.version) for one in made] == [("DELETED", "u", "100")]  # I8: at the list's version


@schedule("S5", "the list's older object comes back")
def recreation_seen_and_then_an_older_list(_: World) -> None:
    books = Books()
    books.lists("90", {X: State("u1", "80")})
    made = books.see(X, "u2", "107")
    assert [(one.kind, one.uid) for one in made] == [("DELETED", "u1"), ("ADDED", "u2")]  # I8: another uid, another one
    books.lists("100", {X: State("u1", "80")})
    assert books.table == {"u2": "107"}


@schedule("S6", "the successor is deleted by its name")
def late_duplicate_of_the_predecessors_deletion(_: World) -> None:
    books = Books()
    books.lists("100", {X: State("u1", "80")})
    books.see(X, "u1", "105", deleted=True)
    books.see(X, "u2", "107")
    books.see(X, "u1", "105", deleted=True)
    assert books.table == {"u2": "107"}


@schedule("S7", "the table goes back in time")
def two_lists_in_flight_and_the_older_arrives_last(_: World) -> None:
    books = Books()
    books.lists("90")
    books.lists("120", {X: State("u", "115")})
    books.lists("100", {Y: State("v", "95")})
    assert books.table == {"u": "115"}
    assert books.ledger.book("").merged.listed_at == "120"  # I3


# -- readers and crashes -----------------------------------------------------------------------------------------------


@schedule("S8", "what happened between the two versions is lost")
async def a_list_is_installed_while_a_reader_loads(world: World) -> None:
    async with running(world.redis_url, world.folder, pods=60, verify_interval_s=600) as chain:
        await chain.converged()
        source = _Interrupted(chain.table())
        async with Tables.of([source]) as tables:
            await wait_until(lambda: source.is_waiting, what="the reader is between two slices")
            churned(chain, 200)
            await chain.workers["verifier", "pods"].writer.ask_for_list(full=False, reason="test")
            await chain.converged()
            source.go_on = True
            await wait_until(lambda: tables.follower(PODS).is_ready, what="the reader is ready")
            read = {each.key: State(each.uid, each.version) for each in tables.get(PODS).rows()}
            assert read == chain.truth()


class _Interrupted(TableStore):
    """A reader that stops between two slices of the table until it is told to go on."""

    def __init__(self, table: TableStore) -> None:
        super().__init__(table.store, table.cluster, table.resource)
        self.is_waiting = self.go_on = False

    async def records(self) -> Any:
        async for piece in super().records():
            half = len(piece) // 2
            yield piece[:half]
            self.is_waiting = True
            await wait_until(lambda: self.go_on, 60)
            yield piece[half:]


@schedule("S9", "ghosts and hidden rows")
async def crash_between_the_lists_installation_and_the_tables(world: World) -> None:
    async with running(world.redis_url, world.folder, verify_interval_s=600) as chain:
        await chain.converged()
        await chain.kill("aggregator")
        await chain.store.client.hdel(chain.table().keys.fence, "aggregator")  # need not be waited for
        before, rows = await chain.ready(), await chain.stored()
        churned(chain, 80)
        installed = await chain.table().last_list()
        await chain.workers["verifier", "pods"].writer.ask_for_list(full=False, reason="test")

        async def flipped() -> bool:
            return await chain.table().last_list() != installed

        await wait_until(flipped)
        needed = await logged_after(chain, before.verified_resource_version)
        assert needed
        streamer = chain.workers["streamer", "pods"].writer
        assert isinstance(streamer, EventWriter)
        await streamer.trim(before)
        assert await logged_after(chain, before.verified_resource_version) == needed
        assert await chain.stored() == rows
        assert await chain.ready() == before
        await chain.start("aggregator")
        await chain.converged()
        assert (await chain.ready()).missed == Missed()


# -- lists in pages ----------------------------------------------------------------------------------------------------


@schedule("S10", "half of the list is of another version")
async def object_deleted_between_two_pages(world: World) -> None:
    async with simulated(world) as (simulation, cluster):
        pods = simulation.store.kind_named("pods")
        last = simulation.store.all(pods)[-1].parse()["metadata"]
        names: list[tuple[str, str]] = []
        async for page in listing.pages(cluster, PODS.path(""), limit=8, timeout_s=30):
            names += [named(item) for item in page.items]
            if page.remaining and simulation.store.get(pods, last["namespace"], last["name"]):
                deleted = simulation.store.delete(pods, last["namespace"], last["name"])
        assert (last["namespace"], last["name"]) in names  # still the snapshot of the first page
        books, key = Books(), (last["namespace"], last["name"])
        books.see(key, last["uid"], str(deleted.rv), deleted=True)
        books.lists(page.version, {key: State(last["uid"], last["resourceVersion"])})
        assert books.table == {}  # and the deletion comes from the stream


@schedule("S11", "a mixed list is installed as verified")
async def second_page_is_gone(world: World) -> None:
    async with simulated(world) as (simulation, cluster):
        pages = listing.pages(cluster, PODS.path(""), limit=8, timeout_s=30)
        await anext(pages)
        simulation.churn.step()  # type: ignore[union-attr]
        simulation.compact()
        with pytest.raises(Gone):  # the page that is on its way may still come, the last one never does
            assert not [page.is_last async for page in pages if page.is_last]
    async with running(world.redis_url, world.folder, verify_interval_s=1.0, list_page_size=5) as chain:
        await chain.converged()
        installed = await chain.table().list_heads()
        broken = chain.simulation.faults.add(
            FaultKind.LATER_PAGE, resource="pods", verb="list", count=2, status=410, message="a token is offered"
        )
        await wait_until(lambda: broken.happened == 1)
        assert await chain.table().list_heads() == installed  # nothing of its first page
        await wait_until(lambda: broken.happened == 2)
        await newly_verified(chain)
        await chain.converged()


# -- where a watch begins ----------------------------------------------------------------------------------------------


@schedule("S12", "what was not sent before the cut is lost for ever")
async def watch_is_cut_in_the_middle_of_what_existed_before(world: World) -> None:
    with pytest.raises(ValueError, match="no version"):
        await anext(watching.watch(None, "/api/v1/pods", "", timeout_s=1, silence_s=1))  # type: ignore[arg-type]
    async with running(world.redis_url, world.folder, verify_interval_s=600) as chain:
        await chain.converged()
        await chain.stop("streamer")
        churned(chain, 60)
        chain.simulation.faults.add(FaultKind.CUT, resource="pods", after_bytes=9_000)
        await chain.start("streamer")
        await chain.converged()
        head = await chain.ready()
        assert head.contiguous
        assert head.missed == Missed()


@schedule("S13", "the cursor is the largest version of what existed, and objects before it are skipped")
async def watch_is_cut_before_its_first_event(world: World) -> None:
    asked: list[str] = []
    real = watching.watch

    def spied(cluster: Any, path: str, version: str, **more: Any) -> AsyncGenerator[list[WatchEvent], None]:
        asked.append(version)
        return real(cluster, path, version, **more)

    world.patch.setattr(watching, "watch", spied)
    async with running(world.redis_url, world.folder, verify_interval_s=600) as chain:
        ended = chain.simulation.faults.add(FaultKind.END, resource="pods", count=2)
        await chain.converged()
        await wait_until(lambda: len(asked) >= 3)
        ended.count = 0
        listed_at = (await chain.ready()).scopes[0].listed_at
        assert set(asked) == {listed_at}
        churned(chain, 30)
        await chain.converged()


@schedule("S14", "the object stays in the queue and comes back")
def list_replaces_an_object_whose_event_is_queued(_: World) -> None:
    books = Books()
    books.lists("100")
    books.see(X, "u", "101")
    books.lists("105")
    assert books.table == {}
    assert books.ledger.book("").merged.events == {}
    assert books.ledger.book("").published == {}


# -- history that goes back --------------------------------------------------------------------------------------------


@schedule("S15", "events up to the old version are filtered silently")
async def backup_is_restored_and_the_watch_resumes(world: World) -> None:
    await restored(world, writes_after=0)


@schedule("S16", "rows of the old history are taken for newer ones")
async def backup_is_restored_and_much_is_written_before_the_next_list(world: World) -> None:
    await restored(world, writes_after=300)


async def restored(world: World, *, writes_after: int) -> None:
    async with running(world.redis_url, world.folder, verify_interval_s=1.0) as chain:
        await chain.converged()
        epoch = (await chain.ready()).epoch
        backup = chain.simulation.snapshot()
        churned(chain, 120)
        await chain.converged()
        chain.simulation.restore(backup)
        churned(chain, writes_after)
        await chain.converged()
        if not writes_after:  # the list was older than what had been seen: the history is another (I10)
            assert (await chain.ready()).epoch != epoch
        churned(chain, 30)
        await chain.converged()


# -- servers that lag, streams that lie --------------------------------------------------------------------------------


@schedule("S17", "an old list is installed as the newest")
async def another_server_lags_behind(world: World) -> None:
    asked: list[Mapping[str, str]] = []
    async with simulated(world) as (simulation, cluster):
        real = cluster._once

        async def spied(used: Any, method: str, url: Any, *more: Any) -> Any:
            asked.append(dict(url.query))
            return await real(used, method, url, *more)

        world.patch.setattr(cluster, "_once", spied)
        async for _ in listing.pages(cluster, PODS.path(""), limit=8, timeout_s=30):
            pass
        assert len(asked) > 1
        assert not any("resourceVersion" in query or "resourceVersionMatch" in query for query in asked)
        simulation.faults.add(FaultKind.STATUS, resource="pods", verb="list", status=504, retry_after_s=3)
        with pytest.raises(errors.ServerFailed) as caught:
            await anext(listing.pages(cluster, PODS.path(""), limit=8, timeout_s=30))
    assert Backoff().failed(caught.value) >= 3


@schedule("S18", "the loss is never noticed")
def bookmark_overtakes_an_event_that_never_comes(_: World) -> None:
    books = Books()
    books.lists("100", {X: State("u", "90")})
    books.ledger.book("").merged.bookmark("120")  # the modification at 110 was not delivered
    assert books.table == {"u": "90"}
    books.ledger.book("").merged.bookmark("130")
    books.lists("130", {X: State("u", "110")})
    assert books.table == {"u": "110"}
    assert books.drift() == [Drift(DriftKind.MISSED_MODIFIED, X, "u", "110")]  # I9


@schedule("S19", "floats, 64 bits and text put them in another order")
def versions_beyond_floats_and_machine_words(_: World) -> None:
    for older, later in [("9007199254740992", "9007199254740993"), ("9" * 39, "1" + "0" * 39), ("99", "100")]:
        books = Books()
        books.lists(older, {X: State("u", older)})
        books.see(X, "u", later)
        books.see(X, "u", older, deleted=True)
        assert books.table == {"u": later}
        books.lists(older)
        assert books.table == {"u": later}


@schedule("S20", "it counts twice")
def event_at_the_lists_own_version(_: World) -> None:
    books = Books()
    books.lists("90")
    books.lists("100", {X: State("u", "100")})
    assert books.see(X, "u", "100") == []
    assert books.table == {"u": "100"}


# -- scopes ------------------------------------------------------------------------------------------------------------


@schedule("S21", "it goes from the other scope, too")
def object_leaves_one_scope(_: World) -> None:
    books = Books()
    for scope, uid in (("a", "ua"), ("b", "ub")):
        books.lists("100", {(scope, "x"): State(uid, "90")}, scope=scope)
    books.see(("a", "x"), "ua", "105", deleted=True, scope="a")
    assert books.table == {"ub": "90"}


@schedule("S22", "rows of the namespace survive")
def namespace_goes_with_its_pods(_: World) -> None:
    for seen in (True, False):
        books = Books()
        books.lists("100", {("a", "x"): State("ua", "90")}, scope="a")
        books.lists("200", {("b", "x"): State("ub", "190")}, scope="b")
        if seen:
            books.see(("a", "x"), "ua", "205", deleted=True, scope="a")
        books.lists("210", {}, scope="a")
        assert books.table == {"ub": "190"}
        assert {scope: book.merged.listed_at for scope, book in books.ledger.books.items()} == {"a": "210", "b": "200"}


# -- clocks ------------------------------------------------------------------------------------------------------------


@schedule("S23", "which row wins depends on the clock")
def clock_jumps_between_event_and_list(world: World) -> None:
    tables = []
    for jump_ms in (0, HOUR_MS, -HOUR_MS):
        books = Books()
        books.now_ms = 10 * HOUR_MS
        books.lists("90", {X: State("u", "80"), Y: State("v", "85")})
        books.see(X, "u", "105", deleted=True)
        books.now_ms += jump_ms
        books.lists("100", {X: State("u", "80"), Y: State("v", "95")})
        books.drift()
        tables.append(books.table)
    assert tables == [{"v": "95"}] * 3
    made = row(Codec(PODS), pod("x"))
    received_s = times.parse(made.created or "").timestamp() - 3_600
    measurer = Measurer()
    event = WatchEvent(type=EventType.ADDED, raw=b"", version="5", received_s=received_s)
    samples = measuring.samples(event, made, Skew(0.0, 0.5))
    measurer.count(samples, received_s)
    assert [sample.delay_s for sample in samples] == [measurer.lag_s(received_s)] == [-3_600]  # told as it is
    assert [total.negative for total in measurer.sums()] == [1]


def writer_of(table: TableStore) -> TableWriter:
    return TableWriter(table.store, table, events_max=100, retention_s=60)


# -- writers -----------------------------------------------------------------------------------------------------------


@schedule("S24", "two write")
async def stopped_leader_wakes_and_writes(world: World) -> None:
    store = open_store(Secret(world.redis_url))
    try:
        table = TableStore(store, "c", PODS)
        old, new = writer_of(table), writer_of(table)
        assert await old.acquire() == 0
        kept = await begun(old)
        await kept.apply(Operation("PUT", "u", "5", b"old", rows=1, digest=1))
        assert await new.acquire() > 0
        await store.client.hset(table.keys.fence, "aggregator", f"{old.owner}:1 0")  # its lease has passed
        assert await new.acquire() == 0
        rows = await store.client.hgetall(table.keys.objects)
        with pytest.raises(Fenced):
            await kept.apply(Operation("MODIFIED", "u", "6", b"stale"))
        assert await store.client.hgetall(table.keys.objects) == rows
    finally:
        await store.close()


@schedule("S25", "an older version is served")
async def redis_goes_back_to_a_copy_that_lacks_the_last_writes(world: World) -> None:
    async with running(world.redis_url, world.folder, verify_interval_s=1.0) as chain:
        await chain.converged()
        client = chain.store.client
        async with Tables.of([chain.table()]) as tables:
            await wait_until(lambda: tables.follower(PODS).is_ready)
            copy = {key: await client.dump(key) for key in await client.keys("*")}
            for _ in range(3):
                churned(chain, 10)
                await chain.converged()
            served = (await chain.ready()).resource_version
            await wait_until(lambda: not newer(served, tables.freshness(PODS).resource_version or ""))
            await client.flushall()
            for key, value in copy.items():
                await client.restore(key, 0, value)
            seen: list[str] = []

            def is_back() -> bool:
                if tables.follower(PODS).is_ready:
                    seen.append(tables.freshness(PODS).resource_version or "")
                return tables.follower(PODS).loads > 1 and tables.follower(PODS).is_ready

            await wait_until(is_back, 30)
            assert not any(newer(served, version) for version in seen)  # I15
            await chain.converged()


@schedule("S26", "the table is empty")
async def list_answers_without_items(world: World) -> None:
    async with running(world.redis_url, world.folder, pods=250, verify_interval_s=1.0) as chain:
        await chain.converged()
        fault = chain.simulation.faults.add(FaultKind.EMPTY_LIST, resource="pods", count=1)
        await wait_until(lambda: fault.happened == 1)
        await newly_verified(chain)
        head = await chain.ready()
        assert head.rows >= 200
        assert head.missed == Missed()


@schedule("S27", "the whole kind is given up")
async def credentials_fail_for_one_half(world: World) -> None:
    async with running(world.redis_url, world.folder, verify_interval_s=1.0) as chain:
        await chain.converged()
        refuse = chain.simulation.faults.add(FaultKind.STATUS, resource="pods", verb="watch", status=401, count=None)
        chain.simulation.faults.add(FaultKind.END, resource="pods", count=1)
        churned(chain, 20)
        await wait_until(lambda: refuse.happened >= 1)
        await newly_verified(chain)  # lists go on
        await chain.converged()
        now = fresh.freshness(
            await chain.ready(),
            await chain.table().statuses(),
            await chain.table().now_ms(),
            cluster="c",
            resource=PODS,
        )
        assert now.state is not fresh.State.SYNCED
        refuse.count = 0
        await chain.stop("streamer")
        await chain.start("streamer")
        await wait_until(lambda: chain.workers["streamer", "pods"].status.connected)
        refuse = chain.simulation.faults.add(FaultKind.STATUS, resource="pods", verb="list", status=401, count=None)
        await wait_until(lambda: refuse.happened >= 1)
        churned(chain, 20)
        await chain.converged()  # the stream goes on
        status = (await chain.table().statuses())["verifier"]
        assert (status.state, "credentials" in (status.reason or "")) == ("failing", True)


@schedule("S28", "the row is shown as fresh")
def deletion_is_lost_and_lists_fail_for_ten_minutes(_: World) -> None:
    books = Books()
    books.lists("100", {X: State("u", "90")})
    books.ledger.book("").merged.bookmark("120")  # its deletion at 110 was not delivered
    assert books.table == {"u": "90"}
    at_ms = 10 * HOUR_MS
    head = head_of(verified_at_ms=at_ms)
    shown = [
        fresh.freshness(head, working(now), now, cluster="c", resource=PODS)
        for now in (at_ms + 30_000, at_ms + 600_000)
    ]
    assert [one.state for one in shown] == [fresh.State.SYNCED, fresh.State.STALE]
    assert shown[1].verified_age_s == 600
    books.lists("130")
    assert books.table == {}


def head_of(*, verified_at_ms: int) -> Head:
    scope = ScopeHead(
        scope="",
        epoch=EPOCH,
        listing="l",
        listed_at="100",
        verified_at_ms=verified_at_ms,
        took_s=0.5,
        window_start="100",
        window_end="120",
        contiguous=True,
    )
    return Head(
        run="r",
        seq=1,
        change="1-1",
        state="ready",
        rows=1,
        digest=1,
        epoch=EPOCH,
        scopes=(scope,),
        missed=Missed(),
        at_ms=verified_at_ms,
        last_event_ms=verified_at_ms,
    )


def working(now_ms: int) -> dict[str, WorkerStatus]:
    one = WorkerStatus(role="", at_ms=now_ms, state="running", connected=True, interval_s=30.0)
    return {role: msgspec.structs.replace(one, role=role) for role in ("streamer", "verifier", "aggregator")}


# -- help --------------------------------------------------------------------------------------------------------------


def churned(chain: Chain, steps: int) -> None:
    assert chain.simulation.churn is not None
    for _ in range(steps):
        chain.simulation.churn.step()


async def logged_after(chain: Chain, version: str) -> list[str]:
    """Versions of the events in the log that are newer than ``version``."""
    found = [fields[b"v"].decode() for _, fields in await chain.store.client.xrange(chain.table().keys.events)]
    return [one for one in found if newer(one, version)]


async def newly_verified(chain: Chain) -> None:
    """A list that began after this is in the table."""
    now_ms = await chain.table().now_ms()

    async def verified() -> bool:
        return (await chain.ready()).verified_at_ms > now_ms

    await wait_until(verified, 30, "a new list is installed")


@asynccontextmanager
async def simulated(world: World) -> AsyncIterator[tuple[Simulation, connect.Cluster]]:
    """A simulated API server and a connection to it."""
    async with simulator.serve(world=simulator.World(pods=20, seed=7)) as simulation:
        kubeconfig = world.folder / "simulated"
        kubeconfig.write_text(simulation.kubeconfig())
        cluster = await connect.open(kubeconfig, None)
        try:
            yield simulation, cluster
        finally:
            await cluster.close()


def named(item: bytes) -> tuple[str, str]:
    metadata = msgspec.json.decode(item)["metadata"]
    return metadata["namespace"], metadata["name"]


NAMES = [f"S{number}" for number in range(1, 29)]


def test_every_schedule_is_here() -> None:
    assert sorted(SCHEDULES, key=lambda name: int(name[1:])) == NAMES


@pytest.mark.parametrize("name", NAMES)
async def test_schedule(name: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = SCHEDULES[name](World(redis_url, tmp_path, monkeypatch))
    if inspect.isawaitable(played):
        await played
