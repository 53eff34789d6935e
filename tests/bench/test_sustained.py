"""Two thousand changes a second over all resources for a minute: nothing lost, nothing that grows.

Everything is on this machine: the replaying API server, the workers of all kinds, Redis, the API and who asks. Asserted
is what must hold on any machine: afterwards each kind is answered exactly as the API server has it, the stream has no
gap, and verification had nothing to correct. Delay and memory are figures, of the first and
of the last third.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from krm import resources
from krm.resources import Resource
from tests.bench import replay, stack, test_delay
from tests.bench.replay import Replay, Sample
from tests.bench.report import Report

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("KRM_TEST_SUSTAINED_SECONDS", "60"))
PODS = int(os.environ.get("KRM_TEST_PODS", "10000"))
RATE = 2_000
SAMPLES_PER_S = 20
GROUP = "From a change to the answer"
WORKERS = ("stream", "aggregate", "serve")
FRESHNESS = "freshness { state contiguous missed { added modified deleted } resourceVersion }"


async def test_two_thousand_changes_a_second_for_a_minute(tmp_path: Path, report: Report) -> None:
    plurals = tuple(resources.RESOURCES)
    with (
        replay.running(tmp_path, pods=PODS) as replaying,
        stack.deployed(replaying.kubeconfig, resources=",".join(plurals), KRM_VERIFY_INTERVAL="30s") as running,
    ):
        async with aiohttp.ClientSession() as session:
            await test_delay.measured(replaying, session, running.api_url, RATE, plurals)  # to warm up
            processes = {name: running.processes[name] for name in WORKERS}
            before_s = {name: stack.cpu_s(process) for name, process in processes.items()}
            delays, memory = await sustained(replaying, session, running, plurals)
            spent_s = sum(stack.cpu_s(process) - before_s[name] for name, process in processes.items())
            caught_up_s = await caught_up(replaying, session, running.api_url, plurals)
            for plural in plurals:
                await assert_equal(replaying, session, running.api_url, resources.RESOURCES[plural])
    what = f"{RATE:,} events/s over {len(plurals)} kinds for {SECONDS:g} s"
    third = len(delays) // 3
    for name, part in (("first", delays[:third]), ("last", delays[-third:])):
        for q in (0.5, 0.99):
            most = 100 if q == 0.99 else None
            report.figure(
                GROUP, f"{what}: p{q * 100:g} in the {name} third", PODS, test_delay.quantile(part, q), "ms", most=most
            )
    report.figure(
        GROUP, f"{what}: all rows of all kinds at their last version, asked for afterwards", PODS, caught_up_s, "s"
    )
    report.figure(GROUP, f"{what}: processor time of the workers and the API", PODS, spent_s / SECONDS, "cores")
    for name, sizes in memory.items():
        at = max(1, len(sizes) // 3)
        first, last = statistics.median(sizes[:at]), statistics.median(sizes[-at:])
        report.figure(GROUP, f"{what}: memory of krm {name}, first third", PODS, first / 2**20, "MiB")
        report.figure(GROUP, f"{what}: memory of krm {name}, last third", PODS, last / 2**20, "MiB")


async def sustained(
    replaying: Replay, session: aiohttp.ClientSession, running: stack.Stack, plurals: tuple[str, ...]
) -> tuple[list[float], dict[str, list[int]]]:
    """Delays of the sampled changes in the order of these, and the memory of each process, twice a second."""
    delays: dict[int, float] = {}
    memory: dict[str, list[int]] = {name: [] for name in WORKERS}

    async def sample(number: int, one: Sample) -> None:
        await test_delay.ask(session, running.api_url, one)
        delays[number] = time.perf_counter() - one.at
        if number % (SAMPLES_PER_S // 2) == 0:
            for name, sizes in memory.items():
                sizes.append(stack.resident_bytes(running.processes[name]))

    asked: list[asyncio.Task[None]] = []
    played = replaying.play(rate=RATE, seconds=SECONDS, samples_per_s=SAMPLES_PER_S, plurals=plurals)
    while (one := await asyncio.to_thread(next, played, None)) is not None:
        asked.append(asyncio.create_task(sample(len(asked), one)))
    await asyncio.gather(*asked)
    return [delays[number] for number in range(len(asked))], memory


async def caught_up(replaying: Replay, session: aiohttp.ClientSession, url: str, plurals: tuple[str, ...]) -> float:
    """Seconds until every kind is answered, whole, at the version of its last change."""
    kinds = [resources.RESOURCES[plural] for plural in plurals]
    newest = [max(int(version) for _, version in await of_server(replaying, session, one)) for one in kinds]
    start = time.perf_counter()
    for one, version in zip(kinds, newest, strict=True):
        await of_answer(session, url, one, str(version))
    return time.perf_counter() - start


async def assert_equal(replaying: Replay, session: aiohttp.ClientSession, url: str, resource: Resource) -> None:
    """The table is what the API server has, by the stream alone."""
    found, freshness = await of_answer(session, url, resource, "")
    assert sorted(found) == sorted(await of_server(replaying, session, resource)), resource.plural
    assert freshness["contiguous"], freshness
    assert set(freshness["missed"].values()) == {0}, freshness


async def of_server(replaying: Replay, session: aiohttp.ClientSession, resource: Resource) -> list[tuple[str, str]]:
    """uid and version of every object at the API server."""
    config = json.loads(await asyncio.to_thread(replaying.kubeconfig.read_text))
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    server = config["clusters"][0]["cluster"]["server"]
    async with session.get(f"{server}{resource.path('')}", headers=accept) as answer:
        listed = json.loads(await answer.read())
    return [(item["metadata"]["uid"], item["metadata"]["resourceVersion"]) for item in listed["items"]]


async def of_answer(
    session: aiohttp.ClientSession, url: str, resource: Resource, version: str
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """uid and version of every row, at ``version`` at least, and how true they are."""
    query = (
        f"query ($version: String) {{ {resource.list_field}(minResourceVersion: $version)"
        f" {{ {FRESHNESS} nodes {{ metadata {{ uid resourceVersion }} }} }} }}"
    )
    for _ in range(30):
        async with session.post(
            f"{url}/graphql", json={"query": query, "variables": {"version": version or None}}
        ) as answer:
            body = json.loads(await answer.read())
        found = (body.get("data") or {}).get(resource.list_field)
        if found is not None:
            rows = [node["metadata"] for node in found["nodes"]]
            return [(row["uid"], row["resourceVersion"]) for row in rows], found["freshness"]
        assert body["errors"][0]["extensions"]["code"] == "STALE_REPLICA", body
    raise AssertionError(f"{resource.plural} is not answered at {version}")
