"""The delay store: the collector, InfluxDB with its own volume, and Chronograf with its provisioned dashboard."""

from __future__ import annotations

from typing import Final

from krm.manifests import access, dashboards
from krm.manifests.dashboards import DATABASE
from krm.manifests.network import CHRONOGRAF_PORT, INFLUXDB_PORT
from krm.manifests.options import CHRONOGRAF_IMAGE, INFLUXDB_IMAGE, Options, checksum
from krm.manifests.pods import ALIVE_FILE, Object, Sizes, alive_probe, container, named, pod, secret_env, selector
from krm.manifests.redis import authority

INFLUXDB: Final = "krm-influxdb"
CHRONOGRAF: Final = "krm-chronograf"
INFLUXDB_USER: Final = 1500
CHRONOGRAF_USER: Final = 999
COLLECTOR_SIZE: Final[Sizes] = {"cpu": "50m", "memory": "128Mi", "limit": "256Mi"}
INFLUXDB_SIZE: Final[Sizes] = {"cpu": "100m", "memory": "256Mi", "limit": "1Gi"}
CHRONOGRAF_SIZE: Final[Sizes] = {"cpu": "50m", "memory": "64Mi", "limit": "256Mi"}
_PROVISIONED: Final = "/etc/krm/chronograf"


def objects(options: Options) -> list[Object]:
    """Everything of the monitoring profile."""
    if not options.has_monitoring:
        return []
    return [_collector(options), *_influxdb(), *_chronograf()]


def _collector(options: Options) -> Object:
    mounts, volumes = authority(options)
    collects = container(
        "collector",
        COLLECTOR_SIZE,
        args=["collect", "--alive-file", ALIVE_FILE],
        livenessProbe=alive_probe(),
        envFrom=[{"configMapRef": {"name": "krm"}}],
        env=[
            secret_env("KRM_REDIS_URL", "krm-redis", "collector-url"),
            {"name": "KRM_INFLUX_URL", "value": f"http://{INFLUXDB}:{INFLUXDB_PORT}"},
            {"name": "KRM_INFLUX_BUCKET", "value": f"{DATABASE}/autogen"},
            secret_env("KRM_INFLUX_TOKEN", INFLUXDB, "collector-token"),
        ],
        mounts=mounts,
    )
    template = pod("collector", [collects], volumes=volumes, config=checksum(options.configuration))
    template["spec"]["serviceAccountName"] = access.COLLECTOR
    spec = {
        "replicas": 1,
        # Two would write the same points twice: the same points.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selector("collector")},
        "template": template,
    }
    return named("apps/v1", "Deployment", "krm-collector", "collector", spec=spec)


def _http(port: str, path: str) -> Object:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    }


def _influxdb() -> list[Object]:
    env = [
        {"name": "INFLUXDB_DB", "value": DATABASE},
        {"name": "INFLUXDB_HTTP_AUTH_ENABLED", "value": "true"},
        {"name": "INFLUXDB_HTTP_PING_AUTH_ENABLED", "value": "false"},
        {"name": "INFLUXDB_REPORTING_DISABLED", "value": "true"},
        {"name": "INFLUXDB_ADMIN_USER", "value": "admin"},
        secret_env("INFLUXDB_ADMIN_PASSWORD", INFLUXDB, "admin"),
        {"name": "INFLUXDB_WRITE_USER", "value": "collector"},
        secret_env("INFLUXDB_WRITE_USER_PASSWORD", INFLUXDB, "collector"),
        {"name": "INFLUXDB_READ_USER", "value": "chronograf"},
        secret_env("INFLUXDB_READ_USER_PASSWORD", INFLUXDB, "chronograf"),
    ]
    server = container(
        "influxdb",
        INFLUXDB_SIZE,
        image=INFLUXDB_IMAGE,
        env=env,
        mounts={"data": "/var/lib/influxdb"},
        ports=[{"name": "influxdb", "containerPort": INFLUXDB_PORT}],
        readinessProbe=_http("influxdb", "/ping"),
        livenessProbe=_http("influxdb", "/ping"),
    )
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    spec = {
        "serviceName": INFLUXDB,
        "replicas": 1,
        "selector": {"matchLabels": selector("influxdb")},
        "template": pod("influxdb", [server], user=INFLUXDB_USER),
        "volumeClaimTemplates": [claim],
    }
    ports = [{"name": "influxdb", "port": INFLUXDB_PORT}]
    service = {"selector": selector("influxdb"), "ports": ports}
    return [
        named("v1", "Service", INFLUXDB, "influxdb", spec=service),
        named("apps/v1", "StatefulSet", INFLUXDB, "influxdb", spec=spec),
    ]


def _chronograf() -> list[Object]:
    files = dashboards.chronograf()
    env = [
        {"name": "RESOURCES_PATH", "value": _PROVISIONED},
        {"name": "INFLUXDB_URL", "value": f"http://{INFLUXDB}:{INFLUXDB_PORT}"},
        {"name": "INFLUXDB_USERNAME", "value": "chronograf"},
        secret_env("INFLUXDB_PASSWORD", INFLUXDB, "chronograf"),
        {"name": "REPORTING_DISABLED", "value": "true"},
        {"name": "HOST_PAGE_DISABLED", "value": "true"},
        {"name": "BOLT_PATH", "value": "/var/lib/chronograf/chronograf-v1.db"},
    ]
    shows = container(
        "chronograf",
        CHRONOGRAF_SIZE,
        image=CHRONOGRAF_IMAGE,
        env=env,
        mounts={"data": "/var/lib/chronograf", "provisioned": _PROVISIONED},
        ports=[{"name": "chronograf", "containerPort": CHRONOGRAF_PORT}],
        readinessProbe=_http("chronograf", "/ping"),
        livenessProbe=_http("chronograf", "/ping"),
    )
    volumes = [
        {"name": "data", "emptyDir": {"sizeLimit": "256Mi"}},
        {"name": "provisioned", "configMap": {"name": CHRONOGRAF}},
    ]
    template = pod("chronograf", [shows], user=CHRONOGRAF_USER, volumes=volumes, config=checksum(files))
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selector("chronograf")},
        "template": template,
    }
    service = {
        "selector": selector("chronograf"),
        "ports": [{"name": "chronograf", "port": CHRONOGRAF_PORT}],
    }
    return [
        named("v1", "ConfigMap", CHRONOGRAF, "chronograf", data=files),
        named("v1", "Service", CHRONOGRAF, "chronograf", spec=service),
        named("apps/v1", "Deployment", CHRONOGRAF, "chronograf", spec=spec),
    ]
