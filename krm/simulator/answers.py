"""Sending answers as the API server sends them: headers, Content-Length or chunks, gzip for large ones.

What is answered is decided elsewhere; the faults that concern the sending of a body are carried out here.
"""

from __future__ import annotations

import asyncio
import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
from aiohttp import web

from krm.simulator.counters import Count
from krm.simulator.faults import Fault
from krm.simulator.kinds import Json
from krm.simulator.status import StatusError

JSON = "application/json"
_SMALL_BYTES = 2048
"""Up to this size the real server's HTTP library buffers a body and states its length."""


@dataclass(kw_only=True)
class BodyFaults:
    """What goes wrong while one body is sent."""

    truncate: Fault | None = None
    slow: Fault | None = None


def headers(*, skew_s: float = 0.0) -> dict[str, str]:
    """What every answer carries."""
    made = {"Audit-Id": str(uuid.uuid4()), "Cache-Control": "no-cache, private"}
    if skew_s:
        made["Date"] = format_datetime(datetime.now(UTC) + timedelta(seconds=skew_s), usegmt=True)
    return made


def stream(*, skew_s: float = 0.0) -> web.StreamResponse:
    """An answer in chunks, not yet begun: what a watch writes into."""
    response = web.StreamResponse(status=200, headers={**headers(skew_s=skew_s), "Content-Type": JSON})
    response.enable_chunked_encoding()
    return response


async def send_json(
    request: web.Request, code: int, body: Json, count: Count, *, skew_s: float = 0.0
) -> web.StreamResponse:
    """Answer with one JSON document."""
    return await send(request, code, [orjson.dumps(body) + b"\n"], count, skew_s=skew_s)


async def send_status(
    request: web.Request, error: StatusError, count: Count, *, skew_s: float = 0.0
) -> web.StreamResponse:
    """Answer with a Status of failure."""
    extra = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return await send(request, error.code, [orjson.dumps(error.body) + b"\n"], count, extra=extra, skew_s=skew_s)


async def send(
    request: web.Request,
    code: int,
    pieces: Iterable[bytes],
    count: Count,
    *,
    extra: dict[str, str] | None = None,
    skew_s: float = 0.0,
    gzip_from: int | None = None,
    faults: BodyFaults | None = None,
    content_type: str = JSON,
) -> web.StreamResponse:
    """Answer with a body that comes in pieces; `gzip_from` is the size from which it is compressed if asked for."""
    made = {**headers(skew_s=skew_s), "Content-Type": content_type, **(extra or {})}
    faults = faults or BodyFaults()
    source = iter(pieces)
    first = next(source, b"")
    second = next(source, None)
    if second is None and len(first) <= _SMALL_BYTES and faults.truncate is None and faults.slow is None:
        count.bytes += len(first)
        response = web.Response(status=code, headers=made, body=first)
        await response.prepare(request)
        await response.write_eof()
        return response
    everything = _chain(first, second, source)
    if gzip_from is not None and (second is not None or len(first) >= gzip_from) and _wants_gzip(request):
        made |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        everything = _compressed(everything)
    streaming = web.StreamResponse(status=code, headers=made)
    streaming.enable_chunked_encoding()
    await streaming.prepare(request)
    await _write(request, streaming, everything, count, faults)
    return streaming


def _chain(first: bytes, second: bytes | None, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    if second is not None:
        yield second
    yield from rest


def _wants_gzip(request: web.Request) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


async def _write(
    request: web.Request,
    response: web.StreamResponse,
    pieces: Iterator[bytes],
    count: Count,
    faults: BodyFaults,
) -> None:
    sent = 0
    for piece in pieces:
        if faults.truncate is not None and sent + len(piece) > faults.truncate.after_bytes:
            await response.write(piece[: faults.truncate.after_bytes - sent])
            await asyncio.sleep(0)
            if request.transport is not None:
                request.transport.abort()
            return
        if faults.slow is not None:
            await _write_slowly(response, piece, faults.slow)
        else:
            await response.write(piece)
        sent += len(piece)
        count.bytes += len(piece)
    await response.write_eof()


async def _write_slowly(response: web.StreamResponse, piece: bytes, fault: Fault) -> None:
    size = max(fault.size, 1)
    for start in range(0, len(piece), size):
        await response.write(piece[start : start + size])
        await asyncio.sleep(fault.delay_s)
