"""What an API replica tells Prometheus: its requests, and of each resource what the workers say of themselves.

Several processes of one replica count in files that they share, and whichever is asked adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from krm.api import delays
from krm.resources import Resource
from krm.schema.context import Source
from krm.schema.engine import Answer
from krm.store.head import WorkerStatus
from krm.table.freshness import State

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def share(folder: Path, number: int) -> None:
    """Count in files of ``folder`` from now on; to be called before there are any ``Metrics`` in this process.

    ``number`` is this process's among those that share the folder. What one of them counted before it ended stays:
    the one that takes its number goes on from there.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # where the library looks
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


class Observed(Source, Protocol):
    """What is measured."""

    @property
    def failed(self) -> str | None:
        """Why it stopped being kept up to date although nobody stopped it."""
        ...

    def statuses(self, resource: Resource) -> Mapping[str, WorkerStatus]:
        """The workers' newest heartbeats, by role."""
        ...


class Metrics:
    """A registry of its own, so that two applications in one process do not meet.

    ``folder``: the one that this process shares with others, if it does.
    """

    def __init__(self, source: Observed, folder: Path | None = None) -> None:
        self._resources = _Resources(source)
        self._folder = folder
        self._registry = CollectorRegistry(auto_describe=False)
        self.asked = 0
        """Questions that were answered, in this process."""
        self._requests = Counter(
            "krm_http_requests", "Requests by route and HTTP status.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "krm_http_request_seconds",
            "Seconds to the last byte.",
            ["route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._observed: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._errors = Counter(
            "krm_graphql_errors", "Errors in GraphQL answers by code.", ["code"], registry=self._registry
        )
        self._fallbacks = Counter(
            "krm_plain_fallbacks", "Lists with an object that is not as its type says.", registry=self._registry
        )
        self._odd = Counter(
            "krm_odd_values",
            "Values that are not of the sort that their kind says, answered as null.",
            registry=self._registry,
        )

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        counted = self._observed.get((route, status))
        if counted is None:
            counted = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._observed[route, status] = counted
        counted[0].inc()
        counted[1].observe(seconds)

    def count_errors(self, codes: Iterable[str]) -> None:
        """Count the errors of one answer."""
        for code in codes:
            self._errors.labels(code).inc()

    def count(self, answer: Answer) -> None:
        """Count what one answer tells."""
        self.asked += 1
        self.count_errors(answer.codes)
        if answer.fallbacks:
            self._fallbacks.inc(answer.fallbacks)
        self.count_odd(answer.odd)

    def count_odd(self, number: int) -> None:
        """Count values that were answered as null."""
        if number:
            self._odd.inc(number)

    def text(self) -> bytes:
        """The exposition."""
        counted: Collector = self._registry
        if self._folder is not None:
            counted = MultiProcessCollector(None, str(self._folder))  # type: ignore[no-untyped-call]
        told = CollectorRegistry(auto_describe=False)
        told.register(counted)
        told.register(self._resources)
        return generate_latest(told)


class _Resources(Collector):
    """Reads the source when it is scraped."""

    def __init__(self, source: Observed) -> None:
        self._source = source

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        gauges = {
            "rows": GaugeMetricFamily("krm_rows", "Objects in the table.", labels=["resource"]),
            "age": GaugeMetricFamily(
                "krm_verified_age_seconds", "Age of the newest verified list.", labels=["resource"]
            ),
            "lag": GaugeMetricFamily("krm_stream_lag_seconds", "How late events arrive.", labels=["resource"]),
            "contiguous": GaugeMetricFamily("krm_contiguous", "1 if list and stream meet.", labels=["resource"]),
        }
        state = GaugeMetricFamily("krm_state", "1 for the state that it is in.", labels=["resource", "state"])
        missed = CounterMetricFamily(
            "krm_missed", "What the stream had not told and verification found.", labels=["resource", "kind"]
        )
        requests = CounterMetricFamily(
            "krm_apiserver_requests", "Requests that the workers made of the API server.", labels=["resource", "role"]
        )
        received = CounterMetricFamily(
            "krm_apiserver_bytes", "Bytes that the workers received from the API server.", labels=["resource", "role"]
        )
        for resource in self._source.resources:
            label = [resource.name]
            fresh = self._source.freshness(resource)
            values = {
                "rows": float(self._source.rows(resource)),
                "age": fresh.verified_age_s,
                "lag": fresh.stream_lag_s,
                "contiguous": float(fresh.contiguous),
            }
            for name, value in values.items():
                if value is not None:
                    gauges[name].add_metric(label, value)
            for each in State:
                state.add_metric([*label, str(each)], float(str(fresh.state) == str(each)))
            for kind in ("added", "modified", "deleted", "ghosts"):
                missed.add_metric([*label, kind], float(getattr(fresh.missed, kind)))
            for role, status in self._source.statuses(resource).items():
                requests.add_metric([*label, role], float(status.requests))
                received.add_metric([*label, role], float(status.bytes))
        yield from (*gauges.values(), state, missed, requests, received)
        yield from delays.families(self._of("streamer"), self._of("collector"))

    def _of(self, role: str) -> list[tuple[str, WorkerStatus]]:
        statuses = [(resource.name, self._source.statuses(resource).get(role)) for resource in self._source.resources]
        return [(name, status) for name, status in statuses if status is not None]
