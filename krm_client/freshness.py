"""How true an answer is: the server's ``Freshness`` as a value."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class State(StrEnum):
    """The states known to this client; a newer server may say others, which stay text in `Freshness.state`."""

    SYNCED = "SYNCED"
    CATCHING_UP = "CATCHING_UP"
    STALE = "STALE"
    NOT_READY = "NOT_READY"
    FORBIDDEN = "FORBIDDEN"
    GONE = "GONE"
    HISTORY_RESET = "HISTORY_RESET"


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found that the stream had not seen, since the workers' start."""

    added: int
    modified: int
    deleted: int
    ghosts: int


class Freshness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Freshness of one resource. ``state`` is text equal to a `State`; ages and lags are seconds."""

    cluster: str
    resource: str
    state: str
    resource_version: str | None
    verified_resource_version: str | None
    verified_at: datetime | None
    verified_age_seconds: float | None
    last_event_at: datetime | None
    stream_lag_seconds: float | None
    contiguous: bool
    epoch: str
    missed: Missed
    reason: str | None
