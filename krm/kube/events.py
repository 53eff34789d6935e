"""One line of a watch as an event. Pure; the objects in events stay bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from krm import errors
from krm.kube import failures
from krm.objects.redact import Members, Parts

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


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
    members: Members | None = None
    """The object taken apart as far as that was done to look at it; who takes it may change it."""


_NOTHING = msgspec.Raw()


class _Line(msgspec.Struct, gc=False):
    type: EventType
    object: msgspec.Raw


class _Meta(msgspec.Struct, gc=False):
    version: str | None = msgspec.field(name="resourceVersion", default=None)


class _Object(msgspec.Struct, gc=False):
    kind: str = ""
    metadata: _Meta | None = None


class _Whole(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An object of the shape that most kinds have, taken apart in one go; in the order of API servers."""

    kind: msgspec.Raw
    api_version: msgspec.Raw = msgspec.field(name="apiVersion")
    metadata: Parts
    spec: msgspec.Raw = _NOTHING
    status: msgspec.Raw = _NOTHING


class _Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    type: EventType
    object: _Whole


class _MarkMeta(msgspec.Struct, gc=False):
    version: str = msgspec.field(name="resourceVersion")
    annotations: dict[str, str] | None = None


class _Mark(msgspec.Struct, gc=False):
    metadata: _MarkMeta


_PLAIN = msgspec.json.Decoder(_Plain)
_PLAIN_KIND = b'{"kind":'
_PLAIN_STARTS = {kind: b'{"type":"%s","object":%s' % (kind.encode(), _PLAIN_KIND) for kind in EventType}
_NO_TEXT = msgspec.Raw(b'""')
_LINE = msgspec.json.Decoder(_Line)
_OBJECT = msgspec.json.Decoder(_Object)
_MARK = msgspec.json.Decoder(_Mark)
_SPECIAL = frozenset((EventType.BOOKMARK, EventType.ERROR))
_NOT_OBJECTS = frozenset(("Table", "Status"))


def decode(line: bytes, received_s: float, peer: failures.Peer, where: str) -> WatchEvent:
    """The event in ``line``.

    Raises ``BadData`` for anything that is not a valid event of an object, and for an ERROR event what its code means
    (``Gone``, ``Throttled``, ``ServerFailed``, ``Unauthorized``, ``Forbidden``, ``NotFound``).
    """
    try:
        if not line.isascii():
            line.decode()  # the JSON decoder passes over the text inside of the object
        plain = _plain(line, received_s)
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


def _plain(line: bytes, received_s: float) -> WatchEvent | None:
    """The event in a line as API servers write them, looked through once; None where it must be looked at closer."""
    try:
        found = _PLAIN.decode(line)
    except msgspec.MsgspecError:
        return None
    whole = found.object
    start = _PLAIN_STARTS[found.type]
    if found.type in _SPECIAL or not line.startswith(start) or not line.endswith(b"}}"):
        return None
    kind, version = _plain_text(whole.kind), _plain_text(whole.metadata.get("resourceVersion", _NO_TEXT))
    if kind is None or version is None or kind in _NOT_OBJECTS:
        return None
    parts: dict[str, Any] = {"kind": whole.kind, "apiVersion": whole.api_version, "metadata": whole.metadata}
    if whole.spec is not _NOTHING:
        parts["spec"] = whole.spec
    if whole.status is not _NOTHING:
        parts["status"] = whole.status
    raw = line[len(start) - len(_PLAIN_KIND) : -1]
    members = Members(parts, whole.metadata)
    return WatchEvent(type=found.type, raw=raw, version=version, received_s=received_s, members=members)


def _plain_text(raw: msgspec.Raw) -> str | None:
    """A text without escapes; None for what must be looked at closer."""
    text = bytes(raw)
    return text[1:-1].decode() if text.startswith(b'"') and b"\\" not in text else None


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
