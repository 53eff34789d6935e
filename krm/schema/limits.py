"""Refuses documents that would cost too much, before they are parsed or validated, in time linear in their length.

The stock guards run on the parsed document and follow fragment spreads again and again: a few hundred bytes of doubled
spreads cost them seconds. Here the text is split into tokens by one regular expression, and the selections are counted
with every fragment looked at once. What is not GraphQL at all is left for the parser to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from krm.errors import AnswerError, Code
from krm.schema import lexer

_NAME_START: Final = frozenset("_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_MAX_NESTED_VALUES: Final = 64
_MAX_DEFINITIONS: Final = 50
_TYPE_SYSTEM: Final = frozenset(
    ("schema", "scalar", "type", "interface", "union", "enum", "input", "directive", "extend")
)
"""What definitions begin with that describe a schema instead of asking."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one query document."""

    tokens: int = 10_000
    """Comments count: the parser keeps them too."""
    depth: int = 20
    """Of selection sets inside each other, fragments expanded."""
    aliases: int = 100
    fields: int = 4_000
    """After expanding fragments."""
    equal_fields: int = 50
    """Of one response name in one (merged) selection set."""
    directives: int = 500
    introspections: int = 3
    """``__schema`` and ``__type``: each may cost as much as a large list."""


@dataclass(slots=True)
class _Selections:
    """What one selection set says, inline fragments merged into it."""

    fields: list[tuple[str, _Selections | None]] = field(default_factory=list)
    spreads: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Definition:
    selections: _Selections
    fragment: str | None


class _NotGraphql(Exception):
    """The tokens make no document."""


def too_complex(what: str, allowed: int, setting: str = "") -> AnswerError:
    """The refusal, with the bound and the setting that holds it."""
    hint = f" ({setting})" if setting else ""
    return AnswerError(Code.QUERY_TOO_COMPLEX, f"the query has too many {what}: at most {allowed} are allowed{hint}")


def check(text: str, limits: Limits) -> int:
    """How many tokens there are, which is what parsing and validating will cost.

    Raises ``AnswerError``: QUERY_TOO_COMPLEX, or GRAPHQL_VALIDATION for definitions of types, which no server executes,
    and for fragments that contain themselves.
    """
    read = list(islice(lexer.tokens(text), limits.tokens + 1))
    if len(read) > limits.tokens:
        raise too_complex("tokens", limits.tokens, "KRM_MAX_TOKENS")
    tokens = [token for token in read if token[0] != "#"]
    if tokens.count("@") > limits.directives:
        raise too_complex("directives", limits.directives)
    if tokens.count("__schema") + tokens.count("__type") > limits.introspections:
        raise too_complex("introspections", limits.introspections)
    scanner = _Scanner(tokens, limits)
    try:
        definitions = scanner.document()
    except _NotGraphql:
        return len(read)
    _Expansion(definitions, limits).check()
    return len(read)


class _Scanner:
    """Reads selection sets out of tokens without recursion; arguments and types are skipped."""

    def __init__(self, tokens: list[str], limits: Limits) -> None:
        self.tokens = tokens
        self.limits = limits
        self.at = 0
        self.aliases = 0
        self.fields = 0

    def document(self) -> list[_Definition]:
        definitions: list[_Definition] = []
        while self.at < len(self.tokens):
            if len(definitions) == _MAX_DEFINITIONS:
                raise too_complex("definitions", _MAX_DEFINITIONS)
            definitions.append(self._definition())
        return definitions

    def _definition(self) -> _Definition:
        name = None
        if self._peek()[0] == '"':
            self.at += 1  # its description
        if self._peek() in _TYPE_SYSTEM:
            shown = " ".join(self.tokens[self.at : self.at + 2])[:100]
            raise AnswerError(Code.GRAPHQL_VALIDATION, f"The definition '{shown}' is not executable.")
        if self._peek() == "fragment" and self.at + 1 < len(self.tokens):
            name = self.tokens[self.at + 1]
        while self._peek() != "{":
            if self._peek() == "(":
                self._skip_arguments()
            elif self._peek() in ("}", ")", "["):
                raise _NotGraphql
            else:
                self.at += 1
        return _Definition(self._selections(), name)

    def _selections(self) -> _Selections:
        """From ``{`` to its ``}``."""
        outer = _Selections()
        # (where selections go, depth): an inline fragment goes where its parent goes, at no further depth.
        stack: list[tuple[_Selections, int]] = [(outer, 1)]
        self.at += 1
        while stack:
            word = self._peek()
            here, depth = stack[-1]
            if word == "}":
                stack.pop()
                self.at += 1
            elif word == "...":
                self.at += 1
                self._spread(here)
                if self.at < len(self.tokens) and self.tokens[self.at] == "{":
                    self.at += 1
                    stack.append((here, depth))
            elif word[0] in _NAME_START:
                inner = self._field(here)
                if inner is not None:
                    stack.append((inner, depth + 1))
            else:
                raise _NotGraphql
            # Also of inline fragments, which are no depth but which the parser descends into.
            if depth > self.limits.depth or len(stack) > 3 * self.limits.depth:
                raise too_complex("levels", self.limits.depth, "KRM_MAX_DEPTH")
        return outer

    def _field(self, here: _Selections) -> _Selections | None:
        response = self.tokens[self.at]
        self.at += 1
        if self._peek() == ":":
            self.aliases += 1
            if self.aliases > self.limits.aliases:
                raise too_complex("aliases", self.limits.aliases, "KRM_MAX_ALIASES")
            self.at += 2
        self.fields += 1
        if self.fields > self.limits.fields:
            raise too_complex("fields", self.limits.fields, "KRM_MAX_FIELDS")
        if self._peek() == "(":
            self._skip_arguments()
        self._skip_directives()
        inner = None
        if self._peek() == "{":
            inner = _Selections()
            self.at += 1
        here.fields.append((response, inner))
        return inner

    def _spread(self, here: _Selections) -> None:
        """After ``...``: a name, or ``on Type`` and directives before a ``{``."""
        word = self._peek()
        if word == "on":
            self.at += 2
        elif word[0] in _NAME_START:
            here.spreads.append(word)
            self.at += 1
            self._skip_directives()
            return
        self._skip_directives()
        if self._peek() != "{":
            raise _NotGraphql

    def _skip_directives(self) -> None:
        while self._peek() == "@":
            self.at += 2
            if self._peek() == "(":
                self._skip_arguments()

    def _skip_arguments(self) -> None:
        depth = 0
        while True:
            word = self._peek()
            self.at += 1
            if word in ("(", "[", "{"):
                depth += 1
                if depth > _MAX_NESTED_VALUES:
                    raise too_complex("nested values", _MAX_NESTED_VALUES)
            elif word in (")", "]", "}"):
                depth -= 1
                if depth == 0:
                    return

    def _peek(self) -> str:
        if self.at >= len(self.tokens):
            raise _NotGraphql
        return self.tokens[self.at]


class _Expansion:
    """Counts what a document becomes once its fragments are expanded."""

    def __init__(self, definitions: list[_Definition], limits: Limits) -> None:
        self.limits = limits
        self.definitions = definitions
        self.fragments = {d.fragment: d.selections for d in definitions if d.fragment is not None}
        self.size: dict[str, int] = {}

    def check(self) -> None:
        for name in self._innermost_first():
            self.size[name] = self._count(self.fragments[name])
        roots = [d.selections for d in self.definitions]
        total = 0
        for root in roots:
            expanded = self._count(root)
            if expanded > self.limits.fields:
                raise too_complex("fields after expanding fragments", self.limits.fields, "KRM_MAX_FIELDS")
            total += expanded
        if total > 4 * self.limits.fields:
            raise too_complex("fields in all its definitions together", 4 * self.limits.fields)
        for root in roots:
            self._merge(root)

    def _innermost_first(self) -> Iterator[str]:
        """The fragments so that each comes after those it spreads. Raises for one that contains itself."""
        done: set[str] = set()
        for start in self.fragments:
            stack: list[tuple[str, Iterator[str]]] = []
            on_stack: set[str] = set()
            if start not in done:
                stack.append((start, self._spread_in(start)))
                on_stack.add(start)
            while stack:
                name, inner = stack[-1]
                child = next((c for c in inner if c not in done and c in self.fragments), None)
                if child is None:
                    stack.pop()
                    on_stack.discard(name)
                    done.add(name)
                    yield name
                elif child in on_stack:
                    raise AnswerError(Code.GRAPHQL_VALIDATION, f'Cannot spread fragment "{child}" within itself.')
                else:
                    stack.append((child, self._spread_in(child)))
                    on_stack.add(child)

    def _spread_in(self, name: str) -> Iterator[str]:
        waiting = [self.fragments[name]]
        while waiting:
            selections = waiting.pop()
            yield from selections.spreads
            waiting.extend(inner for _, inner in selections.fields if inner is not None)

    def _count(self, selections: _Selections) -> int:
        total = 0
        waiting = [selections]
        while waiting:
            here = waiting.pop()
            total += len(here.fields) + sum(self.size.get(name, 0) + 1 for name in here.spreads)
            waiting.extend(inner for _, inner in here.fields if inner is not None)
        return total

    def _merge(self, root: _Selections) -> None:
        """Walk the response as it will be merged: fields of one name in one set, and depth, fragments expanded."""
        waiting: list[tuple[list[_Selections], int]] = [([root], 1)]
        while waiting:
            merged, depth = waiting.pop()
            if depth > self.limits.depth:
                raise too_complex("levels after expanding fragments", self.limits.depth, "KRM_MAX_DEPTH")
            by_name: dict[str, list[_Selections]] = {}
            counts: dict[str, int] = {}
            pending = list(merged)
            while pending:
                here = pending.pop()
                pending.extend(self.fragments[name] for name in here.spreads if name in self.fragments)
                for response, inner in here.fields:
                    counts[response] = counts.get(response, 0) + 1
                    if inner is not None:
                        by_name.setdefault(response, []).append(inner)
            if counts and max(counts.values()) > self.limits.equal_fields:
                raise too_complex("equal fields in one place", self.limits.equal_fields, "KRM_MAX_EQUAL_FIELDS")
            waiting.extend((inner, depth + 1) for inner in by_name.values())
