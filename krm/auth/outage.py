"""What callers are told, and the log, while the API server cannot be asked about them: no, and why, once in a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from krm.errors import AnswerError, ClusterError, Code

log = logging.getLogger(__name__)

COMPLAINT_S: Final = 10.0
"""One line of the log is enough for so long, however many ask."""
_T = TypeVar("_T")


class Outage:
    """Turns failures of reviews into refusals."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._quiet_until_s = float("-inf")

    async def told(self, review: Awaitable[_T]) -> _T:
        """What ``review`` says. Raises ``AnswerError`` NOT_READY where it says nothing: nobody is let in unseen."""
        try:
            return await review
        except ClusterError as error:
            if self._monotonic() >= self._quiet_until_s:
                self._quiet_until_s = self._monotonic() + COMPLAINT_S
                log.warning("the API server cannot be asked about a caller", extra={"reason": str(error)})
            text = "who asks, or what they may see, cannot be told at the moment: the API server does not say"
            raise AnswerError(Code.NOT_READY, text) from error
