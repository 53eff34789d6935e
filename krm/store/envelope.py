"""The wrapping of every stored value: nothing is decompressed or decoded before its checksum has been checked.

    magic "KR" | format u8 | compression u8 | schema u16 | dictionary u32 | head size u32 | body size u32
    | checksum, 8 bytes | head | body

``head`` is small and always readable at once; ``body`` is compressed. The checksum covers all the rest.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Final, NamedTuple

from krm.errors import CorruptData, UnknownFormat

MAGIC: Final = b"KR"
FORMAT: Final = 1
MAX_BODY: Final = 64 * 2**20
"""Bytes that a body may have after decompression; more is refused before it is decompressed."""

_HEADER: Final = struct.Struct("<2sBBHIII")
_ANNOUNCED: Final = struct.Struct("<6xI4xI").unpack_from
_CHECKSUM_SIZE: Final = 8
OVERHEAD: Final = _HEADER.size + _CHECKSUM_SIZE


class Compression(IntEnum):
    """How the body is compressed."""

    NONE = 0
    ZSTD = 1
    ZSTD_DICTIONARY = 2


_COMPRESSIONS: Final = tuple(Compression)  # by number, which is much faster than by call


class Envelope(NamedTuple):
    """An opened envelope; ``body`` is still compressed, ``body_size`` its size once it is not."""

    compression: Compression
    schema: int
    dictionary: int
    head: bytes
    body: bytes
    body_size: int


def _checksum(header: bytes, head: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(header + head + body, digest_size=_CHECKSUM_SIZE).digest()


def seal(envelope: Envelope) -> bytes:
    """The bytes of ``envelope``."""
    compression, schema, dictionary_id, head, body, body_size = envelope
    header = _HEADER.pack(MAGIC, FORMAT, compression, schema, dictionary_id, len(head), body_size)
    rest = head + body
    return header + hashlib.blake2b(header + rest, digest_size=_CHECKSUM_SIZE).digest() + rest


def unseal(data: bytes) -> Envelope:
    """Check ``data`` and take it apart. Raises ``CorruptData``, or ``UnknownFormat`` for one of a newer KRM."""
    if len(data) < OVERHEAD or data[:2] != MAGIC:
        raise CorruptData("a stored value is not one that KRM wrote")
    header = data[: _HEADER.size]
    _, version, compression, schema, dictionary, head_size, body_size = _HEADER.unpack(header)
    if version != FORMAT:
        raise UnknownFormat(f"a stored value has format {version}; this KRM reads format {FORMAT}")
    body_at = OVERHEAD + head_size
    if body_at > len(data):
        raise CorruptData("a stored value is cut short")
    head, body = data[OVERHEAD:body_at], data[body_at:]
    if _checksum(header, head, body) != data[_HEADER.size : OVERHEAD]:
        raise CorruptData("a stored value does not fit its checksum")
    if body_size > MAX_BODY:
        raise CorruptData(f"a stored value claims {body_size} bytes; at most {MAX_BODY} are allowed")
    if compression >= len(_COMPRESSIONS):
        raise UnknownFormat(f"a stored value has compression {compression}, which this KRM does not know")
    return Envelope(_COMPRESSIONS[compression], schema, dictionary, head, body, body_size)


def reopen(data: bytes) -> tuple[Compression, int, bytes, int]:
    """Compression, dictionary, body and its size once it is not compressed, of what ``unseal`` has taken before.

    Nothing is checked again: that costs as much as decompressing.
    """
    _, _, compression, _, dictionary, head_size, body_size = _HEADER.unpack_from(data)
    return _COMPRESSIONS[compression], dictionary, data[OVERHEAD + head_size :], body_size


def announced(data: bytes) -> tuple[int, int]:
    """Dictionary, and size of the body once it is not compressed, of what ``unseal`` has taken before."""
    return _ANNOUNCED(data)


def seal_plain(body: bytes) -> bytes:
    """``body`` as it is, sealed."""
    return seal(Envelope(Compression.NONE, 0, 0, b"", body, len(body)))


def dictionary(data: bytes) -> int:
    """The id of the dictionary that ``data`` claims to need, 0 for none. Checks nothing: ``unseal`` does."""
    return int.from_bytes(data[6:10], "little")
