"""How the value of a path is got: from the row's head where it is there, else out of the object, reading little of it.

A decoder made for the path skips everything else in the object's JSON text; an object that has something else in its
place than its kind says is read whole instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from krm.objects.paths import ANY, Step
from krm.query import paths
from krm.query.paths import FieldPath
from krm.resources import Resource
from krm.store.compression import Text
from krm.store.rows import Codec, Row

Extract = Callable[[Row], Any]

_FROM_ROW: Final[Mapping[str, Extract]] = {
    "metadata.name": lambda row: row.name,
    "metadata.namespace": lambda row: row.namespace or None,
    "metadata.creationTimestamp": lambda row: row.created,
}
_NOT_KEPT: Final = frozenset(("metadata.name", "metadata.creationTimestamp"))
"""Nearly as many values as rows, and at hand anyway."""


def is_kept(resource: Resource, path: FieldPath) -> bool:
    """Whether a column is worth its memory: not for what changes with other kinds, nor for what is at hand."""
    return path.text not in _NOT_KEPT and not (path.is_derived and from_row(resource, path) is None)


def from_objects(codec: Codec, path: FieldPath) -> Callable[[Sequence[Row]], Iterable[Any]]:
    """How to get the values of ``path`` out of rows' objects. Raises ``CorruptData`` when called."""
    steps, decoder = path.steps, _decoder(path.steps)

    def extract(text: Text) -> Any:
        try:
            return _unwrapped(decoder.decode(text), steps)
        except msgspec.ValidationError:
            return paths.at(msgspec.json.decode(text), steps)

    return lambda rows: map(extract, codec.bodies(rows))


@lru_cache(maxsize=512)
def _decoder(steps: tuple[Step, ...]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_type(steps))


def _type(steps: tuple[Step, ...]) -> Any:
    """The type of JSON in which only ``steps`` matter."""
    if not steps:
        return Any
    inner, step = _type(steps[1:]), steps[0]
    if not isinstance(step, str):
        # ``[*]`` also ranges over maps: these fail validation and are read whole.
        return list[inner] | None  # type: ignore[valid-type]  # a type made at run time
    return msgspec.defstruct("Part", [("value", inner, None)], rename={"value": step}, gc=False) | None


def _unwrapped(part: Any, steps: tuple[Step, ...]) -> Any:
    """As ``paths.at``, of what a decoder made."""
    for number, step in enumerate(steps):
        if part is None:
            return () if ANY in steps[number:] else None
        if isinstance(step, str):
            part = part.value
        elif isinstance(step, int):
            part = part[step] if step < len(part) else None
        else:
            rest = steps[number + 1 :]
            found = [_unwrapped(element, rest) for element in part]
            return tuple([each for group in found for each in group] if ANY in rest else found)
    return part


def from_row(resource: Resource, path: FieldPath) -> Extract | None:
    """How to get the value of ``path`` from a row without reading its object, if that is possible."""
    direct = _FROM_ROW.get(path.text)
    if direct is not None:
        return direct
    key = label(path)
    if key is not None:
        return lambda row: row.labels.get(key)
    for number, column in enumerate(resource.columns):
        if column.path == path.text or (path.is_derived and column.name == path.text):
            return _column(number)
        if path.is_derived and path.text.startswith(f"{column.name}[*]."):
            return _list_column(number)
    return None


def label(path: FieldPath) -> str | None:
    """The key of the label that ``path`` leads to, if it leads to one."""
    steps = path.steps
    return steps[2] if len(steps) == 3 and steps[:2] == ("metadata", "labels") and isinstance(steps[2], str) else None


def _column(number: int) -> Extract:
    return lambda row: row.columns[number]


def _list_column(number: int) -> Extract:
    def extract(row: Row) -> Any:
        found = row.columns[number]
        return tuple(found) if isinstance(found, list | tuple) else ()

    return extract
