"""Every query of Chronograf's dashboard, on a real engine: it runs, and says what the samples say."""

from __future__ import annotations

import json
import math
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from krm import resources
from krm.influx import Influx, Point
from krm.manifests import dashboards, grafana
from krm.objects.moments import HONEST
from krm.resources import Resource
from krm.simulator.influx import LocalInflux, WriteRoute
from krm.store.connect import Store
from krm.store.head import DelaySum, WorkerStatus
from krm.store.reading import TableStore
from krm.workers import collector as collectors
from tests.integration.delay.asking import INTERVAL_S, chosen
from tests.integration.delay.collecting import sample
from tests.integration.delay.conftest import Database, served
from tests.integration.store.samples import table_head

ROOT: Final = Path(__file__).resolve().parents[3]
KINDS: Final = (resources.PODS, resources.SERVICES)
Key = tuple[Any, ...]


@pytest.fixture
async def filled(engine: LocalInflux, store: Store) -> AsyncIterator[tuple[Database, list[Point]]]:
    """The dashboard's database with random samples of four hours, and those samples."""
    draw = random.Random(7)
    now_ms = time.time_ns() // 10**6
    points = []
    for number in range(1_500):
        kind = draw.choice(KINDS)
        event, basis = draw.choice(
            [("ADDED", "creation"), ("DELETED", "container_finished"), ("DELETED", "request"), ("DELETED", "unknown")]
        )
        one = sample(
            f"o{number}",
            None if basis == "unknown" else round(draw.expovariate(0.5) - 0.2, 3),
            event=event,
            basis=basis,
            namespace=f"team-{draw.randrange(5)}",
            id=f"{now_ms - draw.randrange(4 * 3600 * 1000)}-{number}",
        )
        points.append(collectors.sample_point(TableStore(store, "c", kind), one))
    states = [state(store, kind, now_ms, hours) for kind in KINDS for hours in range(4)]
    name = dashboards.DATABASE
    await engine.query(f'CREATE DATABASE "{name}"')
    try:
        async with served(WriteRoute(engine.url).application()) as url:
            influx = Influx(url, None, org="-", bucket=name)
            await influx.write([*points, *states])
            await influx.close()
            yield Database(local=engine, name=name, url=url), points
    finally:
        await engine.query(f'DROP DATABASE "{name}"')


def state(store: Store, kind: Resource, now_ms: int, hours: int) -> Point:
    """The cache hours ago: three restarts more each hour."""
    total = DelaySum(event="ADDED", basis="creation", count=9, negative=3 - hours, sum_s=1.0, buckets=())
    streamer = WorkerStatus(
        role="streamer", restarts=3 * (3 - hours), samples_lost=0, skew_s=0.25, skew_uncertainty_s=0.02, delays=(total,)
    )
    table = TableStore(store, "c", kind)
    return collectors.state_point(table, table_head("r"), streamer, now_ms - hours * 3600 * 1000)


def percentile(values: list[float], number: float) -> float:
    """The nearest rank, as InfluxQL has it."""
    rank = math.floor(len(values) * number / 100 + 0.5) - 1
    return sorted(values)[max(rank, 0)]


def buckets(points: list[Point], *tags: str) -> dict[Key, list[float]]:
    """Delays of the honest samples, by interval and tags."""
    found: dict[Key, list[float]] = defaultdict(list)
    for point in points:
        delay = point.fields["delay_seconds"]
        if point.tags["basis"] in HONEST and isinstance(delay, float):
            start = point.at_ns // 10**9 // INTERVAL_S * INTERVAL_S
            found[start, *(point.tags[tag] for tag in tags)].append(delay)
    return found


def told(rows: list[dict[str, Any]], column: str, *tags: str) -> dict[Key, float]:
    """A column, by interval and tags, where there is a value."""
    return {(seconds(row["time"]), *(row[tag] for tag in tags)): row[column] for row in rows if row[column] is not None}


def seconds(text: str) -> int:
    return int(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone)


def cell(name: str) -> str:
    (found,) = [one.query for one in dashboards.CELLS if one.name.startswith(name)]
    return found


def test_committed_files_are_those_that_are_made() -> None:
    for folder, files in (("chronograf", dashboards.chronograf()), ("grafana", grafana.files())):
        committed = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / folder).iterdir()}
        assert committed == files, "make manifests"


def test_the_dashboard_is_as_chronograf_reads_it() -> None:
    found = json.loads(dashboards.chronograf()["krm.dashboard"])
    assert (found["id"], found["organization"]) == (1000, "default")
    assert {cell["type"] for cell in found["cells"]} <= {"line", "line-stacked", "bar", "table"}
    taken = {
        (x, y) for c in found["cells"] for x in range(c["x"], c["x"] + c["w"]) for y in range(c["y"], c["y"] + c["h"])
    }
    assert len(taken) == sum(c["w"] * c["h"] for c in found["cells"])
    assert max(x for x, _ in taken) == 11
    assert "{{" not in dashboards.chronograf()["krm.dashboard"]
    source = json.loads(dashboards.chronograf()["krm.src"])
    assert isinstance(source["id"], str)
    assert int(source["id"])
    assert source["organization"] == "default"


async def test_every_query_of_every_cell_and_variable_gives_rows(filled: tuple[Database, list[Point]]) -> None:
    database, _ = filled
    found = json.loads((ROOT / "deploy" / "chronograf" / "krm.dashboard").read_text())
    queries = [query["query"] for cell in found["cells"] for query in cell["queries"]]
    assert len(queries) == len(dashboards.CELLS)
    for query in queries:
        for resource in (".*", "pods"):
            rows = await database.rows(chosen(query, resource=resource))
            assert rows, query
            assert {row.get("resource", "pods") for row in rows} <= (
                {"pods"} if resource == "pods" else {"pods", "services"}
            )
        assert await database.rows(chosen(query, cluster="another")) == []
    (variable,) = [one["query"] for one in found["templates"] if one["type"] == "tagValues"]
    text = variable["influxql"].replace(":database:", f'"{variable["db"]}"')
    text = text.replace(":measurement:", f'"{variable["measurement"]}"').replace(":tagKey:", f'"{variable["tagKey"]}"')
    assert [row["value"] for row in await database.rows(text)] == ["c"]


@pytest.mark.parametrize(("name", "number"), [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)])
async def test_delays_are_those_of_the_samples(filled: tuple[Database, list[Point]], name: str, number: int) -> None:
    database, points = filled
    rows = await database.rows(chosen(cell(f"Delay by resource and event: {name}")))
    expected = {key: percentile(found, number) for key, found in buckets(points, "resource", "event").items()}
    assert told(rows, name, "resource", "event") == expected
    rows = await database.rows(chosen(cell("Delay of additions and deletions")))
    assert told(rows, name, "event") == {k: percentile(found, number) for k, found in buckets(points, "event").items()}


async def test_the_worst_are_the_worst(filled: tuple[Database, list[Point]]) -> None:
    database, points = filled
    rows = await database.rows(chosen(cell("Worst namespaces")))
    honest = [p for p in points if p.tags["basis"] in HONEST]
    worst = sorted(honest, key=lambda p: float(str(p.fields["delay_seconds"])), reverse=True)[:20]
    assert {(row["delay"], row["namespace"], row["name"], row["resource"], row["event"]) for row in rows} == {
        (p.fields["delay_seconds"], p.fields["namespace"], p.fields["name"], p.tags["resource"], p.tags["event"])
        for p in worst
    }


async def test_rates_count_every_sample(filled: tuple[Database, list[Point]]) -> None:
    database, points = filled
    rows = await database.rows(chosen(cell("Samples in each interval")))
    assert sum(row["samples"] for row in rows) == len(points)
    rows = await database.rows(chosen(cell("Samples by basis")))
    expected: dict[Key, int] = defaultdict(int)
    for point in points:
        expected[point.tags["resource"], point.tags["event"], point.tags["basis"]] += 1
    assert {(row["resource"], row["event"], row["basis"]): row["samples"] for row in rows} == expected


async def test_counters_show_what_they_grew_by(filled: tuple[Database, list[Point]]) -> None:
    database, _ = filled
    rows = await database.rows(chosen(cell("Stream restarts")))
    assert sum(row["restarts"] or 0 for row in rows) == 9 * len(KINDS)
    rows = await database.rows(chosen(cell("Samples below zero")))
    assert sum(row["negative"] or 0 for row in rows) == 3 * len(KINDS)
