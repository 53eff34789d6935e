"""Ordering rows by values of paths: missing last whichever the direction, ties by namespace and name.

Of a path with ``[*]`` the least element counts upwards, the greatest downwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from krm.query import arguments, cells, paths
from krm.query.cells import Turns, View
from krm.query.paths import FieldPath
from krm.query.values import sort_key
from krm.resources import Resource
from krm.store.rows import Row

MAX_ORDERS: Final = 16


class Direction(StrEnum):
    """Which way values go."""

    ASC = "ASC"
    DESC = "DESC"


@dataclass(frozen=True, slots=True)
class Order:
    """One key of an ordering."""

    path: FieldPath
    direction: Direction = Direction.ASC

    @property
    def is_descending(self) -> bool:
        """Whether the greatest value comes first."""
        return self.direction is Direction.DESC


def parse(resource: Resource, specs: Iterable[Mapping[str, Any]]) -> tuple[Order, ...]:
    """Orders out of ``{"path": ..., "direction": "ASC"}``. Raises ``AnswerError``: PATH_INVALID, BAD_ARGUMENT."""
    orders = tuple(_order(resource, spec) for spec in specs)
    if len(orders) > MAX_ORDERS:
        raise arguments.bad("orderBy", f"at most {MAX_ORDERS} orders are allowed")
    return orders


def _order(resource: Resource, spec: Mapping[str, Any]) -> Order:
    path, direction = spec.get("path"), spec.get("direction") or Direction.ASC
    if not isinstance(path, str):
        raise arguments.bad("orderBy", "path is a text")
    try:
        return Order(paths.parse(resource, arguments.text("orderBy", path)), Direction(direction))
    except ValueError as error:
        raise arguments.bad("orderBy", "direction is ASC or DESC") from error


def column(view: View, order: Order, rows: Sequence[Row]) -> Turns[list[Any]]:
    """The value that each row is ordered by; None for a missing one."""
    found = yield from cells.values(view, order.path, rows)
    if not order.path.is_many:
        return found
    choose = max if order.is_descending else min
    return [choose(filter(_is_there, each), key=sort_key, default=None) for each in found]


def _is_there(value: Any) -> bool:
    return value is not None


def sorted_places(orders: Sequence[Order], columns: Sequence[Sequence[Any]], count: int) -> list[int]:
    """Places 0..count-1 in the asked order; places that are equal keep their order."""
    places = list(range(count))
    for order, values in zip(reversed(orders), reversed(columns), strict=True):
        keys = [None if value is None else sort_key(value) for value in values]
        there = [place for place in places if keys[place] is not None]
        missing = [place for place in places if keys[place] is None]
        there.sort(key=keys.__getitem__, reverse=order.is_descending)  # type: ignore[arg-type]  # None is filtered out
        places = there + missing
    return places


def compare(orders: Sequence[Order], one: Sequence[Any], other: Sequence[Any]) -> int:
    """-1, 0 or 1 as the values ``one`` come before, with or after the values ``other``."""
    for order, a, b in zip(orders, one, other, strict=True):
        if a is None or b is None:
            if a is not b:
                return 1 if a is None else -1
            continue
        key_a, key_b = sort_key(a), sort_key(b)
        if key_a != key_b:
            return -1 if (key_a < key_b) is not order.is_descending else 1
    return 0
