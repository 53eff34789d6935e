"""Columns by path: what a path yields for each row, worked out when a question first needs it and then kept.

A column is a number a row, which stands for one of the column's distinct values: four bytes a row, and a condition is
asked once for each distinct value. A change forgets the changed row's number, so a column is as current as the rows;
the next question works out only what is missing. Columns are bounded in number and bytes, the least used goes first.
What a path *is* and how it is evaluated is the caller's. What is NOT kept: values that are objects or lists, and long
texts.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]

UNKNOWN: Final = 0
"""The code of what has not been worked out."""
NOTHING: Final = 1
"""The code of None: the path is missing in the object."""
LONGEST_TEXT: Final = 2_048
_ENTRY_BYTES: Final = 150
"""What a distinct value costs beside its own size, roughly."""


class Column:
    """Codes by slot, values by code. Values are only ever added, so a copy of codes stays readable."""

    __slots__ = ("_code_of", "bytes", "codes", "in_order", "values")

    def __init__(self, capacity: int) -> None:
        self.codes: Codes = np.zeros(capacity, dtype=np.int32)
        self.in_order: tuple[int, Codes] | None = None
        """The codes of all rows in their order, and the ``changes`` of the replica for which that holds."""
        self.values: list[Any] = [None, None]
        self._code_of: dict[Any, int] = {}
        self.bytes = self.codes.nbytes

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever worked out for it."""
        return len(self.values) == 2 and not self.codes.any()

    def code(self, value: Any) -> int:
        """The code of ``value``, ``UNKNOWN`` if values like that are not kept."""
        if value is None:
            return NOTHING
        if type(value) is str:
            key: Any = value
            if len(value) > LONGEST_TEXT:
                return UNKNOWN
        elif type(value) is dict or type(value) is list:
            return UNKNOWN
        elif type(value) is tuple and all(type(element) is str for element in value):
            key = value
        else:
            # As JSON text, because 1, 1.0 and True are equal keys.
            key = msgspec.json.encode(value, order="deterministic")
            if len(key) > LONGEST_TEXT:
                return UNKNOWN
        code = self._code_of.get(key)
        if code is None:
            code = self._code_of[key] = len(self.values)
            self.values.append(value)
            self.bytes += _ENTRY_BYTES + _size(value)
        return code

    def grow(self, capacity: int) -> None:
        """Have room for slots below ``capacity``."""
        grown = np.zeros(capacity, dtype=np.int32)
        grown[: len(self.codes)] = self.codes
        self.bytes += grown.nbytes - self.codes.nbytes
        self.codes = grown


def _size(value: Any) -> int:
    if isinstance(value, tuple):
        return 64 + sum(map(sys.getsizeof, value))
    return sys.getsizeof(value)


class Columns:
    """The columns of one replica."""

    def __init__(self, *, max_columns: int = 64, max_bytes: int = 96 * 2**20) -> None:
        self._max_columns = max_columns
        self._max_bytes = max_bytes
        self._by_key: OrderedDict[str, Column] = OrderedDict()
        self._capacity = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    @property
    def bytes(self) -> int:
        """What the columns hold, roughly."""
        return sum(column.bytes for column in self._by_key.values())

    def get(self, key: str, rows: int) -> Column:
        """The column of that key, made empty if there is none; it counts as used just now.

        ``rows``: how many rows there are. A column with far more distinct values is mostly of the past: made anew.
        """
        column = self._by_key.get(key)
        if column is not None and len(column.values) > 2 * rows + 1_024:
            column = None
        if column is None:
            column = self._by_key[key] = Column(self._capacity)
        self._by_key.move_to_end(key)
        while len(self._by_key) > 1 and (len(self._by_key) > self._max_columns or self.bytes > self._max_bytes):
            self._by_key.popitem(last=False)
        return column

    def forget(self, slot: int) -> None:
        """Drop what is known of the row in a slot."""
        for column in self._by_key.values():
            column.codes[slot] = UNKNOWN

    def grow(self, capacity: int) -> None:
        """Have room for slots below ``capacity``."""
        self._capacity = capacity
        for column in self._by_key.values():
            column.grow(capacity)

    def clear(self) -> None:
        """Drop everything."""
        self._by_key.clear()
        self._capacity = 0
