"""The registry of kinds: the only list of them.

A kind is data. Keys, workers, schema, command line, manifests and tests range over this table; a further kind is a
further entry. What a kind's derived columns *mean* is in ``krm.objects.derived``; here they are only named.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from krm import errors


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the kind's dataframe, computed once when an object arrives.

    ``path`` is a plain dotted path into the object; None means that ``krm.objects.derived`` computes it.
    ``name`` is the path under which filters, order and frames know it.
    """

    name: str
    path: str | None = None
    is_shown: bool = True
    """Whether frames have it unasked; others are there because answers often want them, so that no object is read."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One kind as the API server serves it."""

    group: str = ""
    """Empty for the core group."""
    version: str = "v1"
    plural: str
    singular: str
    kind: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    list_field: str
    """Name of the list field in GraphQL."""
    single_field: str
    """Name of the field for one object in GraphQL."""
    columns: tuple[Column, ...] = ()

    @property
    def name(self) -> str:
        """How settings and people name it: ``pods``, ``widgets.example.com``."""
        return self.plural if RESOURCES.get(self.plural) == self else self.qualified

    @property
    def qualified(self) -> str:
        """``plural.group``, or the plural in the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """``v1``, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def api_prefix(self) -> str:
        """``/api/v1``, ``/apis/apps/v1``."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "") -> str:
        """The URL path of its collection, of one namespace or of the whole cluster."""
        middle = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{self.api_prefix}{middle}/{self.plural}"

    @property
    def key_part(self) -> str:
        """``core/v1/pods``: group, version and plural as keys in Redis spell them."""
        return f"{self.group or 'core'}/{self.version}/{self.plural}"


PODS = Resource(
    plural="pods",
    singular="pod",
    kind="Pod",
    short_names=("po",),
    list_field="pods",
    single_field="pod",
    columns=(
        Column(name="node", path="spec.nodeName"),
        Column(name="phase", path="status.phase"),
        Column(name="requests.cpu"),
        Column(name="requests.memory"),
        Column(name="requests.gpu"),
        Column(name="serviceAccount", path="spec.serviceAccountName", is_shown=False),
        Column(name="podIP", path="status.podIP", is_shown=False),
        Column(name="hostIP", path="status.hostIP", is_shown=False),
        Column(name="startTime", path="status.startTime", is_shown=False),
        Column(name="persistentVolumeClaims"),
    ),
)
DEPLOYMENTS = Resource(
    group="apps",
    plural="deployments",
    singular="deployment",
    kind="Deployment",
    short_names=("deploy",),
    list_field="deployments",
    single_field="deployment",
    columns=(
        Column(name="replicas", path="spec.replicas"),
        Column(name="readyReplicas", path="status.readyReplicas"),
    ),
)
PERSISTENT_VOLUME_CLAIMS = Resource(
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    kind="PersistentVolumeClaim",
    short_names=("pvc",),
    list_field="persistentVolumeClaims",
    single_field="persistentVolumeClaim",
    columns=(
        Column(name="phase", path="status.phase"),
        Column(name="volume", path="spec.volumeName"),
        Column(name="storageClass", path="spec.storageClassName"),
    ),
)
SERVICES = Resource(
    plural="services",
    singular="service",
    kind="Service",
    short_names=("svc",),
    list_field="services",
    single_field="service",
    columns=(Column(name="type", path="spec.type"), Column(name="clusterIP", path="spec.clusterIP")),
)
INGRESSES = Resource(
    group="networking.k8s.io",
    plural="ingresses",
    singular="ingress",
    kind="Ingress",
    short_names=("ing",),
    list_field="ingresses",
    single_field="ingress",
    columns=(Column(name="ingressClass", path="spec.ingressClassName"),),
)
NODES = Resource(
    plural="nodes",
    singular="node",
    kind="Node",
    short_names=("no",),
    namespaced=False,
    list_field="nodes",
    single_field="node",
    columns=(Column(name="unschedulable", path="spec.unschedulable"),),
)

RESOURCES: Mapping[str, Resource] = {
    r.plural: r for r in (PODS, DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, SERVICES, INGRESSES, NODES)
}
"""The kinds that KRM knows, by plural."""


def find(word: str, among: Iterable[Resource] | None = None) -> Resource:
    """The kind that a person means by ``word``: plural, singular, kind, short name, or ``plural.group``.

    Raises ``ConfigError`` that names the nearest ones.
    """
    resources = tuple(RESOURCES.values() if among is None else among)
    wanted = word.strip().lower()
    for resource in resources:
        names = (
            resource.plural,
            resource.singular,
            resource.kind.lower(),
            resource.qualified,
            *resource.short_names,
        )
        if wanted in names:
            return resource
    known = [r.plural for r in resources]
    near = difflib.get_close_matches(wanted, known, n=3) or known
    raise errors.ConfigError(f"{word[:80]!r} is not a resource that KRM knows; did you mean {', '.join(near)}?")
