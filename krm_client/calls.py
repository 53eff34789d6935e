"""What a call does, without doing any of it: generators that ask for bytes and sleep, driven by `sessions`.

A call yields `Send` or `Pause`; its driver sends back the `Answer`, or throws the `KrmError` in. So retries,
paging and decoding are written once, for the blocking and the awaited client. All calls are queries: repeating
one is safe.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from krm_client import answers, errors
from krm_client.answers import Answer
from krm_client.documents import Document, RouteQuery
from krm_client.errors import KrmConnectError, KrmTlsError

T = TypeVar("T")

_BUSY = (429, 502, 503, 504)
"""Statuses of a server or proxy that may answer a moment later."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds to wait for a connection, and for each piece of the answer."""

    connect_s: float
    read_s: float


@dataclass(frozen=True, kw_only=True)
class Send:
    """Ask this and give back the answer."""

    document: Document | RouteQuery
    timeouts: Timeouts


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Wait before going on."""

    seconds: float


Call = Generator[Send | Pause, Any, T]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How long a call may take to begin, and how often it may begin anew."""

    timeouts: Timeouts
    retries: int
    hint_when_unknown: str = ""
    """Added to the error when the server does not know who asks."""
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def with_timeouts(self, timeouts: Timeouts | None) -> Policy:
        return self if timeouts is None else replace(self, timeouts=timeouts)


def exchange(document: Document | RouteQuery, policy: Policy) -> Call[Answer]:
    """One question and its answer, whatever its status.

    Repeats after a connection that failed and after an answer that says "later", at most ``retries`` times and
    never past the read timeout, counted from the start. A server that took too long is not asked again.
    """
    deadline = policy.clock() + policy.timeouts.read_s
    attempt = 0
    while True:
        try:
            answer: Answer = yield Send(document=document, timeouts=policy.timeouts)
        except KrmTlsError:
            raise
        except KrmConnectError:
            pause = _pause_s(policy, attempt, None)
            if attempt >= policy.retries or policy.clock() + pause > deadline:
                raise
        else:
            if answer.status == 401 and policy.hint_when_unknown:
                raise errors.KrmAuthError(f"{answers.failure_of(answer)} ({policy.hint_when_unknown})")
            if answer.status not in _BUSY:
                return answer
            pause = _pause_s(policy, attempt, _retry_after_s(answer.headers))
            if attempt >= policy.retries or policy.clock() + pause > deadline:
                return answer
        attempt += 1
        yield Pause(seconds=pause)


def _pause_s(policy: Policy, attempt: int, asked_s: float | None) -> float:
    """At least what the server asks for; else doubling, each time with jitter so that clients do not come in step."""
    grown = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S) * (0.5 + policy.jitter() / 2)
    return grown if asked_s is None else asked_s + grown


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of ``Retry-After``; the form with a date is not used by KRM and reads as absent."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isdigit() else None


def timeouts_of(request_timeout: Any, default: Timeouts) -> Timeouts:
    """``_request_timeout`` as the official client takes it: seconds, or a pair (connect, read). Raises on others."""
    if request_timeout is None:
        return default
    parts = request_timeout if isinstance(request_timeout, tuple) else (request_timeout, request_timeout)
    numbers = [part for part in parts if isinstance(part, (int, float)) and not isinstance(part, bool) and part > 0]
    if len(numbers) != 2:
        raise errors.KrmUsageError(
            f"_request_timeout: {request_timeout!r} is neither seconds above 0 nor a pair (connect, read) of them"
        )
    return Timeouts(connect_s=float(numbers[0]), read_s=float(numbers[1]))
