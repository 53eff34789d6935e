"""Grouping the rows that match: how many have each combination of values, and sums, least and greatest of others.

A row belongs to one group of each combination of its values; of a path with ``[*]`` every different element is a value.
Sums are exact and in canonical Kubernetes notation (that of the first term); what is missing adds nothing.
"""

from __future__ import annotations

import decimal
import itertools
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np

from krm.errors import AnswerError, Code
from krm.objects import quantities
from krm.objects.quantities import Quantity
from krm.query import arguments, cells, paths
from krm.query.cells import Resolver, Turns, View
from krm.query.orders import Direction
from krm.query.paths import FieldPath
from krm.query.values import SortKey, amount, key, sort_key
from krm.resources import Resource
from krm.store.rows import Row
from krm.table.replica import Replica

MAX_PATHS: Final = 8
MAX_COMBINATIONS: Final = 1_000
"""Groups that one row may belong to."""
_BY: Final = re.compile(r"(?P<function>sum|min|max)\((?P<path>.+)\)", re.DOTALL)
_EXACT: Final = decimal.Context(
    prec=4_000, Emax=999_999, Emin=-999_999, traps=[decimal.Inexact, decimal.InvalidOperation]
)
_NUMERIC: Final = frozenset((None, "Long", "Float", "Quantity", "JSON", "String"))


@dataclass(frozen=True, slots=True)
class GroupOrder:
    """What groups are ordered by: ``function`` is count, value, sum, min or max (``path`` None for count)."""

    function: str
    path: FieldPath | None = None
    direction: Direction = Direction.DESC


@dataclass(frozen=True, kw_only=True)
class GroupQuery:
    """A checked question; see ``parse``."""

    paths: tuple[FieldPath, ...]
    order: GroupOrder = GroupOrder("count")
    first: int | None = None


@dataclass(slots=True, eq=False)
class Group:
    """The rows with one combination of values."""

    values: tuple[Any, ...]
    """In the order of the paths; None for a missing one."""
    view: View
    rows: list[Row] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.rows)

    def sum(self, path: FieldPath) -> str:
        """The exact sum. Raises ``AnswerError`` BAD_ARGUMENT for what is neither number nor quantity."""
        return str(_sum(path, _counted(self.view, path, self.rows)))

    def min(self, path: FieldPath) -> Any:
        """The least value, None if there is none."""
        return min(_there(self.view, path, self.rows), key=sort_key, default=None)

    def max(self, path: FieldPath) -> Any:
        """The greatest value, None if there is none."""
        return max(_there(self.view, path, self.rows), key=sort_key, default=None)


def parse(
    resource: Resource,
    texts: Iterable[str],
    *,
    order: Mapping[str, Any] | None = None,
    first: int | None = None,
    max_rows: int = 200_000,
) -> GroupQuery:
    """A question out of plain arguments. Raises ``AnswerError``: PATH_INVALID, BAD_ARGUMENT."""
    parsed = tuple(paths.parse(resource, arguments.text("paths", text)) for text in texts)
    if not 1 <= len(parsed) <= MAX_PATHS:
        raise arguments.bad("paths", f"allowed are from 1 to {MAX_PATHS} paths")
    by = GroupOrder("count") if order is None else _order(resource, parsed, order)
    return GroupQuery(paths=parsed, order=by, first=arguments.count("first", first, most=max_rows))


def _order(resource: Resource, among: Sequence[FieldPath], spec: Mapping[str, Any]) -> GroupOrder:
    by = spec.get("by")
    try:
        direction = Direction(spec.get("direction") or Direction.DESC)
    except ValueError as error:
        raise arguments.bad("orderBy", "direction is ASC or DESC") from error
    if not isinstance(by, str):
        raise arguments.bad("orderBy", "by is a text")
    by = arguments.text("orderBy", by).strip()
    if by == "count":
        return GroupOrder("count", None, direction)
    called = _BY.fullmatch(by)
    if called is not None:
        function = called["function"]
        path = paths.parse(resource, called["path"].strip())
        return GroupOrder(function, summable(path) if function == "sum" else path, direction)
    path = paths.parse(resource, by)
    if path not in among:
        raise arguments.bad("orderBy", "by is count, one of the paths, sum(PATH), min(PATH) or max(PATH)")
    return GroupOrder("value", path, direction)


def summable(path: FieldPath) -> FieldPath:
    """``path`` if its values may be numbers. Raises ``AnswerError`` BAD_ARGUMENT."""
    if path.scalar not in _NUMERIC:
        raise _not_summable(path)
    return path


def _not_summable(path: FieldPath) -> AnswerError:
    return AnswerError(Code.BAD_ARGUMENT, f"sum({path.text}): there are values that are neither number nor quantity")


def run(replica: Replica, rows: Sequence[Row], query: GroupQuery, resolver: Resolver | None = None) -> list[Group]:
    """The groups of ``rows`` (a page's ``matching``). Raises ``AnswerError`` BAD_ARGUMENT."""
    return cells.run(_answer(replica, rows, query, resolver))


async def answer(
    replica: Replica, rows: Sequence[Row], query: GroupQuery, resolver: Resolver | None = None
) -> list[Group]:
    """As ``run``, with the event loop running in between."""
    return await cells.in_turns(_answer(replica, rows, query, resolver))


async def prepare(replica: Replica, rows: Sequence[Row], path: FieldPath, resolver: Resolver | None = None) -> None:
    """Work out a column that sums and extremes of many groups will ask for, with the event loop running in between."""
    await cells.in_turns(cells.cells(View(replica, resolver), path, replica.snapshot_from(rows), reduce=_forget))


def _forget(_: Any) -> None:
    return None


def _answer(replica: Replica, rows: Sequence[Row], query: GroupQuery, resolver: Resolver | None) -> Turns[list[Group]]:
    view = View(replica, resolver)
    snapshot = replica.snapshot_from(rows)
    keys: list[list[tuple[Hashable, ...]]] = []
    values: dict[Hashable, Any] = {}
    for path in query.paths:
        found = yield from cells.cells(view, path, snapshot)
        by_code = {code: _keys(path, found.value(code), values) for code in found.present()}
        keys.append([by_code[code] for code in found.codes.tolist()])
        yield
    groups: dict[tuple[Hashable, ...], Group] = {}
    for number, (row, *of_row) in enumerate(zip(snapshot.rows, *keys, strict=True)):
        combinations = list(itertools.islice(itertools.product(*of_row), MAX_COMBINATIONS + 1))
        if len(combinations) > MAX_COMBINATIONS:
            raise arguments.bad("paths", f"a row belongs to more than {MAX_COMBINATIONS} groups")
        for combination in combinations:
            group = groups.get(combination)
            if group is None:
                group = groups[combination] = Group(tuple(values[part] for part in combination), view)
            group.rows.append(row)
        if number % cells.ROWS_A_TURN == cells.ROWS_A_TURN - 1:
            yield
    if query.order.path is not None and query.order.function != "value":
        yield from cells.cells(view, query.order.path, snapshot, reduce=_forget)
    ordered = yield from _ordered(query, list(groups.values()))
    return ordered if query.first is None else ordered[: query.first]


def _keys(path: FieldPath, value: Any, values: dict[Hashable, Any]) -> tuple[Hashable, ...]:
    """What stands for each different value; equal values, such as 1 and 1.0, are one."""
    keys: dict[Hashable, Any] = {}
    for each in (value or (None,)) if path.is_many else (value,):
        keys.setdefault(key(each), each)
    for name, each in keys.items():
        values.setdefault(name, each)
    return tuple(keys)


def _ordered(query: GroupQuery, groups: list[Group]) -> Turns[list[Group]]:
    """By the asked value, missing last, then by the groups' own values."""
    groups.sort(key=lambda group: [_last_if_missing(value) for value in group.values])
    order = query.order
    there: list[tuple[SortKey, Group]] = []
    missing: list[Group] = []
    for number, group in enumerate(groups):
        value = _by(query, order, group)
        if value is None:
            missing.append(group)
        else:
            there.append((sort_key(value), group))
        if number % cells.OBJECTS_A_TURN == cells.OBJECTS_A_TURN - 1:
            yield
    there.sort(key=lambda pair: pair[0], reverse=order.direction is Direction.DESC)
    return [group for _, group in there] + missing


def _last_if_missing(value: Any) -> tuple[bool, Any]:
    return (True, ()) if value is None else (False, sort_key(value))


def _by(query: GroupQuery, order: GroupOrder, group: Group) -> Any:
    if order.path is None:
        return group.count
    if order.function == "value":
        return group.values[query.paths.index(order.path)]
    if order.function == "sum":
        return group.sum(order.path)
    return group.min(order.path) if order.function == "min" else group.max(order.path)


def _counted(view: View, path: FieldPath, rows: Sequence[Row]) -> list[tuple[Any, int]]:
    """The different values in the order in which they come first, and how often each comes."""
    found = cells.run(cells.cells(view, path, view.replica.snapshot_from(rows)))
    codes, first, counts = np.unique(found.codes, return_index=True, return_counts=True)
    order = np.argsort(first)
    return [(found.value(int(codes[at])), int(counts[at])) for at in order]


def _there(view: View, path: FieldPath, rows: Sequence[Row]) -> Iterable[Any]:
    for value, _ in _counted(view, path, rows):
        for each in (value or ()) if path.is_many else (value,):
            if each is not None:
                yield each


def _sum(path: FieldPath, counted: Sequence[tuple[Any, int]]) -> Quantity:
    total = quantities.ZERO
    try:
        for value, count in counted:
            for each in (value or ()) if path.is_many else (value,):
                if each is not None:
                    total = _plus(path, total, each, count)
        return _checked(total)
    except (decimal.DecimalException, ValueError) as error:
        raise AnswerError(Code.BAD_ARGUMENT, f"sum({path.text}): the sum is too large to be told exactly") from error


def _plus(path: FieldPath, total: Quantity, value: Any, count: int) -> Quantity:
    number = amount(value)
    if number is None:
        raise _not_summable(path)
    form = quantities.parse(value).form if isinstance(value, str) else quantities.Form.DECIMAL_SI
    added = _EXACT.multiply(number, Decimal(count))
    return Quantity(_EXACT.add(total.value, added), form if not total.value else total.form)


def _checked(total: Quantity) -> Quantity:
    str(total)  # canonical notation has a bound of its own
    return total
