"""The dashboard of delays in Chronograf, on InfluxDB, and its source there; ``make manifests`` writes the files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from krm.resources import RESOURCES

DATABASE: Final = "krm"
_WIDTH: Final = 12
_SPACE: Final = uuid.UUID("6b0e4f0a-7d1c-4c33-9a52-0f6f5f0f6d6e")
_SCOPE: Final = '"cluster" =~ /^:cluster:$/ AND "resource" =~ /^:resource:$/'
_TIME: Final = "time > :dashboardTime: AND time < :upperDashboardTime:"
_HONEST: Final = '"basis" =~ /^(creation|container_finished)$/'
_DELAYS: Final = f'FROM "{DATABASE}"."autogen"."stream_delay" WHERE {_TIME} AND {_SCOPE}'
_STATES: Final = f'FROM "{DATABASE}"."autogen"."cache_state" WHERE {_TIME} AND {_SCOPE}'
_BY_KIND: Final = 'GROUP BY time(:interval:), "resource", "event" FILL(null)'
_BY_RESOURCE: Final = 'GROUP BY time(:interval:), "resource" FILL(null)'


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of Chronograf's dashboard."""

    name: str
    query: str
    kind: str = "line"
    unit: str = ""
    width: int = 6


def _percentile(number: int) -> str:
    return f'percentile("delay_seconds", {number}) AS "p{number}"'


def _step(field: str, name: str) -> str:
    """What a counter has grown by in an interval; nothing where its worker began anew."""
    return f'non_negative_difference(max("{field}")) AS "{name}"'


_ALL: Final = f'{_percentile(50)}, {_percentile(90)}, {_percentile(99)}, max("delay_seconds") AS "max"'
_DRIFT: Final = ", ".join(
    _step(field, name)
    for field, name in (
        ("missed_added", "added"),
        ("missed_modified", "modified"),
        ("missed_deleted", "deleted"),
        ("ghosts", "ghosts"),
    )
)
CELLS: Final[Sequence[Cell]] = (
    Cell(
        name="Delay of additions and deletions: p50, p90, p99, max",
        query=f'SELECT {_ALL} {_DELAYS} AND {_HONEST} GROUP BY time(:interval:), "event" FILL(null)',
        unit="s",
        width=12,
    ),
    *(
        Cell(
            name=f"Delay by resource and event: {name}",
            query=f"SELECT {what} {_DELAYS} AND {_HONEST} {_BY_KIND}",
            unit="s",
        )
        for name, what in (
            *((f"p{number}", _percentile(number)) for number in (50, 90, 99)),
            ("max", 'max("delay_seconds") AS "max"'),
        )
    ),
    Cell(
        name="Worst namespaces: the latest events",
        query=f'SELECT top("delay_seconds", 20) AS "delay", "namespace", "name", "resource", "event" {_DELAYS}'
        f" AND {_HONEST}",
        kind="table",
        unit="s",
    ),
    Cell(
        name="Samples by basis",
        query=f'SELECT count("uid") AS "samples" {_DELAYS} GROUP BY "resource", "event", "basis"',
        kind="table",
    ),
    Cell(
        name="Samples in each interval",
        query=f'SELECT count("uid") AS "samples" {_DELAYS} GROUP BY time(:interval:), "resource", "event" FILL(0)',
        kind="line-stacked",
    ),
    Cell(name="Drift found by verification", query=f"SELECT {_DRIFT} {_STATES} {_BY_RESOURCE}", kind="bar"),
    Cell(
        name="Stream restarts",
        query=f"SELECT {_step('stream_restarts', 'restarts')} {_STATES} {_BY_RESOURCE}",
        kind="bar",
    ),
    Cell(
        name="Cache age, and age of the last verification",
        query=f'SELECT max("age_seconds") AS "age", max("verified_age_seconds") AS "verified" {_STATES} {_BY_RESOURCE}',
        unit="s",
    ),
    Cell(
        name="Clock skew of the API server",
        query=f'SELECT mean("skew_seconds") AS "skew" {_STATES} {_BY_RESOURCE}',
        unit="s",
    ),
    Cell(
        name="Samples below zero, samples lost",
        query=f"SELECT {_step('samples_negative', 'negative')}, {_step('samples_lost', 'lost')}"
        f" {_STATES} {_BY_RESOURCE}",
        kind="bar",
    ),
)


def chronograf() -> dict[str, str]:
    """The files of Chronograf's resources folder, by name."""
    return {"krm.dashboard": text(_dashboard()), "krm.src": text(_SOURCE)}


_SOURCE: Final[dict[str, Any]] = {
    "id": "10000",
    "name": "KRM InfluxDB",
    "username": "{{ .INFLUXDB_USERNAME }}",
    "password": "{{ .INFLUXDB_PASSWORD }}",
    "url": "{{ .INFLUXDB_URL }}",
    "type": "influx",
    "insecureSkipVerify": False,
    "default": True,
    "telegraf": DATABASE,
    "defaultRP": "autogen",
    "organization": "default",
}
"""Chronograf fills in its own environment."""


def _dashboard() -> dict[str, Any]:
    cells, x, y = [], 0, 0
    for cell in CELLS:
        if x + cell.width > _WIDTH:
            x, y = 0, y + 4
        cells.append(_cell(cell, x, y))
        x += cell.width
    return {
        "id": 1000,
        "name": "KRM stream delay",
        "organization": "default",
        "cells": cells,
        "templates": [_cluster_variable(), _resource_variable()],
    }


def _cell(cell: Cell, x: int, y: int) -> dict[str, Any]:
    config = {
        "database": "",
        "measurement": "",
        "retentionPolicy": "",
        "fields": [],
        "tags": {},
        "groupBy": {"time": "", "tags": []},
        "areTagsAccepted": False,
        "rawText": cell.query,
        "range": None,
        "shifts": None,
    }
    plain = {"bounds": ["", ""], "label": "", "prefix": "", "suffix": "", "base": "10", "scale": "linear"}
    return {
        "i": str(uuid.uuid5(_SPACE, cell.name)),
        "x": x,
        "y": y,
        "w": cell.width,
        "h": 4,
        "name": cell.name,
        "type": cell.kind,
        "queries": [{"query": cell.query, "queryConfig": config, "source": "", "type": "influxql"}],
        "axes": {"x": plain, "y": {**plain, "suffix": cell.unit}, "y2": plain},
        "colors": [],
        "legend": {},
        "fieldOptions": [],
        "timeFormat": "MM/DD/YYYY HH:mm:ss",
        "tableOptions": {
            "verticalTimeAxis": True,
            "wrapping": "truncate",
            "fixFirstColumn": True,
            "sortBy": {"internalName": "time", "displayName": "", "visible": True},
        },
        "decimalPlaces": {"isEnforced": True, "digits": 3},
        "note": "",
        "noteVisibility": "default",
    }


def _cluster_variable() -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(_SPACE, ":cluster:")),
        "tempVar": ":cluster:",
        "type": "tagValues",
        "label": "",
        "values": [],
        "query": {
            "influxql": "SHOW TAG VALUES ON :database: FROM :measurement: WITH KEY=:tagKey:",
            "db": DATABASE,
            "measurement": "cache_state",
            "tagKey": "cluster",
            "fieldKey": "",
        },
        "sourceID": "dynamic",
    }


def _resource_variable() -> dict[str, Any]:
    names = [".*", *(resource.name for resource in RESOURCES.values())]
    values = [{"type": "csv", "value": name, "selected": name == ".*"} for name in names]
    return {
        "id": str(uuid.uuid5(_SPACE, ":resource:")),
        "tempVar": ":resource:",
        "type": "csv",
        "label": "",
        "values": values,
        "sourceID": "dynamic",
    }


def text(value: Any) -> str:
    """As a file has it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
