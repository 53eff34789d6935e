"""The keyword arguments of ``list`` and ``watch``: their types, and what they become in GraphQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from krm_client import documents, registry
from krm_client.errors import KrmUsageError
from krm_client.registry import ClientResource


class ListArguments(TypedDict, total=False):
    """Arguments of ``list`` beside the resource; each may be left out."""

    fields: Sequence[str]
    """Paths like ``spec.containers[*].image``; only these are fetched. Left out: whole objects."""
    namespace: str | None
    namespaces: Sequence[str] | None
    name: str | None
    label_selector: str | None
    field_selector: str | None
    where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    """A ``Filter`` like ``{"path": "status.phase", "eq": "Running"}``; several are "and"."""
    order_by: Any
    """A path, ``-path`` for descending, or ``{"path", "direction"}``; or several of them."""
    limit: int | None
    max_staleness: str | float | timedelta | None
    """Text like ``30s``, or seconds."""
    min_resource_version: str | None


class FrameArguments(TypedDict, total=False):
    """Arguments of ``frame`` beside the resource; each may be left out."""

    columns: Sequence[str]
    """Paths like ``spec.nodeName`` or ``requests.cpu``; left out: the kind's own."""
    namespace: str | None
    namespaces: Sequence[str] | None
    name: str | None
    label_selector: str | None
    field_selector: str | None
    where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    order_by: Any
    limit: int | None
    max_staleness: str | float | timedelta | None
    min_resource_version: str | None


class WatchArguments(TypedDict, total=False):
    """Arguments of ``watch`` beside the resource; each may be left out."""

    namespace: str | None
    namespaces: Sequence[str] | None
    name: str | None
    label_selector: str | None
    field_selector: str | None
    where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    max_staleness: str | float | timedelta | None
    min_resource_version: str | None
    resume_token: str | None
    """Of an earlier watch with the same arguments: go on after its last event."""
    timeout_seconds: float | None
    """End after this time; left out: never."""
    silence_seconds: float | None
    """Raise ``TimeoutError`` when there is no event for this time; left out: wait for ever."""
    patience: float
    """Seconds to try to come back after a connection broke; 60 unless told."""


def refuse_unknown(method: str, given: Mapping[str, Any], known: Any) -> None:
    unknown = given.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"{method}() got an unexpected keyword argument {min(unknown)!r}")


def of_list(kind: ClientResource, given: ListArguments) -> dict[str, Any]:
    namespaces = given.get("namespaces")
    if isinstance(namespaces, str):
        # Its letters would be taken for namespaces, of which there are none: an empty answer.
        raise KrmUsageError("namespaces: a list of names, not one text")
    if not kind.namespaced and (given.get("namespace") is not None or namespaces is not None):
        raise KrmUsageError(f"{kind.plural} have no namespace")
    return {
        "namespace": given.get("namespace"),
        "namespaces": None if namespaces is None else list(namespaces),
        "name": given.get("name"),
        "labelSelector": given.get("label_selector"),
        "fieldSelector": given.get("field_selector"),
        "where": documents.where_argument(given.get("where")),
        "orderBy": documents.order_argument(given.get("order_by")),
        "first": given.get("limit"),
        "maxStaleness": _duration(given.get("max_staleness")),
        "minResourceVersion": given.get("min_resource_version"),
    }


def resource_of(name: str) -> ClientResource:
    found = registry.find(name)
    if found is None:
        known = ", ".join(resource.plural for resource in registry.RESOURCES)
        raise KrmUsageError(f"{name!r} is not one of {known}; other kinds are read with query()")
    return found


def _duration(value: str | float | timedelta | None) -> str | None:
    """Text as it is; numbers are seconds."""
    if value is None or isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{round(seconds * 1000)}ms"
