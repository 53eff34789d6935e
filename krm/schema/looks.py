"""One look at a kind's rows for all rows of a question that are related to them, and indexes made of it on demand.

However many objects a question follows relations from, each kind is taken once, and each namespace of it is gone
through once for each thing that it is asked by. All answers of a look are of one moment.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from krm.query.cells import ROWS_A_TURN, Turns, run
from krm.store.rows import Row
from krm.table.replica import Replica

Index = Mapping[Any, Sequence[Row]]
KeysOf = Callable[[Row], Iterable[Hashable]]


class Look:
    """The rows of a kind as they were when the look was taken."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._snapshot = replica.snapshot()
        self._rows = self._snapshot.rows
        self._by_uid: Mapping[str, Row] | None = None
        self._by_node: Index | None = None
        self._namespaces: dict[str, Sequence[Row]] = {}
        self._indexes: dict[tuple[str, Hashable], Index] = {}

    def inside(self, namespace: str) -> Sequence[Row]:
        """The rows of a namespace, by name."""
        found = self._namespaces.get(namespace)
        if found is None:
            start = bisect_left(self._rows, namespace, key=_namespace)
            end = bisect_right(self._rows, namespace, lo=start, key=_namespace)
            found = self._namespaces[namespace] = self._rows[start:end]
        return found

    def named(self, namespace: str, name: str) -> Row | None:
        """The row of that key; while a replacement is under way the one that came later."""
        place = bisect_right(self._rows, (namespace, name), key=_key) - 1
        row = self._rows[place] if place >= 0 else None
        return row if row is not None and row.name == name and row.namespace == namespace else None

    @property
    def is_current(self) -> bool:
        """Whether nothing has changed since."""
        return self._snapshot.changes == self._replica.changes

    def find(self, uid: str) -> Row | None:
        """The row of that uid."""
        now = self._replica.find(uid)
        if self.is_current:
            return now
        if now is not None:
            row = self.named(now.namespace, now.name)
            if row is not None and row.uid == uid:
                return row
        if self._by_uid is None:  # it may have gone since
            self._by_uid = {row.uid: row for row in self._rows}
        return self._by_uid.get(uid)

    def on_node(self, node: str) -> Sequence[Row]:
        """The rows on a node, in the order of (namespace, name)."""
        if self._by_node is None and self.is_current:
            return self._replica.on_node(node)
        run(self.by_node())
        return (self._by_node or {}).get(node, ())

    def by_node(self) -> Turns[None]:
        """Work out what ``on_node`` needs once rows have changed."""
        made: dict[Any, list[Row]] = {}
        for number, row in enumerate([] if self._by_node is not None or self.is_current else self._rows):
            made.setdefault(self._replica.node(row), []).append(row)
            if number % ROWS_A_TURN == 0:
                yield
        if made:
            self._by_node = made

    def by(self, namespace: str, what: Hashable, keys_of: KeysOf) -> Index:
        """The rows of a namespace by the keys that each has; ``what`` stands for ``keys_of``."""
        found = self._indexes.get((namespace, what))
        if found is None:
            made: dict[Any, list[Row]] = {}
            for row in self.inside(namespace):
                for key in keys_of(row):
                    made.setdefault(key, []).append(row)
            found = self._indexes[namespace, what] = made
        return found


def _namespace(row: Row) -> str:
    return row.namespace


def _key(row: Row) -> tuple[str, str]:
    return (row.namespace, row.name)
