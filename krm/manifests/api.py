"""The API: replicas behind a Service, drained before they end, and as many as the load asks for."""

from __future__ import annotations

from typing import Final

from krm.manifests import access
from krm.manifests.network import API_PORT
from krm.manifests.options import Options, checksum
from krm.manifests.pods import Object, Sizes, container, named, pod, secret_env, selector, spread
from krm.manifests.redis import authority

NAME: Final = "krm-api"
DRAIN_S: Final = 5
"""Until every node has heard that the Pod is no longer an endpoint; it goes on answering meanwhile."""
SIZE: Final[Sizes] = {"cpu": "250m", "memory": "512Mi", "limit": "4Gi"}
_TLS: Final = "/etc/krm/tls"


def objects(options: Options) -> list[Object]:
    """Deployment, Service, disruption budget and, in the highly available profile, the autoscaler."""
    found = [_deployment(options), _service(), _budget()]
    return [*found, _autoscaler()] if options.is_highly_available else found


def _deployment(options: Options) -> Object:
    mounts, volumes = authority(options)
    env = [
        secret_env("KRM_REDIS_URL", "krm-redis", "api-url"),
        {"name": "KRM_HOST", "value": "0.0.0.0"},  # noqa: S104 (a Pod's address, behind policies and tokens)
        {"name": "KRM_PORT", "value": str(API_PORT)},
        {"name": "KRM_AUTH", "value": "kubernetes"},
        {"name": "KRM_TLS_CERT_FILE", "value": f"{_TLS}/tls.crt"},
        {"name": "KRM_TLS_KEY_FILE", "value": f"{_TLS}/tls.key"},
    ]

    def asked(path: str, period_s: int, failures: int) -> Object:
        get = {"path": path, "port": "https", "scheme": "HTTPS"}
        return {"httpGet": get, "periodSeconds": period_s, "timeoutSeconds": 5, "failureThreshold": failures}

    served = container(
        "api",
        SIZE,
        args=["serve"],
        envFrom=[{"configMapRef": {"name": "krm"}}],
        env=env,
        mounts={"tls": _TLS, **mounts},
        ports=[{"name": "https", "containerPort": API_PORT}],
        # Alive: it answers and follows Redis. Ready: every resource that may be read has a table, and it is not ending.
        startupProbe=asked("/healthz", 2, 60),
        livenessProbe=asked("/healthz", 10, 6),
        readinessProbe=asked("/readyz", 3, 2),
        lifecycle={"preStop": {"exec": {"command": ["python3", "-c", f"import time; time.sleep({DRAIN_S})"]}}},
    )
    template = pod(
        "api",
        [served],
        account=access.API,
        volumes=[{"name": "tls", "secret": {"secretName": "krm-api-tls"}}, *volumes],
        config=checksum(options.configuration),
        topologySpreadConstraints=spread("api"),
    )
    # The autoscaler decides where there is one: a number here would undo its decision at every apply.
    replicas = {} if options.is_highly_available else {"replicas": 2}
    spec = {
        **replicas,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": selector("api")},
        "template": template,
    }
    return named("apps/v1", "Deployment", NAME, "api", spec=spec)


def _service() -> Object:
    ports = [{"name": "https", "port": 443, "targetPort": "https"}]
    return named("v1", "Service", NAME, "api", spec={"selector": selector("api"), "ports": ports})


def _budget() -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector("api")}}
    return named("policy/v1", "PodDisruptionBudget", NAME, "api", spec=spec)


def _autoscaler() -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": 2,
        "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": cpu}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    return named("autoscaling/v2", "HorizontalPodAutoscaler", NAME, "api", spec=spec)
