"""Assembles the schema: the generated kinds with KRM's own fields, connections, and the root fields of each kind."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Mapping
from pathlib import Path
from typing import Any, Final

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type
from strawberry.types.field import StrawberryField

from krm import resources
from krm.resources import Resource
from krm.schema import answers, changes, common, drifts, events, grouping, kinds, scalars
from krm.schema.context import Context
from krm.schema.fields import field, subscription
from krm.schema.relations import RELATIONS, Relation

_TEXT: Final = str | None
_SCOPE: Final = {"namespace": _TEXT, "namespaces": list[str] | None}
_CHOICE: Final = {
    "name": _TEXT,
    "label_selector": _TEXT,
    "field_selector": _TEXT,
    "where": common.Filter | None,
    "order_by": list[common.Order] | None,
    "first": int | None,
    "after": _TEXT,
}
_RELATION: Final = {"label_selector": _TEXT, "where": common.Filter | None, "first": int | None}
_FRESH: Final = {"max_staleness": scalars.Duration | None, "min_resource_version": _TEXT}


def schema() -> strawberry.Schema:
    """A new schema of everything in the registry."""
    types = kinds.build()
    for resource in resources.RESOURCES.values():
        kinds.extend(types[resource.kind], [*_own_fields(resource), *_relation_fields(resource, types)])
    group = _group()
    fields: list[StrawberryField] = []
    for resource in resources.RESOURCES.values():
        connection = _connection(resource, types[resource.kind], group)
        fields += [_list_field(resource, connection), _single_field(resource, types[resource.kind])]
    fields += [_freshness_field(), _drift_field(), _changes_field()]
    watches = [_watch_field(resource, types[resource.kind]) for resource in resources.RESOURCES.values()]
    return strawberry.Schema(
        create_type("Query", fields, description="Answers come from KRM's own tables, never from the API server."),
        subscription=create_type("Subscription", watches),
        config=StrawberryConfig(default_resolver=kinds.resolve_plain, scalar_map=scalars.SCALARS),
        types=[scalars.Long, scalars.JSON, scalars.Duration, scalars.DateTime, scalars.Quantity],
    )


@functools.cache
def default() -> strawberry.Schema:
    """The schema of this process, made on first use."""
    return schema()


def sdl() -> str:
    """The schema as it is built, as text: what ``schema.graphql`` has to be."""
    return default().as_str() + "\n"


def _own_fields(resource: Resource) -> list[StrawberryField]:
    whole = field(
        "object",
        scalars.JSON | None,
        lambda node, _context, _given: answers.whole(node),
        description="The whole manifest as it is stored.",
    )
    if resource.plural != "pods":
        return [whole]
    requests = field(
        "requests",
        common.Requests | None,
        lambda node, _context, _given: answers.requests(node),
        description="What the scheduler counts for this pod.",
    )
    return [whole, requests]


def _relation_fields(resource: Resource, types: Mapping[str, type]) -> list[StrawberryField]:
    made = []
    for relation in RELATIONS[resource.plural].values():
        kind = types[relation.target.kind]
        made.append(
            field(
                relation.name,
                (kind if relation.is_single else list[kind]) | None,  # type: ignore[valid-type]  # made at run time
                functools.partial(_related, relation),
                {} if relation.is_single else _RELATION,
            )
        )
    if resource.plural == "pods":
        made.append(
            field(
                "owners", list[common.Owner] | None, lambda node, context, given: answers.owners(context, node, given)
            )
        )
    return made


def _related(relation: Relation, node: Any, context: Context, given: Mapping[str, Any]) -> Any:
    return answers.related(context, relation, node, given)


def _group() -> type:
    async def sum_(group: Any, _context: Context, given: Mapping[str, Any]) -> Any:
        return await grouping.group_sum(group, given)

    async def min_(group: Any, _context: Context, given: Mapping[str, Any]) -> Any:
        return await grouping.group_min(group, given)

    async def max_(group: Any, _context: Context, given: Mapping[str, Any]) -> Any:
        return await grouping.group_max(group, given)

    path = {"path": str}
    return create_type(
        "Group",
        [
            _plain("values", list[scalars.JSON | None]),
            _plain("count", scalars.Long),
            field("sum", scalars.Quantity | None, sum_, path, required=("path",)),
            field("min", scalars.JSON | None, min_, path, required=("path",)),
            field("max", scalars.JSON | None, max_, path, required=("path",)),
        ],
    )


def _group_by_field(group: type) -> StrawberryField:
    async def resolve(connection: Any, _context: Context, given: Mapping[str, Any]) -> list[grouping.GroupAnswer]:
        return await grouping.group_by(connection, given)

    arguments = {"paths": list[str], "order_by": common.GroupOrder | None, "first": int | None}
    groups = list[group]  # type: ignore[valid-type]  # made at run time
    return field("groupBy", groups, resolve, arguments, required=("paths",))


def _changes_field() -> StrawberryField:
    change = create_type(
        "Change",
        [
            _plain("at", scalars.DateTime),
            _plain("type", common.EventType),
            _plain("namespace", _TEXT),
            _plain("name", str),
            _plain("uid", str),
            _plain("resourceVersion", str, "resource_version"),
            _plain("object", scalars.JSON | None),
            _plain("previous", scalars.JSON | None),
        ],
    )
    connection = create_type(
        "ChangeConnection",
        [
            _plain("nodes", list[change]),  # type: ignore[valid-type]  # made at run time
            _plain("pageInfo", common.PageInfo, "page_info"),
            _plain("totalCount", scalars.Long, "total_count"),
            _plain("scope", common.Scope),
            _plain("freshness", common.Freshness),
            _plain("completeSince", scalars.DateTime | None, "complete_since"),
        ],
    )

    async def resolve(_source: Any, context: Context, given: Mapping[str, Any]) -> changes.Connection:
        return await changes.connection(context, given)

    arguments = {
        "resource": str,
        "since": scalars.Duration | None,
        "after": _TEXT,
        "first": int | None,
        "namespace": _TEXT,
        "label_selector": _TEXT,
        "where": common.Filter | None,
    }
    return field("changes", connection | None, resolve, arguments, required=("resource",))


def _drift_field() -> StrawberryField:
    async def resolve(_source: Any, context: Context, given: Mapping[str, Any]) -> common.DriftConnection:
        return await drifts.connection(context, given)

    arguments = {"resource": _TEXT, "first": int | None, "after": _TEXT}
    return field("drift", common.DriftConnection | None, resolve, arguments)


def _connection(resource: Resource, kind: type, group: type) -> type:
    edge = create_type(f"{resource.kind}Edge", [_plain("cursor", str), _plain("node", kind)])
    return create_type(
        f"{resource.kind}Connection",
        [
            _plain("nodes", list[kind]),  # type: ignore[valid-type]  # made at run time
            _plain("edges", list[edge]),  # type: ignore[valid-type]
            _plain("pageInfo", common.PageInfo, "page_info"),
            _plain("totalCount", scalars.Long, "total_count"),
            _plain("resourceVersion", _TEXT, "resource_version"),
            _plain("freshness", common.Freshness),
            _plain("scope", common.Scope),
            _group_by_field(group),
        ],
    )


def _plain(name: str, type_: Any, attribute: str | None = None) -> StrawberryField:
    made: StrawberryField = strawberry.field(name=name, graphql_type=type_, default=None)
    made.python_name = attribute or name
    return made


def _list_field(resource: Resource, connection: type) -> StrawberryField:
    def resolve(_source: Any, context: Context, given: Mapping[str, Any]) -> Awaitable[answers.Connection]:
        return context.meeting.guest().attend(lambda guest: answers.connection(context, resource, given, guest))

    scope = _SCOPE if resource.namespaced else {}
    arguments = {"cluster": _TEXT, **scope, **_CHOICE, **_FRESH}
    return field(resource.list_field, connection | None, resolve, arguments)


def _single_field(resource: Resource, kind: type) -> StrawberryField:
    def resolve(_source: Any, context: Context, given: Mapping[str, Any]) -> Awaitable[answers.Node | None]:
        return context.meeting.guest().attend(lambda guest: answers.single(context, resource, given, guest))

    key = {"namespace": str, "name": str} if resource.namespaced else {"name": str}
    arguments = {"cluster": _TEXT, **key, **_FRESH}
    return field(resource.single_field, kind | None, resolve, arguments, required=tuple(key))


def _watch_field(resource: Resource, kind: type) -> StrawberryField:
    event = create_type(
        f"{resource.kind}Event",
        [
            _plain("type", common.EventType),
            _plain("object", kind | None),
            _plain("resumeToken", str, "resume_token"),
        ],
    )

    def resolve(_source: Any, context: Context, given: Mapping[str, Any]) -> AsyncIterator[events.Event]:
        return events.subscribe(context, resource, given)

    choice = {name: type_ for name, type_ in _CHOICE.items() if name not in ("order_by", "first", "after")}
    scope = _SCOPE if resource.namespaced else {}
    arguments = {"cluster": _TEXT, **scope, **choice, **_FRESH, "resume_token": _TEXT}
    return subscription(resource.list_field, event, resolve, arguments)


def _freshness_field() -> StrawberryField:
    def resolve(_source: Any, context: Context, given: Mapping[str, Any]) -> list[common.Freshness]:
        chosen = answers.chosen_resources(context, given.get("resources"))
        return [answers.freshness_type(context, resource) for resource in chosen]

    return field("freshness", list[common.Freshness], resolve, {"resources": list[str] | None})


def write() -> None:
    """Write ``schema.graphql`` anew."""
    Path(__file__).with_name("schema.graphql").write_text(sdl(), encoding="utf-8")


if __name__ == "__main__":
    write()
