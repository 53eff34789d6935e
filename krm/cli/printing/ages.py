"""Ages as kubectl writes them: ``5m12s``, ``3h``, ``12d``, ``2y35d``."""

from __future__ import annotations

import datetime

from krm.objects import times

_DAY_H = 24
_YEAR_H = 365 * _DAY_H


def age(timestamp: object, now: datetime.datetime | None) -> str:
    """How long ago an RFC 3339 time was; ``<unknown>`` for none, ``<invalid>`` for one in the future.

    Without ``now``, for those who compute with it: the time itself.
    """
    if not isinstance(timestamp, str):
        return "<unknown>"
    if now is None:
        return timestamp
    try:
        return human((now - times.parse(timestamp)).total_seconds())
    except ValueError:
        return "<unknown>"


def human(seconds: float) -> str:
    """A duration with at most two units, the coarser the longer it is."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 2 * _DAY_H:
        return f"{hours}h"
    if hours < 8 * _DAY_H:
        return _two(hours // _DAY_H, "d", hours % _DAY_H, "h")
    if hours < 2 * _YEAR_H:
        return f"{hours // _DAY_H}d"
    if hours < 8 * _YEAR_H:
        return _two(hours // _YEAR_H, "y", hours // _DAY_H % 365, "d")
    return f"{hours // _YEAR_H}y"


def _two(coarse: int, coarse_unit: str, fine: int, fine_unit: str) -> str:
    return f"{coarse}{coarse_unit}" + (f"{fine}{fine_unit}" if fine else "")
