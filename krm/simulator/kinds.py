"""The kinds that the simulated API server serves: a table, and the kinds that custom resource definitions add to it.

It is wider than the product's own registry (`krm.resources`), since a cluster has kinds that KRM does not cache.
Nothing here behaves; what a kind does on a write is in `defaults`, how it prints in `tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Json = dict[str, Any]

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_NAME_FIELDS: Mapping[str, str] = {"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace"}


@dataclass(frozen=True, kw_only=True)
class Subresource:
    """A path below an object, as discovery lists it."""

    name: str
    kind: str = ""
    """Empty: the kind of the object itself."""
    group: str = ""
    version: str = ""
    verbs: tuple[str, ...] = ("get", "patch", "update")


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind as the server serves it. Compared by identity: a definition that is posted again is another kind."""

    group: str = ""
    version: str = "v1"
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _VERBS
    storage_hash: str = ""
    subresources: tuple[Subresource, ...] = ()
    fields: Mapping[str, str] = field(default_factory=lambda: _NAME_FIELDS)
    """Field selectors that the real server supports for it: label -> path in the object."""
    named_field_error: bool = True
    """How it refuses other field selectors: by listing what it knows, or only naming what it does not."""
    bookmark: Json = field(default_factory=dict)
    """What beside the metadata a bookmark of this kind carries: the zero values of its typed structure."""
    has_generation: bool = False
    generation_by_annotations: bool = False
    """Deployments count a change of annotations as a new generation."""
    returns_deleted: bool = False
    """DELETE answers with the object instead of a Status."""
    graceful: bool = False
    custom: bool = False
    """From a definition: keys in alphabetical order, apiVersion and kind in each item of a list."""
    definition: Json | None = None

    @property
    def api_version(self) -> str:
        """``v1``, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def field_paths(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(label, parts of the path) of the supported field selectors, taken apart once."""
        return tuple((label, tuple(path.split("."))) for label, path in self.fields.items())

    @property
    def qualified(self) -> str:
        """``pods``, ``deployments.apps``: how error texts and fault targets name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def list_kind(self) -> str:
        """``PodList``."""
        return f"{self.kind}List"

    @property
    def has_status(self) -> bool:
        """Whether status is a subresource, so that a plain write leaves it alone."""
        return any(subresource.name == "status" for subresource in self.subresources)


_STATUS = Subresource(name="status")
_POD_BOOKMARK: Json = {"spec": {"containers": None}, "status": {}}
_TEMPLATE_BOOKMARK: Json = {"metadata": {}, "spec": {"containers": None}}
_NODE_STATUS: Json = {
    "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    "nodeInfo": {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": "",
        "osImage": "",
        "containerRuntimeVersion": "",
        "kubeletVersion": "",
        "kubeProxyVersion": "",
        "operatingSystem": "",
        "architecture": "",
    },
}
NODE_ZERO_STATUS = _NODE_STATUS
"""The status of a node that nobody has reported yet; its structure has no optional members."""

PODS = Kind(
    plural="pods",
    singular="pod",
    kind="Pod",
    short_names=("po",),
    categories=("all",),
    storage_hash="xPOwRZ+Yhw8=",
    subresources=(
        Subresource(name="eviction", group="policy", version="v1", kind="Eviction", verbs=("create",)),
        Subresource(name="log", verbs=("get",)),
        _STATUS,
    ),
    fields={
        **_NAME_FIELDS,
        "spec.nodeName": "spec.nodeName",
        "spec.restartPolicy": "spec.restartPolicy",
        "spec.schedulerName": "spec.schedulerName",
        "spec.serviceAccountName": "spec.serviceAccountName",
        "spec.hostNetwork": "spec.hostNetwork",
        "status.phase": "status.phase",
        "status.podIP": "status.podIP",
        "status.nominatedNodeName": "status.nominatedNodeName",
    },
    named_field_error=False,
    bookmark=_POD_BOOKMARK,
    has_generation=True,
    returns_deleted=True,
    graceful=True,
)
NODES = Kind(
    plural="nodes",
    singular="node",
    kind="Node",
    namespaced=False,
    short_names=("no",),
    storage_hash="XwShjMxG9Fs=",
    subresources=(_STATUS,),
    fields={"metadata.name": "metadata.name", "spec.unschedulable": "spec.unschedulable"},
    named_field_error=False,
    bookmark={"spec": {}, "status": _NODE_STATUS},
)
NAMESPACES = Kind(
    plural="namespaces",
    singular="namespace",
    kind="Namespace",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    storage_hash="Q3oi5N2YM8M=",
    subresources=(Subresource(name="finalize", verbs=("update",)), _STATUS),
    fields={"metadata.name": "metadata.name", "name": "metadata.name", "status.phase": "status.phase"},
    named_field_error=False,
    bookmark={"spec": {}, "status": {}},
    returns_deleted=True,
)
PERSISTENT_VOLUME_CLAIMS = Kind(
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    kind="PersistentVolumeClaim",
    short_names=("pvc",),
    storage_hash="QWTyNDq0dC4=",
    subresources=(_STATUS,),
    bookmark={"spec": {"resources": {}}, "status": {}},
    returns_deleted=True,
)
PERSISTENT_VOLUMES = Kind(
    plural="persistentvolumes",
    singular="persistentvolume",
    kind="PersistentVolume",
    namespaced=False,
    short_names=("pv",),
    storage_hash="HN/zwEC+JgM=",
    subresources=(_STATUS,),
    bookmark={"spec": {}, "status": {}},
    returns_deleted=True,
)
SERVICES = Kind(
    plural="services",
    singular="service",
    kind="Service",
    short_names=("svc",),
    categories=("all",),
    storage_hash="0/CO1lhkEBI=",
    subresources=(_STATUS,),
    fields={**_NAME_FIELDS, "spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
    named_field_error=False,
    bookmark={"spec": {}, "status": {"loadBalancer": {}}},
    returns_deleted=True,
)
SECRETS = Kind(
    plural="secrets",
    singular="secret",
    kind="Secret",
    storage_hash="S6u1pOWzb84=",
    fields={**_NAME_FIELDS, "type": "type"},
    named_field_error=False,
)
CONFIG_MAPS = Kind(
    plural="configmaps",
    singular="configmap",
    kind="ConfigMap",
    short_names=("cm",),
    storage_hash="qFsyl6wFWjQ=",
)
SERVICE_ACCOUNTS = Kind(
    plural="serviceaccounts",
    singular="serviceaccount",
    kind="ServiceAccount",
    short_names=("sa",),
    storage_hash="pbx9ZvyFpBE=",
    returns_deleted=True,
)
EVENTS = Kind(
    plural="events",
    singular="event",
    kind="Event",
    short_names=("ev",),
    storage_hash="r2yiGXH7wu8=",
    fields={
        **_NAME_FIELDS,
        "involvedObject.kind": "involvedObject.kind",
        "involvedObject.namespace": "involvedObject.namespace",
        "involvedObject.name": "involvedObject.name",
        "involvedObject.uid": "involvedObject.uid",
        "reason": "reason",
        "type": "type",
    },
    named_field_error=False,
    bookmark={"involvedObject": {}, "source": {}, "firstTimestamp": None, "lastTimestamp": None},
)
DEPLOYMENTS = Kind(
    group="apps",
    plural="deployments",
    singular="deployment",
    kind="Deployment",
    short_names=("deploy",),
    categories=("all",),
    storage_hash="8aSe+NMegvE=",
    subresources=(_STATUS,),
    bookmark={
        "spec": {"replicas": 0, "selector": None, "template": _TEMPLATE_BOOKMARK, "strategy": {}},
        "status": {},
    },
    has_generation=True,
    generation_by_annotations=True,
)
REPLICA_SETS = Kind(
    group="apps",
    plural="replicasets",
    singular="replicaset",
    kind="ReplicaSet",
    short_names=("rs",),
    categories=("all",),
    storage_hash="P1RzHs8/mWQ=",
    subresources=(_STATUS,),
    fields={**_NAME_FIELDS, "status.replicas": "status.replicas"},
    named_field_error=False,
    bookmark={
        "spec": {"replicas": 0, "selector": None, "template": _TEMPLATE_BOOKMARK},
        "status": {"replicas": 0},
    },
    has_generation=True,
)
STATEFUL_SETS = Kind(
    group="apps",
    plural="statefulsets",
    singular="statefulset",
    kind="StatefulSet",
    short_names=("sts",),
    categories=("all",),
    storage_hash="H+vl74LkKdo=",
    subresources=(_STATUS,),
    bookmark={
        "spec": {"selector": None, "template": _TEMPLATE_BOOKMARK, "serviceName": "", "updateStrategy": {}},
        "status": {"replicas": 0},
    },
    has_generation=True,
)
DAEMON_SETS = Kind(
    group="apps",
    plural="daemonsets",
    singular="daemonset",
    kind="DaemonSet",
    short_names=("ds",),
    categories=("all",),
    storage_hash="dd7pWHUlMKQ=",
    subresources=(_STATUS,),
    bookmark={"spec": {"selector": None, "template": _TEMPLATE_BOOKMARK, "updateStrategy": {}}, "status": {}},
    has_generation=True,
)
INGRESSES = Kind(
    group="networking.k8s.io",
    plural="ingresses",
    singular="ingress",
    kind="Ingress",
    short_names=("ing",),
    storage_hash="39NQlfNR+bo=",
    subresources=(_STATUS,),
    bookmark={"spec": {}, "status": {"loadBalancer": {}}},
    has_generation=True,
)
LEASES = Kind(
    group="coordination.k8s.io",
    plural="leases",
    singular="lease",
    kind="Lease",
    storage_hash="/sY7hl8ol1U=",
    bookmark={"spec": {}},
)
_RBAC = "rbac.authorization.k8s.io"
ROLES = Kind(
    group=_RBAC,
    plural="roles",
    singular="role",
    kind="Role",
    storage_hash="7FuwZcIIItM=",
    bookmark={"rules": None},
)
ROLE_BINDINGS = Kind(
    group=_RBAC,
    plural="rolebindings",
    singular="rolebinding",
    kind="RoleBinding",
    storage_hash="eGsCzGH6b1g=",
    bookmark={"roleRef": {"apiGroup": "", "kind": "", "name": ""}},
)
CLUSTER_ROLES = Kind(
    group=_RBAC,
    plural="clusterroles",
    singular="clusterrole",
    kind="ClusterRole",
    namespaced=False,
    storage_hash="bYE5ZWDrJ44=",
    fields={"metadata.name": "metadata.name"},
    bookmark={"rules": None},
)
CLUSTER_ROLE_BINDINGS = Kind(
    group=_RBAC,
    plural="clusterrolebindings",
    singular="clusterrolebinding",
    kind="ClusterRoleBinding",
    namespaced=False,
    storage_hash="48tpQ8gZHFc=",
    fields={"metadata.name": "metadata.name"},
    bookmark={"roleRef": {"apiGroup": "", "kind": "", "name": ""}},
)
CUSTOM_RESOURCE_DEFINITIONS = Kind(
    group="apiextensions.k8s.io",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    kind="CustomResourceDefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    storage_hash="jfWCUB31mvA=",
    subresources=(_STATUS,),
    fields={"metadata.name": "metadata.name"},
    has_generation=True,
    bookmark={
        "spec": {"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": None},
        "status": {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": None},
    },
)

BUILT_IN: tuple[Kind, ...] = (
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    DAEMON_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    INGRESSES,
    LEASES,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    CUSTOM_RESOURCE_DEFINITIONS,
)


def from_definition(definition: Json) -> tuple[Kind, ...]:
    """The kinds that a custom resource definition declares: one per served version."""
    spec = definition["spec"]
    names = spec["names"]
    made: list[Kind] = []
    for version in spec["versions"]:
        if not version.get("served", True):
            continue
        fields = dict(_NAME_FIELDS)
        if spec["scope"] != "Namespaced":
            fields.pop("metadata.namespace")
        for selectable in version.get("selectableFields", []):
            path = str(selectable["jsonPath"]).lstrip(".")
            fields[path] = path
        status = "status" in (version.get("subresources") or {})
        made.append(
            Kind(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                singular=names.get("singular") or names["kind"].lower(),
                kind=names["kind"],
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames", [])),
                categories=tuple(names.get("categories", [])),
                verbs=("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"),
                storage_hash="gIwvi5rymmg=",
                subresources=(_STATUS,) if status else (),
                fields=fields,
                named_field_error=False,
                has_generation=True,
                custom=True,
                definition=version,
            )
        )
    return tuple(made)
