"""``GET /frames/{resource}``: the query string as a question, the answer as an Arrow IPC stream, errors as JSON.

The stream begins once the rows are known and goes on batch by batch; what fails after that ends the connection in the
middle of an Arrow message, so that no reader takes a part for the whole. A frame that is too large is refused before:
exactly where it has one batch, and where the first batch lets more be expected than is allowed.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
import pyarrow as pa
from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from krm.api.bodies import Refusal
from krm.errors import AnswerError, Code, KrmError
from krm.query import arguments, cells, frames
from krm.query.frames import Frame, Odd
from krm.resources import Resource
from krm.schema import answers
from krm.schema.common import as_json
from krm.schema.context import Context
from krm.schema.engine import failure

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/vnd.apache.arrow.stream"
STATUS: Final[Mapping[Code, int]] = {
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.KIND_UNKNOWN: 404,
    Code.RATE_LIMITED: 429,
    Code.NOT_READY: 503,
    Code.INTERNAL: 503,
    Code.TOO_STALE: 504,
    Code.STALE_REPLICA: 504,
    Code.TIMEOUT: 504,
}
"""Everything else is 400."""

_TEXTS: Final = {
    "cluster": "cluster",
    "namespace": "namespace",
    "name": "name",
    "labelSelector": "label_selector",
    "fieldSelector": "field_selector",
    "after": "after",
    "maxStaleness": "max_staleness",
    "minResourceVersion": "min_resource_version",
}
_PARAMETERS: Final = (*_TEXTS, "namespaces", "where", "orderBy", "first", "columns")
_COLUMN: Final = re.compile(r"(?:[^,'\[]|\['(?:[^'\\]|\\.)*'\]|['\[])+")


class Bounds:
    """What one answer may take."""

    def __init__(self, timeout_s: float, max_bytes: int) -> None:
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes


def question(parameters: QueryParams) -> dict[str, Any]:
    """The arguments in a query string, by the names that ``answers`` knows. Raises ``AnswerError`` BAD_ARGUMENT."""
    given: dict[str, Any] = {}
    for name in parameters:
        values = parameters.getlist(name)
        if name not in _PARAMETERS:
            near = difflib.get_close_matches(name, _PARAMETERS, n=3) or sorted(_PARAMETERS)
            raise AnswerError(Code.BAD_ARGUMENT, f"no parameter {name[:100]!a}; did you mean {', '.join(near)}?")
        if name == "columns":
            given["columns"] = [column.strip() for value in values for column in _COLUMN.findall(value)]
        elif name == "namespaces":
            given["namespaces"] = [each for value in values for each in value.split(",")]
        elif len(values) > 1:
            raise arguments.bad(name, "is given twice")
        elif name in _TEXTS:
            given[_TEXTS[name]] = values[0]
        else:
            given.update(_READ[name](values[0]))
    return given


def _where(text: str) -> dict[str, Any]:
    return {"where": _json("where", text, dict, "a Filter as a JSON object")}


def _order_by(text: str) -> dict[str, Any]:
    orders = _json("orderBy", text, list, 'orders as JSON, such as [{"path": "metadata.name", "direction": "DESC"}]')
    if not all(isinstance(order, dict) for order in orders):
        raise arguments.bad("orderBy", "an order is an object")
    return {"order_by": orders}


def _first(text: str) -> dict[str, Any]:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise arguments.bad("first", "a whole number")
    return {"first": int(text)}


_READ: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "where": _where,
    "orderBy": _order_by,
    "first": _first,
}


def _json(name: str, text: str, type_: type, what: str) -> Any:
    try:
        found = orjson.loads(text)
    except ValueError as error:
        raise arguments.bad(name, f"not JSON: {error}") from error
    if not isinstance(found, type_):
        raise arguments.bad(name, what)
    return found


async def opened(context: Context, word: str, given: Mapping[str, Any], bounds: Bounds) -> Stream:
    """The stream of a frame, its first batch worked out. Raises ``AnswerError``, ``KrmError``."""
    try:
        async with asyncio.timeout(bounds.timeout_s):
            resource = answers.find(context, word)
            columns = frames.parse(resource, given.get("columns"))
            found = await answers.connection(context, resource, given)
            frame = Frame(found.replica, found.page, columns, await context.related())
            schema = frame.schema(_metadata(found, resource))
            stream = Stream(frame, schema, bounds)
            await stream.begin()
            return stream
    except TimeoutError as error:
        text = f"no answer within {bounds.timeout_s:g} s (KRM_QUERY_TIMEOUT)"
        raise AnswerError(Code.TIMEOUT, text) from error


def _metadata(found: answers.Connection, resource: Resource) -> dict[str, str]:
    page = {
        "totalCount": int(found.total_count),
        "rows": len(found.page.rows),
        "hasNextPage": found.page.has_next,
        "endCursor": found.page.end_cursor,
    }
    return {
        "krm.resource": resource.name,
        "krm.freshness": orjson.dumps(as_json(found.freshness)).decode(),
        "krm.scope": orjson.dumps(as_json(found.scope)).decode(),
        "krm.page": orjson.dumps(page).decode(),
    }


_END_BYTES: Final = 8
_CUT: Final = struct.pack("<iI", -1, 64)
"""How an Arrow message begins that does not go on: every reader calls it an error."""


class Stream:
    """The bytes of a frame as Arrow IPC, batch by batch."""

    def __init__(self, frame: Frame, schema: pa.Schema, bounds: Bounds) -> None:
        self._frame = frame
        self._schema = schema
        self._bounds = bounds
        self._outlet = _Outlet()
        self._batches: Any = iter(())

    @property
    def odd(self) -> Odd:
        """What was not of the sort that its kind says."""
        return self._frame.odd

    async def begin(self) -> None:
        """Work out what comes before the first byte. Raises ``AnswerError`` for a frame that is too large."""
        await self._begin()
        before = self._outlet.size
        await self._next()
        batches = max(1, -(-len(self._frame.page.rows) // frames.ROWS_A_BATCH))
        expected = before + batches * (self._outlet.size - before) + _END_BYTES
        if expected > self._bounds.max_bytes:
            await Stream(replace(self._frame, odd=Odd()), self._schema, self._bounds).measure()

    async def _begin(self) -> None:
        self._batches = await cells.in_turns(self._frame.batches(self._schema))
        self._writer = pa.ipc.new_stream(self._outlet, self._schema)

    async def measure(self) -> None:
        """Work out all of it and keep nothing. Raises ``AnswerError`` where it is too large."""
        await self._begin()
        while await self._next():
            self._piece()
        self._piece()

    async def _next(self) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            self._writer.close()
            return False
        self._writer.write_batch(await cells.in_turns(batch))
        return True

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises ``KrmError``, ``TimeoutError``: what was given so far is not the whole, as its last piece says."""
        try:
            goes_on = True
            while goes_on:
                yield self._piece()
                async with asyncio.timeout(self._bounds.timeout_s):
                    goes_on = await self._next()
            yield self._piece()
        except (KrmError, TimeoutError):
            yield _CUT
            raise

    def _piece(self) -> bytes:
        if self._outlet.size > self._bounds.max_bytes:
            text = f"the frame is larger than {self._bounds.max_bytes} bytes (KRM_MAX_RESPONSE)"
            raise AnswerError(Code.BAD_ARGUMENT, f"{text}: ask for fewer objects (first) or columns")
        return self._outlet.taken()


class _Outlet:
    """The file that Arrow writes to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0
        """Of all that was ever written."""
        self.closed = False

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self.size += len(self._parts[-1])
        return len(self._parts[-1])

    def flush(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def taken(self) -> bytes:
        """What was written since."""
        joined = b"".join(self._parts)
        self._parts.clear()
        return joined


class FrameResponse(StreamingResponse):
    """Sends a stream; ``done`` is called however it ends."""

    def __init__(self, stream: Stream, done: Callable[[], None]) -> None:
        super().__init__(stream.pieces(), media_type=MEDIA_TYPE)
        self._done = done

    async def stream_response(self, send: Send) -> None:
        """Send it; what fails on the way is logged, and the connection closes on an answer that is not complete."""
        try:
            await super().stream_response(send)
        except (KrmError, TimeoutError) as error:
            log.warning("a frame was broken off", extra={"reason": str(error) or type(error).__name__})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._done()


class Refused(Response):
    """An error as the answer."""

    def __init__(self, code: Code, message: str, status: int, headers: Mapping[str, str] | None = None) -> None:
        body = orjson.dumps({"code": str(code), "message": message})
        super().__init__(body, status, headers=headers, media_type="application/json")
        self.code = code


def refused(error: KrmError | Refusal) -> Refused:
    """The answer for an error, masked where it is nobody's business."""
    if isinstance(error, Refusal):
        return Refused(error.code, str(error), error.status, error.headers)
    shown = failure(error)
    code = Code(shown["extensions"]["code"])
    return Refused(code, shown["message"], STATUS.get(code, 400))
