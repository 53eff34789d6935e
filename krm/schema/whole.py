"""Whole objects as the value of a list: its length is known before its first byte, and it is made while it is sent.

Rows are what they were when the list was taken, however the table changes meanwhile. Of a long list only the stored
rows and one piece of its text are in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from krm.errors import CorruptData
from krm.schema.parts import PIECE
from krm.store.rows import Codec, Row

_BEFORE: Final = b'{"object":'
_BETWEEN: Final = b'},{"object":'
_AFTER: Final = b"}"


class Objects:
    """The JSON array of ``{"object": ...}`` for each of some rows. Its ``len`` is that of the text.

    Raises ``MissingDictionary`` at once if a row's text could not be read.
    """

    def __init__(self, codec: Codec, rows: Sequence[Row]) -> None:
        self._codec = codec
        self._rows = rows
        around = len(_BETWEEN) * len(rows) if rows else 0  # as many bytes as one before, one after, and the commas
        self._ends = list(accumulate(codec.sizes(rows)))
        self._size = (self._ends[-1] + around + 1) if rows else 2

    def __len__(self) -> int:
        return self._size

    def pieces(self) -> Iterator[bytes]:
        """The text. Raises ``CorruptData``: what was given so far is not the whole."""
        left = self._size
        for piece in self._pieces():
            left -= len(piece)
            yield piece
        if left:
            raise CorruptData("stored objects are not as long as their records say")

    def _pieces(self) -> Iterator[bytes]:
        if not self._rows:
            yield b"[]"
            return
        before = b"[" + _BEFORE
        for rows in self._portions():
            yield before + _BETWEEN.join(self._codec.bodies(rows))
            before = _BETWEEN
        yield _AFTER + b"]"

    def _portions(self) -> Iterator[Sequence[Row]]:
        start, before = 0, 0
        while start < len(self._rows):
            end = max(start + 1, bisect_right(self._ends, before + PIECE, start))
            yield self._rows[start:end]
            start, before = end, self._ends[end - 1]
