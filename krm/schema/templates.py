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
        return value if type(value) is str and value and not any(odd in value for odd in self.odd) else None

    def texts(self, rows: Sequence[Row]) -> list[bytes] | None:
        """Those of many rows as JSON without its quotes, if all are certain: made in one piece and cut again."""
        found: Any = map(itemgetter(Row._fields.index(self.member)), rows)
        values: list[Any] = list(found if self.column is None else map(itemgetter(self.column), found))
        if set(map(type, values)) != {str} or not all(values):
            return None
        text = _encode(values)
        if b"\\" in text or any(odd.encode() in text for odd in self.odd):
            return None  # what is escaped may have in it what looks like its end
        return text[2:-2].split(_BETWEEN)


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

    def fill_all(self, rows: Sequence[Row]) -> bytes | None:
        """The JSON of several rows, joined by commas, or None if they have to be looked at one by one."""
        texts = [source.texts(rows) for source in self._sources]
        if not all(texts):
            return None
        of_each: Any = zip(*texts, strict=True)
        return b",".join([self._unquoted] * len(rows)) % tuple(chain.from_iterable(of_each))


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
