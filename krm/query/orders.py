"""Ordering rows by values of paths: missing last whichever the direction, ties by namespace and name.

Of a path with ``[*]`` the least element counts upwards, the greatest downwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from krm.query import arguments, cells, paths
from krm.query.cells import Places, Turns, View
from krm.query.paths import FieldPath
from krm.query.values import sort_key
from krm.resources import Resource
from krm.table.replica import Snapshot

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


def keys(view: View, order: Order, snapshot: Snapshot, places: Places) -> Turns[tuple[NDArray[np.int64], list[Any]]]:
    """For each place its rank (ascending in the asked direction), and the value that it is ordered by."""
    found = yield from cells.cells(view, order.path, snapshot, places)
    chosen: dict[int, Any] = {code: _chosen(order, found.value(code)) for code in found.present()}
    sort_keys = {code: sort_key(value) for code, value in chosen.items() if value is not None}
    rank_of: dict[int, int] = {}
    rank, before = 0, None
    for code in sorted(sort_keys, key=sort_keys.__getitem__, reverse=order.is_descending):
        if sort_keys[code] != before:
            rank, before = len(rank_of), sort_keys[code]
        rank_of[code] = rank
    table = np.full(len(found.values) + len(found.others), len(rank_of), dtype=np.int64)
    table[list(rank_of)] = list(rank_of.values())
    return table[found.codes], [chosen[code] for code in found.codes.tolist()]


def _chosen(order: Order, value: Any) -> Any:
    if not order.path.is_many:
        return value
    there = [each for each in value or () if each is not None]
    choose = max if order.is_descending else min
    return choose(there, key=sort_key, default=None)


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
