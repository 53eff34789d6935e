"""The same generated cluster for every benchmark: objects as an API server sends them, and replicas of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from krm import simulator
from krm.resources import PODS, RESOURCES, Resource
from krm.settings import Secret
from krm.simulator.store import Store
from krm.store import compression
from krm.store.connect import Store as RedisStore
from krm.store.connect import open_store
from krm.store.head import Head, Missed, ScopeHead
from krm.store.reading import TableStore
from krm.store.rows import DIGEST_MODULUS, Codec, digest
from krm.store.writing import ListWriter, Operation, TableWriter
from krm.table.replica import Replica
from tests.sources import FilledSource

SEED = 3
BATCH = 1_000


@lru_cache(maxsize=4)
def _objects(pods: int) -> Mapping[str, list[bytes]]:
    store = Store()
    simulator.World(pods=pods, seed=SEED).populate(store)
    found: dict[str, list[bytes]] = {}
    for resource in RESOURCES.values():
        kind = store.kind(resource.group, resource.version, resource.plural)
        assert kind is not None
        identity = {"apiVersion": resource.api_version, "kind": resource.kind}
        found[resource.plural] = [orjson.dumps({**identity, **each.parse()}) for each in store.all(kind)]
    return found


def objects(pods: int, resource: Resource = PODS) -> list[bytes]:
    """The JSON texts of all objects of a kind in a cluster of that many pods."""
    return _objects(pods)[resource.plural]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The objects of a kind as workers store them: compressed, with a dictionary trained on the first of them."""

    dictionary: bytes | None
    records: Sequence[bytes]


@lru_cache(maxsize=8)
def stored(pods: int, resource: Resource = PODS) -> Stored:
    """The records of all objects of a kind in a cluster of that many pods."""
    codec, texts = Codec(resource), objects(pods, resource)
    dictionary = compression.train([codec.cleaner.clean(text) for text in texts[: compression.MAX_SAMPLES]])
    if dictionary is not None:
        codec.compressor.add(dictionary, use=True)
    return Stored(dictionary=dictionary, records=[codec.encode(text).record for text in texts])


class Source(FilledSource):
    """A source with the replicas of a cluster of that many pods."""

    def __init__(self, pods: int, kinds: Sequence[Resource] = (PODS,)) -> None:
        super().__init__()
        for resource in kinds:
            replica, known = self.get(resource), stored(pods, resource)
            if known.dictionary is not None:
                replica.codec.compressor.add(known.dictionary, use=False)
            replica.load([replica.codec.decode(record) for record in known.records])

    def pods(self) -> Replica:
        """The replica of pods."""
        return self.get(PODS)


async def fill(redis_url: str, pods: int, resources: Sequence[Resource] = (PODS,)) -> None:
    """Write the tables of a cluster of that many pods into an empty Redis, as workers leave them."""
    store = open_store(Secret(redis_url))
    try:
        for resource in resources:
            await _fill(store, pods, resource)
    finally:
        await store.close()


async def _fill(store: RedisStore, pods: int, resource: Resource) -> None:
    table, known, codec = TableStore(store, "default", resource), stored(pods, resource), Codec(resource)
    writer = TableWriter(store, table, events_max=10_000, retention_s=60)
    await writer.acquire()
    if known.dictionary is not None:
        lister = ListWriter(store, table)
        await lister.acquire()
        await lister.put_dictionary(codec.compressor.add(known.dictionary, use=False), known.dictionary)
    run = await writer.begin()
    rows = [codec.decode(record) for record in known.records]
    total = 0
    for start in range(0, len(rows) + BATCH, BATCH):
        part = rows[start : start + BATCH]
        total += sum(digest(row.uid, row.version) for row in part)
        puts = [Operation("PUT", row.uid, row.version, row.record) for row in part]
        is_whole = start + BATCH > len(rows)
        await writer.apply(_head(run, min(start + BATCH, len(rows)), total % DIGEST_MODULUS, is_whole), puts)


def _head(run: str, rows: int, total: int, is_whole: bool) -> Head:
    now_ms = int(time.time() * 1000)
    scope = ScopeHead(
        scope="", epoch="e", listing="l", listed_at="9000000", verified_at_ms=now_ms, took_s=0.1,
        window_start="9000000", window_end="9000000", contiguous=True,
    )  # fmt: skip
    return Head(
        run=run, seq=0, change="0-0", state="ready" if is_whole else "building", rows=rows, digest=total, epoch="e",
        scopes=(scope,), missed=Missed(), at_ms=now_ms, last_event_ms=now_ms,
    )  # fmt: skip
