"""Comparing values of objects *by value*: numbers, else quantities, else RFC 3339 times, else text.

A quantity that is written as a number is a number and a quantity. What an element is compared with must be of the same
sort; whatever is not comparable is neither less nor greater. Lists of elements (``[*]``) are the callers' matter.
"""

from __future__ import annotations

import datetime
from collections.abc import Hashable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec

from krm.objects import quantities, times

_NUMERIC_START: Final = frozenset("+-.0123456789")

NUMBER, TIME, TEXT, BOOLEAN, OTHER = range(5)
"""The sorts in which values are ordered among each other."""

SortKey = tuple[int, Any]


def amount(value: Any) -> Decimal | None:
    """The number that ``value`` is, or spells as a quantity; exact."""
    if isinstance(value, str):
        return _amount_of_text(value) if value[:1] in _NUMERIC_START and value else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value))
    return None


@lru_cache(maxsize=8192)  # amounts and times repeat from object to object
def _amount_of_text(text: str) -> Decimal | None:
    try:
        return quantities.parse(text).value
    except (ValueError, ArithmeticError):
        return None


def moment(value: Any) -> datetime.datetime | None:
    """The time that ``value`` spells."""
    if not isinstance(value, str) or value[:1] not in _NUMERIC_START or not value:
        return None
    return _moment_of_text(value)


@lru_cache(maxsize=8192)
def _moment_of_text(text: str) -> datetime.datetime | None:
    try:
        return times.parse(text)
    except (ValueError, OverflowError):
        return None


class Operand:
    """The right side of ``lt lte gt gte``, worked out once."""

    __slots__ = ("_amount", "_moment", "_text")

    def __init__(self, value: Any) -> None:
        self._amount = amount(value)
        self._moment = moment(value)
        self._text = value if isinstance(value, str) else None

    def sign(self, value: Any) -> int | None:
        """-1, 0 or 1 as ``value`` is less than, equal to or greater than the operand; None if not comparable."""
        if self._amount is not None and (number := amount(value)) is not None:
            return (number > self._amount) - (number < self._amount)
        if self._moment is not None and (time := moment(value)) is not None:
            return (time > self._moment) - (time < self._moment)
        if self._text is not None and isinstance(value, str):
            return (value > self._text) - (value < self._text)
        return None


def sort_key(value: Any) -> SortKey:
    """What values sort by: numbers and quantities, then times, then text, then booleans, then the rest as JSON text.

    A value's place depends on the value alone, so it stays while other rows come and go. None has no key.
    """
    if isinstance(value, bool):
        return (BOOLEAN, value)
    number = amount(value)
    if number is not None:
        return (NUMBER, number)
    if isinstance(value, str):
        time = moment(value)
        return (TEXT, value) if time is None else (TIME, time)
    return (OTHER, msgspec.json.encode(value, order="deterministic").decode())


def key(value: Any) -> Hashable:
    """What stands for a JSON value: two values are the same if their keys are. 1 is 1.0, but not true nor "1"."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float):
        return ("number", value)
    return ("json", msgspec.json.encode(plain(value), order="deterministic"))


def plain(value: Any) -> Any:
    """``value`` with its whole numbers spelled as such."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value
