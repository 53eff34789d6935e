"""The questions that the client sends, made from the registry; it neither sends nor reads answers."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from krm_client.errors import KrmUsageError
from krm_client.registry import ClientResource

LIST_ARGUMENTS: Mapping[str, str] = {
    "cluster": "String",
    "namespace": "String",
    "namespaces": "[String!]",
    "name": "String",
    "labelSelector": "String",
    "fieldSelector": "String",
    "where": "Filter",
    "orderBy": "[Order!]",
    "first": "Int",
    "after": "String",
    "maxStaleness": "Duration",
    "minResourceVersion": "String",
}
SINGLE_ARGUMENTS: Mapping[str, str] = {
    "cluster": "String",
    "namespace": "String!",
    "name": "String!",
    "maxStaleness": "Duration",
    "minResourceVersion": "String",
}
WATCH_ARGUMENTS: Mapping[str, str] = {
    name: kind for name, kind in LIST_ARGUMENTS.items() if name not in ("orderBy", "first", "after")
} | {"resumeToken": "String"}
FRESHNESS_ARGUMENTS: Mapping[str, str] = {"resources": "[String!]"}

FRESHNESS_FIELDS = (
    "cluster resource state resourceVersion verifiedResourceVersion verifiedAt verifiedAgeSeconds lastEventAt "
    "streamLagSeconds contiguous epoch missed { added modified deleted ghosts } reason"
)
SCHEMA_TEXT = (
    "{ __schema { types { name fields { name type { name ofType { name ofType { name ofType { name } } } } } } } }"
)
"""Enough introspection to know which fields each type has."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A GraphQL text and its variables; what `explain` shows and what is sent."""

    text: str
    variables: Mapping[str, Any]
    field: str
    """The one field of Query that the text asks for, to find its answer by."""


@dataclass(frozen=True, kw_only=True)
class RouteQuery:
    """What a route beside GraphQL is asked: an address below KRM's, and the form that is wanted."""

    path: str
    accept: str
    parameters: tuple[tuple[str, str], ...] = ()
    text: str = ""
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_ARROW = "application/vnd.apache.arrow.stream"
_AS_JSON = ("where", "orderBy")


def frame_query(resource: ClientResource, arguments: Mapping[str, Any], columns: Sequence[str] | None) -> RouteQuery:
    """A list as an Arrow stream, by the arguments of GraphQL: the columns named, or the kind's own."""
    parameters = [("columns", column) for column in columns or ()]
    for name, value in arguments.items():
        if value is None:
            continue
        if name in _AS_JSON:
            if not is_finite(value):
                raise KrmUsageError(f"{name}: JSON has no NaN and no Infinity")
            parameters.append((name, json.dumps(value)))
        elif isinstance(value, list):
            parameters += [(name, str(one)) for one in value]
        else:
            parameters.append((name, str(value)))
    shown = urlencode(parameters, safe="[]*'")
    text = f"GET /frames/{resource.plural}" + (f"?{shown}" if shown else "")
    path = f"/frames/{resource.plural}"
    return RouteQuery(path=path, accept=_ARROW, parameters=tuple(parameters), text=text)


def list_document(resource: ClientResource, arguments: Mapping[str, Any], nodes: str = "object") -> Document:
    """List objects: whole manifests unless ``nodes`` is another selection of the kind's fields."""
    selection = (
        "    resourceVersion\n"
        "    pageInfo { hasNextPage endCursor }\n"
        "    scope { complete namespaces }\n"
        f"    nodes {{ {nodes} }}\n"
    )
    return _document(resource.list_field, LIST_ARGUMENTS, arguments, "{\n" + selection + "  }")


def single_document(resource: ClientResource, arguments: Mapping[str, Any]) -> Document:
    """Read one object whole."""
    return _document(resource.single_field, SINGLE_ARGUMENTS, arguments, "{ object }")


def watch_document(resource: ClientResource, arguments: Mapping[str, Any]) -> Document:
    """Follow the objects of a list. The variable for going on after a break is always declared."""
    selection = "{ type resumeToken object { object } }"
    return _document(
        resource.list_field, WATCH_ARGUMENTS, arguments, selection, operation="subscription", declare=("resumeToken",)
    )


def freshness_document(resources: Sequence[str] | None) -> Document:
    return _document("freshness", FRESHNESS_ARGUMENTS, {"resources": resources}, f"{{ {FRESHNESS_FIELDS} }}")


def _document(
    field: str,
    types: Mapping[str, str],
    arguments: Mapping[str, Any],
    selection: str,
    *,
    operation: str = "query",
    declare: tuple[str, ...] = (),
) -> Document:
    """Only arguments that have a value appear, so that a server that lacks the others still answers.

    ``declare``: arguments that may get a value later.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    names = [*given, *(name for name in declare if name not in given)]
    declared = ", ".join(f"${name}: {types[name]}" for name in names)
    passed = ", ".join(f"{name}: ${name}" for name in names)
    head = f"{operation} ({declared}) " if names else f"{operation} "
    call = f"{field}({passed})" if names else field
    return Document(text=f"{head}{{\n  {call} {selection}\n}}", variables=given, field=field)


def order_argument(order_by: str | Mapping[str, str] | Sequence[str | Mapping[str, str]] | None) -> Any:
    """``"-metadata.creationTimestamp"`` or ``{"path": ..., "direction": ...}``, one or several, as ``[Order!]``."""
    if order_by is None:
        return None
    several = [order_by] if isinstance(order_by, (str, Mapping)) else list(order_by)
    return [_order(one) for one in several]


def _order(one: str | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(one, Mapping):
        return one
    descending = one.startswith("-")
    path = one.removeprefix("-")
    if not path:
        raise KrmUsageError(f"order_by: {one!r} is not a path like 'metadata.name' or '-status.startTime'")
    return {"path": path, "direction": "DESC" if descending else "ASC"}


def where_argument(where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any] | None:
    """A ``Filter``; several are "and"."""
    if where is None or isinstance(where, Mapping):
        return where
    if isinstance(where, str):
        raise KrmUsageError('where: a Filter is a mapping like {"path": "status.phase", "eq": "Running"}')
    return {"and": list(where)}


def is_finite(value: Any) -> bool:
    """Whether JSON has all its numbers; encoders write null for the others, and so would ask something else."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(is_finite, value))
