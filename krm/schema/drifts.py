"""``drift``: what verification corrected, newest first, of one kind or of all together."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from krm.objects import times
from krm.query import arguments, pages
from krm.query.lists import Scope
from krm.query.pages import Position
from krm.resources import Resource
from krm.schema import answers, common, scopes
from krm.schema.context import Context
from krm.schema.scalars import DateTime, Long
from krm.schema.scopes import Widening
from krm.store.head import DriftLine

SLICE: Final = 500
DEFAULT_FIRST: Final = 100

Place = tuple[int, int, str]
"""Milliseconds and number of a line's id, and the plural: larger is newer."""


async def connection(context: Context, given: Mapping[str, Any]) -> common.DriftConnection:
    """The answer. Raises ``AnswerError``."""
    word = given.get("resource")
    first = arguments.count("first", given.get("first"), most=context.max_rows) or DEFAULT_FIRST
    chosen = await _scopes(context, None if word is None else answers.find(context, word))
    question = pages.question("drift", context.source.cluster, word)
    start = _start(given.get("after"), question)
    newest = [await _lines(context, resource, allowed, start, first + 1) for resource, allowed in chosen]
    merged = heapq.merge(*newest, key=lambda each: each[0], reverse=True)
    shown = [line for line, _ in zip(merged, range(first + 1), strict=False)]
    page = shown[:first]
    total = sum([await _count(context, resource, allowed) for resource, allowed in chosen])
    cursor = None
    if page:
        (ms, number, plural), _ = page[-1]
        cursor = pages.encode(Position("", "", (ms, number, plural)), question)
    return common.DriftConnection(
        nodes=[_drift(resource_name, line) for (_, _, resource_name), line in page],
        page_info=common.PageInfo(has_next_page=len(shown) > first, end_cursor=cursor),
        total_count=Long(total),
        scope=_scope([allowed.scope for _, allowed in chosen]),
    )


async def _scopes(context: Context, resource: Resource | None) -> list[tuple[Resource, Widening]]:
    if resource is not None:
        return [(resource, Widening(context, resource, await context.rights.list_scope(resource)))]
    every = context.source.resources
    return [(each, Widening(context, each, await scopes.listed_or_nothing(context, each))) for each in every]


def _scope(found: Sequence[Scope]) -> common.Scope:
    """What all kinds together show: the worst counts."""
    bounded = [scope.namespaces for scope in found if scope.namespaces is not None]
    if not bounded:
        return common.Scope(complete=True, namespaces=None)
    return common.Scope(complete=False, namespaces=sorted(frozenset.union(*bounded)))


def _start(after: str | None, question: bytes) -> Place | None:
    if after is None:
        return None
    values = pages.decode(arguments.text("after", after), question, values=3).values
    return int(values[0]), int(values[1]), str(values[2])


async def _lines(
    context: Context, resource: Resource, allowed: Widening, start: Place | None, most: int
) -> list[tuple[Place, DriftLine]]:
    """The newest lines before ``start`` that the caller may see."""
    found: list[tuple[Place, DriftLine]] = []
    before = "+" if start is None else f"{start[0]}-{start[1]}"
    async for line in _walk(context, resource, before):
        place = _place(resource, line)
        if (start is None or place < start) and await allowed.covers(line.namespace):
            found.append((place, line))
            if len(found) == most:
                break
    return found


async def _walk(context: Context, resource: Resource, before: str) -> AsyncIterator[DriftLine]:
    while True:
        lines = await context.source.drift(resource, before, SLICE)
        for line in lines:
            yield line
        if len(lines) < SLICE:
            return
        before = f"({lines[-1].id}"


async def _count(context: Context, resource: Resource, allowed: Widening) -> int:
    if allowed.scope.complete:
        return await context.source.drift_count(resource)
    return sum([await allowed.covers(line.namespace) async for line in _walk(context, resource, "+")])


def _place(resource: Resource, line: DriftLine) -> Place:
    ms, _, number = line.id.partition("-")
    return int(ms), int(number or 0), resource.name


def _drift(resource: str, line: DriftLine) -> common.Drift:
    return common.Drift(
        at=DateTime(times.from_ms(line.at_ms)),
        resource=resource,
        kind=common.DriftKind(line.kind),
        namespace=line.namespace or None,
        name=line.name,
        uid=line.uid,
        resource_version=line.version or None,
        lived_seconds=line.lived_s,
    )
