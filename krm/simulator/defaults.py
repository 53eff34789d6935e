"""What the real server fills in when an object is created: defaults of its structure, and what admission adds.

A table by kind. Defaults of the structure count as set by the writer (they show in managedFields), additions of
admission do not. Validation is limited to what `writes` needs to keep the store sound.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from copy import deepcopy

from krm.simulator import kinds
from krm.simulator.kinds import Json, Kind

PVC_PROTECTION = "kubernetes.io/pvc-protection"


def apply_defaults(kind: Kind, obj: Json) -> None:
    """Fill in what the structure of the kind defaults to."""
    if (fill := _DEFAULTS.get(kind)) is not None:
        fill(obj)


def admit(kind: Kind, obj: Json) -> None:
    """Fill in what the server decides itself, the first status among it."""
    if (fill := _ADMISSION.get(kind)) is not None:
        fill(obj)


def _container(container: Json) -> None:
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _probe(container[probe])
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    by_digest = "@" in image
    container.setdefault("imagePullPolicy", "IfNotPresent" if by_digest or tag not in ("", "latest") else "Always")


def _probe(probe: Json) -> None:
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)


def _pod_spec(spec: Json) -> None:
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        _container(container)
    for volume in spec.get("volumes") or []:
        for source in ("configMap", "secret"):
            if source in volume:
                volume[source].setdefault("defaultMode", 420)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")


def _pod(obj: Json) -> None:
    _pod_spec(obj.setdefault("spec", {}))
    obj["spec"].setdefault("enableServiceLinks", True)


def _toleration(key: str) -> Json:
    return {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


def _admit_pod(obj: Json) -> None:
    spec = obj["spec"]
    tolerations = spec.setdefault("tolerations", [])
    present = {each.get("key") for each in tolerations}
    for key in ("not-ready", "unreachable"):
        if f"node.kubernetes.io/{key}" not in present:
            tolerations.append(_toleration(key))
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    obj["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}


def qos_class(spec: Json) -> str:
    """The class that the requests and limits of the containers give a pod."""
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    resources = [each.get("resources") or {} for each in containers]
    if not any(each.get("requests") or each.get("limits") for each in resources):
        return "BestEffort"
    for each in resources:
        limits, requests = each.get("limits") or {}, each.get("requests") or {}
        if any(name not in limits or requests.get(name, limits[name]) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def _template(spec: Json) -> None:
    template = spec.setdefault("template", {"metadata": {}})
    template.setdefault("metadata", {})
    _pod_spec(template.setdefault("spec", {"containers": None}))


def _deployment(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _replica_set(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)


def _service(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")


def _admit_service(obj: Json) -> None:
    spec = obj["spec"]
    if spec["type"] != "ExternalName":
        # The address depends on the name only, so that the same world has the same addresses.
        place = f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
        number = zlib.crc32(place.encode())
        spec.setdefault("clusterIP", f"10.0.{number % 256}.{number // 256 % 254 + 1}")
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    obj["status"] = {"loadBalancer": {}}


def _claim(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("resources", {})
    spec.setdefault("volumeMode", "Filesystem")


def _admit_claim(obj: Json) -> None:
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if PVC_PROTECTION not in finalizers:
        finalizers.append(PVC_PROTECTION)
    obj["status"] = {"phase": "Pending"}


def _admit_ingress(obj: Json) -> None:
    obj["status"] = {"loadBalancer": {}}


def _node(obj: Json) -> None:
    obj.setdefault("spec", {})
    zero = deepcopy(kinds.NODE_ZERO_STATUS)
    obj["status"] = {**zero, **(obj.get("status") or {})}


def _namespace(obj: Json) -> None:
    obj["metadata"].setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", obj["metadata"]["name"])


def _admit_namespace(obj: Json) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj["status"] = {"phase": "Active"}


def _binding(obj: Json) -> None:
    group = "rbac.authorization.k8s.io"
    obj.get("roleRef", {}).setdefault("apiGroup", group)
    for subject in obj.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", group)


def _definition(obj: Json) -> None:
    names = obj["spec"]["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    obj["spec"].setdefault("conversion", {"strategy": "None"})


def _admit_definition(obj: Json) -> None:
    stored = [version["name"] for version in obj["spec"]["versions"] if version.get("storage")]
    obj["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def _admit_empty_status(obj: Json) -> None:
    obj["status"] = {}


def _admit_no_replicas(obj: Json) -> None:
    obj["status"] = {"replicas": 0}


_DEFAULTS: Mapping[Kind, Callable[[Json], None]] = {
    kinds.PODS: _pod,
    kinds.DEPLOYMENTS: _deployment,
    kinds.REPLICA_SETS: _replica_set,
    kinds.SERVICES: _service,
    kinds.PERSISTENT_VOLUME_CLAIMS: _claim,
    kinds.NODES: _node,
    kinds.NAMESPACES: _namespace,
    kinds.ROLE_BINDINGS: _binding,
    kinds.CLUSTER_ROLE_BINDINGS: _binding,
    kinds.CUSTOM_RESOURCE_DEFINITIONS: _definition,
}
_ADMISSION: Mapping[Kind, Callable[[Json], None]] = {
    kinds.PODS: _admit_pod,
    kinds.DEPLOYMENTS: _admit_empty_status,
    kinds.DAEMON_SETS: _admit_empty_status,
    kinds.REPLICA_SETS: _admit_no_replicas,
    kinds.STATEFUL_SETS: _admit_no_replicas,
    kinds.SERVICES: _admit_service,
    kinds.PERSISTENT_VOLUME_CLAIMS: _admit_claim,
    kinds.INGRESSES: _admit_ingress,
    kinds.NAMESPACES: _admit_namespace,
    kinds.CUSTOM_RESOURCE_DEFINITIONS: _admit_definition,
}
