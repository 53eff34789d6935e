"""Turns the arguments of list and single fields into answers over the replicas; lazy until something is selected."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from krm import resources
from krm.errors import AnswerError, Code, ConfigError
from krm.objects import times
from krm.query import arguments, cells, filters, lists
from krm.query.cells import View
from krm.query.lists import Page
from krm.query.pages import Moment
from krm.resources import Resource
from krm.schema import common, matched, relations, scopes
from krm.schema.context import Context, Freshness
from krm.schema.facts import Owner
from krm.schema.meeting import Guest
from krm.schema.relations import Related, Relation
from krm.schema.scalars import DateTime, Long, Quantity
from krm.store.rows import Row
from krm.table.replica import Replica


class Node(dict[str, Any]):
    """An object that still knows its row; decoded when plain execution reads it, which compiled execution does not."""

    __slots__ = ("is_decoded", "is_listed", "replica", "row")

    def __init__(self, replica: Replica, row: Row, *, is_listed: bool = False) -> None:
        super().__init__()
        self.is_listed = is_listed
        """Of a list, which was compiled as a whole or cannot be."""
        self.replica = replica
        self.row = row
        self.is_decoded = False

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a member. Raises ``CorruptData``."""
        if not self.is_decoded:
            self.update(orjson.loads(self.replica.codec.body(self.row.record)))
            self.is_decoded = True
        return super().get(name, default)


class Rows(Sequence[Node]):
    """Rows of a snapshot, decoded one by one when plain execution walks through them; compiled execution does not."""

    __slots__ = ("replica", "rows")

    def __init__(self, replica: Replica, rows: Sequence[Row]) -> None:
        self.replica = replica
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return Node(self.replica, self.rows[index], is_listed=True)

    def __iter__(self) -> Iterator[Node]:
        for row in self.rows:
            yield Node(self.replica, row, is_listed=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A row with its cursor."""

    cursor: str
    node: Node


class Edges(Sequence[Edge]):
    """The same with cursors."""

    __slots__ = ("page", "replica", "rows")

    def __init__(self, replica: Replica, page: Page) -> None:
        self.replica = replica
        self.page = page
        self.rows = page.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        row = self.rows[index]
        return Edge(cursor=self.page.cursor(row), node=Node(self.replica, row, is_listed=True))

    def __iter__(self) -> Iterator[Edge]:
        for place in range(len(self.rows)):
            yield self[place]


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """An answer to a list field."""

    replica: Replica
    page: Page
    as_of: Freshness
    cluster: str
    scope: common.Scope
    max_rows: int
    related: Related | None = None
    moment: Moment | None = None
    """As of which change the rows are."""

    @property
    def nodes(self) -> Rows:
        """The rows of the page."""
        return Rows(self.replica, self.page.rows)

    @property
    def edges(self) -> Edges:
        """The same with cursors."""
        return Edges(self.replica, self.page)

    @property
    def freshness(self) -> common.Freshness:
        """How true the rows were when they were taken."""
        return shown_freshness(self.as_of, self.cluster, self.replica.resource)

    @property
    def page_info(self) -> common.PageInfo:
        """Where the page ends; a subscription with the same arguments can go on from its end cursor."""
        end = self.page.end_cursor if self.moment is None else self.page.end_cursor_of(self.moment)
        return common.PageInfo(has_next_page=self.page.has_next, end_cursor=end)

    @property
    def total_count(self) -> Long:
        """How many match, whatever the page shows."""
        return Long(self.page.total)

    @property
    def resource_version(self) -> str | None:
        """Every change up to it is in the answer; rows may be newer already."""
        return self.as_of.resource_version or None


async def connection(
    context: Context, resource: Resource, given: Mapping[str, Any], guest: Guest | None = None
) -> Connection:
    """The answer to a list field with these arguments (those not given are None). Raises ``AnswerError``."""
    check_cluster(context, given.get("cluster"))
    query = list_query(context, resource, given)
    scope = await scopes.listed(context, resource, query.namespaces)
    await context.related()
    await wait(context, resource, given)
    if query.namespaces is None and not scope.complete:
        scope = await scopes.listed(context, resource, None)  # by waiting, namespaces may have come
    related = await context.related()
    if guest is not None and await guest.meet():
        await wait(context, resource, given)  # the others took their time
    # From here on in one turn of the event loop: the version must not be newer than the rows.
    as_of = context.source.freshness(resource)
    scopes.cached(resource, query.namespaces, as_of.namespaces)
    related.begin()
    replica = context.source.get(resource)
    position = context.source.position(resource)
    others = [context.source.position(other) for other in matched.related(resource, query)]
    page = await lists.answer(replica, query, scope, related)
    if len(page.rows) > context.max_rows:
        raise AnswerError(
            Code.BAD_ARGUMENT,
            f"the answer has more than {context.max_rows} rows (KRM_MAX_ROWS): ask with first and after",
        )
    return Connection(
        replica=replica,
        page=page,
        as_of=as_of,
        cluster=context.source.cluster,
        scope=scopes.shown(scope),
        max_rows=context.max_rows,
        related=related,
        moment=None if position is None else (*position, matched.mark(scopes.mark(scope), others)),
    )


def list_query(context: Context, resource: Resource, given: Mapping[str, Any]) -> lists.ListQuery:
    """What the arguments of a list field mean; filter and orders may be plain data too. Raises ``AnswerError``."""
    where = given.get("where")
    order_by = given.get("order_by")
    return lists.parse(
        resource,
        namespace=given.get("namespace"),
        namespaces=given.get("namespaces"),
        name=given.get("name"),
        label_selector=given.get("label_selector"),
        field_selector=given.get("field_selector"),
        first=given.get("first"),
        after=given.get("after"),
        where=common.filter_spec(where) if isinstance(where, common.Filter) else where,
        order_by=None if order_by is None else [order_spec(order) for order in order_by],
        relations=relations.target,
        max_rows=context.max_rows,
    )


async def single(context: Context, resource: Resource, given: Mapping[str, Any], guest: Guest) -> Node | None:
    """The answer to a field for one object; None if there is none. Raises ``AnswerError``."""
    check_cluster(context, given.get("cluster"))
    namespace = given.get("namespace")
    if namespace is not None:
        arguments.namespace("namespace", namespace)
    name = arguments.name("name", given["name"])
    await scopes.read(context, resource, namespace or "", name)
    replica = await wait(context, resource, given)
    related = await context.related()
    if await guest.meet():
        replica = await wait(context, resource, given)
    if namespace is not None:
        scopes.cached(resource, frozenset((namespace,)), context.source.freshness(resource).namespaces)
    related.begin()
    row = replica.get(namespace or "", name)
    return None if row is None else Node(replica, row)


async def wait(context: Context, resource: Resource, given: Mapping[str, Any]) -> Replica:
    """The replica of ``resource``, as fresh as the arguments ask. Raises ``AnswerError``."""
    return await context.source.wait(
        resource,
        arguments.seconds("maxStaleness", given.get("max_staleness")),
        arguments.version("minResourceVersion", given.get("min_resource_version")),
    )


def check_cluster(context: Context, cluster: str | None) -> None:
    """Refuses another cluster than the one that is served."""
    if cluster is not None and cluster != context.source.cluster:
        raise arguments.bad("cluster", f"this API serves {context.source.cluster!r} only")


def order_spec(order: common.Order | Mapping[str, Any]) -> Mapping[str, Any]:
    """An order as the plain mapping that ``krm.query.orders`` reads."""
    if not isinstance(order, common.Order):
        return order
    return {"path": order.path, "direction": (order.direction or common.Direction.ASC).value}


def requests(node: Node) -> common.Requests:
    """What the scheduler counts for a pod, out of its derived columns."""
    names = [column.name for column in node.replica.resource.columns]
    values = dict(zip(names, node.row.columns, strict=True))

    def amount(of: str) -> Quantity | None:
        found = values.get(f"requests.{of}")
        return None if found is None else Quantity(str(found))

    return common.Requests(cpu=amount("cpu"), memory=amount("memory"), gpu=amount("gpu"))


def whole(node: Node) -> orjson.Fragment:
    """The object as it is stored, unparsed."""
    return orjson.Fragment(node.replica.codec.body(node.row.record))


def related(context: Context, relation: Relation, node: Node, given: Mapping[str, Any]) -> Any:
    """The answer to a relation of an object: a node or rows, or an awaitable of them. Raises ``AnswerError``."""
    known = context.relations()
    if isinstance(known, Related):
        return _related(context, known, relation, node, given)
    return _related_later(context, known, relation, node, given)


async def _related_later(
    context: Context, known: Awaitable[Related], relation: Relation, node: Node, given: Mapping[str, Any]
) -> Any:
    await known
    return related(context, relation, node, given)


def _related(context: Context, known: Related, relation: Relation, node: Node, given: Mapping[str, Any]) -> Any:
    rows = known.follow(relation, node.row)
    replica = known.replica(relation.target)
    if relation.is_single:
        return Node(replica, rows[0]) if rows else None
    return Rows(replica, narrowed(context, known, relation, [rows], given)[0])


def narrowed(
    context: Context, known: Related, relation: Relation, found: Sequence[list[Row]], given: Mapping[str, Any]
) -> list[list[Row]]:
    """What the arguments of a relation leave of the related rows of each of some rows. Raises ``AnswerError``."""
    query = _relation_query(context, relation, given)
    selector, where = query.label_selector, query.where
    if selector is not None:
        found = [[row for row in rows if selector.matches(row.labels)] for rows in found]
    distinct = {id(row): row for rows in found for row in rows} if where is not None else {}
    if where is not None and distinct:
        replica = known.replica(relation.target)
        snapshot = replica.snapshot_from(distinct.values())
        passed = cells.run(filters.mask(View(replica, known), where.node, snapshot, None))
        kept = {key for key, passes in zip(distinct, passed.tolist(), strict=True) if passes}
        found = [[row for row in rows if id(row) in kept] for rows in found]
    return [rows if query.first is None else rows[: query.first] for rows in found]


def _relation_query(context: Context, relation: Relation, given: Mapping[str, Any]) -> lists.ListQuery:
    where = given.get("where")
    # The document's own input objects are made anew for each row; their text says whether they are the same.
    key = (relation.target.plural, given.get("label_selector"), repr(where), given.get("first"))
    if key not in context.filters:
        context.filters[key] = lists.parse(
            relation.target,
            label_selector=given.get("label_selector"),
            where=common.filter_spec(where) if isinstance(where, common.Filter) else where,
            first=given.get("first"),
            relations=relations.target,
            max_rows=context.max_rows,
        )
    return context.filters[key]  # type: ignore[no-any-return]  # what the line above put there


def owners(context: Context, node: Node, _given: Mapping[str, Any]) -> Any:
    """The references to the owners of a pod."""
    known = context.relations()
    if isinstance(known, Related):
        return _owners(known, node)
    return _owners_later(known, node)


async def _owners_later(known: Awaitable[Related], node: Node) -> list[common.Owner]:
    return _owners(await known, node)


def _owners(known: Related, node: Node) -> list[common.Owner]:
    return [_owner(known, owner) for owner in known.fact(node.replica.resource, node.row)]


def _owner(known: Related, owner: Owner) -> common.Owner:
    found = known.owner(owner)
    whole_object: Any = None
    if found is not None:
        replica, row = found
        whole_object = orjson.Fragment(replica.codec.body(row.record))
    return common.Owner(
        api_version=owner.api_version, kind=owner.kind, name=owner.name, uid=owner.uid, object=whole_object
    )


def _moment(milliseconds: int | None) -> DateTime | None:
    return None if milliseconds is None else DateTime(times.from_ms(milliseconds))


def freshness_type(context: Context, resource: Resource) -> common.Freshness:
    """The freshness of a resource as the API shows it."""
    return shown_freshness(context.source.freshness(resource), context.source.cluster, resource)


def shown_freshness(found: Freshness, cluster: str, resource: Resource) -> common.Freshness:
    """A freshness as the API shows it."""
    missed = found.missed
    return common.Freshness(
        cluster=cluster,
        resource=resource.name,
        state=common.State(str(found.state)),
        resource_version=found.resource_version or None,
        verified_resource_version=found.verified_resource_version or None,
        verified_at=_moment(found.verified_at_ms),
        verified_age_seconds=found.verified_age_s,
        last_event_at=_moment(found.last_event_ms),
        stream_lag_seconds=found.stream_lag_s,
        contiguous=found.contiguous,
        epoch=found.epoch,
        missed=common.Missed(
            added=Long(missed.added),
            modified=Long(missed.modified),
            deleted=Long(missed.deleted),
            ghosts=Long(missed.ghosts),
        ),
        reason=found.reason,
    )


def chosen_resources(context: Context, words: Sequence[str] | None) -> list[Resource]:
    """The configured kinds that are meant; all of them for None. Raises ``AnswerError`` KIND_UNKNOWN."""
    if words is None:
        return list(context.source.resources)
    return [find(context, word) for word in words]


def find(context: Context, word: str) -> Resource:
    """The configured kind that ``word`` means. Raises ``AnswerError`` KIND_UNKNOWN with the nearest ones."""
    try:
        return resources.find(arguments.text("resource", word), context.source.resources)
    except ConfigError as error:
        raise AnswerError(Code.KIND_UNKNOWN, str(error)) from error
