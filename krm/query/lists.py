"""Answering a list query: the rows that match, in order, one page of them, and how many there are in all.

``run`` answers at once; ``answer`` does the same while the event loop goes on. Both answer for the moment at which they
were called: the rows are taken first, and rows do not change.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
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
from krm.query.pages import Moment, Position
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

    total: int
    has_next: bool
    question: bytes = b""
    found: Found
    start: int = 0
    count: int | None = None
    ordered: list[Row] | None = None
    """The rows of the page where an order was asked for; else they are ``count`` from ``start`` on."""
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """What each row of the page is ordered by, by uid; empty without an order."""

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the page."""
        return self.found.rows(self.start, self.count) if self.ordered is None else self.ordered

    @property
    def matching(self) -> list[Row]:
        """All matching rows in the order of (namespace, name)."""
        return self.found.rows()

    def cursor(self, row: Row) -> str:
        """The cursor of a row of this page."""
        return pages.encode(Position(row.namespace, row.name, self.values.get(row.uid, ())), self.question)

    @property
    def end_cursor(self) -> str | None:
        """The cursor of the last row."""
        return self.cursor(self.rows[-1]) if self.rows else None

    def end_cursor_of(self, moment: Moment) -> str | None:
        """The same, which also tells as of when the rows were; where nothing matches, the place before any row."""
        if self.rows:
            last = self.rows[-1]
            position = Position(last.namespace, last.name, self.values.get(last.uid, ()), moment)
        elif self.ordered is None and not self.total:
            position = Position("", "", (), moment)
        else:
            return None
        return pages.encode(position, self.question)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The rows of a snapshot that match; they are put together only as far as they are needed."""

    snapshot: Snapshot
    places: Places | None
    """Where they are, in order; None for all of them."""

    def __len__(self) -> int:
        return len(self.snapshot) if self.places is None else len(self.places)

    def row(self, number: int) -> Row:
        """One of them."""
        return self.snapshot.rows[number if self.places is None else self.places[number]]

    def rows(self, start: int = 0, count: int | None = None) -> list[Row]:
        """Some of them, or all."""
        end = len(self) if count is None else start + count
        if self.places is None:
            return self.snapshot.rows[start:end]
        places = self.places[start:end].tolist()
        rows = self.snapshot.rows
        return list(itemgetter(*places)(rows)) if len(places) > 1 else [rows[place] for place in places]


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
    found = yield from _matches(view, query, scope)
    if not query.order_by:
        start = 0 if after is None else _start(found, after)
        return Page(
            total=len(found),
            has_next=query.first is not None and start + query.first < len(found),
            question=bound_to,
            found=found,
            start=start,
            count=query.first,
        )
    ranks, columns = [], []
    for order in query.order_by:
        rank, column = yield from orders.keys(view, order, found.snapshot, found.places)
        ranks.append(rank)
        columns.append(column)
    ordered = np.lexsort(ranks[::-1]).tolist()  # stable, so equal rows stay in the order of (namespace, name)
    yield
    start = 0 if after is None else _ordered_start(query.order_by, found, columns, ordered, after)
    chosen = ordered[start:] if query.first is None else ordered[start : start + query.first]
    shown = [found.row(number) for number in chosen]
    return Page(
        total=len(found),
        has_next=start + len(chosen) < len(found),
        question=bound_to,
        found=found,
        ordered=shown,
        values={
            row.uid: tuple(column[number] for column in columns) for row, number in zip(shown, chosen, strict=True)
        },
    )


def matches(view: View, query: ListQuery, scope: Scope = EVERYTHING) -> Turns[list[Row]]:
    """The rows that match ``query`` (whatever its page), in the order of (namespace, name)."""
    found = yield from _matches(view, query, scope)
    return found.rows()


def _matches(view: View, query: ListQuery, scope: Scope) -> Turns[Found]:
    replica = view.replica
    bounds = Bounds()
    # Rights come first: a namespace that is not in the scope has no rows, whatever else is asked.
    bounds.restrict_namespaces(scope.namespaces)
    bounds.restrict_namespaces(query.namespaces)
    if query.name is not None:
        bounds.restrict_names(frozenset((query.name,)))
    snapshot, left = narrow.narrowed(replica, bounds, conditions(replica.resource, query))
    places = yield from filters.select(view, left, snapshot)
    return Found(snapshot, places)


@lru_cache(maxsize=1_024)  # whoever watches asks for each change
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


def _start(found: Found, after: Position) -> int:
    """The place of the first row after a key."""
    return bisect_right(range(len(found)), (after.namespace, after.name), key=lambda number: _key(found.row(number)))


def _ordered_start(
    by: Sequence[Order], found: Found, columns: Sequence[Sequence[Any]], ordered: Sequence[int], after: Position
) -> int:
    """How many rows come up to and with a position."""

    def is_after(number: int) -> int:
        sign = orders.compare(by, [column[number] for column in columns], after.values)
        return int(_key(found.row(number)) > (after.namespace, after.name) if sign == 0 else sign > 0)

    return bisect_left(ordered, 1, key=is_after)


def _key(row: Row) -> tuple[str, str]:
    return (row.namespace, row.name)
