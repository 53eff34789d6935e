"""The API server's clock against ours, from the Date headers of its answers.

A Date is cut to whole seconds, and the answer was written at some time between our request and its arrival: each
answer puts the server's clock into an interval that is a second wide. Different answers give different intervals that
all hold, so their intersection does, and it is narrow when the answers fall to both sides of a second's turn. The
estimate is its middle, the uncertainty half its width.

Intervals are kept against the steady clock: our wall clock may be set meanwhile, and a skew is right all the same.
What is NOT seen: clocks of nodes, and which of several API servers behind one address has answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from krm import errors

if TYPE_CHECKING:
    from krm.kube.connect import Cluster

DRIFT: Final = 100e-6
"""How fast two disciplined clocks may part, as seconds a second; an old interval is so much wider."""
NARROWEST_S: Final = 0.04
"""Narrower than this the intervals are not believed: two API servers behind one address differ by as much."""
SHARP_S: Final = 0.05
"""An uncertainty beyond this is worth a request."""
LOOK_S: Final = 60.0
PROBES_MAX: Final = 8
"""Requests in a row: each halves the interval, and six get from a second to a hundredth."""
_TIMEOUT_S: Final = 5.0


class Skew(NamedTuple):
    """The server's clock less our wall clock."""

    seconds: float
    uncertainty_s: float


class ServerClock:
    """What the Dates of one server have told so far."""

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self.steady = steady
        self._low = self._high = 0.0
        """Bounds of the server's clock less the steady clock."""
        self._at_s: float | None = None
        self._trip_s = 0.0
        self.resets = 0
        """How often an answer contradicted all before: one of the clocks was set, or another server answered."""

    def observe(self, date_s: float, sent_s: float, received_s: float) -> None:
        """Take in a Date (unix seconds) of an answer between these moments of the steady clock."""
        low, high = date_s - received_s, date_s + 1.0 - sent_s
        self._trip_s = max(0.0, received_s - sent_s)
        if self._at_s is not None:
            apart_s = DRIFT * max(0.0, received_s - self._at_s)
            both_low, both_high = max(low, self._low - apart_s), min(high, self._high + apart_s)
            if both_low <= both_high:
                wider_s = max(0.0, NARROWEST_S - (both_high - both_low)) / 2
                low, high = both_low - wider_s, both_high + wider_s
            else:
                self.resets += 1
        self._low, self._high, self._at_s = low, high, received_s

    def skew(self) -> Skew | None:
        """The skew at this moment; None before the first Date."""
        if self._at_s is None:
            return None
        now_s = self.steady()
        apart_s = DRIFT * max(0.0, now_s - self._at_s)
        middle = (self._low + self._high) / 2
        return Skew(middle + now_s - self._wall(), (self._high - self._low) / 2 + apart_s)

    def until_turn_s(self) -> float:
        """When to ask, so that the answer is written as a second turns by the estimate: that halves the interval."""
        if self._at_s is None:
            return 0.0
        there_s = self.steady() + (self._low + self._high) / 2 + self._trip_s / 2
        return 1.0 - there_s % 1.0


async def keep_sharp(cluster: Cluster) -> None:
    """Ask the server for its time, rarely, whenever the skew is uncertain. Never fails: there are other answers."""
    while True:
        for _ in range(PROBES_MAX):
            skew = cluster.clock.skew()
            if skew is not None and skew.uncertainty_s <= SHARP_S:
                break
            await asyncio.sleep(cluster.clock.until_turn_s())
            try:
                async with cluster.answer("GET", "/version", where="get /version", timeout_s=_TIMEOUT_S) as answer:
                    await answer.read()
            except errors.ClusterUnreachable:
                break
            except errors.ClusterError:  # a refusal has a Date too
                continue
        await asyncio.sleep(LOOK_S)
