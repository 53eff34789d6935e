"""Columns by path: what a path yields for each row, worked out when a question first needs it and then kept.

A change forgets the changed row's values, so a column is as current as the rows; the next question works out only
what is missing. Columns are bounded in number and bytes, the least used goes first. What a path *is* and how it is
evaluated is the caller's; here a column is a key and values by uid.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, Final

MISSING: Final = object()
"""Stands for a value that has not been worked out (None is a value: the path is missing in the object)."""

_CELL_BYTES: Final = 100
"""What an entry of a dict costs, roughly, beside its value."""
_MAX_SHARED: Final = 4_096
"""Distinct values that are kept once for all rows; a column with more of them has few repetitions."""


class Column:
    """Values of one path by uid."""

    __slots__ = ("_columns", "_shared", "bytes", "is_dropped", "values")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._shared: dict[Any, Any] = {}
        self.values: dict[str, Any] = {}
        self.bytes = 0
        self.is_dropped = False

    def put(self, uid: str, value: Any) -> Any:
        """Keep a value unless the bound is reached; returns it, or the equal text that is kept already."""
        cost = _CELL_BYTES
        if _is_text(value):
            kept = self._shared.get(value)
            if kept is None:
                cost += _size(value)
                if len(self._shared) < _MAX_SHARED:
                    self._shared[value] = value
            else:
                value = kept
        elif value is not None:
            cost += _size(value)
        if not self.is_dropped and self._columns.take(self, cost):
            self.bytes += cost
            self.values[uid] = value
        return value


def _is_text(value: Any) -> bool:
    """A text, or a tuple of texts: equal ones are interchangeable (which 1, 1.0 and True are not)."""
    return type(value) is str or (type(value) is tuple and all(type(element) is str for element in value))


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 64 + sum(_size(k) + _size(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return 64 + sum(map(_size, value))
    return sys.getsizeof(value)


class Columns:
    """The columns of one replica."""

    def __init__(self, *, max_columns: int = 64, max_bytes: int = 128 * 2**20) -> None:
        self._max_columns = max_columns
        self._max_bytes = max_bytes
        self._by_key: OrderedDict[str, Column] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def get(self, key: str) -> Column:
        """The column of that key, made empty if there is none; it counts as used just now."""
        column = self._by_key.get(key)
        if column is None:
            column = self._by_key[key] = Column(self)
            if len(self._by_key) > self._max_columns:
                self._drop_oldest()
        else:
            self._by_key.move_to_end(key)
        return column

    def forget(self, uid: str) -> None:
        """Drop what is known of a row that changed or went."""
        for column in self._by_key.values():
            if column.values.pop(uid, MISSING) is not MISSING:
                column.bytes -= _CELL_BYTES
                self.bytes -= _CELL_BYTES

    def clear(self) -> None:
        """Drop everything."""
        for column in self._by_key.values():
            column.is_dropped = True
        self._by_key.clear()
        self.bytes = 0

    def take(self, column: Column, cost: int) -> bool:
        """Make room for ``cost`` bytes in ``column``, at the expense of less used ones; False if that is too much."""
        while self.bytes + cost > self._max_bytes and len(self._by_key) > 1:
            if next(iter(self._by_key.values())) is column:
                return False
            self._drop_oldest()
        if self.bytes + cost > self._max_bytes:
            return False
        self.bytes += cost
        return True

    def _drop_oldest(self) -> None:
        _, dropped = self._by_key.popitem(last=False)
        dropped.is_dropped = True
        self.bytes -= dropped.bytes
