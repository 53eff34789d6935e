"""When an object came into being or went, as far as it tells itself: what stream delays are measured against.

An object does not say when it was deleted. ``deletionTimestamp`` is when it should be gone at the latest: the request
plus the grace period. So the end is taken from what did happen, and the **basis** says what that was:

    creation            ``creationTimestamp``
    container_finished  the last container stopped, after the deletion was requested: the kubelet removes the pod then
    request             the request for deletion; the object may have had to wait for its grace period or finalizers
    unknown             the object tells nothing: it went in one step, as services and nodes do

All of them have whole seconds, cut off: an honest moment lies up to a second before the true one, never behind it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from krm.objects import times


class Basis(StrEnum):
    """What a moment was taken from."""

    CREATION = "creation"
    CONTAINER_FINISHED = "container_finished"
    REQUEST = "request"
    UNKNOWN = "unknown"


HONEST: Final = frozenset({Basis.CREATION, Basis.CONTAINER_FINISHED})
"""What percentiles of delays are made of."""


class Moment(NamedTuple):
    """A moment of the object's server, in unix seconds, and where it was read."""

    basis: Basis
    at_s: float | None
    """None where the object does not tell."""


_NOT_TOLD: Final = Moment(Basis.UNKNOWN, None)


class _Terminated(msgspec.Struct, gc=False):
    finished: str | None = msgspec.field(name="finishedAt", default=None)


class _State(msgspec.Struct, gc=False):
    running: Any = None
    terminated: _Terminated | None = None


class _Container(msgspec.Struct, gc=False):
    state: _State | None = None


class _Status(msgspec.Struct, gc=False):
    main: list[_Container] | None = msgspec.field(name="containerStatuses", default=None)
    init: list[_Container] | None = msgspec.field(name="initContainerStatuses", default=None)
    ephemeral: list[_Container] | None = msgspec.field(name="ephemeralContainerStatuses", default=None)


class _Metadata(msgspec.Struct, gc=False):
    deletion: str | None = msgspec.field(name="deletionTimestamp", default=None)
    grace_s: int | None = msgspec.field(name="deletionGracePeriodSeconds", default=None)


class _Object(msgspec.Struct, gc=False):
    metadata: _Metadata
    status: _Status | None = None


_decode = msgspec.json.Decoder(_Object).decode


def creation(created: str | None) -> Moment:
    """When an object with this ``creationTimestamp`` came into being."""
    at_s = _seconds(created)
    return _NOT_TOLD if at_s is None else Moment(Basis.CREATION, at_s)


def deletion(raw: bytes) -> Moment:
    """When the object whose last state is ``raw`` (JSON) went. An object of odd shape does not tell."""
    try:
        found = _decode(raw)
    except msgspec.MsgspecError:
        return _NOT_TOLD
    due_s = _seconds(found.metadata.deletion)
    if due_s is None:
        return _NOT_TOLD
    requested_s = due_s - (found.metadata.grace_s or 0)
    stopped_s = None if found.status is None else _all_stopped(found.status)
    # What had stopped before, as a finished job, waited for nobody: it went with the request.
    if stopped_s is not None and stopped_s >= requested_s:
        return Moment(Basis.CONTAINER_FINISHED, stopped_s)
    return Moment(Basis.REQUEST, requested_s)


def _all_stopped(status: _Status) -> float | None:
    """When the last container stopped; None while one runs, or where that is not told."""
    states = [
        each.state
        for kind in (status.main, status.init, status.ephemeral)
        for each in kind or ()
        if each.state is not None
    ]
    if any(state.running is not None for state in states):
        return None
    ends = [_seconds(state.terminated.finished) for state in states if state.terminated is not None]
    return max((end for end in ends if end is not None), default=None)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return times.parse(text).timestamp()
    except ValueError:
        return None
