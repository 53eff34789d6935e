"""The rows of a verified list, as they lie in Redis: chunks of rows, each sealed and compressed."""

from __future__ import annotations

from typing import Final

import msgspec

from krm.errors import CorruptData
from krm.store import envelope
from krm.store.compression import Compressor
from krm.store.envelope import Compression, Envelope

MAX_BYTES: Final = 8 * 2**20
"""Of a chunk: a larger value would hold up every other client of Redis."""
TARGET_BYTES: Final = 2 * 2**20


class ListedRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One object of a list. ``record`` is empty where the table has the object at this version, or knows better."""

    namespace: str
    name: str
    uid: str
    version: str
    record: bytes
    newer: bytes = b""
    """Record of a newer state than the listed one: what was there when the object was read by itself."""
    gone: bool = False
    """Of a list that is told by what differs: the list before had this object, and this one does not."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ListedRow]).decode


def pack(rows: list[ListedRow], compressor: Compressor, schema: int) -> bytes:
    """A chunk."""
    body = _encode(rows)
    # The records in it are compressed already: what is left to gain are the keys and uids of rows without one.
    if any(row.record or row.newer for row in rows):
        return envelope.seal(Envelope(Compression.NONE, schema, 0, b"", body, len(body)))
    how, dictionary, packed = compressor.compress(body)
    return envelope.seal(Envelope(how, schema, dictionary, b"", packed, len(body)))


def unpack(chunk: bytes, compressor: Compressor) -> list[ListedRow]:
    """Its rows. Raises ``CorruptData``, ``UnknownFormat``."""
    opened = envelope.unseal(chunk)
    body = compressor.decompress(opened.compression, opened.dictionary, opened.body, opened.body_size)
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise CorruptData(f"a chunk of a verified list does not decode: {error}") from error
