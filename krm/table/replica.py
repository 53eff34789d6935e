"""The replica of one resource in an API process: rows, their order, indexes and columns, kept up to date by changes.

It knows nothing of Redis, of questions or of time; ``follow`` feeds it, ``krm.query`` asks it. It belongs to one
event loop: nothing here is locked. A row is immutable, so a caller that took a list of rows has a snapshot.
What is NOT promised: that the sets which the indexes return survive a change.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple, Protocol

from krm.resources import Resource
from krm.store.rows import DIGEST_MODULUS, Codec, Row, digest
from krm.table.columns import MISSING, Column, Columns
from krm.table.indexes import Inverted, LabelIndex, Segment

NODE_COLUMN: Final = "node"


class Change(Protocol):
    """One numbered step of the table; ``record`` is None when the object has gone."""

    @property
    def seq(self) -> int: ...
    @property
    def uid(self) -> str: ...
    @property
    def record(self) -> bytes | None: ...


class Step(NamedTuple):
    """What a change did: the row before and after it."""

    before: Row | None
    after: Row | None


class Replica:
    """Rows of one resource by uid, by (namespace, name) in order, and by what questions often ask for."""

    def __init__(self, resource: Resource, codec: Codec, *, cluster: str = "", columns: Columns | None = None) -> None:
        self.resource = resource
        self.codec = codec
        self.cluster = cluster
        self.columns = columns or Columns()
        self.seq = 0
        """Number of the last change that is in."""
        self.digest = 0
        """Sum of the rows' digests modulo 2**64, kept by addition."""
        self.by_uid: dict[str, Row] = {}
        self.segments: dict[str, Segment] = {}
        self.namespaces: list[str] = []
        """The namespaces that have rows, sorted."""
        self.labels = LabelIndex()
        self.nodes = Inverted()
        self.owners = Inverted()
        names = [column.name for column in resource.columns]
        self._node_at = names.index(NODE_COLUMN) if NODE_COLUMN in names else None

    def __len__(self) -> int:
        return len(self.by_uid)

    # -- changing ----------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget every row."""
        self.seq = self.digest = 0
        self.by_uid = {}
        self.segments = {}
        self.namespaces = []
        self.labels, self.nodes, self.owners = LabelIndex(), Inverted(), Inverted()
        self.columns.clear()

    def load(self, rows: Iterable[Row], *, seq: int = 0) -> None:
        """Take ``rows`` in place of what was there; of two with one uid the later one counts."""
        self.clear()
        self.by_uid = {row.uid: row for row in rows}
        by_namespace: dict[str, list[Row]] = {}
        total = 0
        for row in self.by_uid.values():
            by_namespace.setdefault(row.namespace, []).append(row)
            self._index(row)
            total += digest(row.uid, row.version)
        for namespace, members in by_namespace.items():
            segment = self.segments[namespace] = Segment()
            segment.fill(members)
        self.namespaces = sorted(by_namespace)
        self.digest = total % DIGEST_MODULUS
        self.seq = seq

    def apply(self, change: Change) -> Step | None:
        """Bring a change in; None if it was in already. Raises ``CorruptData``, ``UnknownFormat``: nothing changed."""
        if change.seq <= self.seq:
            return None
        step = self.drop(change.uid) if change.record is None else self.put(self.codec.decode(change.record))
        self.seq = change.seq
        return step

    def put(self, row: Row) -> Step:
        """Bring a row in, in place of the one with its uid."""
        before = self.by_uid.get(row.uid)
        if before is None:
            self._insert(row)
        elif before.namespace == row.namespace and before.name == row.name:
            self._replace(before, row)
        else:  # no API server renames an object, but a table must not break over one that does
            self._remove(before)
            self._insert(row)
        return Step(before, row)

    def drop(self, uid: str) -> Step:
        """Take the row with that uid out, if it is there."""
        before = self.by_uid.get(uid)
        if before is not None:
            self._remove(before)
        return Step(before, None)

    def _insert(self, row: Row) -> None:
        segment = self.segments.get(row.namespace)
        if segment is None:
            segment = self.segments[row.namespace] = Segment()
            insort(self.namespaces, row.namespace)
        segment.put(row)
        self.by_uid[row.uid] = row
        self._index(row)
        self.digest = (self.digest + digest(row.uid, row.version)) % DIGEST_MODULUS

    def _replace(self, before: Row, row: Row) -> None:
        self.segments[row.namespace].replace(row)
        self.by_uid[row.uid] = row
        if before.labels != row.labels or before.owners != row.owners or self._node(before) != self._node(row):
            self._unindex(before)
            self._index(row)
        self.columns.forget(row.uid)
        change = digest(row.uid, row.version) - digest(before.uid, before.version)
        self.digest = (self.digest + change) % DIGEST_MODULUS

    def _remove(self, row: Row) -> None:
        segment = self.segments[row.namespace]
        segment.drop(row)
        if not segment.rows:
            del self.segments[row.namespace]
            del self.namespaces[bisect_left(self.namespaces, row.namespace)]
        del self.by_uid[row.uid]
        self._unindex(row)
        self.columns.forget(row.uid)
        self.digest = (self.digest - digest(row.uid, row.version)) % DIGEST_MODULUS

    def _node(self, row: Row) -> Any:
        return None if self._node_at is None else row.columns[self._node_at]

    def _index(self, row: Row) -> None:
        self.labels.add(row.labels, row.uid)
        node = self._node(row)
        if isinstance(node, str):
            self.nodes.add(node, row.uid)
        for owner in filter(None, row.owners):
            self.owners.add(owner, row.uid)

    def _unindex(self, row: Row) -> None:
        self.labels.discard(row.labels, row.uid)
        node = self._node(row)
        if isinstance(node, str):
            self.nodes.discard(node, row.uid)
        for owner in filter(None, row.owners):
            self.owners.discard(owner, row.uid)

    # -- asking ------------------------------------------------------------------------------------------------

    @property
    def has_nodes(self) -> bool:
        """Whether ``nodes`` indexes this resource."""
        return self._node_at is not None

    def get(self, namespace: str, name: str) -> Row | None:
        """The row of that key; while a replacement is under way the one that came later."""
        segment = self.segments.get(namespace)
        if segment is None:
            return None
        position = bisect_left(segment.names, name)
        found: Row | None = None
        while position < len(segment.names) and segment.names[position] == name:
            found = segment.rows[position]
            position += 1
        return found

    def named(self, name: str, namespaces: Iterable[str] | None = None) -> list[Row]:
        """The rows of that name in every namespace, or in these, in order of the namespaces."""
        among = self.namespaces if namespaces is None else sorted(namespaces)
        found = (self.get(namespace, name) for namespace in among)
        return [row for row in found if row is not None]

    def rows(self, namespaces: AbstractSet[str] | None = None) -> list[Row]:
        """A snapshot of all rows, or of those in some namespaces, in the order of (namespace, name)."""
        out: list[Row] = []
        for namespace in self._among(namespaces):
            out += self.segments[namespace].rows
        return out

    def count(self, namespaces: AbstractSet[str] | None = None) -> int:
        """How many rows there are in some namespaces, or at all."""
        if namespaces is None:
            return len(self.by_uid)
        return sum(len(self.segments[namespace].rows) for namespace in self._among(namespaces))

    def uids(self, namespaces: AbstractSet[str] | None = None) -> list[str]:
        """The uids of ``rows(namespaces)``, in the same order."""
        out: list[str] = []
        for namespace in self._among(namespaces):
            out += self.segments[namespace].uids
        return out

    def of(self, uids: AbstractSet[str], namespaces: AbstractSet[str] | None = None) -> list[Row]:
        """A snapshot of the rows with these uids, in the order of (namespace, name)."""
        if len(uids) * 8 < self.count(namespaces):
            by_uid = self.by_uid
            found = [by_uid[uid] for uid in uids]
            if namespaces is not None:
                found = [row for row in found if row.namespace in namespaces]
            found.sort(key=_key)
            return found
        out: list[Row] = []
        for namespace in self._among(namespaces):
            segment = self.segments[namespace]
            if not uids.isdisjoint(segment.uids):
                out += [row for uid, row in zip(segment.uids, segment.rows, strict=True) if uid in uids]
        return out

    def _among(self, namespaces: AbstractSet[str] | None) -> Iterable[str]:
        if namespaces is None:
            return self.namespaces
        return sorted(namespace for namespace in namespaces if namespace in self.segments)

    def is_current(self, row: Row) -> bool:
        """Whether ``row`` is what the table has now (and not a row of an older snapshot)."""
        return self.by_uid.get(row.uid) is row

    def known(self, column: Column, rows: Iterable[Row]) -> list[Any]:
        """What ``column`` has for a snapshot of rows; ``MISSING`` where nothing is known of that very row."""
        kept = column.values
        by_uid = self.by_uid
        return [kept.get(row.uid, MISSING) if by_uid.get(row.uid) is row else MISSING for row in rows]


def _key(row: Row) -> tuple[str, str]:
    return (row.namespace, row.name)
