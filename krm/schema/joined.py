"""Relations in compiled execution: what many rows are related to is found and projected together, each row once.

A selection with relations is cut into plans of what lies between them, and links that are followed for all rows at
once. What a link cannot answer as it is asked (a refusal, an argument that does not fit) is ``Anomaly``: then plain
execution says at which row and field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import FieldNode, GraphQLError, GraphQLField, GraphQLList, GraphQLNonNull, GraphQLObjectType
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList
from graphql.execution.values import get_argument_values

from krm import resources
from krm.errors import AnswerError
from krm.query.cells import Turns
from krm.schema import answers, plans
from krm.schema.context import Context
from krm.schema.plans import Anomaly, Collect, NotCompilable, Plan
from krm.schema.relations import RELATIONS, Related, Relation
from krm.store.rows import Row
from krm.table.replica import Replica

ROWS_A_TURN: Final = 256
"""Rows that are projected between two turns of the event loop: some milliseconds."""
_KINDS: Final = {resource.kind: resource for resource in resources.RESOURCES.values()}


def compiled(type_: GraphQLObjectType, details: FieldDetailsList, collect: Collect) -> Plan | Joined:
    """What projects a selection of a kind's objects. Raises ``NotCompilable``."""
    relations = RELATIONS[_KINDS[type_.name].plural] if type_.name in _KINDS else {}
    chosen = collect(type_, details)
    if not any(each[0].node.name.value in relations for each in chosen.grouped_field_set.values()):
        return Plan(type_, details, collect)
    return Joined(type_, chosen, collect)


class Joined:
    """A selection with relations."""

    def __init__(self, type_: GraphQLObjectType, chosen: CollectedFields, collect: Collect) -> None:
        if chosen.new_defer_usages:
            raise NotCompilable
        self._pieces: list[Plan | _Link] = []
        relations = RELATIONS[_KINDS[type_.name].plural]
        between: dict[str, FieldDetailsList] = {}
        for response, details in chosen.grouped_field_set.items():
            relation = relations.get(details[0].node.name.value)
            if relation is None:
                between[response] = details
                continue
            self._add(type_, between, collect)
            between = {}
            self._pieces.append(_Link(response, relation, type_.fields[relation.name], details, collect))
        self._add(type_, between, collect)

    def _add(self, type_: GraphQLObjectType, between: dict[str, FieldDetailsList], collect: Collect) -> None:
        if not between:
            return
        of_all: FieldDetailsList = [each for details in between.values() for each in details]

        def collect_these(of_type: GraphQLObjectType, details: FieldDetailsList) -> CollectedFields:
            return CollectedFields(between, [], []) if details is of_all else collect(of_type, details)

        self._pieces.append(Plan(type_, of_all, collect_these))

    def project(self, run: Run, replica: Replica, rows: Sequence[Row]) -> Turns[list[bytes]]:
        """The JSON of each row. Raises ``Anomaly``, ``CorruptData``, and ``AnswerError`` for one that is too large."""
        columns: list[list[bytes]] = []
        for piece in self._pieces:
            if isinstance(piece, Plan):
                columns.append([text[1:-1] for text in run.planned(piece, replica, rows)])
            else:
                columns.append((yield from piece.project(run, rows)))
        return [b"{" + b",".join(cells) + b"}" for cells in zip(*columns, strict=True)]


class _Link:
    """A relation in a selection."""

    def __init__(
        self, response: str, relation: Relation, of: GraphQLField, details: FieldDetailsList, collect: Collect
    ) -> None:
        self.relation = relation
        self.field = of
        self.node: FieldNode = details[0].node
        self._before = b'"' + response.encode() + b'":'
        target = of.type
        while isinstance(target, GraphQLList | GraphQLNonNull):
            target = target.of_type
        if not isinstance(target, GraphQLObjectType):
            raise NotCompilable
        self._inner = compiled(target, details, collect)

    def project(self, run: Run, rows: Sequence[Row]) -> Turns[list[bytes]]:
        """The member of each row."""
        yield from run.prepared(self)
        replica, found = run.related(self, rows)
        yield
        texts: dict[int, bytes] = {}
        distinct = list({id(row): row for each in found for row in each}.values())
        for start in range(0, len(distinct), ROWS_A_TURN):
            part = distinct[start : start + ROWS_A_TURN]
            made = yield from run.project(self._inner, replica, part)
            run.spend(("rows", id(self)), sum(map(len, made)))
            texts.update(zip(map(id, part), made, strict=True))
            yield
        if self.relation.is_single:
            return [self._before + (texts[id(each[0])] if each else b"null") for each in found]
        out = []
        for each in found:
            out.append(self._before + b"[" + b",".join([texts[id(row)] for row in each]) + b"]")
            run.spend(("lists", id(self)), len(out[-1]))
        return out


@dataclass(kw_only=True)
class Run:
    """One execution of a selection."""

    context: Context
    known: Related | None
    variables: Any
    max_bytes: int
    used: dict[int, tuple[Plan, Replica]] = field(default_factory=dict)
    """The plans that were run, and over what."""
    _given: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _spent: dict[tuple[str, int], int] = field(default_factory=dict)

    def project(self, inner: Plan | Joined, replica: Replica, rows: Sequence[Row]) -> Turns[list[bytes]]:
        """The JSON of each row; raises as ``Joined.project``."""
        if isinstance(inner, Plan):
            return self.planned(inner, replica, rows)
        return (yield from inner.project(self, replica, rows))

    def planned(self, plan: Plan, replica: Replica, rows: Sequence[Row]) -> list[bytes]:
        """The same of what has no relations."""
        self.used[id(plan)] = (plan, replica)
        return plan.project(replica, rows)

    def prepared(self, link: _Link) -> Turns[None]:
        """What ``related`` needs. Raises ``Anomaly``."""
        try:
            yield from self.relations.prepared(link.relation)
        except (AnswerError, LookupError) as error:
            raise Anomaly from error

    def related(self, link: _Link, rows: Sequence[Row]) -> tuple[Replica, list[list[Row]]]:
        """For each row those that the caller may see and asked for, and where they are. Raises ``Anomaly``."""
        try:
            found = [self.relations.follow(link.relation, row) for row in rows]
            replica = self.relations.replica(link.relation.target)
            if link.relation.is_single:
                return replica, found
            return replica, answers.narrowed(self.context, self.relations, link.relation, found, self._arguments(link))
        except (AnswerError, GraphQLError, LookupError) as error:
            raise Anomaly from error

    def _arguments(self, link: _Link) -> Mapping[str, Any]:
        given = self._given.get(id(link))
        if given is None:
            values = get_argument_values(link.field, link.node, self.variables)
            given = self._given[id(link)] = {
                "label_selector": values.get("labelSelector"),
                "where": values.get("where"),
                "first": values.get("first"),
            }
        return given

    @property
    def relations(self) -> Related:
        """Raises ``Anomaly`` where nobody has asked for rights yet."""
        if self.known is None:
            raise Anomaly
        return self.known

    def spend(self, of: tuple[str, int], size: int) -> None:
        """Count bytes that are in the answer at least once. Raises ``AnswerError`` beyond ``max_bytes``."""
        spent = self._spent[of] = self._spent.get(of, 0) + size
        if spent > self.max_bytes:
            raise plans.too_large(self.max_bytes)
