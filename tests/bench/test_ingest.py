"""What an event costs, from the bytes of the watch to the stored row, and what a row costs Redis."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pandas as pd
import pytest
from kubernetes import watch

from krm import garbage
from krm.kube import events, failures, framing
from krm.objects.redact import Cleaner
from krm.resources import PODS
from krm.settings import Secret
from krm.store import compression
from krm.store.connect import open_store
from krm.store.local import LocalRedis
from krm.store.reading import TableStore
from krm.store.rows import Codec
from krm.store.writing import EventWriter, Operation, TableWriter
from tests.bench import cluster
from tests.bench.report import Report

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
GROUP = "Events"
CHUNK_BYTES = 64 * 1024
PEER = failures.Peer(server="", credentials="", ca="")
WATCHED = 1_000
LARGE_BYTES = 7_350
WRITES = 300


class Answer:
    """The open answer to a watch, as the official client reads it."""

    status = 200

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def stream(self, **_: object) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None: ...

    def release_conn(self) -> None: ...


def lines(objects: list[bytes]) -> list[bytes]:
    """Lines of a watch, each pod once, with the members in the order of the API server."""
    whole = [{"kind": PODS.kind, "apiVersion": PODS.api_version, **orjson.loads(text)} for text in objects]
    return [b'{"type":"MODIFIED","object":%s}\n' % orjson.dumps(one) for one in whole]


def chunks(objects: list[bytes]) -> list[bytes]:
    body = b"".join(lines(objects))
    return [body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES)]


def large(text: bytes) -> bytes:
    """The pod with more containers, until it has ``LARGE_BYTES`` without its managed fields."""
    pod = orjson.loads(text)
    managed = pod["metadata"].pop("managedFields", None)
    spec, status = pod["spec"]["containers"], pod["status"].get("containerStatuses", [])
    for number in range(20):
        if len(orjson.dumps(pod)) >= LARGE_BYTES:
            break
        spec.append({**spec[0], "name": f"sidecar-{number}"})
        if status:
            status.append({**status[0], "name": f"sidecar-{number}"})
    if managed is not None:
        pod["metadata"]["managedFields"] = managed
    return orjson.dumps(pod)


def official(parts: list[bytes]) -> list[tuple[str, str]]:
    def list_pods(**_: object) -> Answer:
        """:rtype: V1PodList"""
        return Answer(parts)

    watching = watch.Watch(return_type="V1Pod")  # type: ignore[no-untyped-call]
    found = []
    for event in watching.stream(list_pods, timeout_seconds=1):  # type: ignore[no-untyped-call]
        metadata = event["object"].metadata
        found.append((metadata.name, metadata.resource_version))
        if len(found) == WATCHED:
            watching.stop()  # type: ignore[no-untyped-call]
    return found


def ours(parts: list[bytes], codec: Codec) -> list[tuple[str, str]]:
    """All that the streamer does with bytes: lines, events, columns, compressed bodies."""
    framer, found = framing.Framer(), []
    for part in parts:
        for line in framer.feed(part):
            event = events.decode(line, 0.0, PEER, "", codec.cleaner.see)
            row = codec.encode(event.raw, time_streamed=0.0, seen=event.seen)
            found.append((row.name, row.version))
    return found


@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param(None, "an event to columns and compressed body", id="as generated"),
        pytest.param(large, "the same of pods of 7.35 kB without their managed fields", id="large"),
    ],
)
def test_watch(report: Report, change: Callable[[bytes], bytes] | None, what: str) -> None:
    objects = cluster.objects(WATCHED)
    if change is not None:
        objects = [change(text) for text in objects]
    parts = chunks(objects)
    codec = Codec(PODS, Cleaner(PODS))
    dictionary = compression.train([codec.cleaner.clean(text) for text in objects])
    assert dictionary is not None
    codec.compressor.add(dictionary, use=True)
    with frozen():
        theirs, theirs_s = timed(lambda: official(parts), 5)
    with frozen(*garbage.THRESHOLDS):
        found, ours_s = timed(lambda: ours(parts, codec), 5)
    assert found == theirs
    assert len(found) == WATCHED
    for sent in objects[:50]:
        kept = orjson.loads(sent)
        kept["metadata"].pop("managedFields", None)
        assert orjson.loads(codec.body(codec.encode(sent).record)) == kept
    report.faster(GROUP, what, WATCHED, ours_s / WATCHED, "kubernetes.watch.Watch", theirs_s / WATCHED, 25)


@contextlib.contextmanager
def frozen(*thresholds: int) -> Iterator[None]:
    """Without what the tests have in memory in the collector's way; with its thresholds as workers set them."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*(thresholds or before))
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def timed(work: Callable[[], list[Any]], runs: int) -> tuple[list[Any], float]:
    """The result, and the median processor time of some runs."""
    took = []
    for _ in range(runs):
        start = time.process_time()
        found = work()
        took.append(time.process_time() - start)
    return found, statistics.median(took)


async def one_write_s(redis_url: str, pods: int) -> float:
    """Seconds of one event's way into the log and into the table, one after the other."""
    await cluster.fill(redis_url, pods)
    store = open_store(Secret(redis_url))
    try:
        table = TableStore(store, "default", PODS)
        streamer = EventWriter(store, table)
        aggregator = TableWriter(store, table, events_max=200_000, retention_s=900)
        await store.client.delete(table.keys.fence)
        await streamer.acquire()
        await aggregator.acquire()
        head = await table.head()
        assert head is not None
        assert head.rows == pods
        codec = Codec(PODS)
        known = cluster.stored(pods)
        assert known.dictionary is not None
        codec.compressor.add(known.dictionary, use=False)
        await streamer.append("", "e", "", "1", 200_000, [("G", "1", 0, b"")])
        took = []
        for number in range(WRITES):
            row = codec.decode(known.records[number * (pods // WRITES)])
            start = time.perf_counter()
            await streamer.append("", "e", str(number + 1), str(number + 2), 200_000, [("M", "2", 0, row.record)])
            seq, change, _ = await aggregator.apply(head, [Operation("MODIFIED", row.uid, row.version, row.record)])
            took.append(time.perf_counter() - start)
            head = type(head)(**{name: getattr(head, name) for name in head.__struct_fields__} | {"seq": seq})
        assert seq == WRITES
        assert change
        return statistics.median(took)
    finally:
        await store.client.flushall()
        await store.close()


async def frame_write_s(redis_url: str, pods: int) -> float:
    """Seconds of one event's write where the whole frame is pickled and stored anew."""
    columns: dict[str, list[Any]] = {name: [] for name in ("namespace", "name", "resource_version", "node", "phase")}
    for text in cluster.objects(pods):  # one at a time: all of them parsed take gigabytes
        row = orjson.loads(text)
        columns["namespace"].append(row["metadata"]["namespace"])
        columns["name"].append(row["metadata"]["name"])
        columns["resource_version"].append(row["metadata"]["resourceVersion"])
        columns["node"].append(row["spec"].get("nodeName"))
        columns["phase"].append(row["status"].get("phase"))
    frame = pd.DataFrame({**columns, "object": [text.decode() for text in cluster.objects(pods)]})
    store = open_store(Secret(f"{redis_url}&socket_timeout=120"))  # a value of hundreds of megabytes
    try:

        async def write() -> None:
            frame.loc[len(frame) // 2, "phase"] = "Failed"
            await store.client.set("frame", pickle.dumps(frame))

        return await median_s(write, 3)
    finally:
        await store.client.flushall()
        await store.close()


async def median_s(work: Callable[[], Awaitable[None]], runs: int) -> float:
    took = []
    for _ in range(runs):
        start = time.perf_counter()
        await work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def test_one_write(report: Report) -> None:
    with LocalRedis() as redis:
        small, large = (asyncio.run(one_write_s(redis.url, pods)) for pods in (10_000, 50_000))
        frame = asyncio.run(frame_write_s(redis.url, 50_000))
    report.faster(GROUP, "one event's write", 50_000, large, "the frame pickled and stored", frame, 1_000)
    report.within(GROUP, "one event's write", 50_000, large, "at 10,000 objects", small, 1.2)


async def used(redis_url: str, pods: int) -> int:
    store = open_store(Secret(redis_url))
    try:
        before = int((await store.client.info("memory"))["used_memory"])
        await cluster.fill(redis_url, pods)
        return int((await store.client.info("memory"))["used_memory"]) - before
    finally:
        await store.close()


def test_memory_of_redis(report: Report) -> None:
    pods = 10_000
    raw = sum(map(len, cluster.objects(pods)))
    with LocalRedis() as redis:
        stored = asyncio.run(used(redis.url, pods))
    report.figure(GROUP, "Redis bytes per pod against its JSON", pods, stored / raw, "x", most=0.2)
