"""What all Pods share: labels, "restricted" security, resources, probes, volumes. Nothing of a particular part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from krm.manifests.options import IMAGE, NAMESPACE

Object = dict[str, Any]


class Sizes(TypedDict):
    """What a container asks for, and the memory at which it is killed."""

    cpu: str
    memory: str
    limit: str


UID: Final = 65_532
"""Of KRM's image; no user of a node has it."""
PRIORITY: Final = "krm"
GRACE_S: Final = 30
ALIVE_FILE: Final = "/tmp/alive"  # noqa: S108 (the container's own)
SILENT_S: Final = 60
"""A worker whose event loop has not run for this long is started again; another may have taken over long before."""
_IS_ALIVE: Final = f"import os, sys, time; sys.exit(time.time() - os.stat({ALIVE_FILE!r}).st_mtime > {SILENT_S})"


def labels(component: str, **more: str) -> dict[str, str]:
    """Kubernetes' recommended labels."""
    found = {"app.kubernetes.io/name": "krm", "app.kubernetes.io/component": component, **more}
    return {**found, "app.kubernetes.io/part-of": "krm"}


def selector(component: str, **more: str) -> dict[str, str]:
    """The labels that never change."""
    return {"app.kubernetes.io/name": "krm", "app.kubernetes.io/component": component, **more}


def named(api_version: str, kind: str, name: str, component: str, *, cluster_wide: bool = False, **body: Any) -> Object:
    """An object with its metadata in the usual place."""
    metadata: Object = {"name": name} | ({} if cluster_wide else {"namespace": NAMESPACE})
    return {"apiVersion": api_version, "kind": kind, "metadata": {**metadata, "labels": labels(component)}, **body}


def secret_env(variable: str, secret: str, key: str) -> Object:
    """A variable that a Secret holds."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def exec_probe(*command: str, period_s: int = 10, failures: int = 3, delay_s: int = 0) -> Object:
    """A probe that runs a command."""
    probe = {"exec": {"command": list(command)}, "periodSeconds": period_s, "timeoutSeconds": 5}
    return {**probe, "failureThreshold": failures} | ({"initialDelaySeconds": delay_s} if delay_s else {})


def alive_probe() -> Object:
    """Of a process with ``--alive-file``: whether its event loop runs."""
    return exec_probe("python3", "-I", "-S", "-c", _IS_ALIVE, period_s=20, failures=3, delay_s=60)


def container(
    name: str,
    size: Sizes,
    *,
    image: str = IMAGE,
    env: Sequence[Object] = (),
    mounts: Mapping[str, str] | None = None,
    **more: Any,
) -> Object:
    """One container, which may write to /tmp alone and has no CPU limit: a limit would only make it late."""
    found: Object = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **more}
    if env:
        found["env"] = list(env)
    found["resources"] = {
        "requests": {"cpu": size["cpu"], "memory": size["memory"]},
        "limits": {"memory": size["limit"]},
    }
    found["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    places = {"tmp": "/tmp", **(mounts or {})}  # noqa: S108 (the container's own)
    found["volumeMounts"] = [
        {"name": volume, "mountPath": path} | ({} if volume in ("tmp", "data") else {"readOnly": True})
        for volume, path in places.items()
    ]
    return found


def pod(
    component: str,
    containers: Sequence[Object],
    *,
    account: str | None = None,
    user: int = UID,
    volumes: Sequence[Object] = (),
    config: str = "",
    **more: Any,
) -> Object:
    """A Pod's template; ``account`` is the ServiceAccount whose token is mounted."""
    extra = more.pop("labels", {})
    annotations = {"annotations": {"krm/configuration": config}} if config else {}
    spec: Object = {
        "serviceAccountName": account or "krm-nobody",
        "automountServiceAccountToken": account is not None,
        "enableServiceLinks": False,
        "priorityClassName": PRIORITY,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **more,
        "containers": list(containers),
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}, *volumes],
    }
    return {"metadata": {"labels": labels(component, **extra), **annotations}, "spec": spec}


def spread(component: str, **more: str) -> list[Object]:
    """Over nodes and zones, as far as there are some."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(component, **more)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
