"""One Deployment of workers per resource, all from one template: streamer, verifier and aggregator side by side."""

from __future__ import annotations

from typing import Final

from krm.manifests import access
from krm.manifests.options import Options, checksum
from krm.manifests.pods import (
    ALIVE_FILE,
    Object,
    Sizes,
    alive_probe,
    container,
    named,
    pod,
    secret_env,
    selector,
    spread,
)
from krm.manifests.redis import authority
from krm.resources import Resource

COMMANDS: Final = {"streamer": "stream", "verifier": "verify", "aggregator": "aggregate"}
SIZES: Final[dict[str, Sizes]] = {
    # Measured with 10,000 Pods and 100 changes a second (docs/operations.md); the limits leave room for ten times that.
    "streamer": {"cpu": "100m", "memory": "128Mi", "limit": "512Mi"},
    "verifier": {"cpu": "100m", "memory": "192Mi", "limit": "2Gi"},
    "aggregator": {"cpu": "100m", "memory": "192Mi", "limit": "2Gi"},
}


def objects(options: Options) -> list[Object]:
    """The Deployments of every configured resource."""
    return [deployment(options, resource) for resource in options.settings.resources]


def deployment(options: Options, resource: Resource) -> Object:
    """The workers of one resource."""
    kind = {"krm/resource": resource.qualified}
    mounts, volumes = authority(options)
    containers = [
        container(
            role,
            SIZES[role],
            args=[command, "--resource", resource.name, "--alive-file", ALIVE_FILE],
            envFrom=[{"configMapRef": {"name": "krm"}}],
            env=[secret_env("KRM_REDIS_URL", "krm-redis", "workers-url")],
            mounts=mounts,
            # Whether it can do its work is what `krm status` tells; a new process would not do better at that.
            livenessProbe=alive_probe(),
        )
        for role, command in COMMANDS.items()
    ]
    template = pod(
        "worker",
        containers,
        account=access.WORKERS,
        volumes=volumes,
        config=checksum(options.configuration),
        labels=kind,
        topologySpreadConstraints=spread("worker", **kind),
    )
    spec = {
        "replicas": 2 if options.is_highly_available else 1,
        # The one that waits takes over as soon as the one that works gives back its right.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": selector("worker", **kind)},
        "template": template,
    }
    found = named("apps/v1", "Deployment", f"krm-{resource.qualified.replace('.', '-')}", "worker", spec=spec)
    found["metadata"]["labels"] |= kind
    return found
