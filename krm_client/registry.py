"""The kinds that the client offers, as data: every method, query and stub ranges over these entries.

Kept apart from the server's registry: the client is installed where the server is not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClientResource:
    """One kind: how KRM, Kubernetes and the official client call it."""

    plural: str
    """As in Kubernetes and in ``krm.list``: ``persistentvolumeclaims``."""
    group: str
    """API group, empty for the core one; with ``version`` it makes ``apiVersion``."""
    version: str
    kind: str
    method_noun: str
    """As the official methods spell the kind: ``persistent_volume_claim``."""
    list_field: str
    """Field of GraphQL's Query that lists the kind; ``single_field`` gives one object."""
    single_field: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        return f"{self.version.capitalize()}{self.kind}"

    @property
    def list_model(self) -> str:
        return f"{self.model}List"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def facade(self) -> str:
        """Attribute of the client that carries this kind's methods: ``core_v1``."""
        return f"{self.group.split('.')[0] or 'core'}_{self.version}"

    @property
    def qualified_plural(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES: tuple[ClientResource, ...] = (
    ClientResource(
        plural="pods", group="", version="v1", kind="Pod", method_noun="pod",
        list_field="pods", single_field="pod", short_names=("po",),
    ),
    ClientResource(
        plural="deployments", group="apps", version="v1", kind="Deployment", method_noun="deployment",
        list_field="deployments", single_field="deployment", short_names=("deploy",),
    ),
    ClientResource(
        plural="persistentvolumeclaims", group="", version="v1", kind="PersistentVolumeClaim",
        method_noun="persistent_volume_claim", list_field="persistentVolumeClaims",
        single_field="persistentVolumeClaim", short_names=("pvc",),
    ),
    ClientResource(
        plural="services", group="", version="v1", kind="Service", method_noun="service",
        list_field="services", single_field="service", short_names=("svc",),
    ),
    ClientResource(
        plural="ingresses", group="networking.k8s.io", version="v1", kind="Ingress", method_noun="ingress",
        list_field="ingresses", single_field="ingress", short_names=("ing",),
    ),
    ClientResource(
        plural="nodes", group="", version="v1", kind="Node", method_noun="node",
        list_field="nodes", single_field="node", namespaced=False, short_names=("no",),
    ),
)  # fmt: skip


def find(name: str) -> ClientResource | None:
    """A kind by plural, singular, short name, kind or ``plural.group``, in any case."""
    wanted = name.lower()
    for resource in RESOURCES:
        names = {resource.plural, resource.kind.lower(), resource.qualified_plural, *resource.short_names}
        if wanted in names:
            return resource
    return None
