"""Any life of a cluster, of its stream and of the workers' books, step by step, on a simulated clock.

What hypothesis draws: writes; lines of the watch delivered, lost, sent twice or out of order; lists that are taken at
one moment and arrive at another, or never; objects that are read by themselves, ahead of the stream; slices of an
installation; restarts of the aggregator, with the log of events and without; gaps. After every step the promises hold;
at the end the table is the truth.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from krm.merge import Event, Key, State
from krm.objects.versions import latest, newer
from krm.workers.ledger import Book, Ledger
from tests.unit.histories import KEYS, Truth
from tests.unit.workers.aggregation import EPOCH, SCOPE, Aggregation, Replayed, restarted

T = TypeVar("T")
FULL = int(os.environ.get("KRM_TEST_CASES", "20000")) >= 20_000
EVENTS_MAX = 10
PATIENCE_MS = 10_000
SOME = st.integers(0, 5)
Flying = tuple[str, str, dict[Key, State]]


def chosen(among: Sequence[T], which: int) -> T:
    return among[which % len(among)]


class Books(RuleBasedStateMachine):
    """The server's truth on one side, an aggregator's books on the other."""

    scopes: ClassVar[tuple[str, ...]] = (SCOPE,)

    def __init__(self) -> None:
        super().__init__()
        self.truth = Truth()
        self.alive: dict[Key, str] = {}
        self.version = 0
        self.uids = 0
        self.lost = False
        self.told_to = ""
        self.now_ms = 0
        self.queues: dict[str, list[tuple[Key, Event]]] = {scope: [] for scope in self.scopes}
        self.sent: list[tuple[Key, Event]] = []
        self.flying: list[Flying] = []
        ledger, table = Ledger(events_max=EVENTS_MAX), Replayed()
        self.books = {
            scope: Aggregation(ledger=ledger, scope=scope, table=table, events_max=EVENTS_MAX) for scope in self.scopes
        }
        for scope in self.scopes:
            ledger.book(scope).epoch = EPOCH
        self.highest_list = dict.fromkeys(self.scopes, "")
        self.complete_at = dict.fromkeys(self.scopes, "")

    def _of(self, key: Key) -> str:
        return key[0] if len(self.scopes) > 1 else SCOPE

    def _keys(self, scope: str) -> list[Key]:
        return [key for key in KEYS if self._of(key) == scope]

    def _truth(self, scope: str, at: str) -> dict[Key, State]:
        return {key: state for key, state in self.truth.at(at).items() if self._of(key) == scope}

    def _book(self, scope: str) -> Book:
        return self.books[scope].ledger.book(scope)

    def _waiting(self) -> list[str]:
        return [scope for scope, queue in self.queues.items() if queue]

    @initialize(start=st.sampled_from([5, 2**53 - 3, 10**38 - 4]))
    def begin(self, start: int) -> None:
        self.version = start
        for scope in self.scopes:
            self._install((scope, str(start), {}))

    @rule(key=st.sampled_from(KEYS), ends=st.booleans(), skip=st.integers(1, 3))
    def write(self, key: Key, ends: bool, skip: int) -> None:
        self.version += skip
        queue = self.queues[self._of(key)]
        if key not in self.alive:
            self.uids += 1
            self.alive[key] = f"uid{self.uids}"
            queue.append(self.truth.write(key, self.alive[key], self.version))
        elif ends:
            queue.append(self.truth.write(key, self.alive.pop(key), self.version, deleted=True))
        else:
            queue.append(self.truth.write(key, self.alive[key], self.version))

    @precondition(lambda self: self._waiting())
    @rule(which=SOME)
    def deliver(self, which: int) -> None:
        self.sent.append(self.queues[chosen(self._waiting(), which)].pop(0))
        self._event(*self.sent[-1])

    @precondition(lambda self: self._waiting())
    @rule(which=SOME)
    def lose_silently(self, which: int) -> None:
        self.queues[chosen(self._waiting(), which)].pop(0)
        self.lost = True

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 5))
    def repeat(self, which: int) -> None:
        self._event(*self.sent[-1 - which % len(self.sent)])

    @precondition(lambda self: len(self.flying) < 2)
    @rule(which=SOME)
    def ask_for_a_list(self, which: int) -> None:
        at, scope = str(self.version), chosen(self.scopes, which)
        self.flying.append((scope, at, self._truth(scope, at)))

    @precondition(lambda self: self.flying)
    @rule(which=SOME, size=st.integers(1, 3), partial=st.booleans())
    def list_arrives(self, which: int, size: int, partial: bool) -> None:
        self._install(self.flying.pop(which % len(self.flying)), size, partial=partial)

    @precondition(lambda self: self.flying)
    @rule()
    def list_fails(self) -> None:
        self.flying.pop()

    @rule(which=SOME)
    def next_slice(self, which: int) -> None:
        self.books[chosen(self.scopes, which)].step()

    @precondition(lambda self: self.alive)
    @rule(which=SOME)
    def read_by_itself(self, which: int) -> None:
        """A body that verification lacked: as it is now, wherever the stream is."""
        key = chosen(sorted(self.alive), which)
        state = self.truth.at(str(self.version))[key]
        self.books[self._of(key)].tell(key, Event(state.uid, state.version, deleted=False))
        self.told_to = latest(self.told_to, state.version)

    @rule(without_log=st.booleans())
    def restart(self, without_log: bool) -> None:
        restarted(list(self.books.values()), without_log=without_log)

    @precondition(lambda self: self._waiting())
    @rule(which=SOME)
    def gap(self, which: int) -> None:
        """The watch lost its place: what was on its way never comes, and everybody knows."""
        scope = chosen(self._waiting(), which)
        self.queues[scope].clear()
        self._book(scope).merged.gap(str(self.version))

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += seconds * 1000
        for scope in self.scopes:
            for drift in self.books[scope].ledger.drifted(scope, self.now_ms):
                assert drift.key in self._keys(scope)

    def _event(self, key: Key, event: Event) -> None:
        self.books[self._of(key)].event(key, event)

    def _install(self, arrived: Flying, size: int = 3, *, partial: bool = False) -> None:
        scope, at, listed = arrived
        self.books[scope].take(listed, at, size, full=True, partial=partial)

    def _is_installing(self, scope: str) -> bool:
        return self.books[scope].installed_at != self._book(scope).merged.listed_at

    def _is_true_since(self, scope: str, at: str) -> None:
        published = self._book(scope).published
        assert published.keys() <= set(self._keys(scope))
        self.truth._states.clear()
        for key in self._keys(scope):
            assert published.get(key) in self.truth.states(key, at), key

    @invariant()
    def rows_are_true_states(self) -> None:
        """I1: each row is the key's state at some version since the installed list; I2, I4 follow."""
        for scope in self.scopes:
            if self.books[scope].installed_at:
                self._is_true_since(scope, self.books[scope].installed_at)

    @invariant()
    def lists_only_go_on(self) -> None:
        """I3: the installed list never becomes an older one."""
        for scope in self.scopes:
            at = self._book(scope).merged.listed_at
            assert not newer(self.highest_list[scope], at)
            self.highest_list[scope] = at

    @invariant()
    def contiguous_is_exact(self) -> None:
        """I1, second half, and I7: without silent loss a contiguous table is the truth at C.

        Not while a list is being brought in, and where an object was read by itself: rows may be ahead of C then. That
        none is behind it holds always (``complete_never_goes_back``).
        """
        for scope in self.scopes:
            book = self._book(scope)
            is_ahead = self._is_installing(scope) or newer(self.told_to, book.merged.complete_at)
            if not self.lost and not is_ahead and book.merged.contiguous:
                assert book.published == self._truth(scope, book.merged.complete_at)

    @invariant()
    def complete_never_goes_back(self) -> None:
        """I15: whatever happens, gap or restart, C stays; and where nothing was lost, no row is older than it.

        Between the slices of a list there is no other head: the one before stays, and stays true, until all of the
        list is in the table.
        """
        for scope in self.scopes:
            if not self._is_installing(scope):
                head = self.books[scope].ledger.scope_head(scope)
                if head is None:
                    continue
                assert not newer(self.complete_at[scope], head.complete_at)
                self.complete_at[scope] = head.complete_at
            if not self.lost:
                self._is_true_since(scope, self.complete_at[scope])

    @invariant()
    def books_are_bounded(self) -> None:
        """However long no list comes."""
        for scope in self.scopes:
            assert sum(len(seen) for seen in self._book(scope).merged.events.values()) <= EVENTS_MAX

    def teardown(self) -> None:
        if not self.version:
            return
        at = str(self.version)
        for scope in self.scopes:
            self._install((scope, at, self._truth(scope, at)))
            self.books[scope].finish()
            assert self._book(scope).published == self._truth(scope, at)
        table = self.books[self.scopes[0]].table
        assert table.rows == dict(self.truth.at(at).values())
        table.check()


class Namespaces(Books):
    """The same for a table of several namespaces, each with lists and a stream of its own."""

    scopes = ("a", "b")


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=120 if FULL else 30,
    stateful_step_count=40,
    deadline=None,
)
TestNamespaces = Namespaces.TestCase
TestNamespaces.settings = settings(
    max_examples=80 if FULL else 20,
    stateful_step_count=40,
    deadline=None,
)
