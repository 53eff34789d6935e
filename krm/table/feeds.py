"""Telling subscribers what changed in a replica, without ever waiting for a slow one.

A feed is bounded: whoever falls behind loses the feed's content and is told to start again (``RESYNC``), as is
everybody when the replica is loaded anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

from krm.store.rows import Row

MAX_WAITING: Final = 10_000
RESYNC: Final = None
"""Stands for "what was told so far does not hold any more"."""


class Delta(NamedTuple):
    """One step of the replica; ``before`` is None for an addition, ``after`` for a deletion."""

    id: str
    seq: int
    before: Row | None
    after: Row | None
    last: Row | None = None
    """Of a deletion: the last known state, which may be newer than ``before``."""


class Feed:
    """What one subscriber has not taken yet."""

    def __init__(self, *, most: int = MAX_WAITING) -> None:
        self._most = most
        self._waiting: deque[Delta] = deque()
        self._is_lost = False
        self._news = asyncio.Event()

    def give(self, deltas: list[Delta]) -> None:
        """Add steps; at the bound everything goes and the subscriber is told so."""
        if self._is_lost:
            return
        if len(self._waiting) + len(deltas) > self._most:
            self.lose()
            return
        self._waiting.extend(deltas)
        self._news.set()

    def lose(self) -> None:
        """Drop everything: the subscriber must start again from the replica."""
        self._waiting.clear()
        self._is_lost = True
        self._news.set()

    async def take(self, *, timeout_s: float) -> list[Delta] | None:
        """What waits (``RESYNC`` if that was lost), after at most ``timeout_s``; an empty list if there was nothing."""
        if not self._news.is_set():
            try:
                async with asyncio.timeout(timeout_s):  # wait_for would make a task each time
                    await self._news.wait()
            except TimeoutError:
                return []
        self._news.clear()
        if self._is_lost:
            self._is_lost = False
            return RESYNC
        taken = list(self._waiting)
        self._waiting.clear()
        return taken
