"""The few parts of an object that its row shows, read in one look at its bytes, without building the rest of it.

An object that is not shaped as its kind should be is no error: it is read whole instead, by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from krm.objects import derived
from krm.resources import Resource

_EACH: Final = "[*]"
_NOTHING: Final = msgspec.Raw()

Tree = dict[str, Any]
"""Member -> the members that are wanted of it, or the type of its value."""


class Owner(msgspec.Struct, gc=False):
    """What refers to an owner."""

    uid: str = ""


class Metadata(msgspec.Struct, gc=False):
    """What every kind's row shows, and what may have to be cut out."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    version: str = msgspec.field(name="resourceVersion", default="")
    created: str | None = msgspec.field(name="creationTimestamp", default=None)
    labels: dict[str, str] | None = None
    owners: list[Owner] | None = msgspec.field(name="ownerReferences", default=None)
    annotations: dict[str, msgspec.Raw] | None = None
    managed: msgspec.Raw = msgspec.field(name="managedFields", default=_NOTHING)


class Look(msgspec.Struct, gc=False, kw_only=True):
    """What was seen of an object; each kind adds the parts that its columns are made of."""

    metadata: Metadata
    kind: msgspec.Raw = _NOTHING
    api_version: msgspec.Raw = msgspec.field(name="apiVersion", default=_NOTHING)


class Projection:
    """Reads what the rows of one kind show."""

    def __init__(self, resource: Resource) -> None:
        wanted: dict[str, Any] = {column.path: Any for column in resource.columns if column.path is not None}
        tree = _tree({**wanted, **derived.LOOKED_AT.get(resource.plural, {})})
        members = [(member, _shape(inside, member) | None, None) for member, inside in tree.items()]
        shape = msgspec.defstruct(resource.kind, members, bases=(Look,), gc=False, kw_only=True)
        self._decode = msgspec.json.Decoder(shape).decode

    def look(self, text: bytes) -> Look | None:
        """What the object in ``text`` shows; None where it is shaped otherwise, or is no JSON.

        Whether texts in it are valid UTF-8 is for the caller to see.
        """
        try:
            found = cast(Look, self._decode(text))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return found if found.metadata.name else None


def _tree(paths: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for path, wanted in paths.items():
        *above, last = path.split(".")
        inside = tree
        for step in above:
            inside = inside.setdefault(step, {})
        inside[last] = wanted
    return tree


def _shape(wanted: Any, name: str) -> Any:
    """The type that has the members of a tree, all of them optional and nullable; bytes that are kept are no union."""
    if not isinstance(wanted, dict):
        return wanted
    members: list[tuple[str, Any, Any]] = []
    for step, one in wanted.items():
        member = step.removesuffix(_EACH)
        inside = _shape(one, f"{name}_{member}")
        if inside is msgspec.Raw:
            members.append((member, inside, _NOTHING))
        elif member != step:
            members.append((member, list.__class_getitem__(inside) | None, None))
        else:
            members.append((member, Any if inside is Any else inside | None, None))
    return msgspec.defstruct(name, members, gc=False)
