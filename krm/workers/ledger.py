"""The aggregator's books: what the table holds, and what each event or list makes of it. No I/O, no clock.

Events and lists go in, operations on the stored table come out; ``krm.merge`` decides. Whatever the order of slices and
events, the table ends as the rule says (a property test compares it with the rule applied to everything).
"""

from __future__ import annotations

import itertools
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from krm import merge
from krm.merge import Event, Key, Prediction, State
from krm.objects.versions import latest, newer, order
from krm.store.head import ScopeHead
from krm.store.rows import digest
from krm.store.writing import Operation

AUDITS_MAX: Final = 12
"""Lists that wait for the stream at once; a stream that is behind by more is reported by its state, not by row."""


class DriftKind(StrEnum):
    """How the stream's picture differed from a list."""

    MISSED_ADDED = "MISSED_ADDED"
    MISSED_MODIFIED = "MISSED_MODIFIED"
    MISSED_DELETED = "MISSED_DELETED"
    GHOST = "GHOST"


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that a list corrected."""

    kind: DriftKind
    key: Key
    uid: str
    version: str


@dataclass
class Audit:
    """What was predicted of a list, held against it once the stream has passed it: late events belong to it, too."""

    since: str
    """Version of the list before."""
    until: str
    """Version of the list."""
    listed: Mapping[Key, State]
    spent: dict[Key, Event]
    """Of each key the newest event between the two lists, late ones included."""
    before: Mapping[Key, State]
    unsure: frozenset[Key]
    """Keys of which it is not known what the list before had said."""
    patience_until_ms: int
    """When events that are still on their way count as missed, ..."""
    moves_until_ms: int = 2**62
    """... unless the stream still moves; not even then once too many audits wait."""
    doubtful: set[Key] = field(default_factory=set)

    def see(self, key: Key, event: Event) -> None:
        """Take an event in that came after the list."""
        known = self.spent.get(key)
        newest = known.version if known else self.since
        if newer(event.version, newest) and not newer(event.version, self.until):
            self.spent[key] = event
            self.doubtful.add(key)

    def look_at(self, key: Key) -> None:
        """Note a difference, to be looked at again when the stream has passed the list."""
        if self._predicted(key) != self.listed.get(key):
            self.doubtful.add(key)

    def _predicted(self, key: Key) -> State | None:
        return Prediction(self.before, self.spent).of(key)

    def drifts(self) -> Iterator[Drift]:
        """What the stream had not told."""
        for key in self.doubtful - self.unsure:
            predicted, listed = self._predicted(key), self.listed.get(key)
            if predicted == listed:
                continue
            if listed is not None:
                kind = DriftKind.MISSED_ADDED if predicted is None else DriftKind.MISSED_MODIFIED
                yield Drift(kind, key, listed.uid, listed.version)
            elif predicted is not None:
                yield Drift(DriftKind.MISSED_DELETED, key, predicted.uid, predicted.version)


class MissingRecord(Exception):
    """A list names an object at a version whose record is neither in it nor in the table: a full list is needed."""


@dataclass
class Book:
    """One scope's part of the table."""

    epoch: str = ""
    """History of ``merged``."""
    installed: ScopeHead | None = None
    """The list that every row of the table is at least as new as; None until the first is in the table."""
    merged: merge.Scope = field(default_factory=merge.Scope)
    published: dict[Key, State] = field(default_factory=dict)
    audits: list[Audit] = field(default_factory=list)
    """Of the last lists, until the stream has passed them."""
    early: dict[Key, bytes] = field(default_factory=dict)
    """Records of the newest event of keys that came before the first list."""
    foreign: set[Key] = field(default_factory=set)
    """Rows of another history: the same uid and version may mean another object there."""
    complete: tuple[str, str] = ("", "")
    """Epoch and version up to which everything was in the table when list and stream met last."""
    listing: str = ""
    """Name of the list that ``merged.listed`` is, row by row; empty where it is none, ..."""
    listed_digest: int = 0
    """... and the digest of its rows."""
    left_out: set[Key] = field(default_factory=set)
    """Keys that are not in the table because another row has their uid."""
    stands_in: bool = False
    """Whether ``merged.listed`` is not a list but the rows that were stored."""
    moved_ms: int = 0
    """When the stream brought something last: one that is behind a list and moves will come to it."""
    unspent: int = 0
    """How many events ``merged`` holds, ..."""
    fold_to: str = ""
    """... and the version up to which they are folded when they are too many."""

    @property
    def unexplained(self) -> bool:
        """Whether something differs from a list that an event on its way may still explain."""
        return any(audit.doubtful for audit in self.audits)


class Ledger:
    """All scopes of one resource. Holds at most ``events_max`` events a scope, however long no list comes."""

    def __init__(self, *, events_max: int = 200_000) -> None:
        self.books: dict[str, Book] = {}
        self.doubled: Key | None = None
        """An object that has the uid of another, and is left out for that, until the owner has taken note of it."""
        self._events_max = events_max
        self._holders: dict[str, Key] = {}
        """uid -> key of the row that has it, in whichever scope: rows are stored by uid."""

    def book(self, scope: str) -> Book:
        """The book of ``scope``."""
        return self.books.setdefault(scope, Book())

    def load(self, scope: str, key: Key, state: State) -> None:
        """Take note of a row that the stored table has."""
        self.book(scope).published[key] = state
        self._holders[state.uid] = key

    def take_over(self, installed: ScopeHead) -> None:
        """Go on with the loaded rows: they stand in for the list that they were brought up to.

        A row that is newer than that list came as an event; older events of it, which come once more, change nothing.
        """
        book = self.book(installed.scope)
        book.installed, book.epoch, book.stands_in = installed, installed.epoch, True
        book.complete = (installed.epoch, installed.complete_at)
        book.merged.listed, book.merged.listed_at = dict(book.published), installed.listed_at
        book.merged.window_start, book.merged.window_end = installed.window_start, installed.window_end
        for key, state in book.published.items():
            if newer(state.version, installed.listed_at):
                book.merged.events[key] = [Event(state.uid, state.version, False)]
        book.unspent = len(book.merged.events)

    def log_begins(self, scope: str, start: str) -> None:
        """The log of events begins behind ``start``: what came before can be told by nothing but rows and lists.

        Where the loaded rows hold such events, which were deletions is not known any more. A list older than the rows
        would bring back what these took away, so it is refused, as behind events that are folded.
        """
        book = self.book(scope)
        if book.installed is not None and newer(start, book.installed.listed_at):
            book.merged.folded_to = latest(book.merged.folded_to, book.installed.complete_at)
        book.merged.gap(start)

    def replay(self, scope: str, key: Key, event: Event) -> None:
        """Take in an event that the stored table has already seen."""
        self._see(self.book(scope), key, event)

    def _see(self, book: Book, key: Key, event: Event) -> bool:
        """Whether an event counts; folds old ones where there are too many."""
        counts = book.merged.see(key, event)
        if not counts:
            _fill(book.merged, key, event)
        book.unspent += 1
        if book.unspent == self._events_max // 2:
            book.fold_to = book.merged.window_end
        if book.unspent >= self._events_max and book.merged.listed_at:
            book.unspent, book.fold_to = book.merged.fold(book.fold_to), book.merged.window_end
            book.listing = ""
        return counts

    def event(self, scope: str, key: Key, event: Event, record: bytes) -> list[Operation]:
        """What an event makes of the table: nothing, or one change, or two where the uid is another."""
        book = self.book(scope)
        if self._is_doubled(key, event.uid):
            return []
        for audit in book.audits:
            audit.see(key, event)
        if not self._see(book, key, event):
            return []
        if not book.merged.listed_at:
            book.early[key] = b"" if event.deleted else record
            return []
        before = book.published.get(key)
        # The record of the end goes along only where it is this object's; else the last known one stands in.
        gone = record if before is not None and before.uid == event.uid else b""
        return list(self._towards(book, key, book.merged.now(key), lambda: record, event.version, gone))

    def told(self, scope: str, key: Key, event: Event, record: bytes) -> list[Operation]:
        """What a state makes of the table that no stream brought: the stream's place stays where it is.

        What was read by itself is not held against the stream: whether that would have told it is not known. The row
        is ahead of the stream then; what the stream still brings of other keys counts as ever.
        """
        book = self.book(scope)
        end = book.merged.window_end
        operations = self.event(scope, key, event, record)
        book.merged.window_end = end
        if newer(book.fold_to, end):
            book.fold_to = end
        return operations

    def lacks(self, scope: str, key: Key, state: State, listed_at: str) -> bool:
        """Whether a list at ``listed_at`` that says ``state``, but not its record, cannot be installed."""
        book = self.book(scope)
        if book.published.get(key) == state or self._is_doubled(key, state.uid):
            return False
        seen = book.merged.events.get(key)
        return not (seen and newer(seen[-1].version, listed_at))

    def touched(
        self, scope: str, listed: Mapping[Key, State], epoch: str, differing: Iterable[Key] | None = None
    ) -> list[Key]:
        """The keys that installing ``listed`` may change; first those of objects that it does not have.

        ``differing`` holds those of which the table had another state when the list was read. Of the others only those
        matter that an event has told of since the list before: the rest is as the list says, and was predicted so.
        """
        book = self.book(scope)
        gone = (book.published.keys() | book.merged.listed.keys() | book.early.keys()) - listed.keys()
        if differing is None or book.epoch != epoch or book.foreign:
            return [*gone, *listed]
        return list(dict.fromkeys([*gone, *differing, *book.merged.events]))

    def is_base(self, scope: str, listing: str, epoch: str) -> bool:
        """Whether another list may be told as what differs from ``listing``."""
        book = self.book(scope)
        return bool(listing) and book.listing == listing and book.epoch == epoch and not book.foreign

    def touched_since(self, scope: str, listed: Mapping[Key, State], differing: Iterable[Key]) -> list[Key]:
        """As ``touched``, of a list that is told by what is not as in the list before.

        Of what it does not name the table has what that list said, or what events made of it.
        """
        book = self.book(scope)
        keys = dict.fromkeys([*differing, *book.merged.events, *book.early, *book.left_out])
        return sorted(keys, key=listed.__contains__)

    def install(
        self,
        scope: str,
        listed: Mapping[Key, State],
        listed_at: str,
        epoch: str,
        *,
        patience_until_ms: int = 0,
        listing: str = "",
        listed_digest: int = 0,
    ) -> Prediction | None:
        """Install a list. Gives what was predicted of it (for ``reconcile``), None where it is refused as older.

        By its name, ``listing``, the next one may tell what differs from it.
        """
        book = self.book(scope)
        if book.epoch != epoch:
            # Another history: nothing of the old one may decide about the new one (its versions mean other things),
            # and its stream has yet to begin.
            book.merged = merge.Scope()
            book.merged.install(listed, listed_at)
            book.epoch = epoch
            book.foreign = set(book.published)
            book.audits, book.early, book.stands_in, book.unspent = [], {}, False, 0
            book.listing, book.listed_digest = listing, listed_digest
            return Prediction({}, {})
        since = book.merged.listed_at
        prediction = book.merged.install(listed, listed_at)
        if prediction is not None and since and newer(listed_at, since):
            # Rows that stand in for a list say of keys with newer events what these made of it.
            spent = dict(prediction.spent)
            unsure = frozenset(book.merged.events.keys() - spent.keys() if book.stands_in else ())
            audit = Audit(since, listed_at, listed, spent, prediction.listed, unsure, patience_until_ms)
            for overdue in book.audits[: 1 - AUDITS_MAX]:
                overdue.patience_until_ms = overdue.moves_until_ms = 0
            for key in spent:  # of which neither list need know, nor the table
                audit.look_at(key)
            book.audits.append(audit)
        if prediction is not None:
            book.listing, book.listed_digest = listing, listed_digest
            book.stands_in = False
            book.unspent = sum(len(seen) for seen in book.merged.events.values())
        return prediction

    def reconcile(
        self,
        scope: str,
        keys: Iterator[Key],
        records: Mapping[Key, bytes],
        prediction: Prediction | None,
        most: int,
    ) -> list[Operation]:
        """Bring up to ``most`` of ``keys`` to what is true now; events may come between slices.

        ``prediction`` is None where there is nothing to audit (the first list of a history). Raises ``MissingRecord``:
        the books are void then, and the caller starts anew from what is stored.
        """
        book = self.book(scope)
        operations: list[Operation] = []
        for key in itertools.islice(keys, most):
            if prediction is not None and book.audits and book.audits[-1].until == book.merged.listed_at:
                book.audits[-1].look_at(key)
            # An event that decides was published when it came, unless it came before the first list.
            found = book.early if key in book.merged.events else records
            state = book.merged.now(key)
            operations += self._towards(book, key, state, _record_of(found, key), book.merged.listed_at)
            book.early.pop(key, None)
        return operations

    def drifted(self, scope: str, now_ms: int | None = None, patience_ms: int = 0) -> list[Drift]:
        """Differences that no event explains any more: the stream has passed the list, or it is too late for one.

        That is when an audit's time is over and the stream has brought nothing for ``patience_ms`` either. To be asked
        between lists, not between the slices of one. None: it is too late for all of them.
        """
        book = self.book(scope)
        found: list[Drift] = []
        for audit in list(book.audits):
            waits = now_ms is not None and now_ms < max(
                audit.patience_until_ms, min(audit.moves_until_ms, book.moved_ms + patience_ms)
            )
            if not (waits and newer(audit.until, book.merged.window_end)):
                book.audits.remove(audit)
                found += audit.drifts()
        return found

    def _towards(
        self,
        book: Book,
        key: Key,
        state: State | None,
        record: Callable[[], bytes],
        version: str,
        gone: bytes = b"",
    ) -> Iterator[Operation]:
        before = book.published.get(key)
        book.left_out.discard(key)
        if state is not None and self._is_doubled(key, state.uid):
            book.left_out.add(key)
            state = None
        if state == before and key not in book.foreign:
            return
        if before is not None and (state is None or state.uid != before.uid):
            del book.published[key]
            del self._holders[before.uid]
            book.foreign.discard(key)
            yield Operation(
                "DELETED", before.uid, version, gone if state is None else b"", rows=-1, digest=-digest(*before)
            )
        if state is None:
            return
        made = record()
        book.published[key] = state
        self._holders[state.uid] = key
        book.foreign.discard(key)
        if before is not None and before.uid == state.uid:
            change = digest(*state) - digest(*before)
            yield Operation("MODIFIED", state.uid, state.version, made, rows=0, digest=change)
        else:
            yield Operation("ADDED", state.uid, state.version, made, rows=1, digest=digest(*state))

    def _is_doubled(self, key: Key, uid: str) -> bool:
        """Whether another row has that uid. No server gives it twice; a table that had both could never be proven."""
        if self._holders.get(uid, key) == key:
            return False
        self.doubled = key
        return True

    def scope_head(self, scope: str) -> ScopeHead | None:
        """Where ``scope`` stands; None until its first list is in the table.

        Not to be asked between the slices of a list: the events that it has seen are in the table once all of it is.
        """
        book = self.book(scope)
        if book.installed is None:
            return None
        epoch, listed_at = book.installed.epoch, book.installed.listed_at
        start, end = ("", "") if epoch != book.epoch else (book.merged.window_start, book.merged.window_end)
        contiguous = not newer(start, listed_at) and bool(end)
        if contiguous:
            book.complete = (epoch, latest(end, listed_at))
        return msgspec.structs.replace(
            book.installed,
            window_start=start,
            window_end=end,
            contiguous=contiguous,
            complete_to=book.complete[1] if book.complete[0] == epoch else "",
        )


def _fill(scope: merge.Scope, key: Key, event: Event) -> None:
    """Note an event older than the newest one of its key: it decides nothing but what is predicted of a list."""
    seen = scope.events.get(key)
    if (
        seen
        and newer(event.version, latest(scope.listed_at, scope.folded_to))
        and all(event.version != one.version for one in seen)
    ):
        insort(seen, event, key=lambda one: order(one.version))


def _record_of(records: Mapping[Key, bytes], key: Key) -> Callable[[], bytes]:
    def found() -> bytes:
        record = records.get(key, b"")
        if not record:
            raise MissingRecord(f"{key[0]}/{key[1]}")
        return record

    return found
