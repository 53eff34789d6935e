"""A selection of texts that rows know without their objects (key, version, columns), as a template to fill.

Only what certainly is in the object as well is taken from a row: a text that is there. Whatever a row does not know,
or knows otherwise than its object may spell it, is ``None``: then the object has to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from krm.resources import Resource
from krm.store.rows import Row

Tree = Sequence[tuple[str, str, "Tree | str"]] | Any
"""Response name, name in the object, and what is below: a tree, nothing for a text, or the text that it always is."""

_encode: Final = msgspec.json.Encoder().encode
_PLACE: Final = b"%b"
_BETWEEN: Final = b'","'
_FILLER: Final = "-"


class Source(NamedTuple):
    """Where in a row a text is."""

    member: str
    column: int | None = None
    """Of which of its columns."""
    odd: str = "?"
    """Characters of texts that may be others in the object: what a head could not hold has question marks in it."""

    def text(self, row: Row) -> str | None:
        """The text of a row, if it is certain."""
        value = getattr(row, self.member)
        value = value if self.column is None else value[self.column]
        if type(value) is not str or not value:
            return None
        for odd in self.odd:
            if odd in value:
                return None
        return value

    def texts(self, rows: Sequence[Row], uncertain: set[int]) -> list[bytes]:
        """Those of many rows as JSON without its quotes, made in one piece and cut again.

        Where there is none that is certain, its place goes to ``uncertain``, and something else is in it.
        """
        found: Any = map(itemgetter(Row._fields.index(self.member)), rows)
        values: list[Any] = list(found if self.column is None else map(itemgetter(self.column), found))
        text = _encode(values)
        # What is escaped may have in it what looks like its end; an empty text may be missing in the object.
        if b"\\" not in text and b'""' not in text and not any(odd.encode() in text for odd in self.odd):
            cells: list[bytes] = text[2:-2].split(_BETWEEN)
            if len(cells) == len(values) and type(values[0]) is str:  # whatever is no text has no quotes around it
                return cells
        for place, value in enumerate(values):
            if type(value) is not str or not value or set(self.odd) & set(value) or b"\\" in _encode(value):
                values[place] = _FILLER
                uncertain.add(place)
        return _encode(values)[2:-2].split(_BETWEEN)


_METADATA: Final[dict[tuple[str, ...], Source]] = {
    ("metadata", "name"): Source("name"),
    ("metadata", "namespace"): Source("namespace"),
    ("metadata", "uid"): Source("uid", odd="?/"),  # rows of objects without one have their key in its place
    ("metadata", "resourceVersion"): Source("version"),
    ("metadata", "creationTimestamp"): Source("created"),
}


class Template:
    """Filled with a row's texts it is the JSON of the selection."""

    def __init__(self, text: bytes, sources: Sequence[Source]) -> None:
        self._text = text
        self._unquoted = text.replace(_PLACE, b'"' + _PLACE + b'"')
        self._sources = tuple(sources)

    def fill(self, row: Row) -> bytes | None:
        """The JSON, or None if the object has to be read."""
        found = []
        for source in self._sources:
            text = source.text(row)
            if text is None:
                return None
            found.append(_encode(text))
        return self._text % tuple(found)

    def fill_all(self, rows: Sequence[Row]) -> bytes | list[bytes | None]:
        """The JSON of several rows, joined by commas; or of each, None where the object has to be read."""
        uncertain: set[int] = set()
        texts = [source.texts(rows, uncertain) for source in self._sources]
        of_each: Any = zip(*texts, strict=True)
        if not uncertain:
            return b",".join([self._unquoted] * len(rows)) % tuple(chain.from_iterable(of_each))
        return [None if place in uncertain else self._unquoted % cells for place, cells in enumerate(of_each)]


def compiled(tree: Tree, resource: Resource) -> Template | None:
    """The template of a selection, None if rows of ``resource`` do not know all of it."""
    sources: list[Source] = []
    text = _text(tree, (), resource, sources)
    return None if text is None or not sources else Template(text, sources)


def _text(tree: Tree, path: tuple[str, ...], resource: Resource, sources: list[Source]) -> bytes | None:
    parts: list[bytes] = []
    known = len(sources)
    for response, wire, below in tree:
        here = (*path, wire)
        if isinstance(below, str):
            value: bytes | None = _encode(below)
        elif below:
            value = _text(below, here, resource, sources)
        else:
            source = _source(here, resource)
            value = None if source is None else _PLACE
            sources += [] if source is None else [source]
        if value is None:
            return None
        parts.append(_encode(response) + b":" + value)
    # An object of which no member is known may be missing.
    return b"{" + b",".join(parts) + b"}" if len(sources) > known or not path else None


def _source(path: tuple[str, ...], resource: Resource) -> Source | None:
    if path in _METADATA:
        return _METADATA[path]
    for number, column in enumerate(resource.columns):
        if column.path == ".".join(path):
            return Source("columns", number)
    return None
