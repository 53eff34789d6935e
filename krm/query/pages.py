"""Keyset cursors: where a page ended, said by values and not by position, so that it holds on any replica.

A cursor is the order values and the key of the last row. It is no secret and grants nothing; its checksum covers the
question too, so that a cursor of another question, or one that was changed, is refused instead of misread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from krm.errors import AnswerError, Code

_FORMAT: Final = b"\x01"
_CHECKSUM_SIZE: Final = 8


Moment = tuple[str, int, str, str]
"""Of a table: its run, number and id of its last change, and a mark of what of it could be seen."""


@dataclass(frozen=True, slots=True)
class Position:
    """The place after one row."""

    namespace: str
    name: str
    values: tuple[Any, ...] = ()
    """What the row is ordered by."""
    moment: Moment | None = None
    """As of when the rows were, for whoever wants to follow from there."""


def question(*parts: object) -> bytes:
    """What cursors are bound to: a digest of everything that decides which rows come in which order."""
    return hashlib.blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=16).digest()


def encode(position: Position, question: bytes) -> str:
    """The cursor of ``position``: text that is safe in URLs."""
    moment = () if position.moment is None else (position.moment,)
    payload = msgspec.json.encode([position.namespace, position.name, *position.values, *moment])
    data = _FORMAT + _checksum(payload, question) + payload
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(cursor: str, question: bytes, *, values: int) -> Position:
    """The position that ``cursor`` names. Raises ``AnswerError`` CURSOR_INVALID."""
    data = _data(cursor)
    payload = data[1 + _CHECKSUM_SIZE :]
    if data[:1] != _FORMAT or data[1 : 1 + _CHECKSUM_SIZE] != _checksum(payload, question):
        raise _invalid()
    try:
        namespace, name, *rest = msgspec.json.decode(payload)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise _invalid() from error
    if not isinstance(namespace, str) or not isinstance(name, str) or not values <= len(rest) <= values + 1:
        raise _invalid()
    # What was signed has the form that it was given.
    return Position(namespace, name, tuple(rest[:values]), tuple(rest[values]) if len(rest) > values else None)


def _data(cursor: str) -> bytes:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid() from error
    # Several texts decode to the same bytes; only the one that was given out counts.
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != cursor:
        raise _invalid()
    return data


def _checksum(payload: bytes, question: bytes) -> bytes:
    return hashlib.blake2b(payload, key=question, digest_size=_CHECKSUM_SIZE).digest()


def _invalid() -> AnswerError:
    return AnswerError(
        Code.CURSOR_INVALID, "after: not a cursor of this query (same filters and order); start again without it"
    )
