"""How long after a change in the cluster an answer can show it, at some rates of change.

Of every sampled change: from the moment the API server writes it, until the API has answered a query that asks for at
least that version. Beside it the same query for a version that is there already: the empty loop. Everything is on this
machine: the replaying API server, the workers, Redis, the API and who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import statistics
import time
from pathlib import Path

import aiohttp
import pytest

from krm import resources
from tests.bench import replay, stack
from tests.bench.replay import Replay, Sample
from tests.bench.report import Report
from tests.waiting import alongside

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

RUNS = int(os.environ.get("KRM_TEST_RUNS", "5"))
SECONDS = float(os.environ.get("KRM_TEST_SECONDS", "5"))
PODS = int(os.environ.get("KRM_TEST_PODS", "10000"))
SAMPLES_PER_S = 40
GROUP = "From a change to the answer"
ALL = tuple(resources.RESOURCES)
LARGE = "{ pods { nodes { metadata { name namespace labels } spec { nodeName } status { phase podIP } } } }"


@pytest.mark.parametrize(
    ("rate", "plurals", "large", "most_ms"),
    [
        pytest.param(100, ("pods",), False, 15, id="100 a second"),
        pytest.param(1_000, ("pods",), False, 25, id="1,000 a second"),
        pytest.param(1_000, ("pods",), True, 50, id="1,000 a second beside large queries"),
        pytest.param(2_000, ALL, False, 100, id="2,000 a second over all resources"),
    ],
)
async def test_delay_from_event_to_answer(
    tmp_path: Path, report: Report, rate: int, plurals: tuple[str, ...], large: bool, most_ms: float
) -> None:
    with (
        replay.running(tmp_path, pods=PODS) as replaying,
        stack.deployed(replaying.kubeconfig, resources=",".join(plurals)) as running,
    ):
        url, parts = running.api_url, {name: running.processes[name] for name in ("stream", "aggregate", "serve")}
        async with aiohttp.ClientSession() as session:
            async with alongside(asking(session, url)) if large else contextlib.nullcontext():
                await measured(replaying, session, url, rate, plurals)  # the first is to warm up
                before = {name: stack.cpu_s(process) for name, process in parts.items()}
                delays = [await measured(replaying, session, url, rate, plurals) for _ in range(RUNS)]
                spent = {name: stack.cpu_s(process) - before[name] for name, process in parts.items()}
            empty = [await empty_loop(replaying, session, url) for _ in range(RUNS)]
    where = f"{rate:,} events/s over {len(plurals)} kind{'s' if plurals[1:] else ''}{', beside large queries' * large}"
    for q, most in ((0.5, None), (0.99, most_ms)):
        late, alone = (statistics.median(quantile(run, q) for run in runs) for runs in (delays, empty))
        report.figure(GROUP, f"{where}: p{q * 100:g}", PODS, late, "ms", most=most)
        report.figure(GROUP, f"{where}: p{q * 100:g} of the empty loop", PODS, alone, "ms")
    for name, seconds in spent.items():  # what a machine that is busy with other things does not blur
        what = f"{where}: processor time of krm {name}"
        report.figure(GROUP, what, PODS, seconds / (RUNS * SECONDS * rate) * 1e6, "µs an event")


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1000


async def ask(session: aiohttp.ClientSession, url: str, sample: Sample) -> None:
    """Ask for a changed object at its version at least."""
    resource = resources.RESOURCES[sample.plural]
    inside = ("$namespace: String!, ", "namespace: $namespace, ") if sample.namespace else ("", "")
    query = (
        f"query ({inside[0]}$name: String!, $version: String) {{ {resource.single_field}"
        f"({inside[1]}name: $name, minResourceVersion: $version) {{ metadata {{ resourceVersion }} }} }}"
    )
    variables = {"name": sample.name, "version": sample.version}
    variables |= {"namespace": sample.namespace} if sample.namespace else {}
    while True:
        async with session.post(f"{url}/graphql", json={"query": query, "variables": variables}) as answer:
            body = await answer.json()
        found = body["data"][resource.single_field]
        if found is not None:
            break
        assert body["errors"][0]["extensions"]["code"] == "STALE_REPLICA", body  # it waited, and may be asked again
    assert int(found["metadata"]["resourceVersion"]) >= int(sample.version), body


async def measured(
    replaying: Replay, session: aiohttp.ClientSession, url: str, rate: int, plurals: tuple[str, ...]
) -> list[float]:
    """Seconds from a change to the answer that shows it, of the sampled changes of some seconds."""
    gc.collect()
    gc.freeze()  # collecting what all the tests' libraries are made of is no delay of KRM's
    delays: list[float] = []

    async def sample(one: Sample) -> None:
        await ask(session, url, one)
        delays.append(time.perf_counter() - one.at)

    asked: list[asyncio.Task[None]] = []
    played = replaying.play(rate=rate, seconds=SECONDS, samples_per_s=SAMPLES_PER_S, plurals=plurals)
    while (one := await asyncio.to_thread(next, played, None)) is not None:
        asked.append(asyncio.create_task(sample(one)))
    await asyncio.gather(*asked)
    gc.unfreeze()
    return delays


async def empty_loop(replaying: Replay, session: aiohttp.ClientSession, url: str) -> list[float]:
    """The same, when nothing has to arrive."""
    seen = list(replaying.play(rate=100, seconds=2, samples_per_s=100))
    await asyncio.sleep(0.5)
    delays: list[float] = []
    for one in seen:
        at = time.perf_counter()
        await ask(session, url, one)
        delays.append(time.perf_counter() - at)
        await asyncio.sleep(0.005)
    return delays


async def asking(session: aiohttp.ClientSession, url: str) -> None:
    """Ask large questions one after the other."""
    while True:
        async with session.post(f"{url}/graphql", json={"query": LARGE}) as answer:
            await answer.read()
