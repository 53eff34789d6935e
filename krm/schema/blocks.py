"""What a plan made of long lists, kept in blocks of neighbouring rows: asked again, a list is joined out of them.

Where a block ends depends on the rows in it, not on their number, so that a row that comes or goes changes one block,
and lists that have a stretch of rows in common have its blocks in common, too. Beyond some bytes blocks are compressed:
neighbours resemble each other so much that a block takes a tenth, and is compressed faster than it was made.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import is_
from typing import Final, NamedTuple

from krm.schema.parts import Pile, memory_of, text_of
from krm.store.compression import Packed
from krm.store.rows import Row

MOST_ROWS: Final = 128
"""Rows of a block: a few milliseconds of work where none is known."""
_ONE_IN: Final = 64
"""Rows after which a block ends; a power of two."""
_ROW_BYTES: Final = 24
_BLOCK_BYTES: Final = 400


def cut(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """``rows`` in blocks."""
    start = 0
    for place, row in enumerate(rows, 1):
        if place - start == MOST_ROWS or not hash(row.uid) & (_ONE_IN - 1):
            yield rows[start:place]
            start = place
    if start < len(rows):
        yield rows[start:]


class Block(NamedTuple):
    """The JSON texts of some rows, joined by commas."""

    rows: Sequence[Row]
    text: bytes | Packed
    ends: array[int] | None
    """Where each row's text ends; None where rows are made as quickly as they are found."""

    @property
    def memory(self) -> int:
        """Bytes that it takes, roughly."""
        return memory_of(self.text) + _ROW_BYTES * len(self.rows) + _BLOCK_BYTES


class Shelf:
    """The blocks of one plan, each known by the uid of its first row."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._blocks: dict[str, Block] = {}
        self._pile = Pile()
        self.memory = 0
        self.rows = 0

    def get(self, rows: Sequence[Row]) -> bytes | Packed | None:
        """The text of these rows, if they are a block that is kept."""
        block = self._blocks.get(rows[0].uid)
        if block is None or len(block.rows) != len(rows) or not all(map(is_, block.rows, rows)):
            return None
        return block.text

    def known(self, rows: Sequence[Row]) -> dict[int, bytes]:
        """By the ids of rows the texts of those that are in the kept block that begins as these do."""
        block = self._blocks.get(rows[0].uid)
        if block is None or block.ends is None:
            return {}
        text, start, found = text_of(block.text), 0, {}
        for row, end in zip(block.rows, block.ends, strict=True):
            found[id(row)] = text[start:end]
            start = end + 1
        return found

    def joined(self, rows: Sequence[Row], texts: Sequence[bytes]) -> bytes | Packed:
        """As ``put``, of the texts of each row."""
        ends = array("Q", accumulate(map(len, texts), lambda end, size: end + 1 + size))
        return self.put(rows, b",".join(texts), ends)

    def put(self, rows: Sequence[Row], text: bytes, ends: array[int] | None = None) -> bytes | Packed:
        """Keep a text as the block of these rows, while there is room; the text as a part of an answer."""
        before = self._blocks.pop(rows[0].uid, None)
        if before is not None:
            self._pile.drop(before.text)
            self.memory -= before.memory
            self.rows -= len(before.rows)
        part = self._pile.part(text)
        block = Block(rows, part, ends)
        if self.memory + block.memory > self._max_bytes:
            self._pile.drop(part)
            return part
        self._blocks[rows[0].uid] = block
        self.memory += block.memory
        self.rows += len(rows)
        return part
