"""Grafana's dashboard asks for nothing that /metrics does not have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from krm.api.metrics import Metrics
from krm.manifests import grafana
from krm.resources import Resource
from krm.store.delays import BUCKETS_S, Sample
from krm.store.head import WorkerStatus
from krm.workers.measuring import Measurer
from tests.sources import FilledSource

DELAYS = [-0.5, 0.05, 0.3, 0.9, 7.0, 4000.0]


class Measured(FilledSource):
    """With workers that have samples."""

    def statuses(self, resource: Resource) -> Mapping[str, WorkerStatus]:
        measurer = Measurer()
        measurer.count([Sample(event="ADDED", basis="creation", delay_s=delay) for delay in DELAYS], 0.0)
        measurer.count([Sample(event="DELETED", basis="unknown")], 0.0)
        streamer = WorkerStatus(
            role="streamer",
            events=9,
            restarts=2,
            samples_lost=4,
            skew_s=-0.2,
            skew_uncertainty_s=0.02,
            delays=measurer.sums(),
        )
        collector = WorkerStatus(role="collector", state="running", written=5, rejected=1, waiting=7)
        return {"streamer": streamer, "collector": collector}


def exposed() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples of /metrics by name and labels, of the pods."""
    text = Metrics(Measured()).text().decode()
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.labels.get("resource") == "pods"
    }


def value(name: str, **labels: str) -> Any:
    return exposed()[name, tuple(sorted({"resource": "pods", **labels}.items()))]


def test_the_dashboard_asks_for_metrics_and_labels_that_are_exposed() -> None:
    known: dict[str, set[str]] = {}
    for name, labels in exposed():
        known.setdefault(name, set()).update(label for label, _ in labels)
    board = json.loads(grafana.files()["krm-stream-delay.json"])
    exprs = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(exprs) >= len(grafana.PANELS)
    for expr in exprs:
        (name,) = re.findall(r"\bkrm_\w+", expr)
        assert name in known, expr
        (grouped,) = re.findall(r"by \(([^)]*)\)", expr)
        asked = re.findall(r"(\w+)=~", expr) + re.split(r",\s*", grouped)
        assert set(asked) <= known[name], expr


def test_the_histogram_is_that_of_the_samples() -> None:
    sort = {"event": "ADDED", "basis": "creation"}
    for bound in BUCKETS_S:
        expected = sum(delay <= bound for delay in DELAYS)
        assert value("krm_stream_delay_seconds_bucket", le=str(float(bound)), **sort) == expected
    assert value("krm_stream_delay_seconds_bucket", le="+Inf", **sort) == len(DELAYS)
    assert value("krm_stream_delay_seconds_count", **sort) == len(DELAYS)
    assert value("krm_stream_delay_seconds_sum", **sort) == sum(DELAYS)
    assert value("krm_stream_delay_negative_total", **sort) == 1


def test_a_basis_that_tells_no_time_is_counted_only() -> None:
    unknown = {"event": "DELETED", "basis": "unknown"}
    assert value("krm_stream_delay_samples_total", **unknown) == 1
    assert not any(
        name.startswith("krm_stream_delay_seconds") and ("basis", "unknown") in labels for name, labels in exposed()
    )


def test_clocks_and_the_collector_are_told() -> None:
    assert value("krm_apiserver_clock_skew_seconds") == -0.2
    assert value("krm_apiserver_clock_skew_uncertainty_seconds") == 0.02
    assert [value(f"krm_{name}_total") for name in ("stream_events", "stream_restarts", "delay_samples_lost")] == [
        9,
        2,
        4,
    ]
    assert [value(f"krm_delay_samples_{name}") for name in ("written_total", "rejected_total", "waiting")] == [5, 1, 7]
    assert value("krm_collector_works") == 1
