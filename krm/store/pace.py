"""How often a process goes to Redis and back: at once while little happens, on a beat while much does.

Whoever follows something (a watch, the log, the changes) rests after each round. While a process takes few events a
second that is not at all. Above, a process makes a limited number of rounds a second: what comes in between goes along
in one round, which costs little more than a round of one event. Streamers begin their rounds at multiples of the beat,
so that the kinds of a process share its wake-ups; who follows them rests a little shorter than a beat from when
something came, and so is there when the next comes: an event waits for one beat, not for one at each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

BUSY: Final = 1_250.0
"""Events a second of a process from which on its rounds keep to a beat."""
ROUNDS: Final = 300.0
"""Rounds a second of such a process, of all that it follows together."""
MAX_BEAT_S: Final = 0.025
FOLLOWS: Final = 0.7
"""The part of a beat for which a follower rests."""
WINDOW_S: Final = 0.1
"""Over how long events are counted."""
FORGOTTEN_S: Final = 1.0
"""After this long without a round what was before says nothing."""


class Pace:
    """Counts the events of all that one process follows, and says how long to rest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._taken = 0
        self._active: set[str] = set()
        self._rate = 0.0
        self._beat_s = 0.0

    def now(self) -> float:
        """The time by which ``followed`` is told when something came."""
        return self._clock()

    async def led(self, what: str, events: int) -> None:
        """Wait for the next beat, after a round of ``what`` that brought so many events."""
        self._count(what, events)
        if self._beat_s:
            await asyncio.sleep(self._beat_s - self._clock() % self._beat_s)

    async def followed(self, what: str, events: int, came_at: float) -> None:
        """Wait until the next events may come, after a round of ``what`` with events that came at a time."""
        self._count(what, events)
        left_s = came_at + self._beat_s * FOLLOWS - self._clock()
        if self._beat_s and left_s > 0:
            await asyncio.sleep(left_s)

    def _count(self, what: str, events: int) -> None:
        now = self._clock()
        if events:
            self._taken += events
            self._active.add(what)
        passed_s = now - self._since
        if passed_s < WINDOW_S:
            return
        rate = self._taken / passed_s
        self._rate = rate if passed_s >= FORGOTTEN_S else (self._rate + rate) / 2
        self._beat_s = min(len(self._active) / ROUNDS, MAX_BEAT_S) if self._rate >= BUSY else 0.0
        self._since, self._taken = now, 0
        self._active.clear()
