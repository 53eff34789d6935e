"""Small values to write: heads, operations, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from krm.resources import PODS
from krm.store.head import Head, ListHead, Missed, ScopeHead
from krm.store.rows import DIGEST_MODULUS, Codec, digest
from krm.store.writing import Operation, TableWriter

PREFIX = "krm:1:{c/core/v1/pods#0}:"
CODEC = Codec(PODS)

Admin = Any
"""A client that may do anything; redis-py types its answers for texts, bytes and two protocols at once."""


def record(uid: str, version: str) -> bytes:
    """The row record of a pod."""
    text = f'{{"metadata":{{"namespace":"n","name":"{uid}","uid":"{uid}","resourceVersion":"{version}"}}}}'
    return CODEC.encode(text.encode()).record


class Kept:
    """A table that is written as the aggregator does: the head tells the sums of what was applied."""

    def __init__(self, writer: TableWriter, run: str) -> None:
        self.writer = writer
        self.head = table_head(run)

    async def apply(self, *operations: Operation, **changes: object) -> Head:
        rows = self.head.rows + sum(one.rows for one in operations)
        total = (self.head.digest + sum(one.digest for one in operations)) % DIGEST_MODULUS
        head = msgspec.structs.replace(self.head, rows=rows, digest=total, **changes)
        seq, change, now_ms = await self.writer.apply(head, operations)
        self.head = msgspec.structs.replace(head, seq=seq, change=change or head.change, at_ms=now_ms)
        return self.head


async def begun(writer: TableWriter) -> Kept:
    """A new table of ``writer``."""
    return Kept(writer, await writer.begin())


def scope_head(scope: str = "", listed_at: str = "10", epoch: str = "e") -> ScopeHead:
    return ScopeHead(
        scope=scope,
        epoch=epoch,
        listing="l",
        listed_at=listed_at,
        verified_at_ms=1,
        took_s=0.1,
        window_start="10",
        window_end="10",
        contiguous=True,
    )


def table_head(
    run: str, *, seq: int = 0, rows: int = 0, total: int = 0, cursor: str = "0-0", scopes: Sequence[ScopeHead] = ()
) -> Head:
    return Head(
        run=run,
        seq=seq,
        change="0-0",
        state="ready",
        rows=rows,
        digest=total,
        epoch="e",
        scopes=tuple(scopes) or (scope_head(),),
        missed=Missed(),
        at_ms=0,
        cursor=cursor,
        last_event_ms=None,
    )


def list_head(
    listing: str,
    listed_at: str,
    *,
    chunks: int = 1,
    epoch: str = "e",
    scope: str = "",
    below: tuple[tuple[str, int], ...] = (),
) -> ListHead:
    return ListHead(
        listing=listing,
        scope=scope,
        epoch=epoch,
        listed_at=listed_at,
        started_ms=1,
        took_s=0.1,
        rows=0,
        chunks=chunks,
        digest="0",
        since="",
        below=below,
    )


def added(uid: str, version: str) -> Operation:
    return Operation("ADDED", uid, version, record(uid, version), rows=1, digest=digest(uid, version))


def modified(uid: str, before: str, version: str) -> Operation:
    change = digest(uid, version) - digest(uid, before)
    return Operation("MODIFIED", uid, version, record(uid, version), digest=change)


def deleted(uid: str, before: str, version: str, *, seen: bool = True) -> Operation:
    last = record(uid, version) if seen else b""
    return Operation("DELETED", uid, version, last, rows=-1, digest=-digest(uid, before))


Event = tuple[str, str, int, bytes]


def gap(version: str) -> Event:
    return ("G", version, 1, b"")


def event(version: str, kind: str = "M") -> Event:
    return (kind, version, 1, b"record")


def bookmark(version: str) -> Event:
    return ("B", version, 1, b"")
