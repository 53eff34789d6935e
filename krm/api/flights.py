"""How many questions of one caller are answered at once, however they come: by POST, as frames, over a WebSocket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from krm.errors import AnswerError, Code


class Flights:
    """Counts what is in flight for each caller."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[object, int] = {}

    def enter(self, caller: object) -> None:
        """One more, until ``leave``. Raises ``AnswerError`` RATE_LIMITED."""
        if self._counts.get(caller, 0) >= self._most:
            raise AnswerError(Code.RATE_LIMITED, f"more than {self._most} requests at once (KRM_MAX_IN_FLIGHT)")
        self._counts[caller] = self._counts.get(caller, 0) + 1

    def leave(self, caller: object) -> None:
        """One less."""
        self._counts[caller] -= 1
        if not self._counts[caller]:
            del self._counts[caller]

    @contextlib.contextmanager
    def one(self, caller: object) -> Iterator[None]:
        """One more inside of it. Raises ``AnswerError`` RATE_LIMITED."""
        self.enter(caller)
        try:
            yield
        finally:
            self.leave(caller)
