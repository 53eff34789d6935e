"""How long to wait before the next try: jittered, exponential, with a ceiling, reset only by lasting health.

One success does not reset it: a server that accepts each connection and drops it at once would otherwise be asked
without pause. What was of use before it broke is another matter (``progressed``): the next try may follow soon.
Counts nothing, sleeps nothing: the caller waits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from krm import errors

_PATIENT = (errors.Forbidden, errors.NotFound)
_REFUSED = (errors.ServerFailed, errors.Throttled)
REFUSED_S: Final = 1.0
"""The least step after an answer that says that the server has trouble, or enough to do."""


class Backoff:
    """The waits of one caller. Delays are seconds; clock and random source can be given."""

    def __init__(
        self,
        *,
        first_s: float = 0.25,
        ceiling_s: float = 5.0,
        patient_s: float = 30.0,
        healthy_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        rand: Callable[[], float] = random.random,
    ) -> None:
        """Delays grow from ``first_s`` by doubling to ``ceiling_s``, each shortened by up to a half.

        ``patient_s`` is the least wait after an error that only a person can end (a missing right, a missing kind);
        ``healthy_s`` is how long things must have gone well for the next failure to count as the first.
        """
        self._first_s = first_s
        self._ceiling_s = ceiling_s
        self._patient_s = patient_s
        self._healthy_s = healthy_s
        self._clock = clock
        self._random = rand
        self._failures = 0
        self._well_since: float | None = None

    @property
    def failures(self) -> int:
        """Failures since the last lasting health."""
        return self._failures

    def succeeded(self) -> None:
        """Things go well now: call it at every success; the first one after a failure starts the clock of health."""
        now = self._clock()
        if self._well_since is None:
            self._well_since = now
        elif now - self._well_since >= self._healthy_s:
            self._failures = 0

    def progressed(self) -> None:
        """What was tried brought something that need not be asked for again: the next failure counts as the first."""
        self._failures = 0

    def failed(self, error: Exception | None = None) -> float:
        """Seconds to wait before the next try, after a failure.

        A time that the server asked for (429 and some 5xx) is never undercut.
        """
        if self._well_since is not None and self._clock() - self._well_since >= self._healthy_s:
            self._failures = 0
        self._well_since = None
        least_s = REFUSED_S if isinstance(error, _REFUSED) else 0.0
        step_s = min(self._ceiling_s, max(self._first_s, least_s) * 2.0 ** min(self._failures, 32))
        self._failures += 1
        if isinstance(error, _PATIENT):
            return self._patient_s * (1 + self._random() / 2)
        asked_s = getattr(error, "retry_after_s", None) or 0.0
        if asked_s > 0:  # spread those that were told the same time
            return max(asked_s * (1 + self._random() / 4), step_s * (1 - self._random() / 2))
        return step_s * (1 - self._random() / 2)
