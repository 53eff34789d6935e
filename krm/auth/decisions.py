"""Answers of the API server about callers, kept for seconds: bounded, the least used go first, each asked for once.

What is NOT kept: failures. Whoever asks while an answer is on its way waits for that one and for nothing else, so that
a slow review holds up only those who need it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from krm.errors import ClusterUnreachable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AT_ONCE: Final = 128
"""Reviews under way. More would not make the API server answer faster."""
WAITING: Final = 10_000
"""Reviews under way or waiting for their turn; beyond it, callers are told that they cannot be reviewed now."""
PATIENCE_S: Final = 10.0
"""For a turn and for the answer; the answer alone has a shorter bound of its own."""


class Decisions(Generic[K, V]):
    """Values by key, none of which is None."""

    def __init__(self, *, most: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._flights: dict[K, asyncio.Task[V]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def __len__(self) -> int:
        return len(self._kept)

    def known(self, key: K) -> V | None:
        """What is kept and still holds."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._monotonic() >= kept[1]:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept[0]

    def holds_until_s(self, key: K) -> float:
        """When what is kept ends to hold; in the past for what is not kept."""
        kept = self._kept.get(key)
        return float("-inf") if kept is None else kept[1]

    async def get(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]], *, anew: bool = False) -> V:
        """The value of ``key``; ``ask`` gives it and for how many seconds it holds from the asking on.

        ``anew`` asks although a value is kept. Raises what ``ask`` raises, and ``ClusterUnreachable``.
        """
        known = None if anew else self.known(key)
        if known is not None:
            return known
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= WAITING:
                raise ClusterUnreachable(f"more than {WAITING} reviews wait for the API server")
            flight = self._flights[key] = asyncio.create_task(self._ask(key, ask))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)  # who goes away does not take the answer from the others

    async def _ask(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        try:
            async with asyncio.timeout(PATIENCE_S), self._turns:
                asked_at = self._monotonic()
                value, holds_s = await ask()
        except TimeoutError as error:
            raise ClusterUnreachable(f"no review within {PATIENCE_S:g} s") from error
        self._kept.pop(key, None)  # a kept opposite must not outlive this
        if holds_s > 0:
            self._kept[key] = (value, asked_at + holds_s)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value

    def _landed(self, key: K, flight: asyncio.Task[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # those who waited have it; if all of them went, nobody misses it

    async def close(self) -> None:
        """End what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
