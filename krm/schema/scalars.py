"""The scalars of the API. Timestamps, quantities and durations are text and stay the text that the API server sent."""

from __future__ import annotations

from typing import Any, Final, NewType

import orjson
import strawberry
from strawberry.types.scalar import ScalarDefinition

Long = NewType("Long", int)
JSON = NewType("JSON", object)
Duration = NewType("Duration", str)
DateTime = NewType("DateTime", str)
Quantity = NewType("Quantity", str)

INT64: Final = 2**63


def long_out(value: Any) -> int:
    """A whole number of 64 bits. Raises ``ValueError`` for everything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -INT64 <= value < INT64:
        raise ValueError("not a whole number of 64 bits")
    return value


def text_out(value: Any) -> str:
    """Text as it is. A number, which no API server sends here, is spelled as JSON spells it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not text")
    return orjson.dumps(value).decode()


def text_in(value: Any) -> str:
    """Text, of whatever form: the field that takes it judges it."""
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _same(value: Any) -> Any:
    return value


SCALARS: Final[dict[object, ScalarDefinition]] = {
    Long: strawberry.scalar(
        name="Long", description="A whole number of 64 bits.", serialize=long_out, parse_value=long_out
    ),
    JSON: strawberry.scalar(name="JSON", description="Any JSON value.", serialize=_same, parse_value=_same),
    Duration: strawberry.scalar(
        name="Duration", description="250ms, 30s, 5m.", serialize=text_out, parse_value=text_in
    ),
    DateTime: strawberry.scalar(
        name="DateTime", description="A moment as RFC 3339 text.", serialize=text_out, parse_value=text_in
    ),
    Quantity: strawberry.scalar(
        name="Quantity", description="A Kubernetes quantity: 250m, 64Mi.", serialize=text_out, parse_value=text_in
    ),
}
"""For ``StrawberryConfig.scalar_map``."""
