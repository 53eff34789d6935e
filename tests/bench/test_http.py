"""Answers over HTTP: against stock Strawberry with the same objects, and against bytes that are ready to be sent.

Times are those of a client on the same machine, from the request to the last byte; medians of some runs.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import orjson
import pytest

from krm.resources import PODS
from krm.store.rows import Codec
from tests.bench import queries, serving
from tests.bench.cluster import stored
from tests.bench.report import Report

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
GROUP = "Answers over HTTP"


def median(work: Callable[[], object], runs: int) -> float:
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def ask(client: httpx.Client, server: serving.Serving, query: str) -> bytes:
    answer = client.post(f"{server.url}/graphql", json={"query": query})
    assert answer.status_code == 200
    return answer.content


@pytest.mark.parametrize("pods", [1_000, 10_000])
def test_answers(report: Report, tmp_path: Path, pods: int) -> None:
    with (
        serving.filled_redis(pods) as redis_url,
        serving.stock(tmp_path, pods) as stock,
        serving.api(redis_url) as krm,
        httpx.Client(timeout=600) as client,
    ):
        for name, query, must in (("10 plain fields", queries.TEN, 30), ("40 fields with lists", queries.FORTY, 15)):
            first = median(lambda query=query: ask(client, krm, query), 1)  # type: ignore[misc]
            ours = ask(client, krm, query)
            again = median(lambda query=query: ask(client, krm, query), 5)  # type: ignore[misc]
            theirs = b""

            def stock_once(query: str = query) -> None:
                nonlocal theirs
                theirs = ask(client, stock, query)

            took = median(stock_once, 1)
            assert sorted(map(orjson.dumps, nodes(ours))) == sorted(map(orjson.dumps, nodes(theirs)))
            report.faster(GROUP, f"{name}, first", pods, first, "stock Strawberry", took)
            report.faster(GROUP, f"{name}, again", pods, again, "stock Strawberry", took, must)
            size = len(ours)
            ready = median(lambda size=size: client.get(f"{stock.url}/bytes?size={size}").content, 5)  # type: ignore[misc]
            report.within(GROUP, f"{name}, again", pods, again, "ready bytes of that size", ready)
        whole = median(lambda: ask(client, krm, queries.WHOLE), 3)
        ready = median(lambda: client.get(f"{stock.url}/objects").content, 3)
        ours, theirs = ask(client, krm, queries.WHOLE), client.get(f"{stock.url}/objects").content
        assert sorted(map(orjson.dumps, nodes(ours))) == sorted(map(orjson.dumps, nodes(theirs)))
        report.within(GROUP, "whole objects", pods, whole, "ready bytes of that size", ready, 2)
        took = median(lambda: ask(client, stock, queries.WHOLE), 1)
        report.faster(GROUP, "whole objects", pods, whole, "stock Strawberry", took)


def nodes(body: bytes) -> list[object]:
    return orjson.loads(body)["data"]["pods"]["nodes"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("processes", sorted({1, os.cpu_count() or 1}))
def test_many_clients(report: Report, tmp_path: Path, processes: int) -> None:
    pods = 10_000
    group = "Many clients with small questions (wrk on the same cores)"
    row = Codec(PODS).decode(stored(pods).records[7])
    body = json.dumps({"query": queries.SMALL, "variables": {"namespace": row.namespace, "name": row.name}})
    with serving.filled_redis(pods) as redis_url, serving.api(redis_url, KRM_WORKERS=str(processes)) as krm:
        answer = httpx.post(f"{krm.url}/graphql", content=body, headers={"Content-Type": "application/json"})
        assert answer.json()["data"]["pod"]["metadata"]["name"] == row.name
        what = f"{processes} process" + ("es" if processes > 1 else "")
        serving.wrk(krm.url, tmp_path, body, connections=8, seconds=1)
        for connections in (8, 500):
            before = krm.processor_s()
            rate = serving.wrk(krm.url, tmp_path, body, connections=connections)
            assert rate.errors == 0
            shown = f"{what}, {connections} connections"
            must = 1_000.0 * processes if connections == 8 else None
            report.figure(group, f"{shown}: requests", pods, rate.per_s, "/s", least=must)
            report.figure(group, f"{shown}: p50", pods, rate.p50_ms, "ms")
            report.figure(group, f"{shown}: p99", pods, rate.p99_ms, "ms")
            if processes == 1:
                used = (krm.processor_s() - before) / (rate.per_s * 5)
                report.figure(group, f"{shown}: processor time of the API", pods, used * 1e3, "ms a request")
