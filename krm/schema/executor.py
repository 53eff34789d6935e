"""How an operation is executed: graphql-core's executor with one method replaced, the completion of a list.

Where a resolver returned rows and the caller can take ready-made JSON, the rows are projected by a compiled plan.
Everything else, and everything that a plan cannot do, is plain execution. The replaced method is not a public seam of
graphql-core; the tests hold both executions against each other over many queries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final

from graphql import GraphQLError, GraphQLList, GraphQLNonNull, GraphQLObjectType
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from krm.objects import shapes
from krm.schema import joined, plans
from krm.schema.answers import Edges, Node, Rows
from krm.schema.context import Context
from krm.schema.joined import ROWS_A_TURN
from krm.schema.plans import Plan
from krm.schema.projection import Piece, Shape, Work

log = logging.getLogger(__name__)

PLAIN_A_TURN: Final = 16
"""Rows that are executed plainly between two turns of the event loop."""
_LEAVES: Final = frozenset((str, int, float, bool, list))
_ODD: Final = (GraphQLError, ValueError, TypeError)
_MAX_PLANS: Final = 64
"""Of one document: it grows with the values of variables that skip and include look at."""


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Plain execution, with lists of rows compiled."""

    def complete_list_value(
        self,
        return_type: Any,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """The value of a list field, or an awaitable of it."""
        context: Context = self.context_value
        if type(result) not in (Rows, Edges):
            if path.typename == "__Schema" and isinstance(result, Collection):
                result = _InTurns([*result])  # the schema describes itself: thousands of fields
            return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)
        plain = (return_type, field_details_list, info, path, _in_turns(result), position_context)
        work = self._compiled(return_type, field_details_list, result) if context.is_compiled else None
        if work is None:
            return super().complete_list_value(*plain)
        if len(result) > ROWS_A_TURN or work.is_joined:
            return self._finish(context, work, plain)
        try:
            return context.embed(work.at_once(context.max_response))
        except plans.Anomaly as error:
            return self._fall_back(context, error, plain)

    def complete_object_value(
        self,
        return_type: Any,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """The value of a field with selections; a number or a text has none."""
        if type(result) is Node and not result.is_listed and self.context_value.is_compiled:
            ready = self._whole(return_type, field_details_list, result)
            if ready is not None:
                return ready
        if type(result) in _LEAVES:
            raise TypeError("the object holds another sort of value here than its type says")
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)

    def handle_field_error(
        self, raw_error: Exception, return_type: Any, field_details_list: FieldDetailsList, path: Path
    ) -> None:
        """What an object holds in place of a value of its type is null and counted: it is no failure of ours."""
        shape = shapes.all_shapes().get(path.typename or "")
        if (
            shape is not None
            and field_details_list[0].node.name.value in shape.fields
            and isinstance(getattr(raw_error, "original_error", None) or raw_error, _ODD)
            and not isinstance(return_type, GraphQLNonNull)
        ):
            self.context_value.odd += 1
        else:
            super().handle_field_error(raw_error, return_type, field_details_list, path)

    async def _finish(self, context: Context, work: Work, plain: tuple[Any, ...]) -> Any:
        try:
            return context.embed(await work.run(context.max_response))
        except plans.Anomaly as error:
            completed = self._fall_back(context, error, plain)
            return await completed if self.is_awaitable(completed) else completed

    def _fall_back(self, context: Context, error: plans.Anomaly, plain: tuple[Any, ...]) -> Any:
        log.info("a list was executed plainly", extra={"reason": str(error.__cause__)})
        context.fallbacks += 1
        return super().complete_list_value(*plain)

    def _whole(self, type_: GraphQLObjectType, details: FieldDetailsList, node: Node) -> Any:
        """One object projected; None where it takes plain execution."""
        context: Context = self.context_value
        shape = self._shape(type_, details)
        plan = None if shape is None else shape.pieces[0][1]
        if not isinstance(plan, Plan):
            return None
        try:
            parts = plan.project(node.replica, (node.row,))
        except plans.Anomaly as error:
            log.info("an object was executed plainly", extra={"reason": str(error.__cause__)})
            context.fallbacks += 1
            return None
        context.keeper.used(plan, node.replica)
        return context.embed(parts)

    def _compiled(self, return_type: Any, details: FieldDetailsList, result: Rows | Edges) -> Work | None:
        shape = self._shape(_object_type(return_type), details)
        known = self.context_value.known_relations
        if shape is None or (shape.is_joined and known is None):
            return None
        return Work(shape, result, self.context_value, known, self.variable_values)

    def _shape(self, item: GraphQLObjectType, details: FieldDetailsList) -> Shape | None:
        variables = self.variable_values.coerced
        flags = tuple(sorted((name, value) for name, value in variables.items() if isinstance(value, bool)))
        # The nodes are kept alive by the document that keeps the plans, so their ids are theirs alone.
        key = (item.name, flags, tuple(id(each.node) for each in details))
        kept = self.context_value.plans
        if key not in kept:
            if len(kept) >= _MAX_PLANS:
                kept.clear()
            kept[key] = self._make(item, details)
        return kept[key]  # type: ignore[no-any-return]  # what the line above put there

    def _make(self, item: GraphQLObjectType, details: FieldDetailsList) -> Shape | None:
        try:
            if not item.name.endswith("Edge"):
                return Shape(((b"", joined.compiled(item, details, self.collect_subfields)),))
            pieces: list[tuple[bytes, Piece]] = []
            collected = self.collect_subfields(item, details)
            for response, inner in collected.grouped_field_set.items():
                prefix = (b"," if pieces else b"{") + b'"' + response.encode() + b'":'
                name = inner[0].node.name.value
                if name == "cursor":
                    pieces.append((prefix, None))
                elif name == "__typename":
                    pieces.append((prefix, b'"' + item.name.encode() + b'"'))
                else:
                    node_type = _object_type(item.fields[name].type)
                    pieces.append((prefix, joined.compiled(node_type, inner, self.collect_subfields)))
            return Shape(tuple(pieces))
        except plans.NotCompilable:
            return None


def _in_turns(result: Rows | Edges) -> Rows | Edges | _InTurns:
    return _InTurns(result) if len(result) > PLAIN_A_TURN else result


class _InTurns:
    """Many rows for plain execution, with the event loop running in between."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    async def __aiter__(self) -> AsyncIterator[Any]:
        for place, item in enumerate(self._items):
            if place % PLAIN_A_TURN == 0:
                await asyncio.sleep(0)
            yield item


def _object_type(type_: Any) -> GraphQLObjectType:
    while isinstance(type_, GraphQLList | GraphQLNonNull):
        type_ = type_.of_type
    return type_  # type: ignore[no-any-return]  # lists of rows and edges hold objects
