"""How true an answer is: what heads and heartbeats say, put into the words of the API. Pure; no I/O, no clock.

All ages are told by Redis' clock. What is NOT promised: that a state is news at once; it is as old as the last reading
of head and heartbeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from krm.objects import times
from krm.resources import Resource
from krm.store.head import Head, Missed, WorkerStatus

HEARTBEAT_LOST_MS: Final = 5_000
"""Workers beat every second; after five silent ones another instance may take over."""
DEFAULT_INTERVAL_S: Final = 30.0
INTERVALS: Final = 2.0
"""A verification may take this many intervals, and the duration of its list, before it counts as missing."""


class State(StrEnum):
    """What may be believed of an answer."""

    SYNCED = "SYNCED"
    CATCHING_UP = "CATCHING_UP"
    STALE = "STALE"
    NOT_READY = "NOT_READY"
    FORBIDDEN = "FORBIDDEN"
    GONE = "GONE"
    HISTORY_RESET = "HISTORY_RESET"


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How true the answers for one resource are, now."""

    cluster: str
    resource: str
    state: State
    resource_version: str | None = None
    """C: no row is older, and nothing that was written up to it is missing; None before the first list."""
    verified_resource_version: str | None = None
    verified_at_ms: int | None = None
    """Redis' time before the newest list began, of the worst scope."""
    verified_age_s: float | None = None
    last_event_ms: int | None = None
    stream_lag_s: float | None = None
    contiguous: bool = False
    epoch: str = ""
    missed: Missed = Missed()
    reason: str | None = None
    as_of_ms: int | None = None
    """The moment for which an answer holds at least."""
    namespaces: frozenset[str] | None = None
    """The namespaces of which there are lists, where these are not all (``KRM_NAMESPACES``)."""

    @property
    def verified_at(self) -> str | None:
        """``verified_at_ms`` as RFC 3339 text."""
        return None if self.verified_at_ms is None else times.from_ms(self.verified_at_ms)

    @property
    def last_event_at(self) -> str | None:
        """``last_event_ms`` as RFC 3339 text."""
        return None if self.last_event_ms is None else times.from_ms(self.last_event_ms)

    def age_s(self, now_ms: int) -> float | None:
        """How old an answer may be at ``now_ms``; None if there is none."""
        return None if self.as_of_ms is None else max(0.0, (now_ms - self.as_of_ms) / 1000)


def freshness(
    head: Head | None,
    statuses: Mapping[str, WorkerStatus],
    now_ms: int,
    *,
    cluster: str,
    resource: Resource,
    trouble: str | None = None,
    is_ready: bool = True,
) -> Freshness:
    """What ``head`` and ``statuses`` mean at ``now_ms`` (Redis' clock).

    ``trouble`` says why this process does not follow the store at the moment; ``is_ready`` is False while it has no
    table that is proven whole.
    """
    if head is None or head.state != "ready" or not is_ready:
        state, reason = _without_table(statuses, now_ms, trouble)
        return Freshness(cluster=cluster, resource=resource.name, state=state, reason=reason)
    state, reason = _state(head, statuses, now_ms, trouble)
    streamer = statuses.get("streamer")
    contiguous = head.contiguous
    as_of_ms = head.verified_at_ms
    if contiguous and head.last_event_ms is not None:
        as_of_ms = max(as_of_ms, head.last_event_ms)
    return Freshness(
        cluster=cluster,
        resource=resource.name,
        state=state,
        resource_version=head.resource_version or None,
        verified_resource_version=head.verified_resource_version or None,
        verified_at_ms=head.verified_at_ms,
        verified_age_s=max(0.0, (now_ms - head.verified_at_ms) / 1000),
        last_event_ms=head.last_event_ms,
        stream_lag_s=streamer.lag_s if streamer is not None and streamer.connected else None,
        contiguous=contiguous,
        epoch=head.epoch,
        missed=head.missed,
        reason=reason,
        as_of_ms=as_of_ms,
        namespaces=_restriction(head),
    )


def _restriction(head: Head) -> frozenset[str] | None:
    named = frozenset(scope.scope for scope in head.scopes)
    return None if "" in named else named


def _without_table(statuses: Mapping[str, WorkerStatus], now_ms: int, trouble: str | None) -> tuple[State, str | None]:
    refused = _refusal(statuses, now_ms)
    if refused is not None:
        return refused
    reason = trouble or "no verified list has been aggregated yet"
    silence = _silence(statuses, now_ms)
    return State.NOT_READY, reason if silence is None else f"{reason} ({silence})"


def _state(
    head: Head, statuses: Mapping[str, WorkerStatus], now_ms: int, trouble: str | None
) -> tuple[State, str | None]:
    if any(scope.epoch != head.epoch for scope in head.scopes):
        return State.HISTORY_RESET, "the cluster's history was reset; the next list brings the table up to date"
    refused = _refusal(statuses, now_ms)
    if refused is not None:
        return refused
    if trouble is not None:
        return State.STALE, trouble
    verifier = statuses.get("verifier")
    interval_s = (verifier.interval_s if verifier else None) or DEFAULT_INTERVAL_S
    allowed_s = INTERVALS * interval_s + head.took_s
    if (now_ms - head.verified_at_ms) / 1000 > allowed_s:
        why = _silence(statuses, now_ms) or (verifier.reason if verifier else None)
        return State.STALE, f"not verified for more than {allowed_s:.0f} s" + (f": {why}" if why else "")
    silence = _silence(statuses, now_ms)
    if silence is not None:
        return State.STALE, silence
    streamer = statuses["streamer"]
    if not head.contiguous:
        return State.CATCHING_UP, streamer.reason or "list and stream do not meet yet"
    if not streamer.connected:
        if streamer.state in ("starting", "running"):
            return State.CATCHING_UP, streamer.reason or "the stream is being opened"
        return State.STALE, streamer.reason or "the stream is not connected"
    return State.SYNCED, None


def _refusal(statuses: Mapping[str, WorkerStatus], now_ms: int) -> tuple[State, str | None] | None:
    """Whether the API server refuses the list, or does not serve the kind."""
    verifier = statuses.get("verifier")
    if verifier is None or now_ms - verifier.at_ms > HEARTBEAT_LOST_MS:
        return None
    if verifier.state == "forbidden":
        return State.FORBIDDEN, verifier.reason or "the API server forbids to list this resource"
    if verifier.state == "gone":
        return State.GONE, verifier.reason or "the API server does not serve this resource"
    return None


def _silence(statuses: Mapping[str, WorkerStatus], now_ms: int) -> str | None:
    """Which worker does not work; None if all do."""
    for role in ("aggregator", "streamer", "verifier"):
        status = statuses.get(role)
        if status is None:
            return f"the {role} has not started"
        if now_ms - status.at_ms > HEARTBEAT_LOST_MS:
            return f"the {role} has not been heard of for {(now_ms - status.at_ms) / 1000:.0f} s"
        if status.state in ("stopped", "failing", "forbidden", "gone"):
            return f"the {role} is {status.state}" + (f": {status.reason}" if status.reason else "")
    return None
