"""Filters over the rows of a replica, against a pandas frame of object columns with a dictionary of labels a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from krm.query import lists
from krm.resources import PODS
from krm.store.rows import Row
from tests.bench.cluster import Source
from tests.bench.report import Report
from tests.bench.test_query import best

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
GROUP = "Filters (processor time)"
PODS_COUNT = 50_000


def frame(rows: list[Row]) -> pd.DataFrame:
    """The same rows, as most programs have them."""
    return pd.DataFrame(
        {
            "uid": pd.Series([row.uid for row in rows], dtype=object),
            "namespace": pd.Series([row.namespace for row in rows], dtype=object),
            "node": pd.Series([row.columns[0] for row in rows], dtype=object),
            "labels": pd.Series([dict(row.labels) for row in rows], dtype=object),
        }
    )


def test_filters(report: Report) -> None:
    replica = Source(PODS_COUNT).pods()
    rows = replica.rows()
    pods, one = frame(rows), rows[len(rows) // 2]
    app, node = one.labels["app"], one.columns[0]

    def by_labels(test: Callable[[dict[str, str]], bool]) -> Any:
        return pods[pods.labels.apply(test)]

    questions: dict[str, tuple[dict[str, str], Callable[[], Any], float]] = {
        "namespace": ({"namespace": one.namespace}, lambda: pods[pods.namespace == one.namespace], 50),
        "node": ({"field_selector": f"spec.nodeName={node}"}, lambda: pods[pods.node == node], 50),
        "one label": ({"label_selector": f"app={app}"}, lambda: by_labels(lambda each: each.get("app") == app), 50),
        "sets of labels": (
            {"label_selector": "tier in (web, api),release notin (r9),!absent"},
            lambda: by_labels(
                lambda each: (
                    each.get("tier") in ("web", "api") and each.get("release") not in ("r9",) and "absent" not in each
                )
            ),
            15,
        ),
    }
    for name, (given, theirs, must) in questions.items():
        query = lists.parse(PODS, **given)  # type: ignore[arg-type]  # texts all
        first = best(lambda query=query: lists.run(replica, query), 1)  # type: ignore[misc]
        found = lists.run(replica, query)
        assert [row.uid for row in found.rows] == list(theirs().uid)
        which = best(lambda query=query: lists.run(replica, query), 15)  # type: ignore[misc]
        taken = best(lambda query=query: lists.run(replica, query).rows, 15)  # type: ignore[misc]
        took = best(theirs, 5)
        shown = f"{name} ({found.total:,} match)"
        report.faster(GROUP, f"{shown}, first", PODS_COUNT, first, "pandas", took)
        report.faster(GROUP, f"{shown}: which", PODS_COUNT, which, "pandas", took, must)
        report.faster(GROUP, f"{shown}: their rows", PODS_COUNT, taken, "pandas", took)
