"""The shape of the Kubernetes models as data: which type has which fields, under their wire names.

The data (``shape.json``) is made once from the newest supported client by ``python -m krm.schema.models`` and
committed, so that the schema does not depend on the client that happens to be installed. Nothing here imports that
client, knows GraphQL, or looks at an object.

A field is spelled as ``Type``, ``[Type]`` (a list) or ``{Type}`` (a free-form map).
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

SCALARS = frozenset({"String", "Long", "Float", "Boolean", "DateTime", "Quantity", "JSON"})
"""The leaves. DateTime and Quantity are text, JSON is a free-form map or an int-or-string."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldShape:
    """One field of a type; exactly one of ``type`` and ``scalar`` is set."""

    type: str | None
    """Name of the object type that the field holds, else None."""
    list: bool
    map: bool
    """A free-form map with text keys; its ``scalar`` is JSON."""
    scalar: str | None
    """One of ``SCALARS``, else None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One object type: its name without the version, its fields by wire name, in alphabetical order."""

    name: str
    fields: Mapping[str, FieldShape]


def shape(name: str) -> Shape:
    """The shape of a type, such as ``Pod`` or ``ContainerStatus``. Raises ``KeyError`` for an unknown name."""
    return all_shapes()[name]


@functools.cache
def all_shapes() -> Mapping[str, Shape]:
    """Every known type by name; read from ``shape.json`` on first use."""
    text = importlib.resources.files("krm.objects").joinpath("shape.json").read_text(encoding="utf-8")
    return parse(json.loads(text)["types"])


def parse(types: Mapping[str, Mapping[str, str]]) -> Mapping[str, Shape]:
    """Shapes out of ``{type: {field: spelling}}``. Raises ``ValueError`` for a spelling that names nothing."""
    return MappingProxyType(
        {
            name: Shape(
                name=name,
                fields=MappingProxyType(
                    {field: _field(spelling, types, f"{name}.{field}") for field, spelling in fields.items()}
                ),
            )
            for name, fields in types.items()
        }
    )


def reachable(root: str) -> Iterator[str]:
    """The names of the types that a type leads to, itself first, each once."""
    seen = {root}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        yield name
        for field in shape(name).fields.values():
            if field.type is not None and field.type not in seen:
                seen.add(field.type)
                waiting.append(field.type)


def _field(spelling: str, types: Mapping[str, object], where: str) -> FieldShape:
    is_list = spelling.startswith("[") and spelling.endswith("]")
    is_map = spelling.startswith("{") and spelling.endswith("}")
    name = spelling[1:-1] if is_list or is_map else spelling
    if name not in SCALARS and name not in types:
        raise ValueError(f"{where}: {spelling!r} names neither a scalar nor a type")
    if is_map:
        return FieldShape(type=None, list=False, map=True, scalar="JSON")
    is_scalar = name in SCALARS
    return FieldShape(type=None if is_scalar else name, list=is_list, map=False, scalar=name if is_scalar else None)
