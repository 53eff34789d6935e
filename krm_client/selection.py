"""Paths like ``spec.containers[*].image`` into a GraphQL selection of exactly these fields.

Names are those of the manifest (``podIP``). A path that ends at an object takes all of its fields that both
the server's schema and the installed models know; that needs the server's schema, asked for only then. Nothing
here sends anything.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from krm_client import errors
from krm_client.errors import KrmUsageError
from krm_client.models import generations
from krm_client.models.generations import Field, Kind

Path = tuple[str, ...]
"""The names along a path, without indexes."""

_STEP = re.compile(r"""(?P<name>[A-Za-z$_][A-Za-z0-9$_]*)(?P<index>\[(?:\*|\d+|'[^']*'|"[^"]*")\])?(?:\.|$)""")
_DEEPEST = 20


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to fetch of one type: ``paths`` as names, ``needs_schema`` if any ends at an object."""

    model: str
    paths: tuple[Path, ...]
    needs_schema: bool


def select(model: str, paths: Iterable[str]) -> Selection:
    """Read and check paths against the installed model. Raises `KrmUsageError` naming the path and what is near it."""
    if isinstance(paths, str):
        raise KrmUsageError("fields: a list of paths, not one text")
    read = [_read(model, path) for path in paths]
    if not read:
        raise KrmUsageError("fields: at least one path, or leave it out for whole objects")
    names = _without_covered(tuple(dict.fromkeys(name for name, _ in read)))
    return Selection(model=model, paths=names, needs_schema=any(is_object for _, is_object in read))


def _read(model: str, path: str) -> tuple[Path, bool]:
    names: list[str] = []
    position, current, ended = 0, model, False
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or ended:
            what = "there is nothing below a map or a value" if ended else f"not readable at {path[position:]!r}"
            raise KrmUsageError(f"fields: {path!r}: {what}")
        names.append(match["name"])
        kind = _innermost(_field(current, match["name"], path).kind)
        ended = kind.form != "model"
        current = kind.model
        position = match.end()
    if not names or path.endswith("."):
        raise KrmUsageError(f"fields: {path!r} is not a path like 'metadata.name'")
    return tuple(names), not ended


def _field(model: str, name: str, path: str) -> Field:
    fields = {field.wire: field for field in generations.fields_of_class(generations.model_class(model))}
    if name not in fields:
        by_attribute = [field.wire for field in fields.values() if field.attribute == name]
        near = by_attribute or difflib.get_close_matches(name, fields, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise KrmUsageError(f"fields: {path!r}: {model} has no field {name!r}{hint}")
    return fields[name]


def _innermost(kind: Kind) -> Kind:
    """The model inside lists; a map stays a map, because GraphQL gives maps whole."""
    while kind.form == "list" and kind.item is not None:
        kind = kind.item
    return kind


def _without_covered(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Drop paths below one that is selected whole."""
    whole = set(paths)
    return tuple(path for path in paths if not any(path[:size] in whole for size in range(1, len(path))))


class _Ref(msgspec.Struct):
    name: str | None = None
    ofType: _Ref | None = None  # noqa: N815 (GraphQL's name)


class _SchemaField(msgspec.Struct):
    name: str
    type: _Ref


class _SchemaType(msgspec.Struct):
    name: str | None = None
    fields: list[_SchemaField] | None = None


class _Schema(msgspec.Struct):
    types: list[_SchemaType]


@dataclass(frozen=True, kw_only=True)
class ServerTypes:
    """The fields of each type of the server's schema, each with the name of its type."""

    fields: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, introspection: Mapping[str, Any]) -> ServerTypes:
        """From the data of ``documents.SCHEMA_TEXT``. Raises `KrmSchemaMismatch` for another form."""
        try:
            schema = msgspec.convert(introspection["__schema"], _Schema)
        except (KeyError, msgspec.ValidationError) as error:
            raise errors.KrmSchemaMismatch(f"the server's introspection is unreadable: {error}") from error
        return cls(
            fields={
                kind.name: {field.name: _name_of(field.type) for field in kind.fields}
                for kind in schema.types
                if kind.name and kind.fields
            }
        )


def _name_of(reference: _Ref) -> str:
    for _ in range(_DEEPEST):
        if reference.name is not None or reference.ofType is None:
            break
        reference = reference.ofType
    return reference.name or ""


def render(selection: Selection, graphql_type: str, server: ServerTypes | None) -> str:
    """The selection as GraphQL. ``server`` may be None if it needs no schema; raises `KrmSchemaMismatch`."""
    tree: dict[str, Any] = {}
    for path in selection.paths:
        branch = tree
        for name in path:
            branch = branch.setdefault(name, {})
    return _branch(tree, selection.model, graphql_type, server)


def _branch(tree: Mapping[str, Any], model: str, graphql_type: str, server: ServerTypes | None) -> str:
    kinds = {field.wire: _innermost(field.kind) for field in _fields(model)}
    types = None if server is None else server.fields.get(graphql_type, {})
    parts = []
    for name, below in tree.items():
        if types is not None and name not in types:
            raise errors.KrmSchemaMismatch(
                f"the server's {graphql_type} has no field {name!r}: its KRM is older or newer than this client",
                field=name,
            )
        kind = kinds[name]
        if kind.form != "model":
            parts.append(name)
        elif below:
            parts.append(f"{name} {{ {_branch(below, kind.model, types[name] if types else '', server)} }}")
        else:
            assert types is not None
            assert server is not None
            parts.append(f"{name} {{ {_everything(kind.model, types[name], server, 0)} }}")
    return " ".join(parts)


def _everything(model: str, graphql_type: str, server: ServerTypes, depth: int) -> str:
    """All fields that both sides know."""
    if depth > _DEEPEST:
        raise errors.KrmSchemaMismatch(f"{model} refers to itself; select the fields below it one by one")
    types = server.fields.get(graphql_type, {})
    parts = []
    for field in _fields(model):
        if field.wire not in types:
            continue
        kind = _innermost(field.kind)
        if kind.form != "model":
            parts.append(field.wire)
            continue
        below = _everything(kind.model, types[field.wire], server, depth + 1)
        parts.append(f"{field.wire} {{ {below} }}")
    return " ".join(parts) or "__typename"


def _fields(model: str) -> tuple[Field, ...]:
    return generations.fields_of_class(generations.model_class(model))
