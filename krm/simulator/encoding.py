"""Bytes of answers: lists, partial metadata and watch lines, joined from objects that are encoded already."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import orjson

from krm.simulator import objects
from krm.simulator.history import Event, EventType
from krm.simulator.kinds import Json, Kind
from krm.simulator.lists import Page
from krm.simulator.objects import Version

PIECE_BYTES = 256 * 1024
"""Answers are written in pieces of about this size, so that one large list does not hold up the others."""

_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


class Shape(StrEnum):
    """How objects are answered."""

    WHOLE = "whole"
    METADATA = "metadata"
    TABLE = "table"


def list_pieces(page: Page, shape: Shape) -> Iterator[bytes]:
    """The body of a list in pieces; `shape` is whole or metadata."""
    opening, closing = _frame(page, shape)
    waiting: list[bytes] = [opening]
    size, separator = len(opening), b""
    for version in page.versions:
        item = version.partial() if shape is Shape.METADATA else version.body
        waiting.append(separator + item if separator else item)
        separator = b","
        size += len(item)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    waiting.append(closing)
    yield b"".join(waiting)


def _frame(page: Page, shape: Shape) -> tuple[bytes, bytes]:
    if shape is Shape.METADATA:
        head: Json = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
    elif page.kind.custom:
        metadata: Json = {"continue": page.continue_token}
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        metadata["resourceVersion"] = str(page.rv)
        opening = b'{"apiVersion":"%s","items":[' % page.kind.api_version.encode()
        return opening, b'],"kind":"%s","metadata":%s}\n' % (page.kind.list_kind.encode(), orjson.dumps(metadata))
    else:
        head = {"kind": page.kind.list_kind, "apiVersion": page.kind.api_version}
    head["metadata"] = list_metadata(page)
    return orjson.dumps(head)[:-1] + b',"items":[', b"]}\n"


def list_metadata(page: Page) -> Json:
    """The metadata of a list, in the order of the API."""
    metadata: Json = {"resourceVersion": str(page.rv)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    return metadata


def one(version: Version, shape: Shape) -> bytes:
    """The body of an answer that is one object."""
    return (version.partial() if shape is Shape.METADATA else version.whole()) + b"\n"


def line(type_: str, body: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), body)


def object_line(type_: EventType, version: Version, shape: Shape) -> bytes:
    """One line of a watch about an object."""
    return line(type_, version.partial() if shape is Shape.METADATA else version.whole())


def event_line(event: Event, type_: EventType, shape: Shape) -> bytes:
    """The line by which a watcher learns of a change; encoded once for all of them.

    `type_` differs from the event's own where the object enters or leaves the watcher's selection; leaving shows the
    state before, at the version of the change.
    """
    key = (type_, shape is Shape.METADATA)
    made = event.lines.get(key)
    if made is None:
        version = event.version
        if type_ is EventType.DELETED and event.type is not EventType.DELETED and event.previous is not None:
            version = objects.with_version(event.previous, event.rv)
        made = event.lines[key] = object_line(type_, version, shape)
    return made


def bookmark_line(kind: Kind, rv: int, shape: Shape, *, initial_end: bool = False) -> bytes:
    """A bookmark: no object, only how far the watch has come."""
    metadata: Json = {"resourceVersion": str(rv)}
    if initial_end:
        metadata["annotations"] = _INITIAL_EVENTS_END
    if shape is Shape.METADATA:
        body: Json = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    elif kind.custom:
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": dict(sorted(metadata.items()))}
    else:
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata, **kind.bookmark}
    return line("BOOKMARK", orjson.dumps(body))
