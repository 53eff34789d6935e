"""A selection of texts that rows know without their objects (key, version, columns), as a template to fill.

Only what certainly is in the object as well is taken from a row: a text that is there. Whatever a row does not know,
or knows otherwise than its object may spell it, is ``None``: then the object has to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from krm.resources import Resource
from krm.store.rows import Row

Tree = Sequence[tuple[str, str, "Tree | str"]] | Any
"""Response name, name in the object, and what is below: a tree, nothing for a text, or the text that it always is."""

Get = Callable[[Row], Any]

_METADATA: Final[dict[tuple[str, ...], Get]] = {
    ("metadata", "name"): lambda row: row.name,
    ("metadata", "namespace"): lambda row: row.namespace,
    # Rows of objects without a uid have their key in its place.
    ("metadata", "uid"): lambda row: None if "/" in row.uid else row.uid,
    ("metadata", "resourceVersion"): lambda row: row.version,
    ("metadata", "creationTimestamp"): lambda row: row.created,
}
_encode: Final = msgspec.json.Encoder().encode


class Template:
    """Filled with a row's texts it is the JSON of the selection."""

    def __init__(self, text: bytes, gets: Sequence[Get]) -> None:
        self._text = text
        self._gets = tuple(gets)

    def fill(self, row: Row) -> bytes | None:
        """The JSON, or None if the object has to be read."""
        found = []
        for get in self._gets:
            value = get(row)
            # What a head could not hold has question marks in it.
            if type(value) is not str or not value or "?" in value:
                return None
            found.append(_encode(value))
        return self._text % tuple(found)


def compiled(tree: Tree, resource: Resource) -> Template | None:
    """The template of a selection, None if rows of ``resource`` do not know all of it."""
    gets: list[Get] = []
    text = _text(tree, (), resource, gets)
    return None if text is None or not gets else Template(text, gets)


def _text(tree: Tree, path: tuple[str, ...], resource: Resource, gets: list[Get]) -> bytes | None:
    parts: list[bytes] = []
    known = len(gets)
    for response, wire, below in tree:
        here = (*path, wire)
        if isinstance(below, str):
            value: bytes | None = _encode(below)
        elif below:
            value = _text(below, here, resource, gets)
        else:
            get = _get(here, resource)
            value = None if get is None else b"%b"
            gets += [] if get is None else [get]
        if value is None:
            return None
        parts.append(_encode(response) + b":" + value)
    # An object of which no member is known may be missing.
    return b"{" + b",".join(parts) + b"}" if len(gets) > known or not path else None


def _get(path: tuple[str, ...], resource: Resource) -> Get | None:
    if path in _METADATA:
        return _METADATA[path]
    for number, column in enumerate(resource.columns):
        if column.path == ".".join(path):
            return _column(number)
    return None


def _column(number: int) -> Get:
    return lambda row: row.columns[number]
