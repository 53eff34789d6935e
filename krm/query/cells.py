"""Values of paths for many rows: from the row where that is possible, else from the object; kept in columns.

Working out a column reads and parses objects, which takes long for many of them. So whatever may take long here is a
generator that yields now and then and returns its result; ``run`` exhausts it at once, ``in_turns`` lets the event loop
run in between. The rows are the caller's snapshot: changes in between do not show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from krm.query import extracts
from krm.query.paths import FieldPath
from krm.resources import Resource
from krm.store.rows import Row
from krm.table.columns import UNKNOWN, Codes, Column
from krm.table.replica import Replica, Snapshot

T = TypeVar("T")
Turns = Generator[None, None, T]
Places = NDArray[np.intp]
"""Where in a snapshot."""
Mask = NDArray[np.bool_]

OBJECTS_A_TURN: Final = 64
"""Objects that are read between two yields: a few milliseconds."""
ROWS_A_TURN: Final = 4_096
_FEW: Final = 256


class Resolver(Protocol):
    """What questions need beyond one kind. The caller gives it; rights are applied inside it."""

    def derived(self, resource: Resource, path: str, rows: Sequence[Row]) -> Sequence[Any]:
        """The values of a path such as ``deployment.name`` for rows of ``resource``, one for each."""
        ...

    def related(self, resource: Resource, relation: str, rows: Sequence[Row]) -> Sequence[Sequence[Row]]:
        """For each row of ``resource`` the rows that it is related to and that the caller of the query may see."""
        ...

    def replica(self, resource: Resource) -> Replica:
        """The replica of another kind. Raises ``AnswerError`` NOT_READY."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """A replica, and how to get at other kinds from it (None: the query does not)."""

    replica: Replica
    resolver: Resolver | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The values of one path for some rows, as codes: ``values[code]``; what is not kept is in ``others``."""

    codes: Codes
    """One a row; a negative one, -1 - i, stands for ``others[i]``."""
    values: Sequence[Any]
    others: Sequence[Any]

    def present(self) -> list[int]:
        """The different codes that occur, and where there are few also those that do not."""
        if len(self.values) <= _FEW:
            return [*range(len(self.values)), *range(-1, -1 - len(self.others), -1)]
        kept = np.zeros(len(self.values), dtype=np.bool_)
        kept[self.codes[self.codes >= 0]] = True
        return [*np.flatnonzero(kept).tolist(), *range(-1, -1 - len(self.others), -1)]

    def value(self, code: int) -> Any:
        """What a code stands for."""
        return self.others[-1 - code] if code < 0 else self.values[code]

    def at(self, place: int) -> Any:
        """The value of one row."""
        return self.value(int(self.codes[place]))

    def translated(self, meaning: Callable[[Any], Any], dtype: type) -> NDArray[Any]:
        """For each row what ``meaning`` makes of its value, worked out once for each different one."""
        table: NDArray[Any] = np.zeros(len(self.values) + len(self.others), dtype=dtype)
        for code in self.present():
            table[code] = meaning(self.value(code))
        return table[self.codes]


def run(turns: Turns[T]) -> T:
    """The result, without a pause."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            result: T = end.value
            return result


async def in_turns(turns: Turns[T]) -> T:
    """The result, with the event loop running in between."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


def cells(
    view: View,
    path: FieldPath,
    snapshot: Snapshot,
    places: Places | None = None,
    *,
    reduce: Callable[[Any], Any] | None = None,
) -> Turns[Cells]:
    """The values of ``path`` for the rows of a snapshot, or for those at some places.

    ``reduce`` is applied to values that are not kept (whole objects, long texts), so that they need not pile up.
    Raises ``CorruptData`` for an object that cannot be read.
    """
    replica = view.replica
    if not extracts.is_kept(replica.resource, path):
        return (yield from _unkept(view, path, snapshot, places))
    column = replica.column(path.text)
    if column.is_new and (label := extracts.label(path)) is not None:
        replica.fill_from_labels(column, label)
    codes = replica.codes(column, snapshot, places)
    if codes.all():
        return Cells(codes, column.values, ())
    unknown = np.flatnonzero(codes == UNKNOWN)
    where = (unknown if places is None else places[unknown]).tolist()
    rows = [snapshot.rows[place] for place in where]
    others: list[Any] = []
    found = yield from _worked_out(view, path, column, (rows, snapshot.slots[where]), others, reduce)
    codes = codes.copy()
    codes[unknown] = found
    return Cells(codes, column.values, others)


def _unkept(view: View, path: FieldPath, snapshot: Snapshot, places: Places | None) -> Turns[Cells]:
    rows = snapshot.rows if places is None else [snapshot.rows[place] for place in places.tolist()]
    extract, turn = _extract(view, path, rows)
    others: list[Any] = []
    for start in range(0, len(rows), turn):
        others += extract(rows[start : start + turn])
        yield
    return Cells(np.arange(-1, -1 - len(rows), -1, dtype=np.int32), (None, None), others)


def _worked_out(
    view: View,
    path: FieldPath,
    column: Column,
    asked: tuple[Sequence[Row], Codes],
    others: list[Any],
    reduce: Callable[[Any], Any] | None,
) -> Turns[list[int]]:
    """The codes of ``path`` for rows (and slots) of which nothing is known; adds to ``column`` and to ``others``."""
    rows, slots = asked
    extract, turn = _extract(view, path, rows)
    out: list[int] = []
    for start in range(0, len(rows), turn):
        piece = rows[start : start + turn]
        codes = []
        for value in extract(piece):
            code = column.code(value)
            if code == UNKNOWN:
                others.append(value if reduce is None else reduce(value))
                code = -len(others)
            codes.append(code)
        view.replica.keep(column, piece, slots[start : start + turn], codes)
        out += codes
        yield
    return out


def _extract(view: View, path: FieldPath, rows: Sequence[Row]) -> tuple[Callable[[Sequence[Row]], Iterable[Any]], int]:
    """How to get the values of some of ``rows`` at a time, in their order; and of how many at most."""
    resource = view.replica.resource
    direct = extracts.from_row(resource, path)
    if direct is not None:
        return partial(map, direct), ROWS_A_TURN
    if not path.is_derived:
        return extracts.from_objects(view.replica.codec, path), OBJECTS_A_TURN
    if view.resolver is None:
        raise LookupError(f"{path.text} needs a resolver")
    resolved = iter(view.resolver.derived(resource, path.text, rows))
    return (lambda piece: islice(resolved, len(piece))), ROWS_A_TURN


def value(view: View, path: FieldPath, row: Row) -> Any:
    """The value of ``path`` for one row, of whatever time; nothing of it is kept."""
    extract, _ = _extract(view, path, (row,))
    return next(iter(extract((row,))))


def values(view: View, path: FieldPath, rows: Iterable[Row]) -> list[Any]:
    """The values of ``path`` for a few rows, at once."""
    found = run(cells(view, path, view.replica.snapshot_from(rows)))
    return [found.at(place) for place in range(len(found.codes))]
