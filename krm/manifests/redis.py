"""The Redis that KRM keeps its tables in: in memory alone, with a user per part, never evicting.

One server, or three with a replica of everything and Sentinels beside them. What is in it is made anew from the API
server within seconds, so nothing of it is kept on a disk or backed up.
"""

from __future__ import annotations

from importlib import resources as files
from typing import Final

from krm.manifests.network import REDIS_PORT, SENTINEL_PORT
from krm.manifests.options import REDIS_IMAGE, Options
from krm.manifests.pods import Object, Sizes, container, exec_probe, named, pod, secret_env, selector, spread

NAME: Final = "krm-redis"
USER: Final = 999
SERVERS: Final = 3
USERS: Final = "/etc/krm/users"
TLS: Final = "/etc/krm/redis-tls"
AUTHORITY: Final = "/etc/krm/redis-ca"
SCRIPTS: Final = "/etc/krm/scripts"
SIZE: Final[Sizes] = {"cpu": "250m", "memory": "1Gi", "limit": "2Gi"}
MAX_MEMORY: Final = "1400mb"
"""Of the limit, what data may take: replication and clients need the rest."""
SENTINEL_SIZE: Final[Sizes] = {"cpu": "20m", "memory": "32Mi", "limit": "64Mi"}
PARTS: Final = ("start-redis.sh", "start-sentinel.sh")


def authority(options: Options) -> tuple[dict[str, str], list[Object]]:
    """The mounts and volumes by which KRM's containers know Redis' certificate."""
    if not options.redis_tls:
        return {}, []
    only = {"secretName": "krm-redis-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {"redis-ca": AUTHORITY}, [{"name": "redis-ca", "secret": only}]


def peers() -> list[str]:
    """The names of the servers inside the namespace."""
    return [f"{NAME}-{number}.{NAME}" for number in range(SERVERS)]


def objects(options: Options) -> list[Object]:
    """StatefulSet, Service and disruption budget."""
    if not options.has_redis:
        return []
    is_ha = options.is_highly_available
    ports = [{"name": "redis", "port": REDIS_PORT}] + ([{"name": "sentinel", "port": SENTINEL_PORT}] if is_ha else [])
    headless = {"clusterIP": "None", "publishNotReadyAddresses": True}
    service = {**(headless if is_ha else {}), "selector": selector("redis"), "ports": ports}
    found = [named("v1", "Service", NAME, "redis", spec=service), _set(options)]
    if is_ha:
        texts = {name: files.files("krm.manifests").joinpath("scripts", name).read_text() for name in PARTS}
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector("redis")}}
        found.insert(0, named("v1", "ConfigMap", f"{NAME}-scripts", "redis", data=texts))
        found.append(named("policy/v1", "PodDisruptionBudget", NAME, "redis", spec=spec))
    return found


def _set(options: Options) -> Object:
    is_ha = options.is_highly_available
    volumes: list[Object] = [
        {"name": "data", "emptyDir": {}},
        {"name": "users", "secret": {"secretName": "krm-redis-users"}},
    ]
    if options.redis_tls:
        volumes.append({"name": "redis-tls", "secret": {"secretName": "krm-redis-tls"}})
    if is_ha:
        volumes.append({"name": "scripts", "configMap": {"name": f"{NAME}-scripts"}})
    containers = [_server(options), *([_sentinel(options)] if is_ha else [])]
    spread_out: Object = {"topologySpreadConstraints": spread("redis")} if is_ha else {}
    template = pod("redis", containers, user=USER, volumes=volumes, **spread_out)
    spec = {
        "serviceName": NAME,
        "replicas": SERVERS if is_ha else 1,
        "selector": {"matchLabels": selector("redis")},
        **({"podManagementPolicy": "Parallel"} if is_ha else {}),
        "template": template,
    }
    return named("apps/v1", "StatefulSet", NAME, "redis", spec=spec)


def _server(options: Options) -> Object:
    is_ha = options.is_highly_available
    single = ["valkey-server", *_listening(options), "--aclfile", f"{USERS}/users.acl", "--protected-mode", "no"]
    single += ["--save", "", "--appendonly", "no", "--dir", "/data", "--maxmemory-policy", "noeviction"]
    single += ["--maxmemory", MAX_MEMORY]
    run: Object = {"command": ["sh", f"{SCRIPTS}/start-redis.sh"]} if is_ha else {"command": single}
    secure = ["--tls", "--cacert", f"{TLS}/ca.crt"] if options.redis_tls else []
    mounts = {"data": "/data", "users": USERS}
    mounts |= {"redis-tls": TLS} if options.redis_tls else {}
    mounts |= {"scripts": SCRIPTS} if is_ha else {}
    more: Object = {"env": _env(options)} if is_ha else {}
    return container(
        "redis",
        SIZE,
        image=REDIS_IMAGE,
        mounts=mounts,
        ports=[{"name": "redis", "containerPort": REDIS_PORT}],
        # The user without a name may do this and nothing else.
        readinessProbe=exec_probe("valkey-cli", *secure, "-p", str(REDIS_PORT), "PING", period_s=5),
        livenessProbe={
            "tcpSocket": {"port": "redis"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        **run,
        **more,
    )


def _sentinel(options: Options) -> Object:
    probe = {"tcpSocket": {"port": "sentinel"}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}
    return container(
        "sentinel",
        SENTINEL_SIZE,
        image=REDIS_IMAGE,
        command=["sh", f"{SCRIPTS}/start-sentinel.sh"],
        env=_env(options),
        mounts={"scripts": SCRIPTS, **({"redis-tls": TLS} if options.redis_tls else {})},
        ports=[{"name": "sentinel", "containerPort": SENTINEL_PORT}],
        readinessProbe=probe,
        livenessProbe=probe,
    )


def _env(options: Options) -> list[Object]:
    values = {"PEERS": " ".join(peers()), "MAX_MEMORY": MAX_MEMORY, "TLS": TLS if options.redis_tls else ""}
    found: list[Object] = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ME", "value": f"$(POD).{NAME}"},
        *({"name": name, "value": value} for name, value in values.items()),
    ]
    for variable, key in (("REPLICA_PASSWORD", "replica"), ("SENTINEL_PASSWORD", "sentinel")):
        found.append(secret_env(variable, "krm-redis-peers", key))
    return found


def _listening(options: Options) -> list[str]:
    if not options.redis_tls:
        return ["--port", str(REDIS_PORT)]
    files_of = ["--tls-cert-file", f"{TLS}/tls.crt", "--tls-key-file", f"{TLS}/tls.key"]
    files_of += ["--tls-ca-cert-file", f"{TLS}/ca.crt", "--tls-auth-clients", "no"]
    return ["--port", "0", "--tls-port", str(REDIS_PORT), *files_of]
