"""Keeping a replica in step with the table in Redis: load while changes go on, then follow them, and prove it.

What was loaded is believed only when its digest and its row count are those that the table's head tells for the same
step. From then on each head that is read is held against the replica again. Any doubt (a gap in the numbers of the
changes, another life of the table, a digest that does not fit, bytes that fail their checksum) makes the replica not
ready and loads it anew; it is never served in doubt, and never empty instead. While Redis cannot be reached, a replica
that was proven whole goes on being served, and ``trouble`` says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from krm import garbage
from krm.errors import CorruptData, StoreError, UnknownFormat
from krm.objects import versions
from krm.resources import Resource
from krm.store import envelope
from krm.store.head import Head, WorkerStatus
from krm.store.pace import Pace
from krm.store.reading import FOREIGN, Change
from krm.store.rows import Row
from krm.table import freshness as fresh
from krm.table.feeds import Delta, Feed
from krm.table.freshness import Freshness
from krm.table.proofs import Floor, LostError, NotYetError, Pile, Proofs
from krm.table.replica import ROWS_A_TURN, Replica

logger = logging.getLogger(__name__)

POLL_S: Final = 0.25
"""From one reading of head and heartbeats to the next."""
LOOK_PAUSE_S: Final = 0.02
"""The least time between two readings, however many wait for news."""
CLOCK_S: Final = 1.0
"""From one reading of Redis' clock to the next."""
BLOCK_MS: Final = 500
BATCH: Final = 1_000
CHANGES_A_TURN: Final = 64
"""Changes that are applied before the event loop may run something else: some milliseconds."""
MAX_BACKOFF_S: Final = 2.0
CLOCKS_MS: Final = 5_000
"""By how much the clocks of two Redis servers, before and after a fail-over, are taken to differ at most."""


class Source(Protocol):
    """What a follower asks of the store; ``krm.store.reading.TableStore`` is one. Every call raises ``StoreError``."""

    @property
    def cluster(self) -> str: ...
    @property
    def resource(self) -> Resource: ...
    async def head(self) -> Head | None: ...
    async def now_ms(self) -> int: ...
    async def statuses(self) -> Mapping[str, WorkerStatus]: ...
    async def dictionaries(self) -> tuple[Mapping[int, bytes], int]: ...
    def records(self) -> AsyncIterator[list[tuple[str, bytes]]]: ...
    async def changes(self, after: str, *, block_ms: int = 0, count: int = BATCH) -> list[Change]: ...


class Follower:
    """Keeps one replica in step; also knows how fresh it is and tells subscribers what changed."""

    def __init__(
        self,
        source: Source,
        replica: Replica,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        poll_s: float = POLL_S,
        redact: Iterable[str] = (),
        pace: Pace | None = None,
    ) -> None:
        self.source = source
        self.replica = replica
        self.resource = source.resource
        self.is_ready = False
        """Whether the replica is proven whole; it may be served, stale or not."""
        self.trouble: str | None = "starting"
        """Why the store is not being followed at the moment; None if it is."""
        self.head: Head | None = None
        """The newest head of which the replica has everything."""
        self.statuses: Mapping[str, WorkerStatus] = {}
        self.loads = 0
        """How often the replica was loaded."""
        self._monotonic = monotonic
        self._poll_s = poll_s
        self._redact = frozenset(redact)
        self._pace = pace or Pace()
        self._clock: tuple[int, float] | None = None
        self._proofs = Proofs()
        self._seen: Head | None = None
        self._cursor = "0-0"
        self._doubt: str | None = None
        self._suspects: dict[str, int] = {}
        """Id -> number of entries that did not fit, until one did. What fits no new load is no change of ours, ..."""
        self._strangers: frozenset[str] = frozenset()
        """... nor is one whose number a head lacked that was read later: a writer stores both in one step."""
        self._floor = Floor()
        self._dictionaries: set[int] = set()
        self._feeds: set[Feed] = set()
        self._news = asyncio.Event()
        self._look = asyncio.Event()
        self._waiting = 0
        """How many wait for news at the moment."""

    # -- what others ask -----------------------------------------------------------------------------------------

    def now_ms(self) -> int | None:
        """Redis' clock: as last read, and counted on from there; None before the first reading."""
        if self._clock is None:
            return None
        at_ms, read_at = self._clock
        return at_ms + int((self._monotonic() - read_at) * 1000)

    @property
    def position(self) -> tuple[str, int, str] | None:
        """Run, number and id of the last change that the replica has; None while it is not proven whole."""
        return (self.head.run, self.replica.seq, self._cursor) if self.is_ready and self.head is not None else None

    def freshness(self) -> Freshness:
        """How true an answer out of the replica is now."""
        return fresh.freshness(
            self.head,
            self.statuses,
            self.now_ms() or 0,
            cluster=self.source.cluster,
            resource=self.resource,
            trouble=self.trouble,
            is_ready=self.is_ready,
        )

    async def news(self, *, timeout_s: float) -> None:
        """Wait until something changed (rows, head or heartbeats), at most ``timeout_s``."""
        self._look.set()
        self._waiting += 1
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    @contextmanager
    def feed(self) -> Iterator[Feed]:
        """A feed of what changes in the replica from now on."""
        feed = Feed()
        self._feeds.add(feed)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)

    # -- the two loops -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load and follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_for_ever(), name=f"follow {self.resource.plural}")
            group.create_task(self._look_for_ever(), name=f"look {self.resource.plural}")

    async def _follow_for_ever(self) -> None:
        failures = 0
        while True:
            _end_if_cancelled()
            loads = self.loads
            try:
                if not self.is_ready:
                    await self._load()
                await self._follow()
            except NotYetError as error:
                self._lose(str(error))
                await asyncio.sleep(self._poll_s)
                continue
            except (LostError, CorruptData, UnknownFormat) as error:
                self._lose(str(error))
            except StoreError as error:
                self._fail(str(error))
            # What was loaded and lost again may be lost again at once: that counts as one failure, not as none.
            failures = 1 if self.loads > loads else failures + 1
            await asyncio.sleep(_backoff_s(failures))

    async def _look_for_ever(self) -> None:
        clock_read_at = -CLOCK_S
        while True:
            _end_if_cancelled()
            try:
                if self._monotonic() - clock_read_at >= CLOCK_S or self._clock is None:
                    clock_read_at = self._monotonic()
                    await self._read_clock()
                self.statuses = await self.source.statuses()
                self._consider(await self.source.head())
                if self.is_ready:
                    self.replica.codec.forget_unshared(len(self.replica))
            except (CorruptData, UnknownFormat) as error:
                self._doubt = str(error)
                self.is_ready = False
            except StoreError as error:
                self._fail(str(error))
            self._tell()
            await asyncio.sleep(LOOK_PAUSE_S)
            try:
                await asyncio.wait_for(self._look.wait(), self._poll_s)
            except TimeoutError:
                continue
            finally:
                self._look.clear()

    async def _read_clock(self) -> None:
        before = self._monotonic()
        at_ms = await self.source.now_ms()
        self._clock = (at_ms, before)  # so that no age is told too small, however long the answer took

    # -- loading -------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        """Bring the replica to a state that is proven whole. Raises ``LostError``, ``StoreError``."""
        self._doubt = None
        head = await self._table_head()
        self._dictionaries.clear()
        await self._learn_dictionaries()
        with garbage.filling(lasts=self.loads == 0):
            target, cursor = await self._fill(head)
        self._cursor = cursor
        self._proofs = Proofs()
        self._proofs.note(self.replica)
        self._seen = self.head = target
        await self._hold_back(target)
        if self._clock is None:  # without Redis' clock every answer would look new
            await self._read_clock()
        self.loads += 1
        self.is_ready = True
        self.trouble = None
        logger.info("replica loaded", extra={"resource": self.resource.plural, "rows": len(self.replica)})
        self._tell()

    async def _fill(self, head: Head) -> tuple[Head, str]:
        """Read the table; (the head that proves it, id of the last change that is in). ``head`` was read before."""
        rows = Pile()
        async for piece in self.source.records():
            for start in range(0, len(piece), ROWS_A_TURN):
                for uid, record in piece[start : start + ROWS_A_TURN]:
                    if envelope.dictionary(record) not in self._dictionaries:
                        await self._prepare(record)
                    rows.put(uid, self.replica.codec.decode(record))
                await asyncio.sleep(0)
        target = await self._table_head()
        if target.run != head.run:
            raise LostError("the table was built anew while it was read")
        self._strangers = frozenset(entry for entry, number in self._suspects.items() if number > target.seq)
        seq, cursor = await self._catch_up(rows, head, target)
        for _ in self.replica.loading(rows.by_uid, seq=seq, total=rows.total):
            await asyncio.sleep(0)
        return target, cursor

    async def _table_head(self) -> Head:
        head = await self.source.head()
        if head is None:
            raise NotYetError("no verified list has been aggregated yet")
        if head.state != "ready":
            raise NotYetError("the table is being built")
        shown = sorted(self._redact - set(head.rules.splitlines()))
        if shown:
            raise NotYetError(
                f"the rows were stored with {', '.join(shown)}, which KRM_REDACT names: their workers have to know it"
            )
        return head

    async def _catch_up(self, rows: Pile, head: Head, target: Head) -> tuple[int, str]:
        """Apply to ``rows`` the changes since ``head``, up to ``target`` at least, and prove them there."""
        seq, cursor = head.applied
        if seq == target.seq:
            rows.prove(target)
        while seq < target.seq:
            changes = await self.source.changes(cursor, count=BATCH)
            if not changes:
                raise LostError("changes are missing between reading the table and following it")
            for change in changes:
                if change.type == FOREIGN:
                    cursor = change.id
                    continue
                if change.seq != seq + 1:
                    raise LostError(f"changes {seq + 1} to {change.seq - 1} are gone")
                if change.type == "DELETED":
                    rows.drop(change.uid)
                else:
                    rows.put(change.uid, await self._decode(change.record))
                seq, cursor = change.seq, change.id
                if seq == target.seq:
                    rows.prove(target)
        return seq, cursor

    async def _hold_back(self, head: Head) -> None:
        """Do not show a table that is older than what was shown before: its writers are about to renew it.

        A list that began after that was shown, and is older all the same, proves that history itself went back.
        """
        floor = self._floor
        while head.epoch == floor.epoch and versions.newer(floor.version, head.resource_version):
            if head.verified_at_ms > floor.at_ms + CLOCKS_MS:
                break
            self.trouble = "the table in Redis is older than what was answered before"
            await asyncio.sleep(self._poll_s)
            newest = await self._table_head()
            if newest.run != head.run:
                raise LostError("the table was built anew")
            await self._apply_all(await self.source.changes(self._cursor, count=BATCH))
            if newest.seq <= self.replica.seq:
                head = self.head = newest
        self._floor = Floor(head.epoch, head.resource_version, head.at_ms)

    async def _decode(self, record: bytes) -> Row:
        await self._prepare(record)
        return self.replica.codec.decode(record)

    async def _prepare(self, record: bytes) -> None:
        """See that the object of ``record`` can be read. Raises ``CorruptData`` if it never can."""
        identifier = envelope.dictionary(record)
        if identifier and identifier not in self._dictionaries:
            await self._learn_dictionaries()
            if identifier not in self._dictionaries:
                raise CorruptData(f"compression dictionary {identifier} is gone")

    async def _learn_dictionaries(self) -> None:
        known, _ = await self.source.dictionaries()
        for identifier, dictionary in known.items():
            if identifier not in self._dictionaries:
                self.replica.codec.compressor.add(dictionary, use=False)
                self._dictionaries.add(identifier)

    # -- following -----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Apply changes until there is doubt. Raises ``LostError``, ``StoreError``."""
        while True:
            _end_if_cancelled()
            seen = self._seen
            changes = await self.source.changes(self._cursor, block_ms=BLOCK_MS, count=BATCH)
            came_at = self._pace.now()
            self.trouble = None
            if self._doubt is not None:
                raise LostError(self._doubt)
            if not changes and seen is not None and seen.seq > self.replica.seq:
                raise LostError(f"changes {self.replica.seq + 1} to {seen.seq} are gone")
            for start in range(0, len(changes), CHANGES_A_TURN):
                await self._apply_all(changes[start : start + CHANGES_A_TURN])
                if start + CHANGES_A_TURN < len(changes):
                    await asyncio.sleep(0)
            if changes:
                if self._waiting:
                    # Somebody waits for a version: do not make them wait for the next look at the head.
                    self._consider(await self.source.head())
                self._tell()
                if len(changes) < BATCH:
                    await self._pace.followed(self.resource.plural, len(changes), came_at)

    async def _apply_all(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.type in ("ADDED", "MODIFIED") and not self._is_foreign(change):
                with self._suspecting(change):
                    await self._prepare(change.record)
        deltas = [delta for change in changes if (delta := self._apply(change)) is not None]
        for feed in self._feeds:
            feed.give(deltas)

    def _is_foreign(self, change: Change) -> bool:
        """Whether it is nothing that an aggregator wrote: it does not go on where the table is, even after a load."""
        is_out_of_place = change.id in self._suspects and change.seq != self.replica.seq + 1
        return change.type == FOREIGN or change.id in self._strangers or is_out_of_place

    @contextmanager
    def _suspecting(self, change: Change) -> Iterator[None]:
        """Remember a change that cannot be read."""
        try:
            yield
        except (CorruptData, UnknownFormat):
            self._suspects[change.id] = change.seq
            raise

    def _apply(self, change: Change) -> Delta | None:
        if self._is_foreign(change):
            logger.warning(
                "passes over a change that is not an aggregator's",
                extra={"resource": self.resource.plural, "entry": change.id},
            )
            self._cursor = change.id
            return None
        if change.seq != self.replica.seq + 1:
            self._suspects[change.id] = change.seq
            raise LostError(f"change {change.seq} came, {self.replica.seq + 1} was expected")
        is_deletion = change.type == "DELETED"
        with self._suspecting(change):
            row = self.replica.codec.decode(change.record) if change.record else None
        step = self.replica.step(change.seq, change.uid, None if is_deletion else row)
        self._cursor = change.id
        self._suspects.clear()
        self._proofs.note(self.replica)
        if self._seen is not None and self._seen.seq <= self.replica.seq:
            self._take(self._seen)
        return Delta(change.id, change.seq, step.before, step.after, row if is_deletion else None)

    # -- heads ---------------------------------------------------------------------------------------------------

    def _consider(self, head: Head | None) -> None:
        """Hold a head that was just read against the replica."""
        if not self.is_ready or self.head is None:
            return
        if head is None or head.state != "ready":
            self._doubt = "the table has gone from Redis" if head is None else "the table is being built anew"
        elif head.run != self.head.run:
            self._doubt = "the table was built anew"
        elif head.seq >= self.head.seq:
            self._seen = head
            if head.seq <= self.replica.seq:
                self._take(head)
        if head is not None and head.seq < self.replica.seq and head.at_ms > _ms(self._cursor):
            # Whoever wrote that head would have written the change with it, or before.
            self._suspects[self._cursor] = self.replica.seq
            self._doubt = f"the table's head knows nothing of change {self.replica.seq}"
        if self._doubt is not None:
            self.is_ready = False

    def _take(self, head: Head) -> None:
        """Believe a head of which the replica has everything, if it fits."""
        proof = self._proofs.at(head.seq)
        if proof is not None and proof != (head.digest, head.rows):
            self._doubt = f"the replica is not the table at change {head.seq}"
            self.is_ready = False
            return
        if self.head is not None and (head.seq, head.at_ms) < (self.head.seq, self.head.at_ms):
            return  # two readings may overtake each other
        self.head = head
        if self._floor.epoch != head.epoch or versions.newer(head.resource_version, self._floor.version):
            self._floor = Floor(head.epoch, head.resource_version, head.at_ms)

    def _lose(self, reason: str) -> None:
        if reason != self.trouble:
            level = logging.WARNING if self.loads else logging.INFO
            logger.log(level, "replica is not ready", extra={"resource": self.resource.plural, "reason": reason})
        self.is_ready = False
        self.trouble = reason
        self.head = self._seen = None
        for feed in self._feeds:
            feed.lose()
        self._tell()

    def _fail(self, reason: str) -> None:
        if self.trouble is None:
            logger.warning("store does not answer", extra={"resource": self.resource.plural, "reason": reason})
        self.trouble = reason

    def _tell(self) -> None:
        """Wake whoever waits for news."""
        self._news.set()
        self._news = asyncio.Event()


def _end_if_cancelled() -> None:
    """A cancellation that comes together with an answer of Redis gets lost in waiting for both; this finds it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _ms(identifier: str) -> int:
    return int(identifier.partition("-")[0])


def _backoff_s(failures: int) -> float:
    return min(MAX_BACKOFF_S, 0.05 * float(2 ** min(failures, 8))) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
