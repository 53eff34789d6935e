"""The few parts of an object that its row shows, read without building the rest of it.

A projection is a plain dict like the whole object, only pruned, so that what computes columns need not know of it.
Objects that are not shaped as their kind should be are no error: they are read whole instead, by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypedDict

import msgspec

from krm.objects import derived
from krm.resources import Resource

METADATA: Final = (
    *("metadata.namespace", "metadata.name", "metadata.uid", "metadata.resourceVersion", "metadata.labels"),
    *("metadata.creationTimestamp", "metadata.ownerReferences[*].uid"),
)
_EACH: Final = "[*]"

Tree = dict[str, Any]


class Projection:
    """Reads what the rows of one kind show."""

    def __init__(self, resource: Resource) -> None:
        paths = (column.path for column in resource.columns if column.path is not None)
        shape = _shape(_tree((*METADATA, *paths, *derived.LOOKED_AT.get(resource.plural, ()))), resource.kind)
        self._decode = msgspec.json.Decoder(shape).decode

    def of(self, text: bytes) -> Mapping[str, Any] | None:
        """The parts of the object in ``text``; None where it is shaped otherwise, or is no JSON."""
        try:
            found: Mapping[str, Any] = self._decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return found


def _tree(paths: Iterable[str]) -> Tree:
    """Member -> what is wanted of it; nothing more is wanted of an empty one than itself."""
    tree: Tree = {}
    for path in paths:
        inside = tree
        for step in path.split("."):
            inside = inside.setdefault(step, {})
    return tree


def _shape(tree: Tree, name: str) -> Any:
    """The type that has the members of ``tree``, all of them optional and nullable."""
    if not tree:
        return Any
    members: dict[str, Any] = {}
    for step, wanted in tree.items():
        member = step.removesuffix(_EACH)
        inside: Any = _shape(wanted, f"{name}_{member}")
        members[member] = list.__class_getitem__(inside) | None if member != step else inside | None
    return TypedDict(name, members, total=False)  # type: ignore[operator]  # made of data
