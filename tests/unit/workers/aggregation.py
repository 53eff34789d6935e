"""An aggregator's books without a store: what events and lists make of a table that checks every step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from krm import merge
from krm.merge import Event, Key, State
from krm.objects.versions import newer, order
from krm.store.chunks import ListedRow
from krm.store.head import ScopeHead
from krm.store.rows import DIGEST_MODULUS, digest
from krm.store.writing import Operation
from krm.workers.installing import Reading
from krm.workers.ledger import Drift, Ledger

SCOPE = ""
EPOCH = "uid/0"
NOW_MS = 5


def record_of(uid: str, version: str) -> bytes:
    return f"{uid}@{version}".encode()


@dataclass
class Replayed:
    """A plain table that believes the operations, and checks each."""

    rows: dict[str, str] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    count: int = 0
    total: int = 0

    def apply(self, operations: list[Operation]) -> None:
        for one in operations:
            before = self.rows.get(one.uid)
            if one.kind == "DELETED":
                assert before is not None, one
                assert one.record in (b"", record_of(one.uid, one.version)), one
                del self.rows[one.uid]
            else:
                assert one.record == record_of(one.uid, one.version), one
                assert (before is None) == (one.kind == "ADDED"), one
                assert before is None or newer(one.version, before), f"{one} goes back behind {before}"
                self.rows[one.uid] = one.version
            self.count += one.rows
            self.total = (self.total + one.digest) % DIGEST_MODULUS

    def check(self) -> None:
        assert self.count == len(self.rows)
        assert self.total == sum(digest(*row) for row in self.rows.items()) % DIGEST_MODULUS


@dataclass
class Aggregation:
    """What an aggregator does with the books, without a store; its log is what it was shown."""

    ledger: Ledger = field(default_factory=Ledger)
    scope: str = SCOPE
    events_max: int = 200_000
    table: Replayed = field(default_factory=Replayed)
    log: list[tuple[Key, Event]] = field(default_factory=list)
    log_start: str = ""
    """Behind which the log begins, once something has gone from it."""
    taken: int = 0
    installed_at: str = ""
    drift: list[Drift] = field(default_factory=list)
    slicing: Iterator[list[Operation]] = field(default_factory=lambda: iter(()))
    read_before: deque[dict[Key, State]] = field(default_factory=lambda: deque(maxlen=3))
    """The table as the last events found it: while they came, a list may have been read."""
    partial: int = 0
    """Lists that were told by what differs from the one before."""

    def event(self, key: Key, event: Event) -> None:
        self.read_before.append(dict(self.ledger.book(self.scope).published))
        self.log.append((key, event))
        self.table.apply(self.ledger.event(self.scope, key, event, record_of(event.uid, event.version)))
        self.taken = len(self.log)

    def take(self, listed: Mapping[Key, State], at: str, slice_size: int, *, full: bool, partial: bool = False) -> None:
        """Install a list; where it may be told by what differs from the one before, ``partial`` says that it is."""
        self.finish()
        if partial and self._take_partial(listed, at, slice_size):
            return
        known = {} if full else dict(self.ledger.book(self.scope).published)
        records = {k: record_of(*s) for k, s in listed.items() if known.get(k) != s}
        if any(k not in records and self.ledger.lacks(self.scope, k, s, at) for k, s in listed.items()):
            records = {k: record_of(*s) for k, s in listed.items()}
        table = self.read_before[0] if self.read_before else self.ledger.book(self.scope).published
        differing = [key for key, state in listed.items() if table.get(key) != state]
        self._install(listed, at, slice_size, self.ledger.touched(self.scope, listed, EPOCH, differing), records)

    def _take_partial(self, listed: Mapping[Key, State], at: str, slice_size: int) -> bool:
        """As verifier and aggregator do: of what is as in the list before nothing is said."""
        book = self.ledger.book(self.scope)
        if not self.ledger.is_base(self.scope, book.listing, EPOCH):
            return False
        before = book.merged.listed
        changed = {key: state for key, state in listed.items() if before.get(key) != state}
        found = [ListedRow(*key, *state, record_of(*state)) for key, state in changed.items()]
        kept = {state.uid for state in listed.values()}
        found += [ListedRow(*k, *s, b"", gone=True) for k, s in before.items() if s.uid not in kept]
        reading = Reading(before, book.listed_digest)
        table = self.read_before[0] if self.read_before else book.published
        for one in found:
            reading.take([one], table)
        assert reading.listed == listed
        assert reading.digest == sum(digest(*state) for state in listed.values()) % DIGEST_MODULUS
        keys = self.ledger.touched_since(self.scope, reading.listed, reading.differing)
        if any(
            key in listed and key not in reading.records and self.ledger.lacks(self.scope, key, listed[key], at)
            for key in keys
        ):
            return False
        self.partial += 1
        self._install(reading.listed, at, slice_size, keys, reading.records)
        return True

    def _install(
        self, listed: Mapping[Key, State], at: str, size: int, keys: list[Key], records: Mapping[Key, bytes]
    ) -> None:
        first = not self.ledger.book(self.scope).merged.listed_at
        total = sum(digest(*state) for state in listed.values()) % DIGEST_MODULUS
        # Never "too late": only the stream ends the wait.
        prediction = self.ledger.install(
            self.scope, listed, at, EPOCH, patience_until_ms=NOW_MS + 1, listing=f"list {at}", listed_digest=total
        )
        if prediction is not None:
            self.slicing = self._slices(keys, records, None if first else prediction, size, at)

    def _slices(
        self,
        touched: list[Key],
        records: Mapping[Key, bytes],
        prediction: merge.Prediction | None,
        size: int,
        at: str,
    ) -> Iterator[list[Operation]]:
        keys = iter(touched)
        for _ in range(0, len(touched) + 1, size):
            made = self.ledger.reconcile(self.scope, keys, records, prediction, size)
            self.table.apply(made)
            yield made
        self.installed_at = at
        self.ledger.book(self.scope).installed = installed(
            at, self.ledger.book(self.scope).merged.window_end, scope=self.scope
        )
        self.drift += self.ledger.drifted(self.scope, NOW_MS)

    def step(self) -> None:
        if next(self.slicing, None) is not None:
            self.read_before.clear()

    def finish(self) -> None:
        for _ in self.slicing:
            self.read_before.clear()  # the next list is read after this one is in

    def tell(self, key: Key, event: Event) -> None:
        """An object that was read by itself; the log knows nothing of it."""
        self.table.apply(self.ledger.told(self.scope, key, event, record_of(event.uid, event.version)))

    def restart(self, *, without_log: bool = False) -> None:
        """Begin again, see ``restarted``."""
        restarted([self], without_log=without_log)


def restarted(scopes: Sequence[Aggregation], *, without_log: bool = False) -> None:
    """Begin again from what is stored: rows, the head's lists and cursor, the unspent events of the log.

    ``without_log``: it has reached its bound, and what was in it has gone.
    """
    for one in scopes:
        one.finish()
        one.read_before.clear()
    if not all(one.installed_at for one in scopes):
        return
    ledger = Ledger(events_max=scopes[0].events_max)
    for one in scopes:
        for key, state in one.ledger.book(one.scope).published.items():
            ledger.load(one.scope, key, state)
        stored = one.ledger.scope_head(one.scope)
        assert stored is not None
        ledger.take_over(stored)
        one.log = [(k, e) for k, e in one.log if newer(e.version, one.installed_at)]
        if without_log and one.log:
            one.log_start, one.log = max((e.version for _, e in one.log), key=order), []
        if one.log_start:
            ledger.log_begins(one.scope, one.log_start)
        for key, event in one.log:
            ledger.replay(one.scope, key, event)
        one.ledger = ledger


def installed(
    at: str, window_end: str = "", window_start: str = "", scope: str = SCOPE, complete_to: str = ""
) -> ScopeHead:
    return ScopeHead(
        scope=scope,
        epoch=EPOCH,
        listing="",
        listed_at=at,
        verified_at_ms=1,
        took_s=0.0,
        window_start=window_start,
        window_end=window_end,
        contiguous=False,
        complete_to=complete_to,
    )


def ready() -> Ledger:
    ledger = Ledger()
    ledger.book(SCOPE).epoch = EPOCH
    return ledger
