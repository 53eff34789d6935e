"""Percentiles out of a histogram, against Prometheus' own text and against delays that are known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from krm.api.delays import families
from krm.cli.reading import lateness
from krm.store.delays import BUCKETS_S
from krm.store.head import DelaySum, WorkerStatus

BOUNDS = (*BUCKETS_S, math.inf)


def counted(delays: list[float]) -> list[int]:
    buckets = [0] * len(BOUNDS)
    for delay in delays:
        buckets[next(number for number, bound in enumerate(BOUNDS) if delay <= bound)] += 1
    return buckets


def told(*totals: tuple[str, str, list[float]]) -> str:
    """What /metrics says of pods."""
    status = WorkerStatus(
        role="streamer",
        delays=tuple(
            [
                DelaySum(
                    event=event,
                    basis=basis,
                    count=len(delays),
                    negative=0,
                    sum_s=sum(delays),
                    buckets=tuple(counted(delays)),
                )
                for event, basis, delays in totals
            ]
        ),
    )

    class Source:
        def collect(self) -> object:
            return families([("pods", status)], [])

    registry = CollectorRegistry()
    registry.register(Source())  # type: ignore[arg-type]
    return generate_latest(registry).decode()


DELAYS = st.lists(st.floats(0.001, 1700.0), min_size=1, max_size=60)


@settings(deadline=None)
@given(added=DELAYS, deleted=DELAYS)
def test_each_percentile_is_in_the_bucket_of_the_true_one_and_only_honest_bases_count(
    added: list[float], deleted: list[float]
) -> None:
    text = told(
        ("ADDED", "creation", added), ("DELETED", "container_finished", deleted), ("DELETED", "request", [900.0] * 999)
    )
    found = lateness.read(text)["pods"]
    every = sorted(added + deleted)
    assert found.samples == len(every)
    for share, value in ((0.5, found.p50_s), (0.9, found.p90_s), (0.99, found.p99_s)):
        true = every[math.ceil(share * len(every)) - 1]
        upper = next(bound for bound in BOUNDS if true <= bound)
        lower = max(bound for bound in BOUNDS if bound < true)
        assert lower <= value <= upper


def test_it_is_interpolated_as_prometheus_does() -> None:
    assert lateness.read(told(("ADDED", "creation", [0.6] * 10)))["pods"].p50_s == pytest.approx(0.625)
    assert lateness.read(told(("ADDED", "creation", [-5.0])))["pods"].p99_s == 0.0
    assert lateness.read(told(("ADDED", "creation", [4000.0])))["pods"].p99_s == 1800.0


BUCKET = 'krm_stream_delay_seconds_bucket{{resource="pods",event="ADDED",basis="creation",le="{}"}} {}\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>a login page</html>",
        told(("DELETED", "request", [1.0])),
        told(("ADDED", "creation", [])),
        BUCKET.format("1.0", 3),
        BUCKET.format("+Inf", 3),
        BUCKET.format("1.0", 3) + BUCKET.format("+Inf", 2),
        BUCKET.format("1.0", 3) + BUCKET.format("+Inf", "NaN"),
        BUCKET.format("1.0", 3) + BUCKET.format("nan", 4),
    ],
)
def test_what_is_no_whole_histogram_tells_nothing(text: str) -> None:
    assert lateness.read(text) == {}
