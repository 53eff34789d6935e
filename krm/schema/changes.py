"""``changes``: the kept history of a kind, oldest first, each change with the object after and before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from krm.objects import times
from krm.query import arguments, lists, pages
from krm.query.cells import View
from krm.query.lists import ListQuery, Scope
from krm.query.pages import Position
from krm.resources import Resource
from krm.schema import answers, common, relations, scopes
from krm.schema.context import Context
from krm.schema.scalars import JSON, DateTime, Long
from krm.store.reading import FOREIGN, Change
from krm.store.rows import Row
from krm.table.replica import Replica

SLICE: Final = 500
DEFAULT_FIRST: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One change as the API shows it; the objects are read only where they are selected."""

    replica: Replica
    change: Change
    row: Row

    @property
    def at(self) -> DateTime:
        """When the table took it in."""
        return DateTime(times.from_ms(self.change.at_ms))

    @property
    def type(self) -> common.EventType:
        """ADDED, MODIFIED or DELETED."""
        return common.EventType(self.change.type)

    @property
    def namespace(self) -> str | None:
        """Null for what has none."""
        return self.row.namespace or None

    @property
    def name(self) -> str:
        """The object's."""
        return self.row.name

    @property
    def uid(self) -> str:
        """The object's."""
        return self.row.uid

    @property
    def resource_version(self) -> str:
        """Of the change: of a deletion the one at which the object went, where it is known."""
        return self.change.version or self.row.version

    @property
    def object(self) -> JSON | None:
        """After the change; null if it has gone."""
        return None if self.change.type == "DELETED" else self._body(self.change.record)

    @property
    def previous(self) -> JSON | None:
        """Before the change; of a deletion the last known state."""
        known = self.change.previous or (self.change.record if self.change.type == "DELETED" else b"")
        return self._body(known) if known else None

    def _body(self, record: bytes) -> JSON:
        return JSON(orjson.Fragment(self.replica.codec.body(record)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """The answer."""

    nodes: list[Shown]
    page_info: common.PageInfo
    total_count: Long
    scope: common.Scope
    freshness: common.Freshness
    complete_since: DateTime | None


async def connection(context: Context, given: Mapping[str, Any]) -> Connection:
    """The changes that match, before or after them. Raises ``AnswerError``."""
    resource = answers.find(context, given["resource"])
    since_s = arguments.seconds("since", given.get("since"))
    first = arguments.count("first", given.get("first"), most=context.max_rows) or DEFAULT_FIRST
    query = answers.list_query(
        context, resource, {name: given.get(name) for name in ("namespace", "label_selector", "where")}
    )
    allowed = scopes.Widening(
        context, resource, await scopes.listed(context, resource, query.namespaces), query.namespaces
    )
    await context.related()
    replica = await context.source.wait(resource)
    scopes.cached(resource, query.namespaces, context.source.freshness(resource).namespaces)
    question = pages.question("changes", lists.question(replica, query).hex(), given.get("since"))
    after = _after(given.get("after"), question)
    fresh = answers.freshness_type(context, resource)
    total, has_next = 0, False
    page: list[Shown] = []
    async for change in _walk(context, resource, _start(context, resource, since_s)):
        row = replica.codec.decode(change.record)
        if not await allowed.covers(row.namespace) or not _matches(context, replica, query, allowed.scope, change, row):
            continue
        total += 1
        if _order(change.id) <= after:
            continue
        if len(page) < first:
            page.append(Shown(replica=replica, change=change, row=row))
        else:
            has_next = True
    cursor = pages.encode(Position("", page[-1].change.id), question) if page else None
    # Asked for last: what goes while the others are read must not be claimed.
    oldest = await context.source.oldest_change(resource)
    return Connection(
        nodes=page,
        page_info=common.PageInfo(has_next_page=has_next, end_cursor=cursor),
        total_count=Long(total),
        scope=scopes.shown(allowed.scope),
        freshness=fresh,
        complete_since=None if oldest is None else DateTime(times.from_ms(_order(oldest)[0])),
    )


def _start(context: Context, resource: Resource, since_s: float | None) -> str:
    if since_s is None:
        return "0-0"
    return f"{max(0, context.source.now_ms(resource) - int(since_s * 1000))}-0"


async def _walk(context: Context, resource: Resource, after: str) -> AsyncIterator[Change]:
    while True:
        found = await context.source.changes(resource, after, SLICE)
        for change in found:
            if change.type != FOREIGN:
                yield change
        if len(found) < SLICE:
            return
        after = found[-1].id
        await asyncio.sleep(0)


def _matches(context: Context, replica: Replica, query: ListQuery, scope: Scope, change: Change, row: Row) -> bool:
    """Whether a change matches, in the state after it or before it."""
    known = context.relations()
    view = View(replica, known if isinstance(known, relations.Related) else None)
    if lists.passes(view, query, row, scope):
        return True
    return bool(change.previous) and lists.passes(view, query, replica.codec.decode(change.previous), scope)


def _after(cursor: str | None, question: bytes) -> tuple[int, int]:
    if cursor is None:
        return (-1, 0)
    return _order(pages.decode(arguments.text("after", cursor), question, values=0).name)


def _order(identifier: str) -> tuple[int, int]:
    ms, _, number = identifier.partition("-")
    return int(ms), int(number or 0)
