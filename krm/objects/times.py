"""Timestamps of the Kubernetes API (RFC 3339) as aware UTC datetimes, and back."""

from __future__ import annotations

import datetime
import re

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def parse(text: str) -> datetime.datetime:
    """The moment that ``text`` names, in UTC, to the microsecond. Raises ``ValueError``, also without a zone."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:50]!r} is not an RFC 3339 time")
    day, clock, fraction, zone = found.groups()
    offset = "+00:00" if zone in "Zz" else zone
    moment = datetime.datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{offset}")
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is before the first or after the last year") from error


def text(moment: datetime.datetime) -> str:
    """``moment`` as the API server spells it: UTC, ``Z``, microseconds only where there are some."""
    utc = moment.astimezone(datetime.UTC)
    return utc.isoformat(timespec="microseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")


def from_ms(milliseconds: int) -> str:
    """Unix milliseconds as an RFC 3339 text with milliseconds."""
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
