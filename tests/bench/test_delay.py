"""How long after a change in the cluster an answer can show it, at some rates of change.

Of every sampled change: from the moment it is written at the simulated API server, until the API has answered a query
that asks for at least that version. Beside it the same query for a version that is there already: the empty loop.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

import aiohttp
import pytest

from tests.bench import stack

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

RUNS = int(os.environ.get("KRM_TEST_RUNS", "5"))
SECONDS = 5.0
PODS = 1_000
SAMPLES_PER_S = 40
QUERY = (
    "query ($namespace: String!, $name: String!, $version: String)"
    " { pod(namespace: $namespace, name: $name, minResourceVersion: $version) { metadata { resourceVersion } } }"
)


@pytest.mark.parametrize("rate", [100, 1_000])
async def test_delay_from_event_to_answer(tmp_path: Path, rate: int) -> None:
    async with stack.running(tmp_path, pods=PODS) as running, aiohttp.ClientSession() as session:
        delays = [await measured(running, session, rate) for _ in range(RUNS)]
        empty = [await empty_loop(running, session) for _ in range(RUNS)]
    print(f"\nevent to answer at {rate} events/s, {PODS} pods (ms, median of {RUNS} runs)")
    for name, runs in (("changed", delays), ("empty loop", empty)):
        p50, p99 = (statistics.median(quantile(run, q) for run in runs) for q in (0.5, 0.99))
        print(f"  {name:10}  p50 {p50:6.1f}  p99 {p99:6.1f}  samples a run {len(runs[0])}")


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1000


async def ask(session: aiohttp.ClientSession, url: str, pod: dict[str, str], version: str) -> None:
    variables = {"namespace": pod["namespace"], "name": pod["name"], "version": version}
    async with session.post(f"{url}/graphql", json={"query": QUERY, "variables": variables}) as answer:
        body = await answer.json()
    found = body["data"]["pod"]
    assert found is not None, body
    assert int(found["metadata"]["resourceVersion"]) >= int(version), body


async def measured(running: stack.Stack, session: aiohttp.ClientSession, rate: int) -> list[float]:
    """Seconds from a change to the answer that shows it, of the sampled changes of some seconds."""
    assert running.simulation is not None
    store = running.simulation.store
    kind = store.kind_named("pods")
    pods = [version.parse() for version in store.all(kind)]
    every = max(1, rate // SAMPLES_PER_S)
    delays: list[float] = []

    async def sample(pod: dict[str, str], version: str, at: float) -> None:
        await ask(session, running.api_url, pod, version)
        delays.append(time.perf_counter() - at)

    asked: list[asyncio.Task[None]] = []
    start = time.perf_counter()
    for number in range(int(rate * SECONDS)):
        pod = pods[number % len(pods)]
        pod["metadata"]["annotations"] = {"changed": str(number)}
        at = time.perf_counter()
        version = store.update(kind, pod)
        if number % every == 0:
            asked.append(asyncio.create_task(sample(pod["metadata"], str(version.rv), at)))
        ahead = start + number / rate - time.perf_counter()
        await asyncio.sleep(max(0.0, ahead))
    await asyncio.gather(*asked)
    return delays


async def empty_loop(running: stack.Stack, session: aiohttp.ClientSession) -> list[float]:
    """The same, when nothing has to arrive."""
    assert running.simulation is not None
    store = running.simulation.store
    delays: list[float] = []
    for version in store.all(store.kind_named("pods"))[:200]:
        pod = version.parse()["metadata"]
        at = time.perf_counter()
        await ask(session, running.api_url, pod, pod["resourceVersion"])
        delays.append(time.perf_counter() - at)
        await asyncio.sleep(0.005)
    return delays
