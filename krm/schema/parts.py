"""The parts of an answer: bytes, and texts whose length is known but which are made while they are sent.

A large answer is never whole in memory. What whole objects are made of lies in the table; what was projected waits
compressed, so that its length, its bounds and every error in it are known before the first byte is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from krm.store.compression import Packed

PIECE: Final = 2**18
"""Bytes of an answer that are made at once: a millisecond of work."""
PLAIN_MOST: Final = 2**22
"""Bytes of a list that wait as they are; what is beyond waits compressed."""
_SMALL: Final = 2**12
"""Bytes that are not worth compressing by themselves."""


class Made(Protocol):
    """A text that is made when it is sent."""

    def __len__(self) -> int:
        """Bytes of the text."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """The text. Raises ``CorruptData``: what was given so far is not the whole."""
        ...


Part = bytes | Made
"""Of an answer."""


class Pile:
    """Texts as parts: the first as they are, what is beyond ``PLAIN_MOST`` compressed."""

    def __init__(self) -> None:
        self._plain = 0

    def part(self, text: bytes) -> bytes | Packed:
        """A text as the part that it is to be."""
        if self._plain + len(text) > PLAIN_MOST and len(text) > _SMALL:
            return Packed(text)
        self._plain += len(text)
        return text

    def drop(self, part: bytes | Packed) -> None:
        """A part is needed no more."""
        if isinstance(part, bytes):
            self._plain -= len(part)


def text_of(part: bytes | Packed) -> bytes:
    """The text of a part."""
    return part if isinstance(part, bytes) else part.text()


def memory_of(part: bytes | Packed) -> int:
    """Bytes that a part takes."""
    return len(part) if isinstance(part, bytes) else part.memory


def pieces(parts: Iterable[Part]) -> Iterator[bytes]:
    """Parts joined to pieces of some size: neither many small writes nor a copy of everything.

    Raises ``CorruptData``, as ``Made.pieces``.
    """
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        for text in (part,) if isinstance(part, bytes) else part.pieces():
            waiting.append(text)
            size += len(text)
            if size >= PIECE // 2:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
