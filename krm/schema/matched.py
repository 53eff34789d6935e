"""What a subscriber was told that matches, where a filter looks at other kinds.

Whether an object matched before a change can be told from its row before the change, as long as the filter looks at
the row alone. A filter with a relation looks at rows that change by themselves: there it is remembered which objects
were told, and looked at again once a related kind has changed. What a subscriber held before it lost its connection is
not known any more once a related kind has changed, which its token tells; then it begins again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from krm.errors import AnswerError, Code
from krm.query import arguments, extracts, filters, lists
from krm.query.filters import Condition, Negation, Node
from krm.query.lists import ListQuery
from krm.resources import Resource
from krm.schema.relations import RELATIONS
from krm.store.rows import Row

LOOK_S: Final = 0.5
"""How often related kinds are looked at for changes."""
MAX_EACH: Final = 100_000
MAX_ALL: Final = 1_000_000
"""Objects remembered for one subscriber, and for all of a process: some 64 bytes each."""
_SHARE: Final = 4
"""Of the time at most one part in so many goes into looking again, however many subscribe."""


class Memory:
    """What all subscriptions of a process may remember, and how often they may look again."""

    def __init__(self, most: int = MAX_ALL, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.held = 0
        self._most = most
        self.monotonic = monotonic
        self._free_at_s = 0.0

    def hold(self, more: int) -> None:
        """So many objects more. Raises ``AnswerError`` RATE_LIMITED."""
        if more > 0 and self.held + more > self._most:
            raise AnswerError(
                Code.RATE_LIMITED, "where: too many objects are remembered for subscriptions that follow relations"
            )
        self.held += more

    @property
    def is_free(self) -> bool:
        """Whether somebody may look again."""
        return self.monotonic() >= self._free_at_s

    def took(self, began_s: float) -> None:
        """Somebody has looked again since then."""
        now_s = self.monotonic()
        self._free_at_s = now_s + (_SHARE - 1) * (now_s - began_s)


class Matched:
    """The objects that one subscriber was told to match."""

    def __init__(self, memory: Memory, related: Sequence[Resource]) -> None:
        self.memory = memory
        self.related = related
        """Kinds that the filter looks at; without any there is nothing to remember."""
        self._uids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.related)

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def are(self, rows: Iterable[Row]) -> None:
        """It is these. Raises ``AnswerError`` where they are too many."""
        if self:
            self._set({row.uid for row in rows})

    def come(self, uid: str) -> None:
        """One more. Raises ``AnswerError`` where there are too many."""
        if self and uid not in self._uids:
            self._check(len(self._uids) + 1)
            self.memory.hold(1)
            self._uids.add(uid)

    def go(self, uid: str) -> None:
        """One less."""
        if uid in self._uids:
            self._uids.discard(uid)
            self.memory.hold(-1)

    def compared(self, rows: Iterable[Row]) -> tuple[list[Row], list[str]]:
        """What of ``rows``, which match now, was not told yet, and which that were told are not among them."""
        now = {row.uid: row for row in rows}
        self._check(len(now))
        return [row for uid, row in now.items() if uid not in self._uids], sorted(self._uids - now.keys())

    def forget(self) -> None:
        """The end."""
        self._set(set())

    def _set(self, uids: set[str]) -> None:
        self._check(len(uids))
        self.memory.hold(len(uids) - len(self._uids))
        self._uids = uids

    @staticmethod
    def _check(count: int) -> None:
        if count > MAX_EACH:
            text = f"a subscription that follows relations may match at most {MAX_EACH} objects: narrow it"
            raise arguments.bad("where", text)


def mark(rights: str, positions: Sequence[object]) -> str:
    """What has to be the same where a token is continued from: the rights, and how far the related kinds are."""
    return f"{rights}|{hashlib.sha256(repr(positions).encode()).hexdigest()[:16]}" if positions else rights


def related(resource: Resource, query: ListQuery) -> Sequence[Resource]:
    """The kinds that the conditions of ``query`` look at beyond the object itself, always in the same order."""
    found: set[Resource] = set()
    waiting: list[tuple[Resource, Node]] = [(resource, node) for node in lists.conditions(resource, query)]
    while waiting:
        here, node = waiting.pop()
        if isinstance(node, Condition):
            if node.path.is_derived and extracts.from_row(here, node.path) is None:
                found.add(RELATIONS[here.plural][str(node.path.steps[0])].target)
        elif isinstance(node, filters.Related):
            found.add(node.target)
            waiting.append((node.target, node.part))
        elif isinstance(node, Negation):
            waiting.append((here, node.part))
        else:
            waiting += [(here, part) for part in node.parts]
    return sorted(found, key=lambda each: each.plural)
