"""The structures a replica is made of: rows in key order, and inverted indexes of uids.

Both are cheap to change: a step of the table costs a bisection and a memory move inside one namespace, and a set
operation an index, whatever the number of rows. They hold text, not further containers, so that a full garbage
collection has little to visit: an index entry with one member is that member, without a set around it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Final

from krm.store.rows import Row

_NOTHING: Final[frozenset[str]] = frozenset()


class Segment:
    """The rows of one namespace in the order of their names: three lists side by side."""

    __slots__ = ("names", "rows", "uids")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.uids: list[str] = []
        self.rows: list[Row] = []

    def at(self, name: str, uid: str) -> int | None:
        """Where the row with that name and uid is, or None."""
        position = bisect_left(self.names, name)
        while position < len(self.names) and self.names[position] == name:
            if self.uids[position] == uid:
                return position
            position += 1
        return None

    def put(self, row: Row) -> None:
        """Insert a row that is not there yet."""
        position = bisect_right(self.names, row.name)
        self.names.insert(position, row.name)
        self.uids.insert(position, row.uid)
        self.rows.insert(position, row)

    def replace(self, row: Row) -> None:
        """Put a row in the place of the one with its name and uid."""
        position = self.at(row.name, row.uid)
        if position is None:
            raise KeyError(row.uid)
        self.rows[position] = row

    def drop(self, row: Row) -> None:
        """Remove the row with that name and uid."""
        position = self.at(row.name, row.uid)
        if position is None:
            raise KeyError(row.uid)
        del self.names[position], self.uids[position], self.rows[position]

    def fill(self, rows: list[Row]) -> None:
        """Take all these rows at once, in any order, in place of what was there."""
        rows.sort(key=_name)
        self.rows = rows
        self.names = [row.name for row in rows]
        self.uids = [row.uid for row in rows]


def _name(row: Row) -> str:
    return row.name


class Inverted:
    """From a value to the uids of the rows that have it."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[str, str | set[str]] = {}

    def add(self, value: str, uid: str) -> None:
        members = self._members.get(value)
        if members is None:
            self._members[value] = uid
        elif isinstance(members, set):
            members.add(uid)
        elif members != uid:
            self._members[value] = {members, uid}

    def discard(self, value: str, uid: str) -> None:
        members = self._members.get(value)
        if isinstance(members, set):
            members.discard(uid)
            if not members:
                del self._members[value]
        elif members == uid:
            del self._members[value]

    def get(self, value: str) -> AbstractSet[str]:
        """The uids with that value. Not to be changed, nor kept while changes go on."""
        members = self._members.get(value)
        if members is None:
            return _NOTHING
        return members if isinstance(members, set) else frozenset((members,))

    def any_of(self, values: Iterable[str]) -> AbstractSet[str]:
        """The uids with one of the values."""
        found = [self.get(value) for value in dict.fromkeys(values)]
        return found[0] if len(found) == 1 else _NOTHING.union(*found)

    def all(self) -> AbstractSet[str]:
        """The uids with any value."""
        single = [uid for uid in self._members.values() if isinstance(uid, str)]
        return frozenset(chain(single, chain.from_iterable(m for m in self._members.values() if isinstance(m, set))))

    def values(self) -> Iterator[str]:
        """The values that some row has."""
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


class LabelIndex:
    """From a label's key and value to uids."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[str, Inverted] = {}

    def add(self, labels: Mapping[str, str], uid: str) -> None:
        keys = self._keys
        for key, value in labels.items():
            index = keys.get(key)
            if index is None:
                index = keys[key] = Inverted()
            index.add(value, uid)

    def discard(self, labels: Mapping[str, str], uid: str) -> None:
        for key, value in labels.items():
            index = self._keys.get(key)
            if index is not None:
                index.discard(value, uid)
                if not index:
                    del self._keys[key]

    def key(self, key: str) -> Inverted | None:
        """The index of one label key, None if no row has it."""
        return self._keys.get(key)

    def any_of(self, key: str, values: Iterable[str]) -> AbstractSet[str]:
        """The uids whose label ``key`` has one of the values."""
        index = self._keys.get(key)
        return _NOTHING if index is None else index.any_of(values)

    def having(self, key: str) -> AbstractSet[str]:
        """The uids that have the label ``key``."""
        index = self._keys.get(key)
        return _NOTHING if index is None else index.all()
