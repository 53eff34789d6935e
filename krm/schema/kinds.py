"""The GraphQL types of the Kubernetes models, generated from ``krm.objects.shapes`` under their wire names.

Their fields are plain: one resolver, ``resolve_plain``, reads a key of a decoded object. What KRM adds to a kind
(``object``, ``requests``, relations) is added with ``extend`` by whoever builds the schema, so that types may refer to
each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import strawberry
from strawberry.tools import create_type
from strawberry.types.field import StrawberryField

from krm import resources
from krm.objects import shapes
from krm.objects.shapes import FieldShape
from krm.schema import scalars

_LEAVES: Final[Mapping[str, Any]] = {
    "String": str,
    "Boolean": bool,
    "Float": float,
    "Long": scalars.Long,
    "JSON": scalars.JSON,
    "DateTime": scalars.DateTime,
    "Quantity": scalars.Quantity,
}


def resolve_plain(source: Any, name: str) -> Any:
    """The value of a field without a resolver: a key of a decoded object, or an attribute of one of our values."""
    if isinstance(source, dict):
        return source.get(name)
    if isinstance(source, str | bytes | int | float | list | tuple):
        raise TypeError("the object holds another sort of value here than its type says")
    return getattr(source, name)


def build() -> dict[str, type]:
    """A new Strawberry type for each type that the registered kinds lead to, by name."""
    names: set[str] = set()
    for resource in resources.RESOURCES.values():
        names.update(shapes.reachable(resource.kind))
    built: dict[str, type] = {}
    for name in sorted(names):
        _build(name, built)
    return built


def extend(type_: type, fields: Sequence[StrawberryField]) -> None:
    """Add KRM's own fields to a generated type, after the wire fields; before the schema is made of it."""
    definition = type_.__strawberry_definition__  # type: ignore[attr-defined]  # every built type has one
    definition.fields.extend(fields)


def _build(name: str, built: dict[str, type]) -> type:
    if name not in built:
        fields = [_plain(wire, _annotation(field, built)) for wire, field in shapes.shape(name).fields.items()]
        built[name] = create_type(name, fields)
    return built[name]


def _annotation(field: FieldShape, built: dict[str, type]) -> Any:
    inner = _LEAVES[field.scalar] if field.scalar is not None else _build(field.type or "", built)
    return list[inner] if field.list else inner  # type: ignore[valid-type]  # made at run time


def _plain(name: str, annotation: Any) -> StrawberryField:
    field: StrawberryField = strawberry.field(
        name=name,
        graphql_type=annotation | None,
        default=None,
    )
    field.python_name = name
    return field
