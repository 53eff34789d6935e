"""The replica of one resource in an API process: rows, their order, indexes and columns, kept up to date by changes.

It knows nothing of Redis, of questions or of time; ``follow`` feeds it, ``krm.query`` asks it. It belongs to one
event loop: nothing here is locked. A row is immutable, so a caller that took a list of rows has a snapshot.
What is NOT promised: that the sets which the indexes return survive a change.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from krm.resources import Resource
from krm.store.rows import DIGEST_MODULUS, Codec, Row, digest
from krm.table.columns import NOTHING, UNKNOWN, Codes, Column, Columns
from krm.table.indexes import Inverted, LabelIndex, Segment

NODE_COLUMN: Final = "node"
ROWS_A_TURN: Final = 256
"""Rows that are brought in between two yields of a load: some milliseconds."""
_LEAST_CAPACITY: Final = 256

Places = NDArray[np.intp]


class Step(NamedTuple):
    """What a change did: the row before and after it."""

    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Rows in the order of (namespace, name), with the slots that they had when the snapshot was taken.

    It may be shared: its lists are not to be changed.
    """

    rows: list[Row]
    slots: Codes
    changes: int
    """The replica's ``changes`` then: while it is the same, every row is current."""

    def __len__(self) -> int:
        return len(self.rows)


class Replica:
    """Rows of one resource by uid, by (namespace, name) in order, and by what questions often ask for."""

    def __init__(self, resource: Resource, codec: Codec, *, cluster: str = "", columns: Columns | None = None) -> None:
        self.resource = resource
        self.codec = codec
        self.cluster = cluster
        self.columns = columns or Columns()
        self.changes = 0
        """Counts everything that was done to the rows in this process."""
        names = [column.name for column in resource.columns]
        self._node_at = names.index(NODE_COLUMN) if NODE_COLUMN in names else None
        self._start()

    def _start(self) -> None:
        self.seq = 0
        """Number of the last change that is in."""
        self.digest = 0
        """Sum of the rows' digests modulo 2**64, kept by addition."""
        self._slot_of: dict[str, int] = {}
        self._table: list[Row | None] = []
        self._free: list[int] = []
        self._segments: dict[str, Segment] = {}
        self._namespaces: list[str] = []
        self.labels = LabelIndex()
        self.nodes = Inverted()
        self.owners = Inverted()
        self._whole: Snapshot | None = None
        self._reordered = 0
        self._ranked: tuple[int, Codes | None] = (-1, None)
        self.columns.clear()
        self._capacity(0)
        self.changes += 1

    def __len__(self) -> int:
        return len(self._slot_of)

    # -- changing ----------------------------------------------------------------------------------------------

    def load(self, rows: Iterable[Row], *, seq: int = 0) -> None:
        """Take ``rows`` in place of what was there; of two with one uid the later one counts."""
        for _ in self.loading({row.uid: row for row in rows}, seq=seq):
            pass

    def loading(self, rows: Mapping[str, Row], *, seq: int, total: int | None = None) -> Generator[None, None, None]:
        """As ``load``, of rows by uid, in turns: nobody may ask before the last one. ``total``: of their digests."""
        self._start()
        members: dict[str, list[tuple[str, int, Row]]] = {}
        alike: dict[int, tuple[Mapping[str, str], list[int]]] = {}
        self._capacity(len(rows))
        for slot, (uid, row) in enumerate(rows.items()):
            self._slot_of[uid] = slot
            self._table.append(row)
            members.setdefault(row.namespace, []).append((row.name, slot, row))
            alike.setdefault(id(row.labels), (row.labels, []))[1].append(slot)
            self._index_but_labels(row, slot)
            if slot % ROWS_A_TURN == 0:
                yield
        # Rows of one codec share the labels that they have in common: these go through the index once.
        for number, (labels, slots) in enumerate(alike.values()):
            self.labels.add_all(labels, slots)
            if number % ROWS_A_TURN == 0:
                yield
        filled = 0
        for namespace, inside in members.items():
            segment = self._segments[namespace] = Segment()
            segment.fill(inside)
            filled += len(inside)
            if filled >= ROWS_A_TURN:
                filled = 0
                yield
        self._namespaces = sorted(self._segments)
        if total is None:
            total = sum(digest(row.uid, row.version) for row in rows.values())
        self.digest = total % DIGEST_MODULUS
        self.seq = seq
        self._changed()

    def step(self, seq: int, uid: str, row: Row | None) -> Step:
        """Bring change number ``seq`` in: the row of ``uid`` is ``row`` now, or gone. One that was in does nothing."""
        if seq <= self.seq:
            current = self.find(uid)
            return Step(current, current)
        done = self.drop(uid) if row is None else self.put(row)
        self.seq = seq
        return done

    def put(self, row: Row) -> Step:
        """Bring a row in, in place of the one with its uid."""
        self._changed()
        slot = self._slot_of.get(row.uid)
        before = None if slot is None else self._table[slot]
        if slot is None or before is None:
            self._insert(row)
        elif before.namespace == row.namespace and before.name == row.name:
            self._replace(before, row, slot)
        else:  # no API server renames an object, but a table must not break over one that does
            self._remove(before, slot)
            self._insert(row)
        return Step(before, row)

    def drop(self, uid: str) -> Step:
        """Take the row with that uid out, if it is there."""
        slot = self._slot_of.get(uid)
        before = None if slot is None else self._table[slot]
        if slot is None or before is None:
            return Step(None, None)
        self._changed()
        self._remove(before, slot)
        return Step(before, None)

    def _changed(self) -> None:
        self.changes += 1
        self._whole = None  # it would keep every row of its time alive

    def _capacity(self, needed: int) -> None:
        self._room = max(_LEAST_CAPACITY, needed + needed // 4)
        self.columns.grow(self._room)

    def _insert(self, row: Row) -> None:
        if self._free:
            slot = self._free.pop()
            self._table[slot] = row
        else:
            slot = len(self._table)
            if slot >= self._room:
                self._capacity(slot + 1)
            self._table.append(row)
        self._slot_of[row.uid] = slot
        segment = self._segments.get(row.namespace)
        if segment is None:
            segment = self._segments[row.namespace] = Segment()
            insort(self._namespaces, row.namespace)
        segment.put(row, slot)
        self._index(row, slot)
        self._reordered += 1
        self.digest = (self.digest + digest(row.uid, row.version)) % DIGEST_MODULUS

    def _replace(self, before: Row, row: Row, slot: int) -> None:
        self._segments[row.namespace].replace(row, slot)
        self._table[slot] = row
        if before.labels != row.labels or before.owners != row.owners or self.node(before) != self.node(row):
            self._unindex(before, slot)
            self._index(row, slot)
        self.columns.forget(slot)
        difference = digest(row.uid, row.version) - digest(before.uid, before.version)
        self.digest = (self.digest + difference) % DIGEST_MODULUS

    def _remove(self, row: Row, slot: int) -> None:
        segment = self._segments[row.namespace]
        segment.drop(row, slot)
        if not segment.rows:
            del self._segments[row.namespace]
            del self._namespaces[bisect_left(self._namespaces, row.namespace)]
        del self._slot_of[row.uid]
        self._reordered += 1
        self._table[slot] = None
        self._free.append(slot)
        self._unindex(row, slot)
        self.columns.forget(slot)
        self.digest = (self.digest - digest(row.uid, row.version)) % DIGEST_MODULUS

    def node(self, row: Row) -> Any:
        """The node that a row is on, of kinds that have one."""
        return None if self._node_at is None else row.columns[self._node_at]

    def _index(self, row: Row, slot: int) -> None:
        self.labels.add(row.labels, slot)
        self._index_but_labels(row, slot)

    def _index_but_labels(self, row: Row, slot: int) -> None:
        node = self.node(row)
        if isinstance(node, str):
            self.nodes.add(node, slot)
        for owner in filter(None, row.owners):
            self.owners.add(owner, slot)

    def _unindex(self, row: Row, slot: int) -> None:
        self.labels.discard(row.labels, slot)
        node = self.node(row)
        if isinstance(node, str):
            self.nodes.discard(node, slot)
        for owner in filter(None, row.owners):
            self.owners.discard(owner, slot)

    # -- asking ------------------------------------------------------------------------------------------------

    @property
    def has_nodes(self) -> bool:
        """Whether ``nodes`` indexes this resource."""
        return self._node_at is not None

    @property
    def namespaces(self) -> list[str]:
        """The namespaces that have rows, sorted."""
        return list(self._namespaces)

    def find(self, uid: str) -> Row | None:
        """The row of that uid."""
        slot = self._slot_of.get(uid)
        return None if slot is None else self._table[slot]

    def get(self, namespace: str, name: str) -> Row | None:
        """The row of that key; while a replacement is under way the one that came later."""
        segment = self._segments.get(namespace)
        if segment is None:
            return None
        position = bisect_left(segment.names, name)
        found: Row | None = None
        while position < len(segment.names) and segment.names[position] == name:
            found = segment.rows[position]
            position += 1
        return found

    def on_node(self, node: str) -> list[Row]:
        """The rows on a node, in the order of (namespace, name)."""
        return self.snapshot_of(self.nodes.get(node)).rows

    def owned_by(self, uid: str) -> list[Row]:
        """The rows that reference an owner, in the order of (namespace, name)."""
        return self.snapshot_of(self.owners.get(uid)).rows

    def rows(self, namespaces: AbstractSet[str] | None = None) -> list[Row]:
        """All rows, or those in some namespaces, in the order of (namespace, name): a list of the caller's own."""
        out: list[Row] = []
        for namespace in self._among(namespaces):
            out += self._segments[namespace].rows
        return out

    def count(self, namespaces: AbstractSet[str] | None = None) -> int:
        """How many rows there are in some namespaces, or at all."""
        if namespaces is None:
            return len(self._slot_of)
        return sum(len(self._segments[namespace].rows) for namespace in self._among(namespaces))

    def snapshot(self, namespaces: AbstractSet[str] | None = None) -> Snapshot:
        """All rows now, or those in some namespaces."""
        if namespaces is None and self._whole is not None and self._whole.changes == self.changes:
            return self._whole
        joined = b"".join([self._segments[namespace].slots.tobytes() for namespace in self._among(namespaces)])
        taken = Snapshot(self.rows(namespaces), np.frombuffer(joined, dtype=np.int32), self.changes)
        if namespaces is None:
            self._whole = taken
        return taken

    def snapshot_of(self, slots: Iterable[int], namespaces: AbstractSet[str] | None = None) -> Snapshot:
        """The rows in these slots now, as far as they are in some namespaces."""
        ranks = self._ranks() if namespaces is None else None
        if ranks is not None:
            chosen = np.fromiter(slots, dtype=np.int32)
            chosen = chosen[np.argsort(ranks[chosen])]
            return Snapshot([self._table[slot] for slot in chosen.tolist()], chosen, self.changes)
        table = self._table
        rows = [(row, slot) for slot in slots if (row := table[slot]) is not None]
        return self._sorted(
            [(row.namespace, row.name, slot) for row, slot in rows if namespaces is None or row.namespace in namespaces]
        )

    def snapshot_named(self, names: Iterable[str], namespaces: AbstractSet[str] | None = None) -> Snapshot:
        """The rows of these names now, in every namespace or in some."""
        wanted = list(names)
        rows = [self.get(namespace, name) for namespace in self._among(namespaces) for name in wanted]
        return self._sorted([(row.namespace, row.name, self._slot_of[row.uid]) for row in rows if row is not None])

    def _sorted(self, found: list[tuple[str, str, int]]) -> Snapshot:
        found.sort()
        slots = [slot for _, _, slot in found]
        rows: list[Any] = [self._table[slot] for slot in slots]
        return Snapshot(rows, np.array(slots, dtype=np.int32), self.changes)

    def snapshot_from(self, rows: Iterable[Row]) -> Snapshot:
        """Rows that the caller has, of whatever time, in the caller's order."""
        given = list(rows)
        slots = np.array([self._slot_of.get(row.uid, -1) for row in given], dtype=np.int32)
        return Snapshot(given, slots, -1)

    def _ranks(self) -> Codes | None:
        """For each slot the place of its row in the order; None while rows come and go.

        Worked out when it is asked for twice without a row that came or went in between.
        """
        at, ranks = self._ranked
        if at != self._reordered:
            self._ranked = (self._reordered, None)
            return None
        if ranks is None:
            whole = self.snapshot()
            ranks = np.zeros(self._room, dtype=np.int32)
            ranks[whole.slots] = np.arange(len(whole), dtype=np.int32)
            self._ranked = (at, ranks)
        return ranks

    def _among(self, namespaces: AbstractSet[str] | None) -> Iterable[str]:
        if namespaces is None:
            return self._namespaces
        return sorted(namespace for namespace in namespaces if namespace in self._segments)

    # -- columns -----------------------------------------------------------------------------------------------

    def column(self, key: str) -> Column:
        """The kept values of one path."""
        return self.columns.get(key, len(self))

    def fill_from_labels(self, column: Column, key: str) -> None:
        """Work out a column of one label's values for all rows at once, out of the index that has them by value."""
        column.codes[: len(self._table)] = NOTHING
        column.codes[self._free] = UNKNOWN
        index = self.labels.key(key) or Inverted()
        for value in index.values():
            slots = index.get(value)
            column.codes[np.fromiter(slots, dtype=np.int32, count=len(slots))] = column.code(value)

    def codes(self, column: Column, snapshot: Snapshot, places: Places | None = None) -> Codes:
        """What ``column`` knows of a snapshot's rows (at some places): codes, ``UNKNOWN`` for rows of the past.

        The answer may be shared: it is not to be changed.
        """
        if places is None and snapshot is self._whole:
            return self._in_order(column, snapshot)
        slots = snapshot.slots if places is None else snapshot.slots[places]
        if snapshot.changes == self.changes:
            return column.codes[slots]
        rows = snapshot.rows if places is None else [snapshot.rows[place] for place in places]
        table, room = self._table, len(self._table)
        current = np.fromiter(
            (0 <= slot < room and table[slot] is row for slot, row in zip(slots.tolist(), rows, strict=True)),
            dtype=np.bool_,
            count=len(rows),
        )
        codes = np.zeros(len(rows), dtype=np.int32)
        codes[current] = column.codes[slots[current]]
        return codes

    def _in_order(self, column: Column, whole: Snapshot) -> Codes:
        if column.in_order is not None and column.in_order[0] == self.changes:
            return column.in_order[1]
        codes = column.codes[whole.slots]
        if codes.all():  # else more will be known at the next question
            column.in_order = (self.changes, codes)
        return codes

    def keep(self, column: Column, rows: Sequence[Row], slots: Codes, codes: Sequence[int]) -> None:
        """Keep in ``column`` what was worked out (negative codes stand for nothing) for rows that are current."""
        kept = [
            (slot, code)
            for row, slot, code in zip(rows, slots.tolist(), codes, strict=True)
            if code > 0 and self.is_at(row, slot)
        ]
        if kept:
            column.codes[[slot for slot, _ in kept]] = [code for _, code in kept]

    def is_at(self, row: Row, slot: int) -> bool:
        """Whether ``row`` is what the table has in that slot now."""
        return 0 <= slot < len(self._table) and self._table[slot] is row
