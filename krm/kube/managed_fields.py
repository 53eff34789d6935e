"""Lists without their objects' managed fields, which are half of them: cut out unread, where that is safe to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

_MANAGED: Final = b',"managedFields":[{'
_ITEM: Final = b'{"metadata":{'
_Decoded = TypeVar("_Decoded")


def cut(body: bytes, *, templates: bool) -> bytes:
    """``body`` without its objects' managed fields, which are half of it; as it is where that cannot be told.

    What is left must be decoded: it is no JSON where something else was cut. ``templates``: objects may hold others.
    """
    kept, seen = [], 0
    while (start := body.find(_MANAGED, seen)) >= 0:
        # A list of objects: it ends where one ends. If that were not its end, that list, or a text in it, would be
        # left open.
        end = body.find(b"]", start)
        if body[end - 1 : end + 2] != b"}]}":
            return body
        if templates:
            own = body.rfind(_ITEM, seen, start)
            if own < 1 or body[own - 1] not in b",[":  # of an object in another one: it stays
                return body
        kept.append(body[seen:start])
        seen = end + 1
    kept.append(body[seen:])
    return b"".join(kept)


def decoded(body: bytes, less: bytes, decode: Callable[[bytes], _Decoded]) -> _Decoded:
    """What is in ``less``, the part of ``body`` that is wanted; where that is not valid, in ``body``."""
    try:
        if not less.isascii():
            less.decode()  # the JSON decoder passes over the text inside of objects
        return decode(less)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        if less is body:
            raise
    return decoded(body, body, decode)
