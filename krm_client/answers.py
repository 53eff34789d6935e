"""From the bytes of an answer to data or a typed error.

The envelope is decoded by msgspec in one pass, straight into the structs of the models. Only when that fails is the
body looked at again, to say why. Nothing here knows how the bytes came.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from krm_client import errors
from krm_client.errors import KrmError

T = TypeVar("T")

_SHOWN_BODY = 200
"""Characters of a body that is not JSON to show in an error: enough to know a proxy's page by."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


class GraphQLError(msgspec.Struct):
    """One entry of ``errors``."""

    message: str = ""
    path: list[str | int] | None = None
    extensions: dict[str, Any] | None = None

    @property
    def code(self) -> str | None:
        code = (self.extensions or {}).get("code")
        return code if isinstance(code, str) else None


class _Errors(msgspec.Struct):
    errors: list[GraphQLError] | None = None


class _Anything(msgspec.Struct):
    data: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    errors: list[GraphQLError] | None = None


class _Plain(msgspec.Struct):
    """The form of errors of the routes beside GraphQL."""

    code: str
    message: str


_decode_errors = msgspec.json.Decoder(_Errors).decode
_decode_anything = msgspec.json.Decoder(_Anything).decode
_decode_plain = msgspec.json.Decoder(_Plain).decode


_MANY = 50_000
"""New objects from which on a look through all of them, which finds nothing, is worth avoiding."""


class _Collector:
    """Holds Python's garbage collector off while many objects are made, and on again after the last such decode.

    What was made is an answer that somebody will hold. Were it left as it is, the next allocation would have the
    collector look through all of it, and twice more before it counts as old; so it becomes old at once, as long as the
    program has no frozen objects of its own, which that would thaw.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._was_on = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._lock:
            if self._holders == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0 and self._was_on:
                    if gc.get_count()[0] > _MANY and not gc.get_freeze_count():
                        gc.freeze()
                        gc.unfreeze()
                    gc.enable()


collector = _Collector()


def typed(answer: Answer, decode: Callable[[bytes], T]) -> T:
    """Decode an answer with a typed decoder of the whole envelope. Raises what `failure_of` finds when that fails.

    The decoder's type must require ``data``, so that an answer of errors alone does not pass for one.
    """
    if answer.status != 200:
        raise failure_of(answer)
    try:
        with collector.paused():
            return decode(answer.content)
    except (msgspec.MsgspecError, UnicodeError) as cause:
        raise failure_of(answer, cause) from cause


def plain(answer: Answer) -> dict[str, Any]:
    """The data of a query that the caller wrote. Raises with ``partial`` where the server reports any error."""
    if answer.status != 200:
        raise failure_of(answer, own=False)
    try:
        with collector.paused():
            body = _decode_anything(answer.content)
    except (msgspec.MsgspecError, UnicodeError) as cause:
        raise _unreadable(answer, cause) from cause
    if body.errors:
        raise errors_of(body.errors, own=False, partial=body.data or None)
    if not isinstance(body.data, dict):
        raise errors.KrmProtocolError("the answer has neither data nor errors")
    return body.data


def failure_of(answer: Answer, cause: Exception | None = None, *, own: bool = True) -> KrmError:
    """The error that an answer stands for, which is not the data that was asked for.

    ``own``: the query was written by this client, so one that the server's schema does not know is a mismatch.
    """
    try:
        reported = _decode_errors(answer.content).errors
    except (msgspec.MsgspecError, UnicodeError) as error:
        return _by_plain(answer) or _unreadable(answer, cause or error)
    if reported:
        return errors_of(reported, status=answer.status, own=own, headers=answer.headers)
    if answer.status != 200:
        return _by_plain(answer) or _by_status(answer)
    where = str(cause) if cause else "no data"
    return errors.KrmSchemaMismatch(
        f"the server's answer is not of the form that this client knows: {where}", field=_field_in(where)
    )


def _by_plain(answer: Answer) -> KrmError | None:
    """An error of the form ``{"code", "message"}``, as the routes beside GraphQL send it."""
    try:
        body = _decode_plain(answer.content)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    one = GraphQLError(message=body.message, extensions={"code": body.code})
    return errors_of([one], status=answer.status, headers=answer.headers)


def _unreadable(answer: Answer, cause: Exception) -> KrmError:
    if answer.status != 200:
        return _by_status(answer)
    text = answer.content[:_SHOWN_BODY].decode(errors="replace").strip()
    what = f"not JSON ({cause})" if text else "empty"
    return errors.KrmProtocolError(f"the answer is {what}: {text!r}" if text else f"the answer is {what}")


def _by_status(answer: Answer) -> KrmError:
    """An error answer without a body of ours: something between us and KRM speaks, or the path is wrong."""
    status = answer.status
    text = answer.content[:_SHOWN_BODY].decode(errors="replace").strip()
    said = f"HTTP {status}: {text!r}" if text else f"HTTP {status}"
    if status == 401:
        return errors.KrmAuthError(said)
    if status == 403:
        return errors.KrmForbidden(said)
    if status == 429:
        return errors.KrmTimeout(f"too many requests: {said}", status=429, headers=answer.headers)
    if status in (404, 405):
        return errors.KrmProtocolError(f"no KRM at this address: {said}", status=status)
    return errors.KrmProtocolError(f"the answer is not of KRM: {said}", status=status)


def errors_of(
    reported: list[GraphQLError],
    *,
    status: int = 200,
    own: bool = True,
    partial: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> KrmError:
    """The typed error of what a server reports; the first one's code decides when there are several."""
    first = reported[0]
    message = first.message if len(reported) == 1 else f"{first.message} (and {len(reported) - 1} more)"
    raw = [msgspec.to_builtins(one) for one in reported]
    if partial is not None:
        return errors.KrmQueryError(message, code=first.code, errors=raw, partial=partial)
    if own and (field_name := _unknown_name_in(first)) is not None:
        return errors.KrmSchemaMismatch(
            f"the server's schema does not know {field_name!r}: its KRM is older or newer than this client ({message})",
            code=first.code,
            field=field_name,
        )
    return _by_code(first.code, message, status, raw, headers)


def _by_code(
    code: str | None, message: str, status: int, raw: list[dict[str, Any]], headers: Mapping[str, str] | None
) -> KrmError:
    if code == "UNAUTHENTICATED" or (code is None and status == 401):
        return errors.KrmAuthError(message, code=code)
    if code == "FORBIDDEN" or (code is None and status == 403):
        return errors.KrmForbidden(message, code=code)
    if code == "NOT_READY":
        return errors.KrmNotReady(message, code=code)
    if code in ("TOO_STALE", "STALE_REPLICA"):
        return errors.KrmStale(message, code=code)
    if code == "RATE_LIMITED" or (code is None and status == 429):
        return errors.KrmTimeout(message, code=code, status=429, headers=headers)
    if code == "TIMEOUT":
        return errors.KrmTimeout(message, code=code)
    if code == "INTERNAL" or (code is None and status >= 500):
        return errors.KrmProtocolError(message, code=code, status=max(status, 500))
    return errors.KrmQueryError(message, code=code, errors=raw)


_UNKNOWN = ("Cannot query field ", "Unknown argument ", "Unknown type ", "Field ", "Unknown field ")


def _unknown_name_in(error: GraphQLError) -> str | None:
    """The name that a server's validation does not know, or None if the error is another."""
    if error.code != "GRAPHQL_VALIDATION":
        return None
    for start in _UNKNOWN:
        if error.message.startswith(start):
            return _first_quoted(error.message)
    return None


def _field_in(text: str) -> str | None:
    """The field that msgspec names: in backquotes where it misses one, else the end of the path."""
    if "missing required field" in text:
        return _between(text, "`", "`")
    path = _between(text, "`$", "`")
    return path.rpartition(".")[2] or None if path is not None else None


def _first_quoted(text: str) -> str | None:
    for quote in ("'", '"'):
        if (found := _between(text, quote, quote)) is not None:
            return found
    return None


def _between(text: str, start: str, end: str) -> str | None:
    _, found, rest = text.partition(start)
    inner, closed, _ = rest.partition(end)
    return inner if found and closed else None
