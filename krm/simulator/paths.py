"""Which resource a request is about: the paths of the Kubernetes API, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

from krm.simulator import status
from krm.simulator.kinds import Kind
from krm.simulator.store import Store

_OF_NAMESPACES_THEMSELVES = ("status", "finalize")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A collection (no name) or an object, or one of its subresources."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """How faults and counters may name the resource."""
        return (self.kind.plural, self.kind.qualified)


def group_version(parts: list[str]) -> tuple[str, str, list[str]] | None:
    """(group, version, rest) of `/api/v1/...` or `/apis/group/version/...`; None for other paths."""
    if parts[:1] == ["api"] and len(parts) >= 2:
        return "", parts[1], parts[2:]
    if parts[:1] == ["apis"] and len(parts) >= 3:
        return parts[1], parts[2], parts[3:]
    return None


def find(store: Store, parts: list[str]) -> Target:
    """The target of a resource path (split at slashes, without empty parts); raises StatusError 404."""
    found = group_version(parts)
    if found is None or not found[2]:
        raise status.no_such_path()
    group, version, rest = found
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in _OF_NAMESPACES_THEMSELVES:
        namespace, rest = rest[1], rest[2:]
    kind = store.kind(group, version, rest[0])
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        raise status.no_such_path()
    if name and kind.namespaced and not namespace:
        raise status.no_such_path()
    if subresource and all(subresource != known.name for known in kind.subresources):
        raise status.no_such_path()
    return Target(kind=kind, namespace=namespace, name=name, subresource=subresource)
