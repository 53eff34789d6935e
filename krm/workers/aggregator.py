"""The aggregator: keeps one resource's table in Redis equal to what list and stream make true, change by change.

It reads the log of events and the installed lists, asks the ledger what they mean, and writes rows, changes and head in
one step. It never speaks to the API server. When it begins, it reads what is stored, proves it by its digest, and
builds the table anew where the proof fails.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from krm import errors, garbage
from krm.merge import Event, State
from krm.resources import Resource
from krm.settings import Settings
from krm.store import rows
from krm.store.connect import BLOCK_MS
from krm.store.head import Head, Missed, ScopeHead
from krm.store.reading import TableStore
from krm.store.writing import BATCH, UNREADABLE, Entry, Operation, TableWriter
from krm.workers import drift, lists
from krm.workers.installing import EXPLAIN_MS, Install, Installer
from krm.workers.ledger import Drift, Ledger, MissingRecord
from krm.workers.runner import Worker

logger = logging.getLogger(__name__)

EVENTS_AT_ONCE: Final = 512
EVENTS_A_STEP: Final = BATCH // 2
"""Events whose changes fit in one step, so that the stored cursor is never behind the stored rows."""
SLICE: Final = 2_000
"""Keys reconciled with a new list between two looks at the stream."""
LOOKED_AT: Final = 50
"""Stored rows that are held against the books between two looks at the stream: a millisecond, ..."""
LOOKS: Final = 20
"""... so many times with each list."""


class Aggregator(Worker):
    """Aggregates one resource."""

    writer: TableWriter

    def __init__(self, resource: Resource, settings: Settings, table: TableStore) -> None:
        writer = TableWriter(
            table.store,
            table,
            events_max=settings.events_max,
            retention_s=settings.changes_retention_s,
            shards=settings.shards,
        )
        super().__init__(resource, writer)
        self._settings = settings
        self._table = table
        self._codec = lists.codec(resource, settings)
        self.writer.rules = lists.rules(settings)
        self._scopes = lists.scopes(settings, resource)

    async def work(self) -> None:
        """Begin from what is stored, then follow events and lists."""
        self._ledger = self._new_ledger()
        self._unreadable: dict[str, int] = {}
        """Scope -> Redis' ms of an entry that may have held an event of it, until the next event or a later list."""
        self._newest_unreadable_ms = 0
        """The newest such entry, until a list has been asked for."""
        self._operations: deque[Operation] = deque()
        self._differ_since_ms: dict[str, int] = {}
        self._looked_up_to = 0
        self._last_event_ms: dict[str, int] = {}
        """Of each scope when its newest event or bookmark was received, by Redis' clock."""
        self._cursor = "0-0"
        await lists.learn_dictionaries(self._codec, self._table)
        lists_cursor = await self._table.last_list()
        await self._begin()
        self._installer = Installer(self._ledger, self.writer, self._codec, self._names())
        await self._install_new()
        pace = self._table.store.pace
        while True:
            await self._publish()
            entries, seen = await self._follow(lists_cursor, block_ms=BLOCK_MS)
            came_at = pace.now()
            if seen != lists_cursor:
                # The list first: it may be of another history, whose events mean nothing before it.
                lists_cursor = seen
                await self._install_new()
                await self._look_over()
            else:
                for start in range(0, len(entries), EVENTS_A_STEP):
                    self._see(entries[start : start + EVENTS_A_STEP])
                    await self._flush()
            self._settle_drift()
            await self._ask_about_unreadable()
            if len(entries) < EVENTS_AT_ONCE:
                await pace.followed(self.resource.plural, len(entries), came_at)

    async def _follow(self, lists_cursor: str, *, block_ms: int) -> tuple[list[Entry], str]:
        """Events behind the cursor and the newest list; tells the books of events that went before they were read."""
        entries, seen = await self.writer.follow(self._cursor, lists_cursor, block_ms=block_ms, count=EVENTS_AT_ONCE)
        if len(entries) == EVENTS_AT_ONCE:
            # So far behind, the log may have reached its bound; its own word of that comes at its end.
            for scope, position in (await self.writer.positions()).items():
                if scope in self._scopes and position.epoch == self._ledger.book(scope).epoch:
                    self._ledger.book(scope).merged.gap(position.start)
        return entries, seen

    # Begin

    def _new_ledger(self) -> Ledger:
        return Ledger(events_max=self._settings.events_max)

    async def _begin(self) -> None:
        """Take over the stored table if it proves whole, else withdraw it and begin another."""
        positions = await self.writer.positions()
        head = await self._stored_head()
        if head is not None and await self.writer.resume(head) and await self._load_rows(head):
            for taken in head.scopes:
                self._ledger.take_over(taken)
            self._head = head
            if head.last_event_ms is not None:
                self._last_event_ms = dict.fromkeys(self._scopes, head.last_event_ms)
        else:
            self._ledger = self._new_ledger()
            run = await self.writer.begin()
            self._head = _first_head(run)
            self._table.shards = self.writer.shards
            logger.info("begins a new table", extra={**self._names(), "run": run})
        for scope in self._scopes:
            book, position = self._ledger.book(scope), positions.get(scope)
            if position is not None and book.epoch in ("", position.epoch):
                book.epoch = position.epoch
                self._ledger.log_begins(scope, position.start)
        await self._replay()

    async def _stored_head(self) -> Head | None:
        try:
            head = await self._table.head()
        except errors.CorruptData as error:
            logger.warning("the stored head does not decode", extra={**self._names(), "reason": str(error)})
            return None
        return head if head is not None and head.state == "ready" else None

    async def _load_rows(self, head: Head) -> bool:
        """Read the stored rows into the ledger; whether they are the table that the head describes."""
        if {scope.scope for scope in head.scopes} != set(self._scopes):
            return False
        found: dict[str, int] = {}
        try:
            with garbage.filling():
                async for records in self._table.records():
                    for _, record in records:
                        row = self._codec.identity(record)
                        self._ledger.load(self._scope_of(row.namespace), row.key, State(row.uid, row.version))
                        found[row.uid] = rows.digest(row.uid, row.version)  # a scan may give a row twice
        except (errors.CorruptData, errors.UnknownFormat) as error:
            logger.warning("the stored table does not decode", extra={**self._names(), "reason": str(error)})
            return False
        if (len(found), sum(found.values()) % rows.DIGEST_MODULUS) != (head.rows, head.digest):
            logger.warning("the stored table is not whole", extra={**self._names(), "rows": len(found)})
            return False
        return True

    def _scope_of(self, namespace: str) -> str:
        return lists.EVERYWHERE if self._scopes == (lists.EVERYWHERE,) else namespace

    async def _replay(self) -> None:
        """Take in the unspent events that the stored table has seen already; they change nothing of it."""
        until = _order(self._head.cursor)
        while _order(self._cursor) < until:
            entries, _ = await self.writer.follow(self._cursor, "$", block_ms=1, count=EVENTS_AT_ONCE)
            seen = [entry for entry in entries if _order(entry.id) <= until]
            for entry in seen:
                self._cursor = entry.id
                self._see_one(entry, replayed=True)
            if len(seen) < EVENTS_AT_ONCE:
                break
        self._cursor = max(self._cursor, self._head.cursor, key=_order)

    # Events

    def _see(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._cursor = entry.id
            self._see_one(entry, replayed=False)

    def _see_one(self, entry: Entry, *, replayed: bool) -> None:
        if entry.type == UNREADABLE:
            self._cannot_read(entry)
            return
        if entry.scope not in self._scopes:
            return
        book = self._ledger.book(entry.scope)
        book.epoch = book.epoch or entry.epoch
        if entry.epoch != book.epoch:
            return
        if self._unreadable.pop(entry.scope, None) is not None:
            book.merged.gap(entry.version)
        if entry.type == "G":
            book.merged.gap(entry.version)
        elif entry.type == "B":
            book.merged.bookmark(entry.version)
        else:
            self._event(entry, replayed=replayed)
        book.moved_ms = self.now_ms()
        if entry.type != "G":
            self._last_event_ms[entry.scope] = max(entry.received_ms, self._last_event_ms.get(entry.scope, 0))

    def _event(self, entry: Entry, *, replayed: bool) -> None:
        try:
            row = self._codec.identity(entry.record)
        except (errors.CorruptData, errors.UnknownFormat) as error:
            # What it said is lost: a gap, as if the stream had not seen it. The next list closes it.
            logger.warning("an event in the log does not decode", extra={**self._names(), "reason": str(error)})
            self._ledger.book(entry.scope).merged.gap(entry.version)
            return
        event = Event(row.uid, entry.version, entry.type == "D")
        if replayed:
            self._ledger.replay(entry.scope, row.key, event)
        else:
            self._operations.extend(self._ledger.event(entry.scope, row.key, event, entry.record))

    def _cannot_read(self, entry: Entry) -> None:
        """An event may be lost with it, of any scope: all up to the next one, unless a list began after it."""
        at_ms = _order(entry.id)[0]
        for scope in self._scopes:
            installed = self._ledger.book(scope).installed
            if installed is None or installed.verified_at_ms <= at_ms:
                self._unreadable[scope] = self._newest_unreadable_ms = at_ms
        self._log(logging.WARNING, "an entry of the log is not a streamer's", "unreadable", entry=entry.id)

    async def _ask_about_unreadable(self) -> None:
        if self._newest_unreadable_ms:
            self._newest_unreadable_ms = 0
            await self.writer.ask_for_list(full=False, reason="an entry of the log cannot be read")

    # Lists

    async def _install_new(self) -> None:
        """Bring every list in that the table does not stand for yet."""
        for scope, head in (await self._table.list_heads()).items():
            installed = self._ledger.book(scope).installed if scope in self._scopes else None
            if scope not in self._scopes or (installed is not None and installed.listing == head.listing):
                continue
            install = await self._installer.prepare(head, self.now_ms, self._keep_up, self._operations.extend)
            if install is not None:
                is_first = self._head.state == "building"
                await self._bring_in(install)
                await self._publish()
                if is_first and self._head.state == "ready":
                    logger.info("the table is ready", extra={**self._names(), "rows": self._head.rows})

    async def _keep_up(self) -> None:
        """Take in what the stream has told meanwhile: nobody waits for a list to be read."""
        entries, _ = await self._follow("$", block_ms=0)
        for start in range(0, len(entries), EVENTS_A_STEP):
            self._see(entries[start : start + EVENTS_A_STEP])
            await self._flush()
        await self._publish()

    async def _bring_in(self, install: Install) -> None:
        """Bring the rows to the list, with a look at the stream between slices; only then the head says so."""
        head = install.head
        book = self._ledger.book(head.scope)
        keys = iter(install.keys)
        if install.is_other_history:
            self._cursor = "0-0"  # its events were passed over until now
        for _ in range(0, len(install.keys) + 1, SLICE):
            try:
                made = self._ledger.reconcile(head.scope, keys, install.records, install.prediction, SLICE)
            except MissingRecord as error:
                await self._installer.ask_full(head, f"the record of {error} is missing")
                raise errors.OutOfStep(f"the record of {error} is missing") from error
            self._operations.extend(_put(o) if self._head.state == "building" else o for o in made)
            # The head stays: events that this list has seen are in the table only once all of it is.
            await self._flush(settled=False)
            entries, _ = await self._follow("$", block_ms=0)
            self._see(entries)
        previous = book.installed.verified_at_ms if book.installed else None
        book.installed = ScopeHead(
            scope=head.scope,
            epoch=head.epoch,
            listing=head.listing,
            listed_at=head.listed_at,
            verified_at_ms=head.started_ms,
            took_s=head.took_s,
            window_start="",
            window_end="",
            contiguous=False,
        )
        if self._unreadable.get(head.scope, head.started_ms) < head.started_ms:
            del self._unreadable[head.scope]
        self._differ_since_ms[head.scope] = previous or head.started_ms
        self._report(install.ghosts, previous)

    async def _look_over(self) -> None:
        """Hold the next of the stored rows against the books: damage that no step touches would stay."""
        for _ in range(LOOKS):
            await self._keep_up()
            self._looked_up_to, part = await self._table.records_from(self._looked_up_to, count=LOOKED_AT)
            for _, record in part:
                row = self._codec.identity(record)
                published = self._ledger.book(self._scope_of(row.namespace)).published.get(row.key)
                if published != State(row.uid, row.version):
                    raise errors.CorruptData("a stored row is not the one that was written")
            if self._looked_up_to == 0:
                break

    # Drift

    def _settle_drift(self) -> None:
        """Report the differences that no event explains any more."""
        for scope in self._scopes:
            found = self._ledger.drifted(scope, self.now_ms(), EXPLAIN_MS)
            self._report(found, self._differ_since_ms.get(scope))

    def _report(self, found: Sequence[Drift], since_ms: int | None) -> None:
        now_ms = self.now_ms()
        self._operations.extend(drift.line(one, at_ms=now_ms, since_ms=since_ms) for one in found)
        if found:
            logger.warning("verification corrected the table", extra={**self._names(), **drift.summary(found)})
            self._head = msgspec.structs.replace(self._head, missed=drift.counted(self._head.missed, found))

    # Publish

    def _described(self) -> Head:
        """The head of the table once every pending operation is in it."""
        scopes = [head for scope in self._scopes if (head := self._ledger.scope_head(scope)) is not None]
        return msgspec.structs.replace(
            self._head,
            state="ready" if len(scopes) == len(self._scopes) else "building",
            epoch=scopes[0].epoch if scopes else "",
            scopes=tuple(scopes),
            cursor=self._cursor,
            last_event_ms=min((self._last_event_ms.get(scope, 0) for scope in self._scopes), default=0) or None,
        )

    async def _flush(self, *, settled: bool = True) -> None:
        """Write pending operations; the head says how it is with the last of them, if the table is ``settled`` then."""
        while len(self._operations) > BATCH:
            await self._apply(self._head, [self._operations.popleft() for _ in range(BATCH)])
        if self._operations:
            batch = list(self._operations)
            self._operations.clear()
            await self._apply(self._described() if settled else self._head, batch)

    async def _publish(self) -> None:
        """Write pending operations, and the head if it says something new."""
        if (doubled := self._ledger.doubled) is not None:
            self._ledger.doubled = None
            self._log(
                logging.WARNING,
                "two objects have one uid: the one that came second is left out",
                "doubled uid",
                object="/".join(doubled),
            )
        await self._flush()
        described = self._described()
        if described != self._head:
            await self._apply(described, ())

    async def _apply(self, head: Head, operations: Sequence[Operation]) -> None:
        head = msgspec.structs.replace(
            head,
            rows=head.rows + sum(o.rows for o in operations),
            digest=(head.digest + sum(o.digest for o in operations)) % rows.DIGEST_MODULUS,
        )
        seq, change, now_ms = await self.writer.apply(head, operations)
        self._head = msgspec.structs.replace(head, seq=seq, change=change or head.change, at_ms=now_ms)
        self.say(events=seq)


def _put(operation: Operation) -> Operation:
    """A row of a table that nobody has seen yet is no change."""
    if operation.kind != "ADDED":
        return operation
    return Operation("PUT", operation.uid, operation.version, operation.record, operation.rows, operation.digest)


def _order(identifier: str) -> tuple[int, int]:
    milliseconds, _, number = identifier.partition("-")
    return int(milliseconds), int(number or 0)


def _first_head(run: str) -> Head:
    return Head(
        run=run,
        seq=0,
        change="0-0",
        state="building",
        rows=0,
        digest=0,
        epoch="",
        scopes=(),
        missed=Missed(),
        at_ms=0,
        last_event_ms=None,
    )
