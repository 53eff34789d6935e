"""Percentiles of the stream's delay, estimated from the histogram in ``/metrics``.

The base installation has no Prometheus library, so the few lines that matter are read here, strictly: a line of another
form is not ours, and a histogram that is not whole tells nothing.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from krm.objects.moments import HONEST

_LINE: Final = re.compile(r'krm_stream_delay_seconds_bucket\{((?:[a-z]+="[^"\\]*",?)+)\} (\d+(?:\.0)?)')
_LABEL: Final = re.compile(r'([a-z]+)="([^"\\]*)"')
_BOUND: Final = re.compile(r"\d+(\.\d+)?|\+Inf")
_LABELS: Final = {"resource", "event", "basis", "le"}


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Of one resource, since its streamer started."""

    p50_s: float
    p90_s: float
    p99_s: float
    samples: int


def read(text: str) -> dict[str, Delay]:
    """The delays of resources that have samples of an honest basis."""
    series: defaultdict[str, defaultdict[tuple[str, str], dict[float, int]]] = defaultdict(lambda: defaultdict(dict))
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        labels = dict(_LABEL.findall(found[1])) if found else {}
        if found and set(labels) == _LABELS and labels["basis"] in HONEST and _BOUND.fullmatch(labels["le"]):
            of_resource = series[labels["resource"]]
            of_resource[labels["event"], labels["basis"]][float(labels["le"])] = int(float(found[2]))
    delays = {resource: _delay(list(each.values())) for resource, each in series.items()}
    return {resource: delay for resource, delay in delays.items() if delay is not None}


def as_json(delay: Delay | None) -> dict[str, Any] | None:
    """As ``krm status -o json`` has it."""
    if delay is None:
        return None
    return {
        "p50Seconds": delay.p50_s,
        "p90Seconds": delay.p90_s,
        "p99Seconds": delay.p99_s,
        "samples": delay.samples,
        "estimate": "interpolated in histogram buckets, since the streamer's start",
    }


def _delay(histograms: Sequence[Mapping[float, int]]) -> Delay | None:
    bounds = sorted(histograms[0])
    for histogram in histograms:
        counts = [histogram[bound] for bound in sorted(histogram)]
        is_rising = all(one <= next_one for one, next_one in pairwise(counts))
        if sorted(histogram) != bounds or len(bounds) < 2 or bounds[-1] != math.inf or not is_rising:
            return None
    sums = [sum(histogram[bound] for histogram in histograms) for bound in bounds]
    if not sums[-1]:
        return None
    p50, p90, p99 = (_quantile(share, bounds, sums) for share in (0.5, 0.9, 0.99))
    return Delay(p50_s=p50, p90_s=p90, p99_s=p99, samples=sums[-1])


def _quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float:
    """As ``histogram_quantile`` of Prometheus: evenly spread in each bucket, the last one at its lower bound."""
    rank = share * counts[-1]
    at = next(number for number, count in enumerate(counts) if count >= rank)
    if bounds[at] == math.inf:
        return bounds[at - 1]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    lower, before = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0)
    return round(lower + (bounds[at] - lower) * (rank - before) / (counts[at] - before), 6)
