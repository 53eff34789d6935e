"""The stored dataframes, for data people: one call gives a pandas DataFrame of what lies in Redis.

    from krm import frames
    frames.read("redis://127.0.0.1:6379/0", "pods", which="aggregated")

A frame is read from Redis, not from the API: it is for analysis and for looking under the hood.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

import pandas as pd

from krm import errors, resources
from krm.objects.versions import newer
from krm.resources import Resource
from krm.settings import Secret
from krm.store import chunks
from krm.store.chunks import ListedRow
from krm.store.connect import open_store, translated
from krm.store.head import Head, ListHead
from krm.store.reading import FOREIGN, Change, TableStore
from krm.store.rows import DIGEST_MODULUS, Codec, Row, digest

Which = Literal["streamed", "verified", "aggregated"]

TRIES: Final = 3
"""A table that was built anew, or whose changes were trimmed, while it was read is read once more."""


def read(redis_url: str, resource: str, which: Which = "aggregated", *, cluster: str = "default") -> pd.DataFrame:
    """The stored DataFrame of ``resource``: what was ``streamed``, what was ``verified``, or both ``aggregated``.

    Columns: namespace, name, uid, resource_version (text), created (UTC), labels (dict), the kind's derived columns,
    source ("streamed" or "verified"), time_streamed (UTC), object (the JSON text as stored). ``streamed`` has one row
    per event since the last installed list, with event; ``verified`` repeats an object's JSON only where it is stored.
    ``frame.attrs`` holds cluster, resource and the versions that the frame stands for.

    Raises ``ConfigError``, ``StoreError``; ``AnswerError`` NOT_READY where nothing is stored yet, never an empty frame.
    """
    kind = resources.find(resource)
    if which not in ("streamed", "verified", "aggregated"):
        raise errors.ConfigError(f"which={which!r}; allowed: streamed, verified, aggregated")
    reading = _read(Secret(redis_url), kind, which, cluster)
    # A thread of its own, for notebooks run an event loop of theirs in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, reading).result()


async def _read(url: Secret, resource: Resource, which: Which, cluster: str) -> pd.DataFrame:
    store = open_store(url)
    try:
        table = TableStore(store, cluster, resource)
        codec = Codec(resource)
        known, _ = await table.dictionaries()
        for dictionary in known.values():
            codec.compressor.add(dictionary, use=False)
        reader = {"streamed": _streamed, "verified": _verified, "aggregated": _aggregated}[which]
        frame = await reader(table, codec)
        frame.attrs |= {"cluster": cluster, "resource": resource.plural, "which": which}
        return frame
    finally:
        await store.close()


def _not_ready(table: TableStore, what: str) -> errors.AnswerError:
    return errors.AnswerError(
        errors.Code.NOT_READY, f"no {what} of {table.resource.plural} in Redis yet (cluster {table.cluster!r})"
    )


async def _aggregated(table: TableStore, codec: Codec) -> pd.DataFrame:
    for _ in range(TRIES):
        before = await _ready_head(table)
        rows = {uid: codec.decode(record) async for part in table.records() for uid, record in part}
        head = await _ready_head(table)
        for change in await _changes_since(table, before.applied[1]):
            if change.seq > head.seq:
                break
            if change.type == "DELETED":
                rows.pop(change.uid, None)
            else:
                rows[change.uid] = codec.decode(change.record)
        total = sum(digest(row.uid, row.version) for row in rows.values()) % DIGEST_MODULUS
        if (before.run, len(rows), total) == (head.run, head.rows, head.digest):
            frame = _frame(table.resource, codec, rows.values(), head)
            frame.attrs |= {"resource_version": head.resource_version, "verified_at_ms": head.verified_at_ms}
            return frame
    raise _not_ready(table, "table that proves whole")


async def _ready_head(table: TableStore) -> Head:
    head = await table.head()
    if head is None or head.state != "ready":
        raise _not_ready(table, "aggregated table")
    return head


async def _changes_since(table: TableStore, after: str) -> list[Change]:
    found: list[Change] = []
    while part := await table.changes_between(f"({found[-1].id if found else after}", "+"):
        found += part
    return [change for change in found if change.type != FOREIGN]


async def _verified(table: TableStore, codec: Codec) -> pd.DataFrame:
    for _ in range(TRIES):
        with contextlib.suppress(errors.CorruptData):  # newer lists came, and the chunks of these have gone
            return await _verified_once(table, codec, await table.list_heads())
    raise _not_ready(table, "verified list that is whole")


async def _verified_once(table: TableStore, codec: Codec, heads: Mapping[str, ListHead]) -> pd.DataFrame:
    if not heads:
        raise _not_ready(table, "verified list")
    listed: list[dict[str, Any]] = []
    for head in heads.values():
        for row in await _listed(table, codec, head):
            known = {"namespace": row.namespace, "name": row.name, "uid": row.uid, "resource_version": row.version}
            listed.append(_cells(codec, codec.decode(row.record), "verified") if row.record else known)
    await _fill(table, codec, [row for row in listed if "object" not in row])
    frame = _typed(table.resource, listed, [])
    frame["source"] = "verified"
    frame.attrs |= {scope or "everywhere": head.listed_at for scope, head in heads.items()}
    return frame


async def _listed(table: TableStore, codec: Codec, head: ListHead) -> list[ListedRow]:
    """Every row of a list, by key. Raises ``CorruptData`` where its chunks do not prove to be it."""
    found: dict[tuple[str, str], ListedRow] = {}
    for piece in head.pieces:
        for row in chunks.unpack(await table.chunk(*piece), codec.compressor):
            key = row.namespace, row.name
            if not row.gone:
                found[key] = row
            elif key in found and found[key].uid == row.uid:
                del found[key]
    total = sum(digest(row.uid, row.version) for row in found.values()) % DIGEST_MODULUS
    if (len(found), str(total)) != (head.rows, head.digest):
        raise errors.CorruptData("the chunks of a list are not the list that its header describes")
    return [found[key] for key in sorted(found)]


async def _fill(table: TableStore, codec: Codec, rows: list[dict[str, Any]]) -> None:
    """Complete listed rows from the table, where it has the object at the same version."""
    for start in range(0, len(rows), 1_000):
        part = rows[start : start + 1_000]
        records = await table.records_of([row["uid"] for row in part])
        for row, record in zip(part, records, strict=True):
            if record is not None and (found := codec.decode(record)).version == row["resource_version"]:
                row |= _cells(codec, found, "verified")


async def _streamed(table: TableStore, codec: Codec) -> pd.DataFrame:
    if not await table.list_heads():
        raise _not_ready(table, "stream")
    cells: list[dict[str, Any]] = []
    after = "-"
    while True:
        with translated():
            part = await table.store.client.xrange(table.keys.events, after, "+", count=1_000)
        if not part:
            break
        after = f"({part[-1][0].decode()}"
        for _, fields in part:
            event = {b"A": "ADDED", b"M": "MODIFIED", b"D": "DELETED"}.get(fields.get(b"t", b""))
            if event is not None:
                row = codec.decode(fields[b"r"])
                cells.append(_cells(codec, row, "streamed") | {"event": event})
    return _typed(table.resource, cells, ["event"])


def _frame(resource: Resource, codec: Codec, rows: Iterable[Row], head: Head) -> pd.DataFrame:
    listed_at = {scope.scope: scope.listed_at for scope in head.scopes}

    def source(row: Row) -> str:
        at = listed_at.get(row.namespace, listed_at.get("", ""))
        return "streamed" if newer(row.version, at) else "verified"

    ordered = sorted(rows, key=lambda row: row.key)
    return _typed(resource, [_cells(codec, row, source(row)) for row in ordered], [])


def _cells(codec: Codec, row: Row, source: str) -> dict[str, Any]:
    return {
        "namespace": row.namespace,
        "name": row.name,
        "uid": row.uid,
        "resource_version": row.version,
        "created": row.created,
        "labels": dict(row.labels),
        **dict(_derived(codec.resource, row)),
        "source": source,
        "time_streamed": row.time_streamed,
        "object": codec.body(row.record).decode(),
    }


def _derived(resource: Resource, row: Row) -> Iterator[tuple[str, Any]]:
    for column, value in zip(resource.columns, row.columns, strict=True):
        if column.is_shown:
            yield column.name, value


def _typed(resource: Resource, cells: list[dict[str, Any]], more: list[str]) -> pd.DataFrame:
    names = ["namespace", "name", "uid", "resource_version", "created", "labels"]
    names += [column.name for column in resource.columns if column.is_shown]
    frame = pd.DataFrame(cells, columns=[*names, "source", "time_streamed", "object", *more])
    frame["created"] = pd.to_datetime(frame["created"], utc=True, errors="coerce", format="ISO8601")
    frame["time_streamed"] = pd.to_datetime(pd.to_numeric(frame["time_streamed"]), unit="s", utc=True)
    return frame
