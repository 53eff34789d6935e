"""Any life of a cluster, of its stream and of the workers' books, step by step, on a simulated clock.

What hypothesis draws: writes; lines of the watch delivered, lost, sent twice or out of order; lists that are taken at
one moment and arrive at another, or never; slices of an installation; restarts of the aggregator; gaps; resets of
history. After every step the promises hold; at the end the table is the truth.
"""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from krm.merge import Event, Key, State
from krm.objects.versions import newer
from krm.workers.ledger import Ledger
from tests.unit.histories import KEYS, Truth
from tests.unit.workers.test_ledger import EPOCH, SCOPE, Aggregation

FULL = int(os.environ.get("KRM_TEST_CASES", "20000")) >= 20_000
EVENTS_MAX = 10
PATIENCE_MS = 10_000
Flying = tuple[str, dict[Key, State]]


class Books(RuleBasedStateMachine):
    """The server's truth on one side, an aggregator's books on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.truth = Truth()
        self.alive: dict[Key, str] = {}
        self.version = 0
        self.uids = 0
        self.lost = False
        self.now_ms = 0
        self.queue: list[tuple[Key, Event]] = []
        self.sent: list[tuple[Key, Event]] = []
        self.flying: list[Flying] = []
        self.aggregation = Aggregation(ledger=Ledger(events_max=EVENTS_MAX), events_max=EVENTS_MAX)
        self.aggregation.ledger.book(SCOPE).epoch = EPOCH
        self.highest_list = ""
        self.complete_at = ""

    @initialize(start=st.sampled_from([5, 2**53 - 3, 10**38 - 4]))
    def begin(self, start: int) -> None:
        self.version = start
        self._install((str(start), {}))

    @rule(key=st.sampled_from(KEYS), ends=st.booleans(), skip=st.integers(1, 3))
    def write(self, key: Key, ends: bool, skip: int) -> None:
        self.version += skip
        if key not in self.alive:
            self.uids += 1
            self.alive[key] = f"uid{self.uids}"
            self.queue.append(self.truth.write(key, self.alive[key], self.version))
        elif ends:
            self.queue.append(self.truth.write(key, self.alive.pop(key), self.version, deleted=True))
        else:
            self.queue.append(self.truth.write(key, self.alive[key], self.version))

    @precondition(lambda self: self.queue)
    @rule()
    def deliver(self) -> None:
        self.sent.append(self.queue.pop(0))
        self.aggregation.event(*self.sent[-1])

    @precondition(lambda self: self.queue)
    @rule()
    def lose_silently(self) -> None:
        self.queue.pop(0)
        self.lost = True

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 5))
    def repeat(self, which: int) -> None:
        self.aggregation.event(*self.sent[-1 - which % len(self.sent)])

    @precondition(lambda self: len(self.flying) < 2)
    @rule()
    def ask_for_a_list(self) -> None:
        at = str(self.version)
        self.flying.append((at, self.truth.at(at)))

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 1), size=st.integers(1, 3), partial=st.booleans())
    def list_arrives(self, which: int, size: int, partial: bool) -> None:
        self._install(self.flying.pop(which % len(self.flying)), size, partial=partial)

    @precondition(lambda self: self.flying)
    @rule()
    def list_fails(self) -> None:
        self.flying.pop()

    @rule()
    def next_slice(self) -> None:
        self.aggregation.step()

    @rule()
    def restart(self) -> None:
        self.aggregation.restart()

    @precondition(lambda self: self.queue)
    @rule()
    def gap(self) -> None:
        """The watch lost its place: what was on its way never comes, and everybody knows."""
        self.queue.clear()
        self.aggregation.ledger.book(SCOPE).merged.gap(str(self.version))

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += seconds * 1000
        for drift in self.aggregation.ledger.drifted(SCOPE, self.now_ms):
            assert drift.key in KEYS

    def _install(self, arrived: Flying, size: int = 3, *, partial: bool = False) -> None:
        at, listed = arrived
        self.aggregation.take(listed, at, size, full=True, partial=partial)

    @property
    def _is_installing(self) -> bool:
        return self.aggregation.installed_at != self.aggregation.ledger.book(SCOPE).merged.listed_at

    @invariant()
    def rows_are_true_states(self) -> None:
        """I1: each row is the key's state at some version since the installed list; I2, I4 follow."""
        if not self.aggregation.installed_at:
            return
        published = self.aggregation.ledger.book(SCOPE).published
        self.truth._states.clear()
        for key in KEYS:
            assert published.get(key) in self.truth.states(key, self.aggregation.installed_at), key

    @invariant()
    def lists_only_go_on(self) -> None:
        """I3: the installed list never becomes an older one."""
        at = self.aggregation.ledger.book(SCOPE).merged.listed_at
        assert not newer(self.highest_list, at)
        self.highest_list = at

    @invariant()
    def contiguous_is_exact(self) -> None:
        """I1, second half, and I7: without silent loss a contiguous table is the truth at C."""
        book = self.aggregation.ledger.book(SCOPE)
        if not self.lost and not self._is_installing and book.merged.contiguous:
            assert book.published == self.truth.at(book.merged.complete_at)

    @invariant()
    def complete_never_goes_back(self) -> None:
        """I15: whatever happens, gap or restart, C stays; and where nothing was lost, no row is older than it.

        Between the slices of a list there is no head: the one before stays until all of the list is in the table.
        """
        if self._is_installing:
            return
        head = self.aggregation.ledger.scope_head(SCOPE)
        if head is None:
            return
        assert not newer(self.complete_at, head.complete_at)
        self.complete_at = head.complete_at
        if not self.lost:
            published = self.aggregation.ledger.book(SCOPE).published
            self.truth._states.clear()
            for key in KEYS:
                assert published.get(key) in self.truth.states(key, head.complete_at), key

    @invariant()
    def books_are_bounded(self) -> None:
        """However long no list comes."""
        events = self.aggregation.ledger.book(SCOPE).merged.events
        assert sum(len(seen) for seen in events.values()) <= EVENTS_MAX

    def teardown(self) -> None:
        if not self.version:
            return
        at = str(self.version)
        self._install((at, self.truth.at(at)))
        self.aggregation.finish()
        assert self.aggregation.ledger.book(SCOPE).published == self.truth.at(at)
        assert self.aggregation.table.rows == dict(self.truth.at(at).values())
        self.aggregation.table.check()


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=120 if FULL else 30, stateful_step_count=40, deadline=None)
