"""Values of paths for many rows: from the row where that is possible, else from a kept column, else from the object.

Working out a column reads and parses objects, which takes long for many of them. So whatever may take long here is a
generator that yields now and then and returns its result; ``run`` exhausts it at once, ``in_turns`` lets the event loop
run in between. The rows are the caller's snapshot: changes in between do not show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec

from krm.query import paths
from krm.query.paths import FieldPath
from krm.resources import Resource
from krm.store.rows import Row
from krm.table.columns import MISSING
from krm.table.replica import Replica

T = TypeVar("T")
Turns = Generator[None, None, T]

OBJECTS_A_TURN: Final = 64
"""Objects that are read between two yields: a few milliseconds."""


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


def values(view: View, path: FieldPath, rows: Sequence[Row]) -> Turns[list[Any]]:
    """The value of ``path`` for each row of a snapshot, in their order.

    Raises ``CorruptData`` for an object that cannot be read.
    """
    resource = view.replica.resource
    direct = paths.from_row(resource, path)
    if direct is not None:
        return [direct(row) for row in rows]
    if path.is_derived:
        if view.resolver is None:
            raise LookupError(f"{path.text} needs a resolver")
        return list(view.resolver.derived(resource, path.text, rows))
    return (yield from _column(view.replica, path, rows))


def _column(replica: Replica, path: FieldPath, rows: Sequence[Row]) -> Turns[list[Any]]:
    column = replica.columns.get(path.text)
    found = replica.known(column, rows)
    done = 0
    for place, value in enumerate(found):
        if value is not MISSING:
            continue
        row = rows[place]
        value = paths.at(msgspec.json.decode(replica.codec.body(row.record)), path.steps)
        found[place] = column.put(row.uid, value) if replica.is_current(row) else value
        done += 1
        if done % OBJECTS_A_TURN == 0:
            yield
    return found


def objects(replica: Replica, rows: Iterable[Row]) -> Turns[list[Mapping[str, Any]]]:
    """The decoded objects of rows."""
    out: list[Mapping[str, Any]] = []
    for row in rows:
        out.append(msgspec.json.decode(replica.codec.body(row.record)))
        if len(out) % OBJECTS_A_TURN == 0:
            yield
    return out
