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
from krm.query.values import SortKey, sort_key
from krm.resources import Resource
from krm.table.columns import Codes
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


def keys(
    view: View, order: Order, snapshot: Snapshot, places: Places | None
) -> Turns[tuple[NDArray[np.int64], Sequence[Any]]]:
    """For each place its rank (ascending in the asked direction), and the value that it is ordered by."""
    found = yield from cells.cells(view, order.path, snapshot, places)
    chosen: dict[int, Any] = {}
    sort_keys: dict[int, SortKey] = {}
    for number, code in enumerate(found.present()):
        value = chosen[code] = _chosen(order, found.value(code))
        if value is not None:
            sort_keys[code] = sort_key(value)
        if number % cells.ROWS_A_TURN == cells.ROWS_A_TURN - 1:
            yield
    table = np.full(len(found.values) + len(found.others), len(sort_keys), dtype=np.int64)
    ordered = sorted(sort_keys, key=sort_keys.__getitem__, reverse=order.is_descending)
    yield
    ranks: list[int] = []
    before = None
    for code in ordered:
        key = sort_keys[code]
        # The rank of the first of several that are equal, such as 1 and 1000m.
        ranks.append(ranks[-1] if key == before else len(ranks))
        before = key
    table[ordered] = ranks
    yield
    return table[found.codes], _Chosen(chosen, found.codes)


class _Chosen(Sequence[Any]):
    """What each row is ordered by, looked up when it is asked for."""

    def __init__(self, chosen: Mapping[int, Any], codes: Codes) -> None:
        self._chosen = chosen
        self._codes = codes

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, number: Any) -> Any:
        return self._chosen[int(self._codes[number])]


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
