"""Query documents: checked against the limits, parsed, validated, and kept, so that a repeated query pays once.

The stock rule for fields that can be merged compares every pair of fields; since the schema has no interfaces and no
unions, comparing each field of a response name with the first one says the same in linear time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    ExecutableDefinitionsRule,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    SelectionSetNode,
    parse,
    print_ast,
    specified_rules,
    validate,
)
from graphql.validation.specified_rules import recommended_rules

from krm.errors import AnswerError, Code
from krm.schema import limits, reach
from krm.schema.limits import Limits

MAX_ERRORS: Final = 10
"""Of one document; more help nobody, and each costs a search for suggestions."""
KEPT: Final = 512
AT_ONCE: Final = 300
"""Tokens of a document that is parsed and validated on the event loop: ten milliseconds or so."""
AT_ONCE_CHARACTERS: Final = 20_000
"""The same: a long text is one token, of which the parser looks at each character."""
MAX_WAITING: Final = 32
"""Larger documents that wait for their turn on the one thread that they have."""
KEPT_BYTES: Final = 384 * 2**10
"""Of text: what is parsed takes up to 200 times as much, 75 MiB in all; the usual 512 questions fit."""


@dataclass(slots=True)
class Document:
    """A valid document; ``plans`` is where compiled execution keeps what it worked out for it."""

    node: DocumentNode
    plans: dict[Any, Any] = field(default_factory=dict)
    _reached: frozenset[str] | None = None

    def reached(self, variables: Mapping[str, Any] | None) -> frozenset[str]:
        """Plurals of the kinds that it can reach over relations."""
        if self._reached is None:
            self._reached = reach.of_document(self.node)
        return self._reached | reach.of_value(variables) if variables else self._reached


class Documents:
    """The documents of one schema, the least used forgotten first."""

    def __init__(self, schema: GraphQLSchema, bounds: Limits, *, introspection: bool = True, most: int = KEPT) -> None:
        self._schema = schema
        self._bounds = bounds
        self._most = most
        self._hides = not introspection
        rules = (
            *(rule for rule in specified_rules if rule is not OverlappingFieldsCanBeMergedRule),
            *recommended_rules,
        )
        self._rules = rules if introspection else (*rules, NoSchemaIntrospectionCustomRule)
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._bytes = 0
        self._beside = ThreadPoolExecutor(1, "documents")
        self._turn = asyncio.Lock()
        self._waiting = 0

    def get(self, text: str) -> Document:
        """The document of ``text``, at once.

        Raises ``AnswerError`` QUERY_TOO_COMPLEX, or ``Invalid`` with what is wrong.
        """
        kept = self._known(text)
        if kept is None:
            limits.check(text, self._bounds)
            self._keep(text, kept := self._made(text))
        return kept

    async def open(self, text: str) -> Document:
        """The same; what a large document costs is spent beside the event loop, one document at a time.

        Raises as ``get``, and ``AnswerError`` RATE_LIMITED where too many of these wait already.
        """
        kept = self._known(text)
        if kept is not None:
            return kept
        tokens = limits.check(text, self._bounds)
        if tokens <= AT_ONCE and len(text) <= AT_ONCE_CHARACTERS:
            self._keep(text, kept := self._made(text))
            return kept
        if self._waiting >= MAX_WAITING:
            raise AnswerError(Code.RATE_LIMITED, f"{MAX_WAITING} queries that take long to read wait already")
        self._waiting += 1
        try:
            async with self._turn:
                kept = self._known(text)
                if kept is None:
                    kept = await asyncio.get_running_loop().run_in_executor(self._beside, self._made, text)
                    self._keep(text, kept)
                return kept
        finally:
            self._waiting -= 1

    def _known(self, text: str) -> Document | None:
        kept = self._kept.get(text)
        if kept is not None:
            self._kept.move_to_end(text)
        return kept

    def _made(self, text: str) -> Document:
        """Also on another thread: touches nothing but the schema, which does not change."""
        document = Document(self._parse(text))
        if not all(isinstance(definition, ExecutableDefinitionNode) for definition in document.node.definitions):
            # Its selections were not counted for certain: the one rule that refuses it is all that it may cost.
            raise Invalid(validate(self._schema, document.node, (ExecutableDefinitionsRule,), MAX_ERRORS))
        errors = validate(self._schema, document.node, self._rules, MAX_ERRORS, self._hides, False)
        errors = errors or conflicts(document.node)
        if errors:
            raise Invalid(errors)
        document.reached(None)  # looks at all of it, and remembers
        return document

    def _parse(self, text: str) -> DocumentNode:
        try:
            return parse(text, max_tokens=self._bounds.tokens)
        except GraphQLSyntaxError as error:
            raise Invalid([error]) from error
        except RecursionError as error:
            raise limits.too_complex("levels", self._bounds.depth, "KRM_MAX_DEPTH") from error

    def _keep(self, text: str, document: Document) -> None:
        self._kept[text] = document
        self._bytes += len(text)
        while len(self._kept) > self._most or (self._bytes > KEPT_BYTES and len(self._kept) > 1):
            forgotten, _ = self._kept.popitem(last=False)
            self._bytes -= len(forgotten)


class Invalid(AnswerError):
    """A document that is not valid against the schema."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(Code.GRAPHQL_VALIDATION, "; ".join(error.message for error in errors))
        self.errors = errors


def conflicts(document: DocumentNode) -> list[GraphQLError]:
    """Fields of one response name that ask for different things; the document is valid otherwise."""
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    waiting = [[d.selection_set] for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    while waiting:
        first: dict[str, FieldNode] = {}
        inner: dict[str, list[SelectionSetNode]] = {}
        for node in _fields(waiting.pop(), fragments):
            response = node.alias.value if node.alias else node.name.value
            other = first.setdefault(response, node)
            if other is not node and _asks(other) != _asks(node):
                return [
                    GraphQLError(
                        f"Fields '{response}' conflict because they are different fields or have different arguments."
                        " Use different aliases on the fields to fetch both if this was intentional.",
                        [other, node],
                    )
                ]
            if node.selection_set is not None:
                inner.setdefault(response, []).append(node.selection_set)
        waiting.extend(inner.values())
    return []


def _fields(sets: list[SelectionSetNode], fragments: dict[str, FragmentDefinitionNode]) -> list[FieldNode]:
    found: list[FieldNode] = []
    pending = list(sets)
    while pending:
        for selection in pending.pop().selections:
            if isinstance(selection, FieldNode):
                found.append(selection)
            elif isinstance(selection, InlineFragmentNode):
                pending.append(selection.selection_set)
            else:
                pending.append(fragments[selection.name.value].selection_set)  # type: ignore[attr-defined]  # a spread
    return found


def _asks(node: FieldNode) -> tuple[str, list[tuple[str, str]]]:
    return node.name.value, sorted((a.name.value, print_ast(a.value)) for a in node.arguments or ())
