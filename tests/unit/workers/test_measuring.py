"""Samples and sums of delays."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.kube.clock import Skew
from krm.kube.events import EventType, WatchEvent
from krm.objects import times
from krm.resources import PODS
from krm.store.delays import BUCKETS_S, Sample
from krm.store.rows import Codec
from krm.workers import measuring
from krm.workers.measuring import LAG_LIFE_S, Measurer

CREATED = "2026-11-23T10:00:00Z"
CREATED_S = times.parse(CREATED).timestamp()
DELETED: Any = {"deletionTimestamp": "2026-11-23T11:00:30Z", "deletionGracePeriodSeconds": 30}


def measured(kind: EventType, received_s: float, skew: Skew | None = None, **metadata: object) -> list[Sample]:
    given = {
        "namespace": "n",
        "name": "p",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": CREATED,
        **metadata,
    }
    raw = orjson.dumps({"metadata": given})
    return measuring.samples(
        WatchEvent(type=kind, raw=raw, version="7", received_s=received_s), Codec(PODS).encode(raw), skew
    )


def test_an_addition_is_measured_from_its_creation() -> None:
    assert measured(EventType.ADDED, CREATED_S + 3.25) == [
        Sample(event="ADDED", basis="creation", delay_s=3.25, version="7", namespace="n", name="p", uid="u")
    ]


def test_a_deletion_is_measured_from_what_it_tells() -> None:
    (sample,) = measured(EventType.DELETED, CREATED_S + 3_604.5, **DELETED)
    assert (sample.event, sample.basis, sample.delay_s) == ("DELETED", "request", 4.5)


def test_a_deletion_that_tells_nothing_has_no_delay() -> None:
    (sample,) = measured(EventType.DELETED, CREATED_S + 1)
    assert (sample.basis, sample.delay_s) == ("unknown", None)


def test_a_change_is_no_sample() -> None:
    assert measured(EventType.MODIFIED, CREATED_S + 1) == []


@pytest.mark.parametrize("skew_s", [-3600.0, -0.25, 0.25, 3600.0])
def test_the_skew_is_taken_off_and_told(skew_s: float) -> None:
    (sample,) = measured(EventType.ADDED, CREATED_S + 3 - skew_s, Skew(skew_s, 0.02))
    assert (sample.delay_s, sample.skew_s) == (3.0, skew_s)


def test_what_is_below_zero_is_counted_and_kept() -> None:
    measurer = Measurer()
    samples = measured(EventType.ADDED, CREATED_S - 5) + measured(EventType.ADDED, CREATED_S + 1)
    measurer.count(samples, 0.0)
    assert [sample.delay_s for sample in samples] == [-5.0, 1.0]
    (total,) = measurer.sums()
    assert (total.count, total.negative, total.sum_s) == (2, 1, -4.0)


@given(st.lists(st.one_of(st.none(), st.floats(-100, 4000).map(lambda s: round(s, 3)))))
def test_sums_are_those_of_the_samples(delays: list[float | None]) -> None:
    measurer = Measurer()
    measurer.count([Sample(event="ADDED", basis="creation", delay_s=delay) for delay in delays], 0.0)
    known = [delay for delay in delays if delay is not None]
    for total in measurer.sums():
        assert total.count == len(delays)
        assert total.negative == sum(delay < 0 for delay in known)
        assert total.sum_s == pytest.approx(sum(known), abs=0.01)
        assert sum(total.buckets) == len(known)
        for number, bound in enumerate(BUCKETS_S):
            assert not known or sum(total.buckets[: number + 1]) == sum(delay <= bound for delay in known)


def test_the_lag_is_the_newest_honest_delay_and_does_not_grow_old() -> None:
    measurer = Measurer()
    assert measurer.lag_s(0.0) is None
    measurer.count(measured(EventType.ADDED, CREATED_S + 2), 100.0)
    measurer.count(measured(EventType.DELETED, CREATED_S + 3_604.5, **DELETED), 101.0)
    assert measurer.lag_s(102.0) == 2.0
    assert measurer.lag_s(100.0 + LAG_LIFE_S) == 2.0
    assert measurer.lag_s(101.0 + LAG_LIFE_S) is None
