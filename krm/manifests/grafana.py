"""The dashboard of delays in Grafana, on what /metrics tells Prometheus; ``make manifests`` writes its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from krm.manifests import dashboards


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel of Grafana's dashboard. Replicas of the API tell the same of workers: the greatest counts once."""

    title: str
    queries: Sequence[tuple[str, str]]
    """(PromQL, legend)"""
    unit: str = "s"


_R: Final = 'resource=~"$resource"'
_HONEST: Final = f'{_R}, basis=~"creation|container_finished"'
_EACH: Final = "{{resource}} {{event}}"


def _quantile(q: float) -> str:
    rate = f"rate(krm_stream_delay_seconds_bucket{{{_HONEST}}}[$__rate_interval])"
    return f"histogram_quantile({q}, max by (le, resource, event) ({rate}))"


def _now(metric: str) -> str:
    return f"max by (resource) ({metric}{{{_R}}})"


def _grown(metric: str, by: str = "resource", *, how: str = "increase") -> str:
    return f"max by ({by}) ({how}({metric}{{{_R}}}[$__rate_interval]))"


PANELS: Final[Sequence[Panel]] = (
    *(Panel(title=f"Delay p{round(q * 100)}", queries=[(_quantile(q), _EACH)]) for q in (0.5, 0.9, 0.99)),
    Panel(title="Newest delay", queries=[(_now("krm_stream_lag_seconds"), "{{resource}}")]),
    Panel(
        title="Samples a second by basis",
        queries=[
            (_grown("krm_stream_delay_samples_total", "resource, event, basis", how="rate"), _EACH + " {{basis}}"),
        ],
        unit="ops",
    ),
    Panel(
        title="Drift found by verification",
        queries=[(_grown("krm_missed_total", "resource, kind"), "{{resource}} {{kind}}")],
        unit="short",
    ),
    Panel(
        title="Stream restarts",
        queries=[(_grown("krm_stream_restarts_total"), "{{resource}}")],
        unit="short",
    ),
    Panel(title="Age of the last verification", queries=[(_now("krm_verified_age_seconds"), "{{resource}}")]),
    Panel(
        title="Clock skew of the API server",
        queries=[
            (_now("krm_apiserver_clock_skew_seconds"), "{{resource}}"),
            (_now("krm_apiserver_clock_skew_uncertainty_seconds"), "{{resource}} uncertainty"),
        ],
    ),
    Panel(
        title="Samples below zero and lost",
        queries=[
            (_grown("krm_stream_delay_negative_total"), "{{resource}} negative"),
            (_grown("krm_delay_samples_lost_total"), "{{resource}} lost"),
        ],
        unit="short",
    ),
    Panel(
        title="Collector: samples waiting",
        queries=[(_now("krm_delay_samples_waiting"), "{{resource}}")],
        unit="short",
    ),
    Panel(
        title="Collector: samples kept and refused a second",
        queries=[
            (_grown("krm_delay_samples_written_total", how="rate"), "{{resource}} kept"),
            (_grown("krm_delay_samples_rejected_total", how="rate"), "{{resource}} refused"),
        ],
        unit="ops",
    ),
)


def files() -> dict[str, str]:
    """The file of Grafana's dashboard, by name."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels = [
        {
            "id": number,
            "title": panel.title,
            "type": "timeseries",
            "datasource": source,
            "gridPos": {"x": 8 * ((number - 1) % 3), "y": 8 * ((number - 1) // 3), "w": 8, "h": 8},
            "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend, "datasource": source}
                for place, (expr, legend) in enumerate(panel.queries)
            ],
        }
        for number, panel in enumerate(PANELS, 1)
    ]
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {
            "name": "resource",
            "type": "query",
            "datasource": source,
            "query": "label_values(krm_rows, resource)",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    dashboard = {
        "uid": "krm-stream-delay",
        "title": "KRM stream delay",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "tags": ["krm"],
        "templating": {"list": variables},
        "panels": panels,
    }
    return {"krm-stream-delay.json": dashboards.text(dashboard)}


def write(folder: Path) -> None:
    """Write the files of both dashboards below ``folder``."""
    for name, made in (("chronograf", dashboards.chronograf()), ("grafana", files())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, text in made.items():
            (folder / name / file).write_text(text, encoding="utf-8")
