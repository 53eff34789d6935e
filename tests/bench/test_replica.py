"""A replica's start out of Redis, its memory, and the pauses of the garbage collector."""

from __future__ import annotations

import gc
import time

import httpx2 as httpx
import pytest

from krm import garbage
from tests.bench import queries, serving
from tests.bench.cluster import Source, stored
from tests.bench.report import Report

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
GROUP = "A replica of the API"


def read(krm: serving.Serving, query: str) -> tuple[int, float]:
    """How many bytes an answer has, and the most memory that the API had meanwhile."""
    size, largest = 0, krm.memory_mib()
    with httpx.stream("POST", f"{krm.url}/graphql", json={"query": query}, timeout=120) as answer:
        for part in answer.iter_raw(2**20):
            size += len(part)
            largest = max(largest, krm.memory_mib())
    assert answer.status_code == 200
    return size, largest


@pytest.mark.parametrize("pods", [1_000, 10_000, 100_000])
def test_start_and_memory(report: Report, pods: int) -> None:
    with serving.filled_redis(pods) as redis_url, serving.api(redis_url) as krm:
        answer = httpx.post(f"{krm.url}/graphql", json={"query": "{ pods { totalCount } }"}, timeout=60)
        assert answer.json() == {"data": {"pods": {"totalCount": pods}}}
        is_large = pods == 100_000
        report.figure(GROUP, "ready out of Redis", pods, krm.ready_s, "s after its start", most=6 if is_large else None)
        report.figure(GROUP, "processor time until then", pods, krm.processor_s(), "s")
        most = 700 if is_large else None
        report.figure(GROUP, "resident memory", pods, krm.memory_mib(), "MiB", most=most)
        for name, query in (("all whole objects", queries.WHOLE), ("40 fields of all", queries.FORTY)):
            length, largest = read(krm, query)
            shown = f"after {name} ({length / 1e6:,.0f} MB)"
            report.figure(GROUP, f"resident memory {shown}", pods, krm.memory_mib(), "MiB", most=most)
            report.figure(GROUP, f"most of it meanwhile {shown}", pods, largest, "MiB")
    size = sum(map(len, stored(pods).records)) / pods
    report.figure(GROUP, "stored record of a pod", pods, size, "bytes")


def test_garbage_collection(report: Report) -> None:
    """As in a process of the API: what was there before, and its first table, are not looked at."""
    pods = 50_000
    stored(pods)
    thresholds = gc.get_threshold()
    gc.collect()
    garbage.settle()
    try:
        with garbage.filling(lasts=True):
            source = Source(pods)
        for what in ("", ", every row changed since the start"):
            gc.collect()
            started = time.process_time()
            gc.collect()
            taken_ms = (time.process_time() - started) * 1e3
            report.figure(GROUP, f"full garbage collection{what}", pods, taken_ms, "ms", most=150)
            replica = source.pods()
            for record in stored(pods).records:
                replica.put(replica.codec.decode(record))
        assert len(replica) == pods
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
