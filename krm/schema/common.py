"""The types of the API that are not Kubernetes': connections' parts, freshness, drift, filters, order, groups."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, Final

import strawberry
from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from krm.schema.scalars import JSON, DateTime, Long, Quantity


@strawberry.type
class PageInfo:
    """Where the page ends."""

    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class Scope:
    """What the caller may list: ``namespaces`` is null when that is everything."""

    complete: bool
    namespaces: list[str] | None


@strawberry.enum
class State(Enum):
    """How far an answer may be relied on."""

    SYNCED = "SYNCED"
    CATCHING_UP = "CATCHING_UP"
    STALE = "STALE"
    NOT_READY = "NOT_READY"
    FORBIDDEN = "FORBIDDEN"
    GONE = "GONE"
    HISTORY_RESET = "HISTORY_RESET"


@strawberry.type
class Missed:
    """What the stream had not told and verification found, since the workers' start."""

    added: Long
    modified: Long
    deleted: Long
    ghosts: Long


@strawberry.type
class Freshness:
    """How true the answers of one resource are, and as of when."""

    cluster: str
    resource: str
    state: State
    resource_version: str | None
    verified_resource_version: str | None
    verified_at: DateTime | None
    verified_age_seconds: float | None
    last_event_at: DateTime | None
    stream_lag_seconds: float | None
    contiguous: bool
    epoch: str
    missed: Missed
    reason: str | None


@strawberry.type
class Requests:
    """What the scheduler counts for the pod."""

    cpu: Quantity | None
    memory: Quantity | None
    gpu: Quantity | None


@strawberry.type
class Owner:
    """A reference to an owner; ``object`` is the owner's manifest where it is cached."""

    api_version: str | None
    kind: str | None
    name: str | None
    uid: str | None
    object: JSON | None


@strawberry.enum
class DriftKind(Enum):
    """What verification found; GHOST is a row that no history explains."""

    MISSED_ADDED = "MISSED_ADDED"
    MISSED_MODIFIED = "MISSED_MODIFIED"
    MISSED_DELETED = "MISSED_DELETED"
    GHOST = "GHOST"


@strawberry.enum
class EventType(Enum):
    """What happened to an object; RESYNC: what was told so far does not hold any more, it begins again."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    RESYNC = "RESYNC"


@strawberry.type
class Drift:
    """One thing that the stream had not told and verification corrected."""

    at: DateTime
    resource: str
    kind: DriftKind
    namespace: str | None
    name: str
    uid: str
    resource_version: str | None
    lived_seconds: float | None


@strawberry.type
class DriftConnection:
    """What verification corrected, newest first."""

    nodes: list[Drift]
    page_info: PageInfo
    total_count: Long
    scope: Scope


@strawberry.enum
class Direction(Enum):
    """Rising or falling."""

    ASC = "ASC"
    DESC = "DESC"


@strawberry.input
class Order:
    """Order by the value at a path; objects without one come last."""

    path: str
    direction: Direction | None = Direction.ASC


@strawberry.input
class GroupOrder:
    """Order of groups: ``by`` is count, one of the paths, sum(PATH), min(PATH) or max(PATH)."""

    by: str
    direction: Direction | None = Direction.DESC


@strawberry.input
class Filter:
    """A condition on an object; several members are joined by "and"."""

    path: str | None = UNSET
    eq: JSON | None = UNSET
    ne: JSON | None = UNSET
    in_: list[JSON] | None = strawberry.field(name="in", default=UNSET)
    not_in: list[JSON] | None = UNSET
    lt: JSON | None = UNSET
    lte: JSON | None = UNSET
    gt: JSON | None = UNSET
    gte: JSON | None = UNSET
    contains: str | None = UNSET
    starts_with: str | None = UNSET
    matches: str | None = UNSET
    exists: bool | None = UNSET
    and_: list[Filter] | None = strawberry.field(name="and", default=UNSET)
    or_: list[Filter] | None = strawberry.field(name="or", default=UNSET)
    not_: Filter | None = strawberry.field(name="not", default=UNSET)
    relation: str | None = UNSET
    some: Filter | None = UNSET
    none: Filter | None = UNSET


_MEMBERS: Final = {
    "path": "path",
    "eq": "eq",
    "ne": "ne",
    "in_": "in",
    "not_in": "notIn",
    "lt": "lt",
    "lte": "lte",
    "gt": "gt",
    "gte": "gte",
    "contains": "contains",
    "starts_with": "startsWith",
    "matches": "matches",
    "exists": "exists",
    "relation": "relation",
}
_LISTS: Final = {"and_": "and", "or_": "or"}
_SINGLE: Final = {"not_": "not", "some": "some", "none": "none"}


def filter_spec(given: Filter) -> dict[str, Any]:
    """A filter as the plain mapping that ``krm.query.filters`` reads; members that were not given are absent."""
    spec: dict[str, Any] = {}
    for attribute, member in _MEMBERS.items():
        value = getattr(given, attribute)
        if value is not UNSET:
            spec[member] = value
    for attribute, member in _LISTS.items():
        parts = getattr(given, attribute)
        if parts is not UNSET:
            spec[member] = None if parts is None else [filter_spec(part) for part in parts]
    for attribute, member in _SINGLE.items():
        part = getattr(given, attribute)
        if part is not UNSET:
            spec[member] = None if part is None else filter_spec(part)
    return spec


def as_json(value: Any) -> Any:
    """One of the types above as GraphQL answers it, with all its fields."""
    if isinstance(value, Enum):
        return value.value
    if not dataclasses.is_dataclass(value):
        return value
    return {to_camel_case(each.name): as_json(getattr(value, each.name)) for each in dataclasses.fields(value)}
