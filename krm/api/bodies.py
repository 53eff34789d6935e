"""Reading a request's body under bounds: of size (also unpacked), of time, and of form. Everything before GraphQL."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from krm.errors import Code
from krm.schema.engine import Request as Question
from krm.schema.engine import entry

READ_TIMEOUT_S: Final = 10.0
"""A body of at most some hundred kilobytes takes longer only on purpose."""


class Refusal(Exception):
    """The request is refused with this status, code and text."""

    def __init__(
        self, status: int, message: str, code: Code = Code.BAD_REQUEST, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


def refused(refusal: Refusal) -> Response:
    """A refusal in the form of a GraphQL answer."""
    body = orjson.dumps({"errors": [entry(refusal.code, str(refusal))]})
    return Response(body, refusal.status, headers=refusal.headers, media_type="application/json")


async def question(request: Request, max_bytes: int, *, timeout_s: float = READ_TIMEOUT_S) -> Question:
    """The GraphQL request in the body. Raises ``Refusal``."""
    check_headers(request, max_bytes)
    try:
        async with asyncio.timeout(timeout_s):
            body = await _read(request, max_bytes)
    except TimeoutError as error:
        raise Refusal(
            408, f"the body did not arrive within {timeout_s:g} s", headers={"Connection": "close"}
        ) from error
    except ClientDisconnect as error:
        raise Refusal(400, "the connection was closed before the body was whole") from error
    return parse(unpack(body, request.headers.get("content-encoding", ""), max_bytes))


def check_headers(request: Request, max_bytes: int) -> None:
    """Type, encoding and announced length. Raises ``Refusal``."""
    if "upgrade" in request.headers.get("connection", "").lower():
        raise Refusal(400, "Upgrade: only a GET can become a WebSocket", headers={"Connection": "close"})
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "").removeprefix("charset=")
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise Refusal(415, "Content-Type: only application/json (UTF-8) is taken")
    if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity", "gzip"):
        raise Refusal(415, "Content-Encoding: only gzip is taken")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced[:19]) > max_bytes:
        raise _too_large(max_bytes)


async def _read(request: Request, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> Refusal:
    # Closed, because the rest of the body would otherwise be read for nothing.
    return Refusal(413, f"the body is larger than {max_bytes} bytes (KRM_MAX_BODY)", headers={"Connection": "close"})


def unpack(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body without its content encoding, never more than ``max_bytes`` of it. Raises ``Refusal``."""
    if encoding.strip().lower() != "gzip":
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise Refusal(400, "the body is not gzip") from error
    if len(plain) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise Refusal(400, "the body is not one whole gzip stream")
    return plain


def parse(body: bytes) -> Question:
    """The question in JSON text. Raises ``Refusal``."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "the body is not JSON") from error
    if isinstance(document, list):
        raise Refusal(400, "BATCHING_DISABLED: one request at a time, as a JSON object")
    if not isinstance(document, dict):
        raise Refusal(400, "the body is not a JSON object")
    return checked(document)


def checked(document: Mapping[str, Any]) -> Question:
    """The question in decoded JSON. Raises ``Refusal`` that names the member that is wrong."""
    query = document.get("query")
    if not isinstance(query, str) or not query.strip():
        raise Refusal(400, "query: a text is required")
    return Question(
        query=query,
        variables=_member(document, "variables", dict, "an object"),
        operation_name=_member(document, "operationName", str, "a text") or None,
    )


def _member(document: Mapping[str, Any], name: str, type_: type, shown: str) -> Any:
    value = document.get(name)
    if value is not None and not isinstance(value, type_):
        raise Refusal(400, f"{name}: not {shown}")
    return value
