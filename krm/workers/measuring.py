"""What a streamer measures of its events: how late each came, and the sums of that.

A sample is made of an ADDED or DELETED event that the stream tells for the first time: its version is newer than the
stream's position. An initial dump or a list is no event of the stream, and what comes a second time (a replay after a
reconnect, a doubled line) is not newer. An event that comes late because the watch or the streamer was down is a
sample, as late as it is: for that long nobody could have known from the stream. What the stream never tells (behind a
gap) has no delay; verification counts it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from krm.kube.clock import Skew
from krm.kube.watching import WatchEvent
from krm.objects import moments
from krm.objects.moments import HONEST
from krm.store.delays import BUCKETS_S, Sample
from krm.store.head import DelaySum
from krm.store.rows import Row

LAG_LIFE_S: Final = 300.0
"""A lag that is older says nothing of now."""


def samples(event: WatchEvent, row: Row, skew: Skew | None) -> list[Sample]:
    """The sample of an event that the stream has not told before; none for one of another type."""
    if event.type == "ADDED":
        moment = moments.creation(row.created)
    elif event.type == "DELETED":
        moment = moments.deletion(event.raw)
    else:
        return []
    skew_s = None if skew is None else skew.seconds
    delay_s = None if moment.at_s is None else round(event.received_s + (skew_s or 0.0) - moment.at_s, 3)
    return [
        Sample(
            event=str(event.type),
            basis=str(moment.basis),
            delay_s=delay_s,
            skew_s=None if skew_s is None else round(skew_s, 3),
            version=row.version,
            namespace=row.namespace,
            name=row.name,
            uid=row.uid,
        )
    ]


class _Sum:
    def __init__(self) -> None:
        self.count = self.negative = 0
        self.sum_s = 0.0
        self.buckets = [0] * (len(BUCKETS_S) + 1)


class Measurer:
    """The sums of the samples of one streamer."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], _Sum] = {}
        self._lag_s: float | None = None
        self._lag_at_s = 0.0

    def count(self, samples: Iterable[Sample], now_s: float) -> None:
        """Take samples that are written into the sums."""
        for sample in samples:
            total = self._sums.setdefault((sample.event, sample.basis), _Sum())
            total.count += 1
            if sample.delay_s is not None:
                total.negative += sample.delay_s < 0
                total.sum_s += sample.delay_s
                total.buckets[bisect_left(BUCKETS_S, sample.delay_s)] += 1
            if sample.basis in HONEST:
                self._lag_s, self._lag_at_s = sample.delay_s, now_s

    def lag_s(self, now_s: float) -> float | None:
        """The newest delay of an honest basis, as long as it is recent."""
        return self._lag_s if abs(now_s - self._lag_at_s) <= LAG_LIFE_S else None

    def sums(self) -> tuple[DelaySum, ...]:
        """All sums, for the heartbeat."""
        return tuple(
            DelaySum(
                event=event,
                basis=basis,
                count=total.count,
                negative=total.negative,
                sum_s=round(total.sum_s, 3),
                buckets=tuple(total.buckets) if any(total.buckets) else (),
            )
            for (event, basis), total in self._sums.items()
        )
