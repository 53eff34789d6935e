"""The structures a replica is made of: rows in key order, and inverted indexes.

Both are cheap to change: a step of the table costs a bisection and a memory move inside one namespace, and a set
operation an index, whatever the number of rows. Indexes hold numbers (the *slot* that a row has as long as it lives),
not further containers, so that a full garbage collection has little to visit: an index entry with one member is that
number, without a set around it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from krm.store.rows import Row

_NOTHING: Final[frozenset[int]] = frozenset()


class Segment:
    """The rows of one namespace in the order of their names: three lists side by side."""

    __slots__ = ("names", "rows", "slots")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.slots = array("i")
        self.rows: list[Row] = []

    def put(self, row: Row, slot: int) -> None:
        """Insert a row that is not there yet."""
        position = bisect_right(self.names, row.name)
        self.names.insert(position, row.name)
        self.slots.insert(position, slot)
        self.rows.insert(position, row)

    def replace(self, row: Row, slot: int) -> None:
        """Put a row in the place of the one with its name and slot."""
        self.rows[self._at(row.name, slot)] = row

    def drop(self, row: Row, slot: int) -> None:
        """Remove the row with that name and slot."""
        position = self._at(row.name, slot)
        del self.names[position], self.slots[position], self.rows[position]

    def fill(self, members: list[tuple[str, int, Row]]) -> None:
        """Take all these (name, slot, row) at once, in any order, in place of what was there."""
        members.sort(key=_name)
        self.names = [name for name, _, _ in members]
        self.slots = array("i", [slot for _, slot, _ in members])
        self.rows = [row for _, _, row in members]

    def _at(self, name: str, slot: int) -> int:
        # Two rows have one name only while an object is being replaced by another of its name.
        position = bisect_left(self.names, name)
        while self.slots[position] != slot:
            position += 1
        return position


def _name(member: tuple[str, int, Row]) -> str:
    return member[0]


class Inverted:
    """From a value to the slots of the rows that have it."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[str, int | set[int]] = {}

    def add(self, value: str, slot: int) -> None:
        members = self._members.get(value)
        if members is None:
            self._members[value] = slot
        elif isinstance(members, set):
            members.add(slot)
        elif members != slot:
            self._members[value] = {members, slot}

    def add_all(self, value: str, slots: list[int]) -> None:
        """Add several different slots that are not there yet."""
        members = self._members.get(value)
        if isinstance(members, set):
            members.update(slots)
        elif members is None and len(slots) == 1:
            self._members[value] = slots[0]
        else:
            self._members[value] = {*slots} if members is None else {members, *slots}

    def discard(self, value: str, slot: int) -> None:
        members = self._members.get(value)
        if isinstance(members, set):
            members.discard(slot)
            if not members:
                del self._members[value]
        elif members == slot:
            del self._members[value]

    def get(self, value: str) -> AbstractSet[int]:
        """The slots with that value. Not to be changed, nor kept while changes go on."""
        members = self._members.get(value)
        if members is None:
            return _NOTHING
        return members if isinstance(members, set) else frozenset((members,))

    def any_of(self, values: Iterable[str]) -> AbstractSet[int]:
        """The slots with one of the values."""
        found = [self.get(value) for value in dict.fromkeys(values)]
        return found[0] if len(found) == 1 else _NOTHING.union(*found)

    def count(self, values: Iterable[str]) -> int:
        """How many slots ``any_of`` would give at most; cheap."""
        return sum(len(m) if isinstance(m, set) else 1 for m in map(self._members.get, values) if m is not None)

    def values(self) -> Iterator[str]:
        """The values that some row has."""
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


class LabelIndex:
    """From a label's key and value to slots."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[str, Inverted] = {}

    def add(self, labels: Mapping[str, str], slot: int) -> None:
        keys = self._keys
        for key, value in labels.items():
            index = keys.get(key)
            if index is None:
                index = keys[key] = Inverted()
            index.add(value, slot)

    def add_all(self, labels: Mapping[str, str], slots: list[int]) -> None:
        """Add several rows that have the same labels."""
        for key, value in labels.items():
            index = self._keys.get(key)
            if index is None:
                index = self._keys[key] = Inverted()
            index.add_all(value, slots)

    def discard(self, labels: Mapping[str, str], slot: int) -> None:
        for key, value in labels.items():
            index = self._keys.get(key)
            if index is not None:
                index.discard(value, slot)
                if not index:
                    del self._keys[key]

    def key(self, key: str) -> Inverted | None:
        """The index of one label key, None if no row has it."""
        return self._keys.get(key)

    def __len__(self) -> int:
        return len(self._keys)
