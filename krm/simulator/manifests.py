"""Manifests of the simulated cluster's objects other than pods, as the API server would store them.

Pure functions from a few facts to dicts.
"""

from __future__ import annotations

from krm.simulator import managed, pods
from krm.simulator.kinds import Json
from krm.simulator.pods import App


def _managed(obj: Json, api_version: str, at: str, manager: str = "kubectl-client-side-apply") -> Json:
    part = {"apiVersion": api_version, **{name: value for name, value in obj.items() if name != "status"}}
    obj["metadata"]["managedFields"] = [managed.entry(part, manager=manager, at=at)]
    return obj


def _managed_template(obj: Json, app: App, at: str, manager: str) -> None:
    """Managed fields of an object with a pod template, whose own part is made once per shape."""
    spec = {name: value for name, value in obj["spec"].items() if name != "template"}
    _managed({"metadata": obj["metadata"], "spec": spec}, "apps/v1", at, manager)
    template = managed.fields({"metadata": obj["spec"]["template"]["metadata"]})
    fields = obj["metadata"]["managedFields"][0]["fieldsV1"]
    fields["f:spec"]["f:template"] = {**template, "f:spec": pods.spec_fields(*pods.shape(app))}


def deployment(app: App) -> Json:
    """The deployment of an application, with all its pods ready."""
    obj: Json = {
        "metadata": {
            "name": app.name,
            "namespace": app.namespace,
            "uid": app.uid,
            "generation": 1,
            "creationTimestamp": app.created,
            "labels": {"app": app.name, "tier": app.tier},
            "annotations": {"deployment.kubernetes.io/revision": str(app.revision), "team": app.namespace},
        },
        "spec": {
            "replicas": app.replicas,
            "selector": {"matchLabels": {"app": app.name}},
            "template": {"metadata": pods.template_metadata(app), "spec": pods.template_spec(app)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
    }
    _managed_template(obj, app, app.created, "kubectl-client-side-apply")
    obj["status"] = deployment_status(app, app.replicas, app.created, 1)
    return obj


def deployment_status(app: App, ready: int, at: str, generation: int) -> Json:
    """The status of a deployment of which so many pods are ready."""
    status: Json = {"observedGeneration": generation}
    if app.replicas:
        status |= {"replicas": app.replicas, "updatedReplicas": app.replicas}
    if ready:
        status |= {"readyReplicas": ready, "availableReplicas": ready}
    if ready < app.replicas:
        status["unavailableReplicas"] = app.replicas - ready
    status["terminatingReplicas"] = 0
    enough = ready * 4 >= app.replicas * 3
    available: Json = {
        "type": "Available",
        "status": "True" if enough else "False",
        "lastUpdateTime": at,
        "lastTransitionTime": at,
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
    }
    progressing: Json = {
        "type": "Progressing",
        "status": "True",
        "lastUpdateTime": at,
        "lastTransitionTime": at,
        "reason": "NewReplicaSetAvailable",
        "message": f'ReplicaSet "{app.set_name}" has successfully progressed.',
    }
    status["conditions"] = [available, progressing]
    return status


def replica_set(app: App, replicas: int, created: str) -> Json:
    """The replica set of the current revision of an application."""
    labels = {**pods.template_labels(app), "pod-template-hash": app.template_hash}
    template = {"metadata": {**pods.template_metadata(app), "labels": labels}, "spec": pods.template_spec(app)}
    obj: Json = {
        "metadata": {
            "name": app.set_name,
            "namespace": app.namespace,
            "uid": app.set_uid,
            "generation": 1,
            "creationTimestamp": created,
            "labels": labels,
            "annotations": {
                "deployment.kubernetes.io/desired-replicas": str(app.replicas),
                "deployment.kubernetes.io/revision": str(app.revision),
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": app.name,
                    "uid": app.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app.name, "pod-template-hash": app.template_hash}},
            "template": template,
        },
    }
    _managed_template(obj, app, created, pods.CONTROLLER)
    obj["status"] = replica_set_status(replicas, replicas, 1)
    return obj


def replica_set_status(replicas: int, ready: int, generation: int) -> Json:
    """The status of a replica set."""
    status: Json = {"replicas": replicas}
    if replicas:
        status |= {"fullyLabeledReplicas": replicas}
    if ready:
        status |= {"readyReplicas": ready, "availableReplicas": ready}
    return status | {"observedGeneration": generation}


def claim(app: App, uid: str, size: str) -> Json:
    """The claim that the pods of an application mount."""
    obj: Json = {
        "metadata": {
            "name": app.claim,
            "namespace": app.namespace,
            "uid": uid,
            "creationTimestamp": app.created,
            "labels": {"app": app.name},
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
            "finalizers": ["kubernetes.io/pvc-protection"],
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": size}},
            "volumeName": f"pvc-{uid}",
            "storageClassName": "fast",
            "volumeMode": "Filesystem",
        },
    }
    _managed(obj, "v1", app.created)
    obj["status"] = {"phase": "Bound", "accessModes": ["ReadWriteMany"], "capacity": {"storage": size}}
    return obj


def service(app: App, uid: str, address: str) -> Json:
    """The service in front of an application."""
    obj: Json = {
        "metadata": {
            "name": app.name,
            "namespace": app.namespace,
            "uid": uid,
            "creationTimestamp": app.created,
            "labels": {"app": app.name},
        },
        "spec": {
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}],
            "selector": {"app": app.name},
            "clusterIP": address,
            "clusterIPs": [address],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
    }
    _managed(obj, "v1", app.created)
    obj["status"] = {"loadBalancer": {}}
    return obj


def ingress(app: App, uid: str) -> Json:
    """The ingress that leads to an application's service."""
    host = f"{app.name}.{app.namespace}.example.com"
    backend = {"service": {"name": app.name, "port": {"name": "http"}}}
    obj: Json = {
        "metadata": {
            "name": app.name,
            "namespace": app.namespace,
            "uid": uid,
            "generation": 1,
            "creationTimestamp": app.created,
            "labels": {"app": app.name},
        },
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": [host], "secretName": f"{app.name}-tls"}],
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    }
    _managed(obj, "networking.k8s.io/v1", app.created)
    obj["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}
    return obj


def namespace(name: str, uid: str, created: str) -> Json:
    """A namespace that is active."""
    labels = {"kubernetes.io/metadata.name": name}
    obj: Json = {"metadata": {"name": name, "uid": uid, "creationTimestamp": created, "labels": labels}}
    _managed(obj, "v1", created, pods.CONTROLLER)
    return {**obj, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}


def node(*, name: str, index: int, uid: str, created: str, size: tuple[str, str, str], gpus: int) -> Json:
    """A node: `size` is (instance type, cpu, memory)."""
    machine, cpu, memory = size
    capacity: Json = {"cpu": cpu, "ephemeral-storage": "500Gi", "memory": memory}
    if gpus:
        capacity["nvidia.com/gpu"] = str(gpus)
    capacity["pods"] = "250"
    network = f"10.{index // 250 % 250 + 1}.{index % 250}.0/24"
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": machine,
        "topology.kubernetes.io/region": "region-1",
        "topology.kubernetes.io/zone": f"zone-{index % 3}",
    }
    if gpus:
        labels["nvidia.com/gpu.present"] = "true"
    obj: Json = {
        "metadata": {
            "name": name,
            "uid": uid,
            "creationTimestamp": created,
            "labels": labels,
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {"podCIDR": network, "podCIDRs": [network]},
    }
    if gpus:
        obj["spec"]["taints"] = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    _managed(obj, "v1", created, pods.KUBELET)
    obj["status"] = {
        "capacity": capacity,
        "allocatable": dict(capacity),
        "conditions": node_conditions(created, created, is_ready=True),
        "addresses": [{"type": "InternalIP", "address": node_ip(index)}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": uid.replace("-", ""),
            "systemUUID": uid,
            "bootID": uid[::-1],
            "kernelVersion": "6.1.0",
            "osImage": "Debian GNU/Linux 12",
            "containerRuntimeVersion": "containerd://1.7.0",
            "kubeletVersion": "v1.36.2",
            "kubeProxyVersion": "v1.36.2",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }
    return obj


def node_ip(index: int) -> str:
    """The address of a node."""
    return f"172.20.{index // 250}.{index % 250 + 1}"


def node_conditions(heartbeat: str, since: str, *, is_ready: bool) -> list[Json]:
    """The conditions of a node at a heartbeat."""
    facts = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        if is_ready
        else ("Ready", "False", "KubeletNotReady", "container runtime is down"),
    )
    return [
        {
            "type": type_,
            "status": value,
            "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": since,
            "reason": reason,
            "message": message,
        }
        for type_, value, reason, message in facts
    ]
