"""The little that relations need of an object beyond its row, read once per version of the object and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from krm.store.rows import Row
from krm.table.replica import Replica

Object = Mapping[str, Any]


class Owner(NamedTuple):
    """One ownerReference."""

    api_version: str | None
    kind: str | None
    name: str | None
    uid: str | None
    is_controller: bool


class Requirement(NamedTuple):
    """One of a selector's ``matchExpressions``."""

    key: str
    operator: str
    values: frozenset[str]


class Selector(NamedTuple):
    """A Kubernetes LabelSelector of an object."""

    labels: tuple[tuple[str, str], ...]
    expressions: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.labels) and all(
            _holds(requirement, labels) for requirement in self.expressions
        )


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    if requirement.operator == "In":
        return value in requirement.values
    if requirement.operator == "NotIn":
        return value not in requirement.values
    if requirement.operator == "Exists":
        return value is not None
    return requirement.operator == "DoesNotExist" and value is None


def owners(obj: Object) -> tuple[Owner, ...]:
    """The ownerReferences of an object."""
    references = _at(obj, "metadata", "ownerReferences")
    return tuple(
        Owner(
            _text(each.get("apiVersion")),
            _text(each.get("kind")),
            _text(each.get("name")),
            _text(each.get("uid")),
            each.get("controller") is True,
        )
        for each in _mappings(references)
    )


def service_selector(obj: Object) -> Selector | None:
    """A service's selector; None where it selects nothing (an empty one does not select)."""
    labels = _labels(_at(obj, "spec", "selector"))
    return Selector(labels) if labels else None


def deployment_selector(obj: Object) -> Selector | None:
    """A deployment's selector."""
    selector = _at(obj, "spec", "selector")
    if not isinstance(selector, Mapping):
        return None
    expressions = tuple(
        Requirement(
            str(each.get("key")),
            str(each.get("operator")),
            frozenset(map(str, each.get("values") or ())),
        )
        for each in _mappings(selector.get("matchExpressions"))
    )
    return Selector(_labels(selector.get("matchLabels")), expressions)


def backends(obj: Object) -> tuple[str, ...]:
    """The names of the services that an ingress leads to, each once."""
    found = [_at(obj, "spec", "defaultBackend", "service", "name")]
    for rule in _mappings(_at(obj, "spec", "rules")):
        found += [_at(path, "backend", "service", "name") for path in _mappings(_at(rule, "http", "paths"))]
    return tuple(dict.fromkeys(name for name in found if isinstance(name, str)))


Read = Callable[[Object], Any]
READ: Final[Mapping[str, Read]] = {
    "pods": owners,
    "deployments": deployment_selector,
    "services": service_selector,
    "ingresses": backends,
}
"""What is read of each kind, by plural."""


class Facts:
    """Facts of one replica's rows."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._read = READ[replica.resource.plural]
        self._kept: dict[str, tuple[Row, Any]] = {}

    def of(self, row: Row) -> Any:
        """The fact of one row. Raises ``CorruptData``."""
        kept = self._kept.get(row.uid)
        if kept is not None and kept[0] is row:
            return kept[1]
        fact = self._read(decoded(self._replica, row))
        if len(self._kept) > 2 * len(self._replica) + 1_000:  # rows that have gone
            self._kept.clear()
        self._kept[row.uid] = (row, fact)
        return fact


class AllFacts:
    """The facts of a process, by kind."""

    def __init__(self) -> None:
        self._facts: dict[str, tuple[Replica, Facts]] = {}

    def of(self, replica: Replica) -> Facts:
        """The facts of a replica."""
        kept = self._facts.get(replica.resource.plural)
        if kept is None or kept[0] is not replica:
            kept = self._facts[replica.resource.plural] = (replica, Facts(replica))
        return kept[1]


class _Partial(msgspec.Struct, gc=False):
    metadata: Any = None
    spec: Any = None


_decode = msgspec.json.Decoder(_Partial).decode


def decoded(replica: Replica, row: Row) -> Object:
    """The object of a row, without its status, which no fact is read of."""
    found = _decode(replica.codec.body(row.record))
    return {"metadata": found.metadata, "spec": found.spec}


def _at(obj: Any, *steps: str) -> Any:
    for step in steps:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(step)
    return obj


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in value.items() if isinstance(v, str)) if isinstance(value, Mapping) else ()


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
