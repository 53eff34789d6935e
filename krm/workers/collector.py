"""The collector: takes the delay samples of one resource from Redis and keeps them in InfluxDB.

A sample is settled, and leaves Redis, when InfluxDB has confirmed it; before that it is taken again. Whatever happens
in between it is there once, since its point has the time of its id. While InfluxDB is away, samples wait in Redis
within their bound. Nobody waits for the collector. Beside the samples it notes, each time, how the cache stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from krm import errors
from krm.influx import Point
from krm.resources import Resource
from krm.settings import Settings
from krm.store.delays import Sample, SampleReader
from krm.store.head import Head, WorkerStatus
from krm.store.reading import TableStore
from krm.workers.runner import Worker

logger = logging.getLogger(__name__)

DELAYS: Final = "stream_delay"
STATE: Final = "cache_state"
BATCH: Final = 1_000
HOPELESS: Final = 8
"""So many points refused one by one, and none taken: then it is not the points."""


class Target(Protocol):
    """Where points go."""

    async def write(self, points: Sequence[Point]) -> None:
        """Write them all. Raises ``DelayStoreError``."""


class Collector(Worker):
    """Collects one resource."""

    writer: SampleReader

    def __init__(self, resource: Resource, settings: Settings, table: TableStore, target: Target) -> None:
        super().__init__(resource, SampleReader(table.store, table))
        self._table = table
        self._interval_s = settings.collect_interval_s
        self._target = target

    async def work(self) -> None:
        """Collect what there is, then again after each interval."""
        while True:
            while await self._batch() == BATCH:
                pass
            await self._note_state()
            await asyncio.sleep(self._interval_s)

    async def _batch(self) -> int:
        """Keep one batch of samples; how many it had."""
        taken = await self.writer.take(BATCH)
        points = [sample_point(self._table, sample) for _, sample in taken if sample is not None]
        refused = await self._keep(points)
        waiting = await self.writer.settle([identifier for identifier, _ in taken])
        self.say(
            written=self.status.written + len(points) - refused,
            rejected=self.status.rejected + refused + len(taken) - len(points),
            waiting=waiting,
        )
        return len(taken)

    async def _keep(self, points: Sequence[Point]) -> int:
        """Write ``points``, each by itself where it must be; how many InfluxDB refuses for good."""
        parts = deque([points] if points else [])
        refused = taken = 0
        while parts:
            part = parts.popleft()
            try:
                await self._target.write(part)
            except errors.PointsRefused as error:
                if error.dropped is not None:  # too old for the bucket; the others are kept
                    refused += min(error.dropped, len(part))
                elif len(part) > 1:
                    # The larger halves first: what can be kept is, before a single point is given up.
                    parts += (part[: len(part) // 2], part[len(part) // 2 :])
                else:
                    refused += 1
                    self._log(logging.WARNING, "a point is refused and left out", str(error), point=part[0].at_ns)
                if refused >= HOPELESS and not taken and error.dropped is None:
                    raise errors.DelayStoreRefused(f"InfluxDB takes no point: {error}") from error
            else:
                taken += len(part)
        return refused

    async def _note_state(self) -> None:
        head, statuses, now_ms = await self._table.head(), await self._table.statuses(), await self._table.now_ms()
        if head is not None and head.state == "ready":
            await self._target.write([state_point(self._table, head, statuses.get("streamer"), now_ms)])


def sample_point(table: TableStore, sample: Sample) -> Point:
    """The point of a sample."""
    return Point(
        measurement=DELAYS,
        tags={
            "cluster": table.cluster,
            "resource": table.resource.name,
            "event": sample.event,
            "basis": sample.basis,
        },
        fields={
            "delay_seconds": None if sample.delay_s is None else float(sample.delay_s),
            "skew_seconds": None if sample.skew_s is None else float(sample.skew_s),
            "resource_version": sample.version,
            "namespace": sample.namespace,
            "name": sample.name,
            "uid": sample.uid,
        },
        at_ns=sample.at_ns,
    )


def state_point(table: TableStore, head: Head, streamer: WorkerStatus | None, now_ms: int) -> Point:
    """How the cache of a resource stands at a moment of Redis' clock; counters are since their worker's start."""
    as_of_ms = max(head.verified_at_ms, head.last_event_ms or 0) if head.contiguous else head.verified_at_ms
    fields: dict[str, float | int | str | None] = {
        "rows": head.rows,
        "age_seconds": max(0.0, (now_ms - as_of_ms) / 1000),
        "verified_age_seconds": max(0.0, (now_ms - head.verified_at_ms) / 1000),
        "missed_added": head.missed.added,
        "missed_modified": head.missed.modified,
        "missed_deleted": head.missed.deleted,
        "ghosts": head.missed.ghosts,
    }
    if streamer is not None:
        fields |= {
            "stream_events": streamer.events,
            "stream_restarts": streamer.restarts,
            "samples_lost": streamer.samples_lost,
            "samples_negative": sum(total.negative for total in streamer.delays),
            "skew_seconds": None if streamer.skew_s is None else float(streamer.skew_s),
        }
    return Point(
        measurement=STATE,
        tags={"cluster": table.cluster, "resource": table.resource.name},
        fields=fields,
        at_ns=now_ms * 1_000_000,
    )
