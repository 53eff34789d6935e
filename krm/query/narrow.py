"""Which rows a question can concern at all, told by the indexes: namespaces, name, node, labels, owners' uids.

What an index answers exactly (label selectors, names) is not asked again; what it only bounds is left to the filter.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from krm.objects.selectors import LabelSelector, Operator, Requirement
from krm.query.filters import All, Condition, Node
from krm.query.paths import FieldPath
from krm.store.rows import Row
from krm.table.replica import Replica


@dataclass(slots=True)
class Bounds:
    """What rows must be in, and must not be in."""

    namespaces: AbstractSet[str] | None = None
    names: AbstractSet[str] | None = None
    within: list[AbstractSet[str]] = field(default_factory=list)
    without: list[AbstractSet[str]] = field(default_factory=list)

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


def by_labels(replica: Replica, selector: LabelSelector, bounds: Bounds) -> None:
    """Narrow to exactly the rows that ``selector`` selects."""
    for requirement in selector.requirements:
        key, values = requirement.key, requirement.values
        match requirement.operator:
            case Operator.EQUALS | Operator.IN:
                bounds.within.append(replica.labels.any_of(key, values))
            case Operator.EXISTS:
                bounds.within.append(replica.labels.having(key))
            case Operator.NOT_EQUALS | Operator.NOT_IN:
                bounds.without.append(replica.labels.any_of(key, values))
            case Operator.DOES_NOT_EXIST:
                bounds.without.append(replica.labels.having(key))
            case Operator.GREATER | Operator.LESS:
                bounds.within.append(replica.labels.any_of(key, _matching_values(replica, requirement)))


def _matching_values(replica: Replica, requirement: Requirement) -> Iterable[str]:
    index = replica.labels.key(requirement.key)
    if index is None:
        return ()
    return [value for value in index.values() if requirement.matches({requirement.key: value})]


def by_filter(replica: Replica, node: Node, bounds: Bounds) -> None:
    """Narrow by the conditions that must hold and that an index knows; the filter is still to be asked."""
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
        bounds.within.append(replica.nodes.any_of(texts))
    elif path.text == "metadata.ownerReferences[*].uid":
        bounds.within.append(replica.owners.any_of(texts))
    elif path.text == "metadata.uid":
        bounds.within.append(frozenset(text for text in texts if text in replica.by_uid))
    elif path.steps[:2] == ("metadata", "labels") and len(path.steps) == 3 and isinstance(path.steps[2], str):
        bounds.within.append(replica.labels.any_of(path.steps[2], texts))


def rows(replica: Replica, bounds: Bounds) -> list[Row]:
    """A snapshot of the rows inside the bounds, in the order of (namespace, name)."""
    if bounds.names is not None:
        found = [row for name in sorted(bounds.names) for row in replica.named(name, bounds.namespaces)]
        found.sort(key=_key)
        return [row for row in found if _is_inside(row, bounds)]
    without = _NOTHING.union(*bounds.without)
    if bounds.within:
        smallest, *others = sorted(bounds.within, key=len)
        chosen = smallest
        for other in others:
            chosen = chosen & other
        return replica.of(chosen - without if without else chosen, bounds.namespaces)
    everything = replica.rows(bounds.namespaces)
    if not without:
        return everything
    uids = replica.uids(bounds.namespaces)
    return [row for uid, row in zip(uids, everything, strict=True) if uid not in without]


_NOTHING: frozenset[str] = frozenset()


def _key(row: Row) -> tuple[str, str]:
    return (row.namespace, row.name)


def _is_inside(row: Row, bounds: Bounds) -> bool:
    return all(row.uid in each for each in bounds.within) and not any(row.uid in each for each in bounds.without)
