"""The aggregator's books: what the table holds, and what each event or list makes of it. No I/O, no clock.

Events and lists go in, operations on the stored table come out; ``krm.merge`` decides. Whatever the order of slices and
events, the table ends as the rule says (a property test compares it with the rule applied to everything).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from krm import merge
from krm.merge import Event, Key, Prediction, State
from krm.objects.versions import newer
from krm.store.head import ScopeHead
from krm.store.rows import digest
from krm.store.writing import Operation


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
    unexplained: dict[Key, Drift] = field(default_factory=dict)
    """Differences from the installed list that an event on its way may still explain."""


class Ledger:
    """All scopes of one resource."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}

    def book(self, scope: str) -> Book:
        """The book of ``scope``."""
        return self.books.setdefault(scope, Book())

    def load(self, scope: str, key: Key, state: State) -> None:
        """Take note of a row that the stored table has."""
        self.book(scope).published[key] = state

    def replay(self, scope: str, key: Key, event: Event) -> None:
        """Take in an event that the stored table has already seen."""
        self.book(scope).merged.see(key, event)

    def event(self, scope: str, key: Key, event: Event, record: bytes) -> list[Operation]:
        """What an event makes of the table: nothing, or one change, or two where the uid is another."""
        book = self.book(scope)
        self._explain(book, key, event)
        if not book.merged.see(key, event) or not book.merged.listed_at:
            return []
        return list(self._towards(book, key, book.merged.now(key), lambda: record, event.version, gone=record))

    def _explain(self, book: Book, key: Key, event: Event) -> None:
        open_question = book.unexplained.get(key)
        if open_question is None:
            return
        listed = book.merged.listed.get(key)
        explained = listed is None if event.deleted else listed == State(event.uid, event.version)
        if explained:
            del book.unexplained[key]

    def lacks(self, scope: str, key: Key, state: State, listed_at: str) -> bool:
        """Whether a list at ``listed_at`` that says ``state``, but not its record, cannot be installed."""
        book = self.book(scope)
        if book.published.get(key) == state:
            return False
        seen = book.merged.events.get(key)
        return not (seen and newer(seen[-1].version, listed_at))

    def install(self, scope: str, listed: Mapping[Key, State], listed_at: str, epoch: str) -> Prediction | None:
        """Install a list. Gives what was predicted of it (for ``reconcile``), None where it is refused as not newer."""
        book = self.book(scope)
        if book.epoch != epoch:
            # Another history: nothing of the old one may decide about the new one (its versions mean other things).
            book.merged = merge.Scope(window_start=listed_at, window_end=listed_at)
            book.merged.install(listed, listed_at)
            book.epoch = epoch
            book.unexplained = {}
            return Prediction({}, {})
        return book.merged.install(listed, listed_at)

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
        for key, _ in zip(keys, range(most), strict=False):
            listed = book.merged.listed.get(key)
            if prediction is not None:
                self._audit(book, key, prediction.of(key), listed)
            state = book.merged.now(key)
            if state == book.published.get(key):
                continue
            operations += self._towards(book, key, state, _record_of(records, key), book.merged.listed_at)
        return operations

    def _audit(self, book: Book, key: Key, predicted: State | None, listed: State | None) -> None:
        if predicted == listed:
            book.unexplained.pop(key, None)
            return
        if listed is None and predicted is not None:
            kind, state = DriftKind.MISSED_DELETED, predicted
        elif predicted is None and listed is not None:
            kind, state = DriftKind.MISSED_ADDED, listed
        else:
            assert listed is not None
            kind, state = DriftKind.MISSED_MODIFIED, listed
        book.unexplained[key] = Drift(kind, key, state.uid, state.version)

    def drifted(self, scope: str, *, all_of_it: bool = False) -> list[Drift]:
        """Differences that no event explains any more: the stream has passed the list (or ``all_of_it``)."""
        book = self.book(scope)
        if not all_of_it and newer(book.merged.listed_at, book.merged.window_end):
            return []
        found = list(book.unexplained.values())
        book.unexplained = {}
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
        if state == before:
            return
        if before is not None and (state is None or state.uid != before.uid):
            del book.published[key]
            # The record of the end goes along only where it is this object's; else the last known one stands in.
            yield Operation(
                "DELETED", before.uid, version, gone if state is None else b"", rows=-1, digest=-digest(*before)
            )
        if state is None:
            return
        made = record()
        book.published[key] = state
        if before is not None and before.uid == state.uid:
            change = digest(*state) - digest(*before)
            yield Operation("MODIFIED", state.uid, state.version, made, rows=0, digest=change)
        else:
            yield Operation("ADDED", state.uid, state.version, made, rows=1, digest=digest(*state))

    def scope_head(self, scope: str) -> ScopeHead | None:
        """Where ``scope`` stands; None until its first list is in the table."""
        book = self.book(scope)
        if book.installed is None:
            return None
        if book.installed.epoch != book.epoch:
            return msgspec.structs.replace(book.installed, window_start="", window_end="", contiguous=False)
        return msgspec.structs.replace(
            book.installed,
            window_start=book.merged.window_start,
            window_end=book.merged.window_end,
            contiguous=not newer(book.merged.window_start, book.installed.listed_at) and bool(book.merged.window_end),
        )


def _record_of(records: Mapping[Key, bytes], key: Key) -> Callable[[], bytes]:
    def found() -> bytes:
        record = records.get(key, b"")
        if not record:
            raise MissingRecord(f"{key[0]}/{key[1]}")
        return record

    return found
