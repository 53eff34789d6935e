"""Where the fields of one question wait for each other, so that all read their rows in one turn of the event loop.

Each field asks for its rights and waits until its table is fresh enough, which takes one longer than another. What they
show of one kind, and of kinds that are related, must be of one moment all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Meeting:
    """Of the fields of one question."""

    def __init__(self) -> None:
        self.awaited = 0
        """Guests that have neither come nor left."""
        self._gate: asyncio.Future[None] | None = None

    def guest(self) -> Guest:
        """One more who is waited for."""
        self.awaited += 1
        return Guest(self)

    async def wait(self) -> bool:
        """Wait until nobody is awaited; whether others had the event loop meanwhile."""
        if self._gate is None:
            if not self.awaited:
                return False
            self._gate = asyncio.get_running_loop().create_future()
        self.look()
        await self._gate  # whoever waits for one future goes on right after the other
        return True

    def look(self) -> None:
        """Let all go on if nobody is awaited any more."""
        if not self.awaited and self._gate is not None:
            asyncio.get_running_loop().call_soon(_open, self._gate)


def _open(gate: asyncio.Future[None]) -> None:
    if not gate.done():
        gate.set_result(None)


class Guest:
    """A field that reads rows."""

    def __init__(self, meeting: Meeting) -> None:
        self._meeting = meeting
        self._is_awaited = True

    async def meet(self) -> bool:
        """Come, and wait for the others; whether they had the event loop meanwhile."""
        self._leave()
        return await self._meeting.wait()

    async def attend(self, work: Callable[[Guest], Awaitable[T]]) -> T:
        """Do what ends in a meeting, or fails before."""
        try:
            return await work(self)
        finally:
            self._leave()
            self._meeting.look()

    def _leave(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            self._meeting.awaited -= 1
