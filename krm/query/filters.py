"""Filter trees: read from plain data, checked against the kind, and evaluated over a snapshot of rows.

A condition is answered from the row or from a kept column where possible, and once for each distinct text.
Relations are followed by the ``Resolver`` that the caller gives; nothing here knows how kinds are related.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import re2

from krm.errors import AnswerError, Code
from krm.objects.selectors import FieldOperator, FieldRequirement
from krm.query import arguments, cells, extracts, paths
from krm.query.cells import Mask, Places, Turns, View
from krm.query.paths import FieldPath
from krm.query.values import Operand, key
from krm.resources import PODS, Resource
from krm.store.rows import Row
from krm.table.replica import Snapshot

MAX_NODES: Final = 1_000
MAX_DEPTH: Final = 32
MAX_PATTERN: Final = 1_000
MAX_VALUES: Final = 10_000
_PATTERN_MEMORY: Final = 4 * 2**20

Test = Callable[[Any], bool]
Relations = Callable[[Resource, str], Resource | None]
"""Which kind a relation of a kind leads to; None if there is no such relation."""


@dataclass(frozen=True, eq=False, slots=True)
class Condition:
    """One comparison of one path; ``test`` is asked for a value (None: missing), of ``[*]`` any one must pass."""

    path: FieldPath
    test: Test
    is_negated: bool = False
    texts: frozenset[str] | None = None
    """Where the condition means "is one of these texts": them, so that an index can answer it."""


@dataclass(frozen=True, eq=False, slots=True)
class All:
    """Every part must hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Either:
    """One part must hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Negation:
    """The part must not hold."""

    part: Node


@dataclass(frozen=True, eq=False, slots=True)
class Related:
    """Some related row must pass the part, or none may."""

    relation: str
    target: Resource
    part: Node
    is_none: bool


Node = Condition | All | Either | Negation | Related


@dataclass(frozen=True, eq=False, slots=True)
class Filter:
    """A checked filter of one kind."""

    node: Node
    spec: str
    """The same as JSON text in one spelling: what cursors are bound to."""


def no_relations(_: Resource, __: str) -> Resource | None:
    """For questions that have no relations."""
    return None


def parse(
    resource: Resource, spec: Mapping[str, Any], *, relations: Relations = no_relations, argument: str = "where"
) -> Filter:
    """The filter that ``spec`` (a ``Filter`` of the API as plain data) means for objects of ``resource``.

    Raises ``AnswerError``: PATH_INVALID, BAD_ARGUMENT.
    """
    if not isinstance(spec, Mapping):
        raise arguments.bad(argument, "a Filter is an object")
    harmless = arguments.json(argument, dict(spec))
    reader = _Reader(relations, argument)
    node = reader.node(resource, harmless, 0)
    return Filter(node, msgspec.json.encode(harmless, order="deterministic").decode())


class _Reader:
    def __init__(self, relations: Relations, argument: str) -> None:
        self._relations = relations
        self._argument = argument
        self._nodes = 0

    def node(self, resource: Resource, spec: Any, depth: int) -> Node:
        if not isinstance(spec, dict):
            raise self._bad("a Filter is an object")
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise self._bad(f"at most {MAX_NODES} Filters, at most {MAX_DEPTH} inside each other")
        parts: list[Node] = []
        path = self._path(resource, spec)
        for member, value in spec.items():
            if member in _OPERATORS:
                if path is None:
                    raise self._bad(f"{member} needs a path")
                parts.append(self._condition(path, member, value))
            elif member in ("and", "or"):
                inner = tuple(self.node(resource, each, depth + 1) for each in self._list(member, value))
                parts.append(All(inner) if member == "and" else Either(inner))
            elif member == "not":
                parts.append(Negation(self.node(resource, value, depth + 1)))
            elif member in ("some", "none"):
                parts.append(self._related(resource, spec.get("relation"), member, value, depth))
            elif member not in ("path", "relation"):
                raise self._bad(f"a Filter has no member {member!a}; it has {', '.join(MEMBERS)}")
        if not parts and (path is not None or "relation" in spec):
            raise self._bad("a path needs a comparison such as eq or exists, a relation needs some or none")
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _bad(self, problem: str) -> AnswerError:
        return arguments.bad(self._argument, problem)

    def _path(self, resource: Resource, spec: dict[str, Any]) -> FieldPath | None:
        if "path" not in spec:
            return None
        if not isinstance(spec["path"], str):
            raise self._bad("path is a text")
        path = paths.parse(resource, spec["path"])
        if resource == _OWNER and path.text not in _OWNER_PATHS:
            text = f"an owner has no path {path.text[:100]!a}; it has {', '.join(_OWNER_PATHS)}"
            raise AnswerError(Code.PATH_INVALID, text, nearest=list(_OWNER_PATHS))
        return path

    def _list(self, member: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) > MAX_VALUES:
            raise self._bad(f"{member} is a list of at most {MAX_VALUES}")
        return value

    def _condition(self, path: FieldPath, member: str, value: Any) -> Condition:
        if member in ("in", "notIn"):
            options = self._list(member, value)
            return Condition(path, _in_test(options), member == "notIn", None if member == "notIn" else _texts(options))
        if member in ("eq", "ne"):
            return Condition(path, _eq_test(value), member == "ne", None if member == "ne" else _texts([value]))
        if member == "exists":
            if not isinstance(value, bool):
                raise self._bad("exists is true or false")
            return Condition(path, _is_there, is_negated=not value)
        if member in ("lt", "lte", "gt", "gte"):
            return Condition(path, _sign_test(member, value))
        if not isinstance(value, str):
            raise self._bad(f"{member} is a text")
        return Condition(path, self._text_test(member, value))

    def _text_test(self, member: str, value: str) -> Test:
        if member == "contains":
            return lambda found: isinstance(found, str) and value in found
        if member == "startsWith":
            return lambda found: isinstance(found, str) and found.startswith(value)
        search = self._pattern(value).search
        return lambda found: isinstance(found, str) and search(found) is not None

    def _pattern(self, pattern: str) -> Any:
        if len(pattern) > MAX_PATTERN:
            raise self._bad(f"a pattern has at most {MAX_PATTERN} characters")
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _PATTERN_MEMORY
        try:
            return re2.compile(pattern, options)
        except re2.error as error:
            reason = error.args[0] if error.args else ""
            shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            raise self._bad(f"matches is not RE2 syntax: {shown[:200]}") from error

    def _related(self, resource: Resource, relation: Any, member: str, value: Any, depth: int) -> Related | Condition:
        if relation == OWNERS and resource == PODS:
            part = self.node(_OWNER, value, depth + 1)
            return Condition(paths.parse(resource, _REFERENCES), _some(part), is_negated=member == "none")
        target = self._relations(resource, relation) if isinstance(relation, str) else None
        if target is None:
            raise self._bad(f"{member} needs a relation of {resource.kind}; {relation!a} is none")
        return Related(str(relation), target, self.node(target, value, depth + 1), member == "none")


_OPERATORS: Final = frozenset(
    ("eq", "ne", "in", "notIn", "lt", "lte", "gt", "gte", "contains", "startsWith", "matches", "exists")
)
MEMBERS: Final = ("path", *sorted(_OPERATORS), "and", "or", "not", "relation", "some", "none")


OWNERS: Final = "owners"
"""The relation of pods to what owns them: references, which stand in the pod itself."""
_REFERENCES: Final = "metadata.ownerReferences"
_OWNER: Final = Resource(plural=OWNERS, singular="owner", kind="Owner", list_field="", single_field="")
_OWNER_PATHS: Final = ("apiVersion", "kind", "name", "uid")


def _some(part: Node) -> Test:
    return lambda found: (
        isinstance(found, list) and any(isinstance(each, dict) and _holds(part, each) for each in found)
    )


def _holds(node: Node, value: Mapping[str, Any]) -> bool:
    """Whether plain data passes."""
    if isinstance(node, Condition):
        return node.test(paths.at(value, node.path.steps)) is not node.is_negated
    if isinstance(node, Negation):
        return not _holds(node.part, value)
    if isinstance(node, All | Either):
        return (all if isinstance(node, All) else any)(_holds(part, value) for part in node.parts)
    raise LookupError("an owner has no relations")


def _eq_test(operand: Any) -> Test:
    wanted = key(operand)
    return lambda found: key(found) == wanted


def _in_test(options: Sequence[Any]) -> Test:
    wanted = frozenset(map(key, options))
    return lambda found: key(found) in wanted


def _texts(options: Iterable[Any]) -> frozenset[str] | None:
    given = list(options)
    return frozenset(given) if all(isinstance(option, str) for option in given) else None


def _is_there(found: Any) -> bool:
    return found is not None


def _sign_test(member: str, value: Any) -> Test:
    sign = Operand(value).sign
    wanted = {"lt": (-1,), "lte": (-1, 0), "gt": (1,), "gte": (0, 1)}[member]
    return lambda found: sign(found) in wanted


# -- field selectors -------------------------------------------------------------------------------------------


def field(resource: Resource, requirement: FieldRequirement) -> Condition:
    """What one requirement of a field selector means: the field's text, empty where it is missing.

    As in Kubernetes a missing boolean reads as ``false``. Raises ``AnswerError``: PATH_INVALID, SELECTOR_INVALID.
    """
    path = paths.parse(resource, requirement.path)
    if path.scalar is None:
        raise AnswerError(
            Code.SELECTOR_INVALID, f"fieldSelector: {path.text} is not a single value, so it cannot be selected by"
        )
    wanted = requirement.value
    missing = "false" if path.scalar == "Boolean" else ""
    is_negated = requirement.operator is FieldOperator.NOT_EQUALS
    texts = frozenset((wanted,)) if wanted != missing and path.scalar in ("String", "DateTime", "Quantity") else None
    return Condition(
        path, lambda found: _field_text(found, missing) == wanted, is_negated, None if is_negated else texts
    )


def _field_text(found: Any, missing: str) -> str | None:
    if found is None:
        return missing
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, str | int | float) else None


# -- evaluation ------------------------------------------------------------------------------------------------


def select(view: View, node: Node, snapshot: Snapshot) -> Turns[Places | None]:
    """The places of the rows that pass, in their order; None for all of them."""
    if isinstance(node, All) and len(node.parts) == 1:
        node = node.parts[0]
    parts = node.parts if isinstance(node, All) else (node,)
    passed: Mask | None = None
    places: Places | None = None
    for cost, part in sorted(((_cost(view, part), part) for part in parts), key=_first):
        if cost == 0 and places is None:
            # Where values are at hand, asking of all rows is quicker than picking those that are left.
            also = yield from mask(view, part, snapshot, None)
            passed = also if passed is None else passed & also
            continue
        if places is None and passed is not None:
            places = np.flatnonzero(passed)
        also = yield from mask(view, part, snapshot, places)
        places = np.flatnonzero(also) if places is None else places[also]
    return np.flatnonzero(passed) if places is None and passed is not None else places


def _first(costed: tuple[int, Node]) -> int:
    return costed[0]


def mask(view: View, node: Node, snapshot: Snapshot, places: Places | None) -> Turns[Mask]:
    """For each row of a snapshot, or of those at some places, whether it passes."""
    if isinstance(node, Condition):
        return (yield from _passed(view, node, snapshot, places))
    if isinstance(node, Negation):
        inner = yield from mask(view, node.part, snapshot, places)
        return ~inner
    if isinstance(node, Related):
        return (yield from _related(view, node, snapshot, places))
    return (yield from _combined(view, node.parts, snapshot, places, is_all=isinstance(node, All)))


def _combined(
    view: View, parts: Iterable[Node], snapshot: Snapshot, places: Places | None, *, is_all: bool
) -> Turns[Mask]:
    """Every part, or one of them; a row that is decided is not asked again."""
    asked = np.arange(len(snapshot), dtype=np.intp) if places is None else places
    decided = np.full(len(asked), is_all, dtype=np.bool_)
    undecided = np.arange(len(asked), dtype=np.intp)
    for part in sorted(parts, key=lambda each: _cost(view, each)):
        passed = yield from mask(view, part, snapshot, asked[undecided])
        decided[undecided[passed != is_all]] = not is_all
        undecided = undecided[passed == is_all]
    return decided


def _cost(view: View, node: Node) -> int:
    """Cheap parts are asked first, so that the dear ones are asked for fewer rows."""
    if isinstance(node, Condition):
        if node.path.text in view.replica.columns:
            return 0
        return 1 if extracts.from_row(view.replica.resource, node.path) is not None else 2
    if isinstance(node, Related):
        return 3
    parts = (node.part,) if isinstance(node, Negation) else node.parts
    return max((_cost(view, part) for part in parts), default=0)


def _passed(view: View, condition: Condition, snapshot: Snapshot, places: Places | None) -> Turns[Mask]:
    passes = _any_passes(condition.test) if condition.path.is_many else condition.test
    # Values that no column keeps are replaced by their verdict as soon as they are read.
    found = yield from cells.cells(view, condition.path, snapshot, places, reduce=lambda value: _Verdict(passes(value)))
    passed = found.translated(lambda value: value.passes if type(value) is _Verdict else passes(value), np.bool_)
    return ~passed if condition.is_negated else passed


def _any_passes(test: Test) -> Test:
    return lambda elements: any(map(test, elements or _NOTHING))


class _Verdict:
    __slots__ = ("passes",)

    def __init__(self, passes: bool) -> None:
        self.passes = passes


_NOTHING: Final = (None,)


def _related(view: View, node: Related, snapshot: Snapshot, places: Places | None) -> Turns[Mask]:
    if view.resolver is None:
        raise LookupError(f"relation {node.relation} needs a resolver")
    rows = snapshot.rows if places is None else [snapshot.rows[place] for place in places.tolist()]
    related = view.resolver.related(view.replica.resource, node.relation, rows)
    distinct = list({id(row): row for group in related for row in group}.values())
    target = View(view.resolver.replica(node.target), view.resolver)
    passed = yield from mask(target, node.part, target.replica.snapshot_from(distinct), None)
    good = {id(row) for row, each in zip(distinct, passed.tolist(), strict=True) if each}
    return np.array([any(id(row) in good for row in group) is not node.is_none for group in related], dtype=np.bool_)


def passes(view: View, node: Node, row: Row) -> bool:
    """Whether one row, of whatever time, passes: for watching, where the machinery for many rows costs too much."""
    if isinstance(node, Condition):
        found = cells.value(view, node.path, row)
        test = node.test
        passed = any(map(test, found or _NOTHING)) if node.path.is_many else test(found)
        return passed is not node.is_negated
    if isinstance(node, Negation):
        return not passes(view, node.part, row)
    if isinstance(node, Related):
        return _passes_related(view, node, row)
    if isinstance(node, All):
        return all(passes(view, part, row) for part in node.parts)
    return any(passes(view, part, row) for part in node.parts)


def _passes_related(view: View, node: Related, row: Row) -> bool:
    if view.resolver is None:
        raise LookupError(f"relation {node.relation} needs a resolver")
    target = View(view.resolver.replica(node.target), view.resolver)
    (group,) = view.resolver.related(view.replica.resource, node.relation, (row,))
    return any(passes(target, node.part, each) for each in group) is not node.is_none
