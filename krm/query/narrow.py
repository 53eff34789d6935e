"""Which rows a question can concern at all, told by the indexes: namespaces, names, node, labels, owners.

An index is used where it names few rows; a condition that holds for many is left to the columns, which answer it for
all rows faster than a large set can be put in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from krm.objects.selectors import Operator, Requirement
from krm.query import paths
from krm.query.filters import All, Condition, Node
from krm.query.paths import FieldPath
from krm.table.indexes import Inverted
from krm.table.replica import Replica, Snapshot

_FEW: Final = 64
_PART: Final = 8
"""An index is worth using for up to an eighth of the rows, or for few."""


@dataclass(slots=True)
class Bounds:
    """What rows must be in; everything that bounds them is still to be asked, except namespaces and names."""

    namespaces: AbstractSet[str] | None = None
    names: AbstractSet[str] | None = None
    indexed: list[tuple[Inverted, AbstractSet[str]]] = field(default_factory=list)

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


def by_filter(replica: Replica, node: Node, bounds: Bounds) -> None:
    """Narrow by the conditions that must hold and that an index knows."""
    if isinstance(node, All):
        for part in node.parts:
            by_filter(replica, part, bounds)
    elif isinstance(node, Condition) and node.texts is not None:
        _by_texts(replica, node.path, node.texts, bounds)


def _by_texts(replica: Replica, path: FieldPath, texts: frozenset[str], bounds: Bounds) -> None:
    if path.text == "metadata.namespace":
        bounds.restrict_namespaces(texts)
    elif path.text == "metadata.name":
        bounds.restrict_names(texts)
    elif path.text == "spec.nodeName" and replica.has_nodes:
        bounds.indexed.append((replica.nodes, texts))
    elif path.text == "metadata.ownerReferences[*].uid":
        bounds.indexed.append((replica.owners, texts))
    elif path.steps[:2] == ("metadata", "labels") and len(path.steps) == 3 and isinstance(path.steps[2], str):
        bounds.indexed.append((replica.labels.key(path.steps[2]) or _EMPTY, texts))


_EMPTY: Final = Inverted()


def snapshot(replica: Replica, bounds: Bounds) -> Snapshot:
    """The rows inside the bounds, now; possibly more than those, never fewer."""
    namespaces = bounds.namespaces
    if bounds.names is not None:
        return replica.snapshot_named(bounds.names, namespaces)
    few = max(_FEW, replica.count(namespaces) // _PART)
    chosen = _smallest(bounds.indexed, few)
    return replica.snapshot(namespaces) if chosen is None else replica.snapshot_of(chosen, namespaces)


def _smallest(indexed: Sequence[tuple[Inverted, Iterable[str]]], few: int) -> AbstractSet[int] | None:
    """The slots that the most telling index names; None if none names few."""
    counted = [(index.count(texts), number) for number, (index, texts) in enumerate(indexed)]
    count, number = min(counted, default=(few + 1, 0))
    if count > few:
        return None
    index, texts = indexed[number]
    return index.any_of(texts)
