"""What Prometheus is told of stream delays: of the streamers' samples, the clocks, and the collector.

Counters are those of a worker since its start, as its newest heartbeat has them: they begin anew when it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from krm.store.delays import BUCKETS_S
from krm.store.head import WorkerStatus

_BOUNDS: Final = [*(str(float(bound)) for bound in BUCKETS_S), "+Inf"]


def families(
    streamers: Iterable[tuple[str, WorkerStatus]], collectors: Iterable[tuple[str, WorkerStatus]]
) -> Iterator[Metric]:
    """Metrics of (resource, newest heartbeat)s."""
    yield from _measured(list(streamers))
    yield from _collected(list(collectors))


def _measured(streamers: list[tuple[str, WorkerStatus]]) -> Iterator[Metric]:
    labels = ["resource", "event", "basis"]
    seconds = HistogramMetricFamily(
        "krm_stream_delay_seconds",
        "How late additions and deletions were received, by the moment that the object tells; creation and"
        " container_finished are good within a second.",
        labels=labels,
    )
    samples = CounterMetricFamily(
        "krm_stream_delay_samples", "Delay samples, also those without a delay.", labels=labels
    )
    negative = CounterMetricFamily("krm_stream_delay_negative", "Delays below zero: a clock is off.", labels=labels)
    lost = CounterMetricFamily(
        "krm_delay_samples_lost", "Samples pushed out of Redis before they were collected.", labels=["resource"]
    )
    skew = GaugeMetricFamily(
        "krm_apiserver_clock_skew_seconds", "The API server's clock less the streamer's.", labels=["resource"]
    )
    uncertainty = GaugeMetricFamily(
        "krm_apiserver_clock_skew_uncertainty_seconds", "How far off that may be.", labels=["resource"]
    )
    events = CounterMetricFamily("krm_stream_events", "Events that the streamer received.", labels=["resource"])
    restarts = CounterMetricFamily(
        "krm_stream_restarts", "Watches opened again for another reason than the server's timeout.", labels=["resource"]
    )
    for resource, status in streamers:
        for total in status.delays:
            label = [resource, total.event, total.basis]
            samples.add_metric(label, total.count)
            negative.add_metric(label, total.negative)
            if len(total.buckets) == len(_BOUNDS):
                seconds.add_metric(label, list(zip(_BOUNDS, accumulate(total.buckets), strict=True)), total.sum_s)
        lost.add_metric([resource], status.samples_lost)
        events.add_metric([resource], status.events)
        restarts.add_metric([resource], status.restarts)
        if status.skew_s is not None and status.skew_uncertainty_s is not None:
            skew.add_metric([resource], status.skew_s)
            uncertainty.add_metric([resource], status.skew_uncertainty_s)
    yield from (seconds, samples, negative, lost, skew, uncertainty, events, restarts)


def _collected(collectors: list[tuple[str, WorkerStatus]]) -> Iterator[Metric]:
    written = CounterMetricFamily("krm_delay_samples_written", "Samples kept in InfluxDB.", labels=["resource"])
    rejected = CounterMetricFamily(
        "krm_delay_samples_rejected", "Samples that InfluxDB refused for good.", labels=["resource"]
    )
    waiting = GaugeMetricFamily("krm_delay_samples_waiting", "Samples in Redis, to be collected.", labels=["resource"])
    works = GaugeMetricFamily("krm_collector_works", "1 if the collector writes to InfluxDB.", labels=["resource"])
    for resource, status in collectors:
        written.add_metric([resource], status.written)
        rejected.add_metric([resource], status.rejected)
        waiting.add_metric([resource], status.waiting)
        works.add_metric([resource], float(status.state == "running"))
    yield from (written, rejected, waiting, works)
