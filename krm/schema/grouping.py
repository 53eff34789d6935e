"""``groupBy`` of a connection: groups over all matching rows, with sums and extremes of any path."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from krm.query import arguments, groups, paths
from krm.query.groups import Group
from krm.query.paths import FieldPath
from krm.schema.answers import Connection
from krm.schema.scalars import JSON, Long, Quantity


@dataclass(kw_only=True, slots=True)
class Grouping:
    """What the groups of one field share: columns that were worked out for all of them."""

    connection: Connection
    prepared: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def prepare(self, text: str, *, is_sum: bool = False) -> FieldPath:
        """The path that ``text`` means, its column worked out for all matching rows, once. Raises ``AnswerError``."""
        connection = self.connection
        path = paths.parse(connection.replica.resource, arguments.text("path", text))
        if is_sum:
            groups.summable(path)
        if path.text not in self.prepared:
            work = groups.prepare(connection.replica, connection.page.matching, path, connection.related)
            self.prepared[path.text] = asyncio.ensure_future(work)
        await asyncio.shield(self.prepared[path.text])
        return path


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupAnswer:
    """One group as the API shows it."""

    group: Group
    grouping: Grouping

    @property
    def values(self) -> list[JSON | None]:
        """One for each path."""
        return [None if value is None else JSON(value) for value in self.group.values]

    @property
    def count(self) -> Long:
        """How many objects."""
        return Long(self.group.count)


async def group_by(connection: Connection, given: Mapping[str, Any]) -> list[GroupAnswer]:
    """The groups. Raises ``AnswerError``."""
    order = given.get("order_by")
    query = groups.parse(
        connection.replica.resource,
        given["paths"],
        order=None if order is None else {"by": order.by, "direction": order.direction and order.direction.value},
        first=given.get("first"),
        max_rows=connection.max_rows,
    )
    found = await groups.answer(connection.replica, connection.page.matching, query, connection.related)
    grouping = Grouping(connection=connection)
    return [GroupAnswer(group=group, grouping=grouping) for group in found]


async def group_sum(answer: GroupAnswer, given: Mapping[str, Any]) -> Quantity:
    """The exact sum of a path."""
    path = await answer.grouping.prepare(given["path"], is_sum=True)
    return Quantity(answer.group.sum(path))


async def group_min(answer: GroupAnswer, given: Mapping[str, Any]) -> JSON | None:
    """The least value of a path."""
    return _json(answer.group.min(await answer.grouping.prepare(given["path"])))


async def group_max(answer: GroupAnswer, given: Mapping[str, Any]) -> JSON | None:
    """The greatest value of a path."""
    return _json(answer.group.max(await answer.grouping.prepare(given["path"])))


def _json(value: Any) -> JSON | None:
    return None if value is None else JSON(value)
