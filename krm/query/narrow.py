"""Which rows a question can concern at all, told by the indexes: namespaces, names, node, labels, owners.

An index is used where it names few rows; a condition that holds for many is left to the columns, which answer it for
all rows faster than a large set can be put in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from krm.objects.selectors import Operator, Requirement
from krm.query import extracts, paths
from krm.query.filters import All, Condition, Node
from krm.query.paths import FieldPath
from krm.table.indexes import Inverted
from krm.table.replica import Replica, Snapshot

_FEW: Final = 64
_PART: Final = 8
"""An index is worth using for up to an eighth of the rows, or for few."""


@dataclass(slots=True)
class Bounds:
    """What rows must be in."""

    namespaces: AbstractSet[str] | None = None
    names: AbstractSet[str] | None = None

    def restrict_namespaces(self, namespaces: AbstractSet[str] | None) -> None:
        """Only rows of these namespaces (None: no restriction)."""
        self.namespaces = _both(self.namespaces, namespaces)

    def restrict_names(self, names: AbstractSet[str] | None) -> None:
        """Only rows of these names (None: no restriction)."""
        self.names = _both(self.names, names)


def _both(one: AbstractSet[str] | None, other: AbstractSet[str] | None) -> AbstractSet[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def label_condition(requirement: Requirement) -> Condition:
    """What one requirement of a label selector means."""
    key = requirement.key
    steps = ("metadata", "labels", key)
    path = FieldPath(paths.canonical(steps), steps, "JSON")
    texts = frozenset(requirement.values) if requirement.operator in (Operator.EQUALS, Operator.IN) else None
    return Condition(path, lambda value: requirement.matches({} if value is None else {key: value}), texts=texts)


def narrowed(replica: Replica, bounds: Bounds, parts: Iterable[Node]) -> tuple[Snapshot, All]:
    """Rows inside the bounds, now, all that pass ``parts`` among them; and what of ``parts`` is still to be asked."""
    left: list[Node] = []
    indexed: list[tuple[int, Inverted, Condition]] = []
    for part in _flat(parts):
        if not isinstance(part, Condition) or part.texts is None:
            left.append(part)
        elif part.path.text == "metadata.namespace":
            bounds.restrict_namespaces(part.texts)
        elif part.path.text == "metadata.name":
            bounds.restrict_names(part.texts)
        elif (index := _index(replica, part.path)) is not None and "" not in part.texts:
            indexed.append((index.count(part.texts), index, part))
        else:
            left.append(part)
    if bounds.names is not None:
        snapshot = replica.snapshot_named(bounds.names, bounds.namespaces)
        return snapshot, All((*left, *(condition for _, _, condition in indexed)))
    few = max(_FEW, replica.count(bounds.namespaces) // _PART)
    indexed.sort(key=_count)
    if not indexed or indexed[0][0] > few:
        return replica.snapshot(bounds.namespaces), All((*left, *(condition for _, _, condition in indexed)))
    (_, index, chosen), *others = indexed
    snapshot = replica.snapshot_of(index.any_of(chosen.texts or ()), bounds.namespaces)
    return snapshot, All((*left, *(condition for _, _, condition in others)))


def _flat(parts: Iterable[Node]) -> Iterator[Node]:
    for part in parts:
        if isinstance(part, All):
            yield from _flat(part.parts)
        else:
            yield part


def _count(indexed: tuple[int, Inverted, Condition]) -> int:
    return indexed[0]


def _index(replica: Replica, path: FieldPath) -> Inverted | None:
    """The index that answers "is one of these texts" for ``path`` exactly."""
    if path.text == "spec.nodeName" and replica.has_nodes:
        return replica.nodes
    if path.text == "metadata.ownerReferences[*].uid":
        return replica.owners
    label = extracts.label(path)
    return None if label is None else replica.labels.key(label) or _NO_ROWS


_NO_ROWS: Final = Inverted()
