"""Who may do what: ServiceAccounts apart, and the least rights, made from the configured resources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from krm.kube.lease_names import lease_name
from krm.manifests.options import NAMESPACE, Options
from krm.manifests.pods import Object, named
from krm.resources import Resource

WORKERS: Final = "krm-workers"
API: Final = "krm-api"
COLLECTOR: Final = "krm-collector"
NOBODY: Final = "krm-nobody"
ROLES: Final = ("streamer", "verifier", "aggregator")


def objects(options: Options) -> list[Object]:
    """Accounts, roles and bindings."""
    accounts = [WORKERS, API, NOBODY] + ([COLLECTOR] if options.has_monitoring else [])
    found = [
        {**named("v1", "ServiceAccount", name, "access"), "automountServiceAccountToken": False} for name in accounts
    ]
    return [*found, *_reading(options), *_leases(options), *_reviews(), *_metrics()]


def _rules(resources: Iterable[Resource]) -> list[Object]:
    """get, list and watch on exactly these."""
    groups: dict[str, list[str]] = {}
    for resource in resources:
        groups.setdefault(resource.group, []).append(resource.plural)
    return [
        {"apiGroups": [group], "resources": sorted(plurals), "verbs": ["get", "list", "watch"]}
        for group, plurals in sorted(groups.items())
    ]


def _reading(options: Options) -> list[Object]:
    """What the workers read: everywhere, or in the chosen namespaces alone."""
    settings = options.settings
    chosen = settings.namespaces or ()
    everywhere = [r for r in settings.resources if not (chosen and r.namespaced)]
    identity = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}
    rules = [*_rules(everywhere), identity]
    found = [
        named("rbac.authorization.k8s.io/v1", "ClusterRole", WORKERS, "access", cluster_wide=True, rules=rules),
        _binding("ClusterRoleBinding", WORKERS, "ClusterRole", WORKERS),
    ]
    within = _rules(r for r in settings.resources if r.namespaced)
    for namespace in chosen:
        role = named("rbac.authorization.k8s.io/v1", "Role", WORKERS + "-reading", "access", rules=within)
        bound = _binding("RoleBinding", WORKERS + "-reading", "Role", WORKERS)
        for one in (role, bound):
            one["metadata"]["namespace"] = namespace
        found += [role, bound]
    return found


def _leases(options: Options) -> list[Object]:
    names = sorted(lease_name(role, resource) for role in ROLES for resource in options.settings.resources)
    rules = [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": names,
            "verbs": ["get", "update"],
        },
        # A name cannot be asked for of what is not there yet.
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    ]
    return [
        named("rbac.authorization.k8s.io/v1", "Role", WORKERS, "access", rules=rules),
        _binding("RoleBinding", WORKERS, "Role", WORKERS),
    ]


def _reviews() -> list[Object]:
    """The API asks who calls and what they may see, nothing else."""
    rules = [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]
    return [
        named("rbac.authorization.k8s.io/v1", "ClusterRole", API, "access", cluster_wide=True, rules=rules),
        _binding("ClusterRoleBinding", API, "ClusterRole", API),
    ]


def _metrics() -> list[Object]:
    """For whoever scrapes the API: bind your Prometheus' ServiceAccount to it."""
    rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    name = "krm-metrics"
    return [named("rbac.authorization.k8s.io/v1", "ClusterRole", name, "access", cluster_wide=True, rules=rules)]


def _binding(kind: str, name: str, role_kind: str, account: str) -> Object:
    return named(
        "rbac.authorization.k8s.io/v1",
        kind,
        name,
        "access",
        cluster_wide=kind == "ClusterRoleBinding",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": name},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
    )
