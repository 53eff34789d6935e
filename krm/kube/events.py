"""One line of a watch as an event. Pure; the objects in events stay bytes."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from krm import errors
from krm.kube import failures
from krm.objects.redact import Seen

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


See = Callable[[bytes], Seen | None]
"""Looks at an object as API servers write it; None for one that must be looked at closer."""


class EventType(StrEnum):
    """What a watch tells of an object. ERROR events never reach a caller: they are raised."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


class WatchEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event of a watch."""

    type: EventType
    raw: bytes
    """The object's JSON as sent; empty for a bookmark."""
    version: str
    """The object's resourceVersion, empty if it has none (never for a bookmark)."""
    received_s: float
    """Unix time at which the bytes that completed it came."""
    ends_initial: bool = False
    """A bookmark: everything that existed at its version has been sent (asked for with ``initial_events``)."""
    seen: Seen | None = None
    """What was seen of the object already."""


class _Line(msgspec.Struct, gc=False):
    type: EventType
    object: msgspec.Raw


class _Meta(msgspec.Struct, gc=False):
    version: str | None = msgspec.field(name="resourceVersion", default=None)


class _Object(msgspec.Struct, gc=False):
    kind: str = ""
    metadata: _Meta | None = None


class _MarkMeta(msgspec.Struct, gc=False):
    version: str = msgspec.field(name="resourceVersion")
    annotations: dict[str, str] | None = None


class _Mark(msgspec.Struct, gc=False):
    metadata: _MarkMeta


_OPENINGS = {b'{"type":"%s"' % kind.encode(): kind for kind in (EventType.ADDED, EventType.MODIFIED, EventType.DELETED)}
_OBJECT_AT = b',"object":'
_OPENING_BYTES = max(map(len, _OPENINGS)) + len(_OBJECT_AT)
_LINE = msgspec.json.Decoder(_Line)
_OBJECT = msgspec.json.Decoder(_Object)
_MARK = msgspec.json.Decoder(_Mark)
_NOT_OBJECTS = frozenset(("Table", "Status"))


def decode(line: bytes, received_s: float, peer: failures.Peer, where: str, see: See | None = None) -> WatchEvent:
    """The event in ``line``, with what ``see`` sees of its object, if it sees anything.

    Raises ``BadData`` for anything that is not a valid event of an object, and for an ERROR event what its code means
    (``Gone``, ``Throttled``, ``ServerFailed``, ``Unauthorized``, ``Forbidden``, ``NotFound``).
    """
    try:
        if not line.isascii():
            line.decode()  # the JSON decoder passes over the text inside of the object
        plain = None if see is None else _plain(line, received_s, see)
        if plain is not None:
            return plain
        found = _LINE.decode(line)
        if found.type is EventType.ERROR:
            raise _error(bytes(found.object), peer, where)
        if found.type is EventType.BOOKMARK:
            return _bookmark(found.object, received_s, where)
        head = _OBJECT.decode(found.object)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        start = failures.clean(line[:40].decode("utf-8", "replace"))
        raise errors.BadData(
            f"{where}: a line is not an event ({failures.clean(str(error))}); it begins {start!r}"
        ) from error
    if head.kind in _NOT_OBJECTS:
        raise errors.BadData(f"{where}: a {found.type} event holds a {head.kind}, not an object")
    version = head.metadata.version if head.metadata is not None else None
    return WatchEvent(type=found.type, raw=bytes(found.object), version=version or "", received_s=received_s)


def _plain(line: bytes, received_s: float, see: See) -> WatchEvent | None:
    """The event in a line as API servers write them, looked through once; None where it must be looked at closer."""
    start = line.find(_OBJECT_AT, 0, _OPENING_BYTES)
    kind = _OPENINGS.get(line[: max(start, 0)])
    if kind is None or not line.endswith(b"}"):
        return None
    raw = line[start + len(_OBJECT_AT) : -1]
    seen = see(raw)
    if seen is None:
        return None
    return WatchEvent(type=kind, raw=raw, version=seen.look.metadata.version, received_s=received_s, seen=seen)


def _bookmark(raw: msgspec.Raw, received_s: float, where: str) -> WatchEvent:
    meta = _MARK.decode(raw).metadata
    if not meta.version:
        raise errors.BadData(f"{where}: a bookmark without a version")
    return WatchEvent(
        type=EventType.BOOKMARK,
        raw=b"",
        version=meta.version,
        received_s=received_s,
        ends_initial=(meta.annotations or {}).get(_INITIAL_EVENTS_END) == "true",
    )


def _error(raw: bytes, peer: failures.Peer, where: str) -> errors.ClusterError:
    status = failures.read_status(raw)
    if status is None:
        return errors.BadData(f"{where}: an ERROR event without a Status")
    return failures.refusal(peer, where, status)
