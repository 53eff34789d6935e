"""Manifests of the simulated cluster's pods, as the API server would store them: about 7 kB each.

Pure functions from a few facts to dicts. Parts that all pods of a deployment share are built once and shared; nobody
changes them in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from krm.simulator import managed
from krm.simulator.kinds import Json

CONTROLLER = "kube-controller-manager"
KUBELET = "kubelet"
_CHECKSUM = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@dataclass(kw_only=True)
class App:
    """One application: a deployment and what belongs to it."""

    namespace: str
    name: str
    uid: str
    tier: str
    replicas: int
    cpu: str
    memory: str
    gpus: int
    claim: str
    has_sidecar: bool
    revision: int = 1
    template_hash: str = ""
    set_uid: str = ""
    created: str = ""
    pods: list[str] = field(default_factory=list)
    """Names of the pods of the current revision, oldest first."""
    old_pods: list[str] = field(default_factory=list)
    """Names of the pods of the revision before, while a rollout lasts."""
    parts: Any = None
    """What the pods of this revision share: see `shared_parts`."""

    @property
    def set_name(self) -> str:
        """The name of the current replica set."""
        return f"{self.name}-{self.template_hash}"

    @property
    def image(self) -> str:
        """The image of the main container."""
        return f"registry.example.com/{self.tier}/{self.name}:v1.{self.revision}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a pod runs."""

    node: str
    node_ip: str
    zone: str
    pod_ip: str


def _probe(path: str, period_s: int) -> Json:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": period_s,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def _containers(app: App) -> list[Json]:
    mounts: list[Json] = [{"name": "config", "mountPath": "/etc/app"}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if app.claim:
        mounts.append({"name": "data", "mountPath": "/var/lib/app"})
    end: Json = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
    requests: Json = {"cpu": app.cpu, "memory": app.memory}
    limits: Json = {"memory": app.memory}
    if app.gpus:
        requests["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = str(app.gpus)
    env: list[Json] = [{"name": f"VAR_{n}", "value": f"value-{n}"} for n in range(8)]
    env.append({"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}})
    main: Json = {
        "name": "main",
        "image": app.image,
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": env,
        "resources": {"limits": limits, "requests": requests},
        "volumeMounts": mounts,
        "livenessProbe": _probe("/live", 20),
        "readinessProbe": _probe("/ready", 10),
        **end,
        "imagePullPolicy": "IfNotPresent",
    }
    if not app.has_sidecar:
        return [main]
    sidecar: Json = {
        "name": "sidecar",
        "image": "registry.example.com/proxy:v2.1",
        "args": ["--port", "15001"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "volumeMounts": mounts[:2],
        **end,
        "imagePullPolicy": "IfNotPresent",
    }
    return [main, sidecar]


def _volumes(app: App) -> list[Json]:
    volumes: list[Json] = [
        {"name": "config", "configMap": {"name": f"{app.name}-config", "defaultMode": 420}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if app.claim:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": app.claim}})
    return volumes


def template_spec(app: App) -> Json:
    """The spec of the pods of an application, as its deployment states it."""
    return {
        "volumes": _volumes(app),
        "containers": _containers(app),
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }


def template_labels(app: App) -> Json:
    """The labels of the pods of an application."""
    return {"app": app.name, "release": f"r{app.revision}", "tier": app.tier}


def template_metadata(app: App) -> Json:
    """The metadata of the pods of an application, as its deployment states it."""
    return {
        "labels": template_labels(app),
        "annotations": {"checksum/config": _CHECKSUM, "prometheus.io/scrape": "true"},
    }


def _toleration(key: str) -> Json:
    return {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


_SPEC_BEFORE_NODE = (
    "volumes",
    "containers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "serviceAccountName",
    "serviceAccount",
)


def shared_parts(app: App) -> Json:
    """What all pods of one revision have in common: their spec without the node, and their managed fields.

    The large members are encoded once; a store copies the bytes into each pod.
    """
    spec = {
        **template_spec(app),
        "tolerations": [_toleration("not-ready"), _toleration("unreachable")],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    images = [(each["name"], each["image"]) for each in spec["containers"]]
    for name in ("volumes", "containers", "tolerations"):
        spec[name] = orjson.Fragment(orjson.dumps(spec[name]))
    metadata = {**_pod_metadata(app, {}), "generateName": f"{app.set_name}-"}
    fields = {**managed.fields({"metadata": metadata}), "f:spec": spec_fields(*shape(app))}
    return {
        "spec_head": {name: spec[name] for name in _SPEC_BEFORE_NODE},
        "spec_tail": {name: value for name, value in spec.items() if name not in _SPEC_BEFORE_NODE},
        "fields": orjson.Fragment(orjson.dumps(fields)),
        "containers": images,
    }


def shape(app: App) -> tuple[bool, bool, bool]:
    """Which optional members the pods of an application have: sidecar, claim, accelerators."""
    return app.has_sidecar, bool(app.claim), bool(app.gpus)


@lru_cache(maxsize=8)
def spec_fields(has_sidecar: bool, has_claim: bool, has_gpus: bool) -> orjson.Fragment:
    """The managed fields of a pod's spec: they depend on which members it has, not on their values."""
    example = App(
        namespace="",
        name="",
        uid="",
        tier="",
        replicas=0,
        cpu="1",
        memory="1Gi",
        gpus=int(has_gpus),
        claim="data" if has_claim else "",
        has_sidecar=has_sidecar,
    )
    return orjson.Fragment(orjson.dumps(managed.fields({"spec": template_spec(example)})["f:spec"]))


def _pod_metadata(app: App, extra_labels: Json) -> Json:
    return {
        "labels": {**template_labels(app), "pod-template-hash": app.template_hash, **extra_labels},
        "annotations": template_metadata(app)["annotations"],
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": app.set_name,
                "uid": app.set_uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def pod(app: App, *, name: str, uid: str, created: str) -> Json:
    """A pod that nobody has scheduled yet."""
    parts = app.parts
    entry = {
        "manager": CONTROLLER,
        "operation": "Update",
        "apiVersion": "v1",
        "time": created,
        "fieldsType": "FieldsV1",
        "fieldsV1": parts["fields"],
    }
    return {
        "metadata": {
            "name": name,
            "generateName": f"{app.set_name}-",
            "namespace": app.namespace,
            "uid": uid,
            "generation": 1,
            "creationTimestamp": created,
            **_pod_metadata(app, {}),
            "managedFields": [entry],
        },
        "spec": {**parts["spec_head"], **parts["spec_tail"]},
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def schedule(obj: Json, place: Place, at: str) -> None:
    """Give a pod its node, as the scheduler does."""
    spec = obj["spec"]
    names = list(spec)
    at_index = names.index("securityContext") if "securityContext" in names else len(names)
    ordered = {name: spec[name] for name in names[:at_index]}
    ordered["nodeName"] = place.node
    obj["spec"] = ordered | {name: spec[name] for name in names[at_index:]}
    obj["metadata"]["labels"] = {**obj["metadata"]["labels"], "topology.kubernetes.io/zone": place.zone}
    status = obj["status"]
    obj["status"] = {
        "phase": status["phase"],
        "conditions": [condition("PodScheduled", at)],
        "qosClass": status["qosClass"],
    }


def condition(type_: str, at: str, value: str = "True") -> Json:
    """A condition of a pod."""
    return {"type": type_, "status": value, "lastProbeTime": None, "lastTransitionTime": at}


def run(obj: Json, containers: Sequence[tuple[str, str]], place: Place, at: str) -> None:
    """Let a scheduled pod run and be ready."""
    scheduled = next(
        (each for each in obj["status"].get("conditions", []) if each["type"] == "PodScheduled"),
        condition("PodScheduled", at),
    )
    types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    obj["status"] = {
        "phase": "Running",
        "conditions": [*(condition(type_, at) for type_ in types), scheduled],
        "hostIP": place.node_ip,
        "hostIPs": [{"ip": place.node_ip}],
        "podIP": place.pod_ip,
        "podIPs": [{"ip": place.pod_ip}],
        "startTime": at,
        "containerStatuses": [container_status(name, image, obj["metadata"]["uid"], at) for name, image in containers],
        "qosClass": obj["status"].get("qosClass", "Burstable"),
    }
    metadata = obj["metadata"]
    metadata["managedFields"] = [*metadata["managedFields"], _status_entry(place.pod_ip, at)]


def container_status(name: str, image: str, uid: str, at: str) -> Json:
    """A container that runs."""
    digest = (uid.replace("-", "") * 2)[:64]
    return {
        "name": name,
        "state": {"running": {"startedAt": at}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": image,
        "imageID": f"{image.rpartition(':')[0]}@sha256:{digest}",
        "containerID": f"containerd://{digest[::-1]}",
        "started": True,
    }


_CONDITION_FIELDS: Json = {
    ".": {},
    "f:lastProbeTime": {},
    "f:lastTransitionTime": {},
    "f:status": {},
    "f:type": {},
}
_CONDITIONS_FIELDS: Json = {
    f'k:{{"type":"{type_}"}}': _CONDITION_FIELDS
    for type_ in ("ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready")
}


def _status_entry(pod_ip: str, at: str) -> Json:
    fields: Json = {
        "f:status": {
            "f:conditions": _CONDITIONS_FIELDS,
            "f:containerStatuses": {},
            "f:hostIP": {},
            "f:hostIPs": {},
            "f:phase": {},
            "f:podIP": {},
            "f:podIPs": {".": {}, f'k:{{"ip":"{pod_ip}"}}': {".": {}, "f:ip": {}}},
            "f:startTime": {},
        }
    }
    return {
        "manager": KUBELET,
        "operation": "Update",
        "apiVersion": "v1",
        "time": at,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        "subresource": "status",
    }
