"""Bodies of answers, read to their end within a bound of bytes, whatever they claim and however they are packed."""

from __future__ import annotations

import zlib
from typing import Protocol

import aiohttp

from krm import errors


class Counter(Protocol):
    """Whoever counts what came over the wire."""

    bytes_received: int


async def read(counter: Counter, response: aiohttp.ClientResponse, *, limit: int, where: str) -> bytes:
    """The whole body, inflated, at most ``limit`` bytes. Raises ``BadData`` if it is longer, torn or packed unknown.

    The caller bounds the time, and translates the library's errors (see ``failures.within``).
    """
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip"):
        raise errors.BadData(f"{where}: the answer is packed as {packing[:40]!r}, which was not asked for")
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if packing == "gzip" else None
    parts: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        counter.bytes_received += len(chunk)
        if inflater is not None:
            try:
                chunk = inflater.decompress(chunk, limit + 1 - size)
            except zlib.error as error:
                raise errors.BadData(f"{where}: the packed answer is damaged ({error})") from error
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise errors.BadData(f"{where}: the answer is over {limit} bytes; ask for fewer objects a page")
    if inflater is not None and not inflater.eof:
        raise errors.BadData(f"{where}: the packed answer is cut off")
    return b"".join(parts)
