"""How the kinds are related: data that fields, filters and derived paths range over, and what finds the related rows.

A relation shows only what the caller may list; rights are applied here, before any filter, count or value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from krm.errors import AnswerError, Code
from krm.query.cells import Turns
from krm.query.lists import EVERYTHING, Scope
from krm.resources import DEPLOYMENTS, INGRESSES, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCES, SERVICES, Resource
from krm.schema.facts import AllFacts, Owner, Selector
from krm.schema.looks import KeysOf, Look
from krm.store.rows import Row
from krm.table.replica import Replica

Find = Callable[["Related", Row], Iterable[Row | None]]
_HASH_LABEL: Final = "pod-template-hash"


@dataclass(frozen=True, kw_only=True)
class Relation:
    """From each row of one kind to rows of another."""

    name: str
    target: Resource
    find: Find
    is_single: bool = False


class Related:
    """The relations of one question: its rights, and what it worked out so far."""

    def __init__(
        self, get: Callable[[Resource], Replica], facts: AllFacts, scopes: Mapping[str, Scope] | None = None
    ) -> None:
        self._get = get
        self._facts = facts
        self._scopes = scopes
        self._looks: dict[str, Look] = {}

    def begin(self) -> None:
        """Look at every kind that the question can reach now, for all that is told of it: one moment for all."""
        for resource in RESOURCES.values():
            if self._scopes is not None and resource.plural in self._scopes:
                with contextlib.suppress(AnswerError):  # told where it is reached
                    self.look(resource)

    def prepared(self, relation: Relation) -> Turns[None]:
        """Work out what ``follow`` needs, where that may take a while. Raises ``AnswerError``."""
        if relation.find is _pods_of_node:
            yield from self.look(PODS).by_node()

    def renew(self) -> None:
        """Look again: for whoever goes on telling after rows have changed."""
        self._looks.clear()

    # -- what krm.query.cells.Resolver asks ----------------------------------------------------------------------

    def replica(self, resource: Resource) -> Replica:
        """The replica of a kind. Raises ``AnswerError`` NOT_READY."""
        return self._get(resource)

    def related(self, resource: Resource, relation: str, rows: Sequence[Row]) -> list[list[Row]]:
        """For each row the rows that it is related to and that the caller may see. Raises ``AnswerError``."""
        known = RELATIONS[resource.plural][relation]
        return [self.follow(known, row) for row in rows]

    def derived(self, resource: Resource, path: str, rows: Sequence[Row]) -> list[Any]:
        """The values of ``deployment.name`` for pods."""
        if (resource, path) != (PODS, "deployment.name"):
            raise LookupError(f"{path} of {resource.plural} is not derived")
        relation = RELATIONS[PODS.plural]["deployment"]
        found = [self.follow(relation, row) for row in rows]
        return [each[0].name if each else None for each in found]

    # -- finding ---------------------------------------------------------------------------------------------------

    def follow(self, relation: Relation, row: Row) -> list[Row]:
        """The rows that ``row`` is related to and that the caller may see."""
        scope = self.scope(relation.target)
        found = {id(each): each for each in relation.find(self, row) if each is not None}
        return [each for each in found.values() if scope.namespaces is None or each.namespace in scope.namespaces]

    def scope(self, resource: Resource) -> Scope:
        """Where the caller may list a kind. Raises ``LookupError`` for one whose rights were not asked for."""
        if self._scopes is None:
            return EVERYTHING
        found = self._scopes.get(resource.plural)
        if found is None:
            self._get(resource)  # says so if it is not cached at all
            raise LookupError(f"the question was not expected to reach {resource.plural}")
        return found

    def fact(self, resource: Resource, row: Row) -> Any:
        """What is known of a row beyond its columns."""
        return self._facts.of(self._get(resource)).of(row)

    def owner(self, owner: Owner) -> tuple[Replica, Row] | None:
        """The cached object that an owner reference means, if the caller may see it."""
        for resource in RESOURCES.values():
            if resource.kind == owner.kind and resource.api_version == owner.api_version and owner.uid is not None:
                return self._cached(resource, owner.uid)
        return None

    def _cached(self, resource: Resource, uid: str) -> tuple[Replica, Row] | None:
        try:
            replica = self._get(resource)
        except AnswerError as error:
            if error.code not in (Code.NOT_READY, Code.KIND_UNKNOWN):
                raise
            return None
        scope = self.scope(resource)
        row = self.look(resource).find(uid)
        if row is None or (scope.namespaces is not None and row.namespace not in scope.namespaces):
            return None
        return replica, row

    def look(self, resource: Resource) -> Look:
        """The rows of a kind, the same for the whole question. Raises ``AnswerError`` NOT_READY."""
        found = self._looks.get(resource.plural)
        if found is None:
            found = self._looks[resource.plural] = Look(self._get(resource))
        return found

    def named(self, resource: Resource, namespace: str, names: Iterable[str]) -> list[Row | None]:
        """The rows of these names."""
        look = self.look(resource)
        return [look.named(namespace, name) for name in names]


def column(resource: Resource, row: Row, name: str) -> Any:
    """A derived column of a row."""
    for known, value in zip(resource.columns, row.columns, strict=True):
        if known.name == name:
            return value
    raise LookupError(f"{resource.plural} have no column {name}")


def _node(related: Related, pod: Row) -> list[Row | None]:
    name = column(PODS, pod, "node")
    return related.named(NODES, "", [name]) if isinstance(name, str) else []


def _claims(related: Related, pod: Row) -> list[Row | None]:
    return related.named(PERSISTENT_VOLUME_CLAIMS, pod.namespace, _claim_names(pod))


def _services_of_pod(related: Related, pod: Row) -> list[Row]:
    """Of the services that ask for a label that the pod has first, those that it has all the others of, too."""
    by_first = related.look(SERVICES).by(pod.namespace, "first label", _first_label(related))
    found = [service for label in pod.labels.items() for service in by_first.get(label, ())]
    return sorted((s for s in found if related.fact(SERVICES, s).selects(pod.labels)), key=_name)


def _first_label(related: Related) -> KeysOf:
    def first(service: Row) -> Iterable[tuple[str, str]]:
        selector: Selector | None = related.fact(SERVICES, service)
        return () if selector is None else selector.labels[:1]

    return first


def _name(row: Row) -> str:
    return row.name


def _deployment(related: Related, pod: Row) -> list[Row | None]:
    """Through the name of the ReplicaSet that controls the pod: ``<deployment>-<pod-template-hash>``."""
    suffix = f"-{pod.labels.get(_HASH_LABEL, '')}"
    for owner in related.fact(PODS, pod):
        if not owner.is_controller or owner.kind != "ReplicaSet" or len(suffix) == 1:
            continue
        if owner.name is None or not owner.name.endswith(suffix):
            continue
        deployment = related.look(DEPLOYMENTS).named(pod.namespace, owner.name.removesuffix(suffix))
        if deployment is None:
            continue
        selector: Selector | None = related.fact(DEPLOYMENTS, deployment)
        if selector is not None and selector.selects(pod.labels):
            return [deployment]
    return []


def _pods_of_deployment(related: Related, deployment: Row) -> Sequence[Row]:
    def names(pod: Row) -> Iterable[str]:
        return [found.name for found in _deployment(related, pod) if found is not None]

    return related.look(PODS).by(deployment.namespace, "deployment", names).get(deployment.name, ())


def _pods_of_service(related: Related, service: Row) -> list[Row]:
    selector: Selector | None = related.fact(SERVICES, service)
    if selector is None:
        return []
    key, value = selector.labels[0]
    by_label = related.look(PODS).by(service.namespace, ("label", key), lambda pod: (pod.labels.get(key),))
    return [pod for pod in by_label.get(value, ()) if selector.selects(pod.labels)]


def _ingresses_of_service(related: Related, service: Row) -> Sequence[Row]:
    def backends(ingress: Row) -> Iterable[str]:
        return related.fact(INGRESSES, ingress)  # type: ignore[no-any-return]  # what facts read of ingresses

    return related.look(INGRESSES).by(service.namespace, "backend", backends).get(service.name, ())


def _services_of_ingress(related: Related, ingress: Row) -> list[Row | None]:
    return related.named(SERVICES, ingress.namespace, related.fact(INGRESSES, ingress))


def _pods_of_claim(related: Related, claim: Row) -> Sequence[Row]:
    return related.look(PODS).by(claim.namespace, "claim", _claim_names).get(claim.name, ())


def _claim_names(pod: Row) -> Iterable[str]:
    return column(PODS, pod, "persistentVolumeClaims") or ()


def _pods_of_node(related: Related, node: Row) -> Sequence[Row]:
    return related.look(PODS).on_node(node.name)


def _table(*relations: Relation) -> Mapping[str, Relation]:
    return {relation.name: relation for relation in relations}


RELATIONS: Final[Mapping[str, Mapping[str, Relation]]] = {
    "pods": _table(
        Relation(name="node", target=NODES, find=_node, is_single=True),
        Relation(name="persistentVolumeClaims", target=PERSISTENT_VOLUME_CLAIMS, find=_claims),
        Relation(name="services", target=SERVICES, find=_services_of_pod),
        Relation(name="deployment", target=DEPLOYMENTS, find=_deployment, is_single=True),
    ),
    "deployments": _table(Relation(name="pods", target=PODS, find=_pods_of_deployment)),
    "services": _table(
        Relation(name="pods", target=PODS, find=_pods_of_service),
        Relation(name="ingresses", target=INGRESSES, find=_ingresses_of_service),
    ),
    "ingresses": _table(Relation(name="services", target=SERVICES, find=_services_of_ingress)),
    "persistentvolumeclaims": _table(Relation(name="pods", target=PODS, find=_pods_of_claim)),
    "nodes": _table(Relation(name="pods", target=PODS, find=_pods_of_node)),
}
"""By plural and name of the relation."""


def target(resource: Resource, name: str) -> Resource | None:
    """Which kind a relation leads to; None if there is no such relation."""
    relation = RELATIONS.get(resource.plural, {}).get(name)
    return None if relation is None else relation.target
