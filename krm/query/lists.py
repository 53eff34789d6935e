"""Answering a list query: the rows that match, in order, one page of them, and how many there are in all.

``run`` answers at once; ``answer`` does the same while the event loop goes on. Both answer for the moment at which they
were called: the rows are taken first, and rows do not change.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, Final

import numpy as np

from krm.errors import AnswerError, Code
from krm.objects import selectors
from krm.objects.selectors import FieldSelector, LabelSelector, SelectorError
from krm.query import arguments, cells, filters, narrow, orders, pages
from krm.query.cells import Places, Resolver, Turns, View
from krm.query.filters import All, Filter, Node
from krm.query.narrow import Bounds
from krm.query.orders import Order
from krm.query.pages import Position
from krm.resources import Resource
from krm.store.rows import Row
from krm.table.replica import Replica, Snapshot

MAX_ROWS: Final = 200_000
MAX_NAMESPACES: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the caller may list: ``namespaces`` None means all of them."""

    namespaces: frozenset[str] | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is hidden from the caller."""
        return self.namespaces is None


EVERYTHING: Final = Scope()


@dataclass(frozen=True, kw_only=True)
class ListQuery:
    """A checked question; see ``parse``."""

    namespaces: frozenset[str] | None = None
    name: str | None = None
    label_selector: LabelSelector | None = None
    field_selector: FieldSelector | None = None
    where: Filter | None = None
    order_by: tuple[Order, ...] = ()
    first: int | None = None
    after: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """An answer. ``matching`` and ``total`` cover all matching rows, whatever the page shows."""

    rows: list[Row]
    total: int
    has_next: bool
    matching: list[Row]
    """All matching rows in the order of (namespace, name)."""
    question: bytes = b""
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """What each row of the page is ordered by, by uid; empty without an order."""

    def cursor(self, row: Row) -> str:
        """The cursor of a row of this page."""
        return pages.encode(Position(row.namespace, row.name, self.values.get(row.uid, ())), self.question)

    @property
    def end_cursor(self) -> str | None:
        """The cursor of the last row."""
        return self.cursor(self.rows[-1]) if self.rows else None


def parse(
    resource: Resource,
    *,
    namespace: str | None = None,
    namespaces: Iterable[str] | None = None,
    name: str | None = None,
    label_selector: str | None = None,
    field_selector: str | None = None,
    where: Mapping[str, Any] | None = None,
    order_by: Iterable[Mapping[str, Any]] | None = None,
    first: int | None = None,
    after: str | None = None,
    relations: filters.Relations = filters.no_relations,
    max_rows: int = MAX_ROWS,
) -> ListQuery:
    """A query out of plain arguments, as the API takes them.

    Raises ``AnswerError``: BAD_ARGUMENT, SELECTOR_INVALID, PATH_INVALID, CURSOR_INVALID.
    """
    several = None if namespaces is None else list(namespaces)
    if several is not None and len(several) > MAX_NAMESPACES:
        raise arguments.bad("namespaces", f"at most {MAX_NAMESPACES} are allowed")
    if not resource.namespaced and (namespace is not None or several is not None):
        raise arguments.bad("namespace", f"{resource.plural} have no namespace")
    return ListQuery(
        namespaces=arguments.namespaces(namespace, several),
        name=None if name is None else arguments.name("name", name),
        label_selector=None if label_selector is None else parse_labels(label_selector),
        field_selector=None if field_selector is None else parse_fields(resource, field_selector),
        where=None if where is None else filters.parse(resource, where, relations=relations),
        order_by=() if order_by is None else orders.parse(resource, order_by),
        first=arguments.count("first", first, most=max_rows),
        after=None if after is None else arguments.text("after", after),
    )


def parse_labels(text: str) -> LabelSelector:
    """A label selector. Raises ``AnswerError`` SELECTOR_INVALID with the position."""
    try:
        return selectors.parse_labels(arguments.text("labelSelector", text))
    except SelectorError as error:
        raise AnswerError(Code.SELECTOR_INVALID, f"labelSelector: {error}", position=error.position) from error


def parse_fields(resource: Resource, text: str) -> FieldSelector:
    """A field selector with paths that the kind has. Raises ``AnswerError``: SELECTOR_INVALID, PATH_INVALID."""
    try:
        selector = selectors.parse_fields(arguments.text("fieldSelector", text))
    except SelectorError as error:
        raise AnswerError(Code.SELECTOR_INVALID, f"fieldSelector: {error}", position=error.position) from error
    for requirement in selector.requirements:
        filters.field(resource, requirement)
    return selector


def run(replica: Replica, query: ListQuery, scope: Scope = EVERYTHING, resolver: Resolver | None = None) -> Page:
    """Answer ``query`` at once. Raises ``AnswerError`` CURSOR_INVALID."""
    return cells.run(_answer(replica, query, scope, resolver))


async def answer(
    replica: Replica, query: ListQuery, scope: Scope = EVERYTHING, resolver: Resolver | None = None
) -> Page:
    """As ``run``, with the event loop running in between."""
    return await cells.in_turns(_answer(replica, query, scope, resolver))


def _answer(replica: Replica, query: ListQuery, scope: Scope, resolver: Resolver | None) -> Turns[Page]:
    bound_to = question(replica, query)
    after = None if query.after is None else pages.decode(query.after, bound_to, values=len(query.order_by))
    view = View(replica, resolver)
    snapshot, places = yield from _matches(view, query, scope)
    matching = _rows_at(snapshot, places)
    if not query.order_by:
        start = 0 if after is None else _start(matching, after)
        return Page(
            rows=_slice(matching, start, query.first),
            total=len(matching),
            has_next=query.first is not None and start + query.first < len(matching),
            matching=matching,
            question=bound_to,
        )
    ranks, columns = [], []
    for order in query.order_by:
        rank, column = yield from orders.keys(view, order, snapshot, places)
        ranks.append(rank)
        columns.append(column)
    ordered = np.lexsort(ranks[::-1]).tolist()  # stable, so equal rows stay in the order of (namespace, name)
    yield
    start = 0 if after is None else _ordered_start(query.order_by, matching, columns, ordered, after)
    chosen = _slice(ordered, start, query.first)
    return Page(
        rows=[matching[place] for place in chosen],
        total=len(matching),
        has_next=start + len(chosen) < len(matching),
        matching=matching,
        question=bound_to,
        values={matching[place].uid: tuple(column[place] for column in columns) for place in chosen},
    )


def _rows_at(snapshot: Snapshot, places: Places) -> list[Row]:
    if len(places) == len(snapshot):
        return snapshot.rows
    if len(places) < 2:
        return [snapshot.rows[place] for place in places]
    return list(itemgetter(*places.tolist())(snapshot.rows))


def matches(view: View, query: ListQuery, scope: Scope = EVERYTHING) -> Turns[list[Row]]:
    """The rows that match ``query`` (whatever its page), in the order of (namespace, name)."""
    snapshot, places = yield from _matches(view, query, scope)
    return _rows_at(snapshot, places)


def _matches(view: View, query: ListQuery, scope: Scope) -> Turns[tuple[Snapshot, Places]]:
    replica = view.replica
    bounds = Bounds()
    # Rights come first: a namespace that is not in the scope has no rows, whatever else is asked.
    bounds.restrict_namespaces(scope.namespaces)
    bounds.restrict_namespaces(query.namespaces)
    if query.name is not None:
        bounds.restrict_names(frozenset((query.name,)))
    node = All(conditions(replica.resource, query))
    narrow.by_filter(replica, node, bounds)
    snapshot = narrow.snapshot(replica, bounds)
    return snapshot, (yield from filters.select(view, node, snapshot))


def conditions(resource: Resource, query: ListQuery) -> tuple[Node, ...]:
    """What selectors and filter of ``query`` ask; all must hold."""
    parts: list[Node] = []
    if query.label_selector is not None:
        parts += map(narrow.label_condition, query.label_selector.requirements)
    if query.field_selector is not None:
        parts += [filters.field(resource, requirement) for requirement in query.field_selector.requirements]
    if query.where is not None:
        parts.append(query.where.node)
    return tuple(parts)


def passes(view: View, query: ListQuery, row: Row, scope: Scope = EVERYTHING) -> bool:
    """Whether one row, of whatever time, matches ``query``: for watching."""
    for allowed in (scope.namespaces, query.namespaces):
        if allowed is not None and row.namespace not in allowed:
            return False
    if query.name is not None and row.name != query.name:
        return False
    parts = conditions(view.replica.resource, query)
    return not parts or filters.passes(view, All(parts), row)


def question(replica: Replica, query: ListQuery) -> bytes:
    """What the cursors of ``query`` are bound to: everything but the page."""
    labels = None if query.label_selector is None else sorted(map(str, query.label_selector.requirements))
    fields = None if query.field_selector is None else sorted(map(str, query.field_selector.requirements))
    return pages.question(
        replica.cluster,
        replica.resource.key_part,
        None if query.namespaces is None else sorted(query.namespaces),
        query.name,
        labels,
        fields,
        None if query.where is None else query.where.spec,
        [(order.path.text, order.direction) for order in query.order_by],
    )


def _slice(items: list[Any], start: int, first: int | None) -> list[Any]:
    return items[start:] if first is None else items[start : start + first]


def _start(rows: Sequence[Row], after: Position) -> int:
    """The place of the first row after a key."""
    key = (after.namespace, after.name)
    start = bisect_left(rows, key, key=_key)
    while start < len(rows) and _key(rows[start]) == key:
        start += 1
    return start


def _ordered_start(
    by: Sequence[Order], rows: Sequence[Row], columns: Sequence[Sequence[Any]], places: Sequence[int], after: Position
) -> int:
    """How many places come up to and with a position."""
    return bisect_left(places, 1, key=partial(_is_after, by, rows, columns, after))


def _is_after(
    by: Sequence[Order], rows: Sequence[Row], columns: Sequence[Sequence[Any]], after: Position, place: int
) -> int:
    sign = orders.compare(by, [column[place] for column in columns], after.values)
    if sign == 0:
        return int(_key(rows[place]) > (after.namespace, after.name))
    return int(sign > 0)


def _key(row: Row) -> tuple[str, str]:
    return (row.namespace, row.name)
