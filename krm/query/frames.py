"""Answers as typed columns: what Arrow type a path has, and the rows of a page as record batches.

Columns of text that repeats are dictionaries, filled before the first batch so that all batches share them; long and
unrepeated texts are worked out batch by batch, so that a frame of whole objects is never in memory at once.
What an object has in place of a value of its type (text where a number belongs) is null, and counted.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from krm.objects import quantities, times
from krm.query import arguments, cells, paths
from krm.query.cells import Cells, Places, Resolver, Turns, View
from krm.query.lists import Page
from krm.query.paths import FieldPath
from krm.resources import Resource
from krm.table.replica import Replica, Snapshot

MAX_COLUMNS: Final = 256
ROWS_A_BATCH: Final = 8_192
INT64: Final = 2**63

_IDENTITY: Final = ("metadata.namespace", "metadata.name", "metadata.uid", "metadata.resourceVersion")
_UNREPEATED: Final = frozenset(("metadata.name", "metadata.uid", "metadata.resourceVersion", "metadata.selfLink"))
_TEXTS: Final = pa.dictionary(pa.int32(), pa.string())

Convert = Callable[[Any], Any]
"""What Arrow takes for a value of an object. Raises ``ValueError`` for a value of the wrong sort."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a frame."""

    name: str
    """As the caller spelled its path."""
    path: FieldPath
    type: pa.DataType
    convert: Convert


@dataclass(slots=True)
class Odd:
    """Counts the values that are not of the sort that their kind says."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """The rows of a page under columns; ``batches`` gives them."""

    replica: Replica
    page: Page
    columns: Sequence[Column]
    resolver: Resolver | None = None
    odd: Odd = field(default_factory=Odd)

    def schema(self, metadata: Mapping[str, str]) -> pa.Schema:
        """The Arrow schema."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns], metadata=dict(metadata))

    def batches(self, schema: pa.Schema) -> Turns[Iterator[Turns[pa.RecordBatch]]]:
        """First what all batches share, then one batch after the other. Raises ``CorruptData``."""
        view = View(self.replica, self.resolver)
        snapshot, places = _rows(self.page, self.replica)
        shared: dict[str, pa.Array] = {}
        for column in self.columns:
            if pa.types.is_dictionary(column.type):
                found = yield from cells.cells(view, column.path, snapshot, places)
                shared[column.name] = _array(column, found, self.odd)
        return self._batches(view, schema, snapshot, places, shared)

    def _batches(
        self, view: View, schema: pa.Schema, snapshot: Snapshot, places: Places, shared: Mapping[str, pa.Array]
    ) -> Iterator[Turns[pa.RecordBatch]]:
        def batch(start: int) -> Turns[pa.RecordBatch]:
            inside = places[start : start + ROWS_A_BATCH]
            arrays = []
            for column in self.columns:
                if column.name in shared:
                    arrays.append(shared[column.name].slice(start, len(inside)))
                else:
                    found = yield from cells.cells(view, column.path, snapshot, inside)
                    arrays.append(_array(column, found, self.odd))
                yield
            return pa.record_batch(arrays, schema=schema)

        return map(batch, range(0, len(places), ROWS_A_BATCH))


def parse(resource: Resource, columns: Iterable[str] | None = None) -> tuple[Column, ...]:
    """The columns of these paths; the key, version, age and own columns of the kind for None.

    Raises ``AnswerError``: PATH_INVALID, BAD_ARGUMENT.
    """
    names = list(default(resource) if columns is None else columns)
    if not 0 < len(names) <= MAX_COLUMNS:
        raise arguments.bad("columns", f"from 1 to {MAX_COLUMNS} paths, separated by commas")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise arguments.bad("columns", f"{twice!a} is named twice")
    return tuple(_column(name, paths.parse(resource, arguments.text("columns", name))) for name in names)


def default(resource: Resource) -> Iterator[str]:
    """The columns of a frame that was asked for without any."""
    yield from _IDENTITY if resource.namespaced else _IDENTITY[1:]
    yield "metadata.creationTimestamp"
    listed = {path.partition("[*]")[0]: path for path in paths.derived(resource)}
    for column in resource.columns:
        if column.is_shown:
            yield column.path or listed[column.name]


def _column(name: str, path: FieldPath) -> Column:
    type_, convert = _type(path)
    return Column(name, path, pa.list_(type_) if path.is_many else type_, convert)


def _type(path: FieldPath) -> tuple[pa.DataType, Convert]:
    """What one value (of ``[*]``: one element) of a path is."""
    if path.is_derived and path.scalar == "Quantity":
        return (pa.float64(), _cores) if path.text.endswith(".cpu") else (pa.int64(), _whole_amount)
    if path.scalar in _SCALARS:
        return _SCALARS[path.scalar]
    is_text = path.scalar in ("String", "Quantity") or path.steps[:2] == ("metadata", "labels")
    if not is_text or path.scalar is None:
        return pa.string(), _json
    convert = _json if path.scalar == "JSON" else _text
    return (pa.string() if path.text in _UNREPEATED or path.is_many else _TEXTS), convert


def _rows(page: Page, replica: Replica) -> tuple[Snapshot, Places]:
    """The page's rows, as a snapshot and the places in it."""
    found = page.found
    if page.ordered is not None:
        snapshot = replica.snapshot_from(page.ordered)
        return snapshot, np.arange(len(snapshot), dtype=np.intp)
    every = np.arange(len(found.snapshot), dtype=np.intp) if found.places is None else found.places
    return found.snapshot, every[page.start : None if page.count is None else page.start + page.count]


# -- arrays ----------------------------------------------------------------------------------------------------


def _array(column: Column, found: Cells, odd: Odd) -> pa.Array:
    """The values of one column: each different one converted once."""
    values: list[Any] = []
    at = np.full(len(found.values) + len(found.others), -1, dtype=np.int64)
    known: dict[Any, int] = {}
    is_dictionary = pa.types.is_dictionary(column.type)
    convert = _elements(column, odd) if column.path.is_many else column.convert
    for code in found.present():
        value = found.value(code)
        if value is None:
            continue
        try:
            value = convert(value)
        except ValueError:
            odd.count += 1
            continue
        if not is_dictionary:
            at[code] = len(values)
            values.append(value)
        else:  # of a dictionary every value is another one
            at[code] = known.setdefault(value, len(known))
    places = at[found.codes]
    indexes = pa.array(places, mask=places < 0)
    if is_dictionary:
        return pa.DictionaryArray.from_arrays(indexes.cast(pa.int32()), pa.array(list(known), pa.string()))
    return pa.array(values, column.type).take(indexes)


def _elements(column: Column, odd: Odd) -> Convert:
    def convert(elements: Sequence[Any]) -> list[Any]:
        out = []
        for element in elements:
            try:
                out.append(None if element is None else column.convert(element))
            except ValueError:
                odd.count += 1
                out.append(None)
        return out

    return convert


# -- values ----------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("not text")


def _json(value: Any) -> str:
    """Text as it is, everything else as JSON text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _whole(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -INT64 <= value < INT64:
        raise ValueError("not a whole number of 64 bits")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")  # noqa: TRY004  (callers catch one error for all odd values)
    return float(value)


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("neither true nor false")


def _moment(value: Any) -> datetime.datetime:
    return times.parse(_text(value))


def _cores(value: Any) -> float:
    return float(quantities.parse(_text(value)).value)


def _whole_amount(value: Any) -> int:
    """Rounded up to a whole number and at most 2**63 - 1, as Kubernetes' ``Quantity.Value``."""
    amount = quantities.parse(_text(value)).value
    return max(min(int(amount.to_integral_value(ROUND_CEILING)), INT64 - 1), -INT64)


_SCALARS: Final[Mapping[str | None, tuple[pa.DataType, Convert]]] = {
    "Long": (pa.int64(), _whole),
    "Float": (pa.float64(), _number),
    "Boolean": (pa.bool_(), _truth),
    "DateTime": (pa.timestamp("us", tz="UTC"), _moment),
}
