"""What verifying costs, by metadata and by whole objects, and what it does to everything else."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes import client, config

from krm.resources import PODS
from krm.settings import Secret
from krm.store.connect import open_store
from krm.store.head import Head
from krm.store.reading import TableStore
from krm.store.writing import EventWriter
from tests.bench import replay, stack
from tests.bench.report import Report
from tests.bench.test_delay import RUNS, empty_loop, measured, quantile
from tests.waiting import alongside, wait_until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
GROUP = "Verifying"
COUNT = int(os.environ.get("KRM_TEST_PODS", "50000"))
LISTED = 1_000
PASSES = 3
DEADLINE_S = 300.0


def official_s(kubeconfig: Path) -> float:
    """Processor time that the official client takes for a pod of a list, in pages of 500."""
    api: Any = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))  # type: ignore[no-untyped-call]
    start, found, following = time.process_time(), 0, None
    while found < LISTED:
        page = api.list_pod_for_all_namespaces(limit=500, **({"_continue": following} if following else {}))
        found, following = found + len(page.items), page.metadata._continue
    return (time.process_time() - start) / found


def listings(head: Head | None) -> list[str]:
    """Names of the lists that the table stands for."""
    return [scope.listing for scope in head.scopes] if head is not None else []


async def verified(table: TableStore) -> Head:
    """Ask for a list, and wait until the table stands for it."""
    before = listings(await table.head())
    await EventWriter(table.store, table).ask_for_list(full=False, reason="measuring")

    async def installed() -> Head | None:
        head = await table.head()
        return head if head is not None and head.state == "ready" and listings(head) != before else None

    found: Head | None = await wait_until(installed, DEADLINE_S)
    assert found is not None
    return found


@pytest.mark.parametrize(("mode", "must"), [("metadata", 400), ("full", 100)])
async def test_unchanged_objects(tmp_path: Path, report: Report, mode: str, must: float) -> None:
    with replay.running(tmp_path, pods=COUNT) as replaying:
        theirs_s = await asyncio.to_thread(official_s, replaying.kubeconfig)
        with stack.deployed(replaying.kubeconfig, KRM_VERIFY_MODE=mode) as running:
            store = open_store(Secret(running.redis_url))
            try:
                table = TableStore(store, "default", PODS)
                verify, aggregate = running.processes["verify"], running.processes["aggregate"]
                took, cost, lists = [], [], []
                for _ in range(PASSES):
                    requests, sent, _ = replaying.counts()
                    at, spent = stack.cpu_s(aggregate), stack.cpu_s(verify)
                    head = await verified(table)
                    took.append(head.took_s)
                    cost.append((stack.cpu_s(verify) - spent, stack.cpu_s(aggregate) - at))
                    lists.append((replaying.counts()[0] - requests, replaying.counts()[1] - sent))
                    assert head.rows == COUNT
                    assert head.missed == type(head.missed)()
            finally:
                await store.close()
            peak = {name: stack.peak_bytes(running.processes[name]) for name in ("verify", "aggregate")}
    name = "by metadata" if mode == "metadata" else "by whole objects"
    ours_s = min(verifier for verifier, _ in cost)
    both_s = min(sum(one) for one in cost)
    report.faster(GROUP, f"unchanged, {name}", COUNT, ours_s, "the official list", theirs_s * COUNT, must)
    report.faster(GROUP, f"unchanged and audited, {name}", COUNT, both_s, "the official list", theirs_s * COUNT)
    report.figure(GROUP, f"a list {name}: duration", COUNT, min(took), "s")
    report.figure(GROUP, f"a list {name}: requests", COUNT, lists[-1][0], "")
    report.figure(GROUP, f"a list {name}: bytes", COUNT, lists[-1][1] / 2**20, "MiB")
    for worker, most in peak.items():
        report.figure(GROUP, f"{name}: most memory of {worker}", COUNT, most / 2**20, "MiB")


@pytest.mark.parametrize("mode", ["metadata", "full"])
async def test_answers_beside_it(tmp_path: Path, report: Report, mode: str) -> None:
    """How late changes are answered while one list follows the other, against while none is read; in turns."""
    with (
        replay.running(tmp_path, pods=COUNT) as replaying,
        stack.deployed(replaying.kubeconfig, KRM_VERIFY_MODE=mode) as running,
    ):
        store = open_store(Secret(running.redis_url))
        table = TableStore(store, "default", PODS)
        try:
            async with aiohttp.ClientSession() as session:
                await measured(replaying, session, running.api_url, 100, ("pods",))
                await verified(table)  # the first are to warm up
                alone, beside = [], []
                for _ in range(RUNS):
                    alone.append(await measured(replaying, session, running.api_url, 100, ("pods",)))
                    async with alongside(_lists(table)):
                        beside.append(await measured(replaying, session, running.api_url, 100, ("pods",)))
                empty = await empty_loop(replaying, session, running.api_url)
        finally:
            await store.close()
    for q in (0.5, 0.99):
        what = f"event to answer, p{q * 100:g}, beside lists {'of metadata' if mode == 'metadata' else 'of objects'}"
        most = 2 if q == 0.99 else None
        late, without = (statistics.median(quantile(run, q) for run in runs) / 1000 for runs in (beside, alone))
        report.within(GROUP, what, COUNT, late, "without", without, most)
        report.figure(GROUP, f"{what}: of the empty loop", COUNT, quantile(empty, q), "ms")


async def _lists(table: TableStore) -> None:
    """One list follows the other."""
    while True:
        await verified(table)
