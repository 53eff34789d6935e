"""Who may talk to whom: nobody to anybody, then the ways that the data takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from krm.manifests.options import Options
from krm.manifests.pods import Object, named, selector

API_PORT: Final = 8000
REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
INFLUXDB_PORT: Final = 8086
CHRONOGRAF_PORT: Final = 8888
_API_SERVER: Final = (443, 6443)


def objects(options: Options) -> list[Object]:
    """The policies of a profile."""
    found = [
        _policy("krm-default-deny", {}, ingress=[], egress=[]),
        _policy("krm-dns", {}, egress=[{"to": [_system()], "ports": [_port(53, "UDP"), _port(53)]}]),
        _policy("krm-api-server", _who("worker", "api"), egress=[{"ports": [_port(p) for p in _API_SERVER]}]),
        _policy("krm-api", _who("api"), ingress=[{"from": [_everybody()], "ports": [_port(API_PORT)]}]),
    ]
    users = ["worker", "api"] + (["collector"] if options.has_monitoring else [])
    if not options.has_redis:
        # Where your Redis is, only you know: narrow this one down.
        ports = [_port(REDIS_PORT), _port(SENTINEL_PORT)]
        return [*found, _policy("krm-redis", _who(*users), egress=[{"ports": ports}])]
    ports = [_port(REDIS_PORT)] + ([_port(SENTINEL_PORT)] if options.is_highly_available else [])
    found.append(_policy("krm-to-redis", _who(*users), egress=[{"to": [_pods("redis")], "ports": ports}]))
    callers = [*users, "redis"] if options.is_highly_available else users
    ways = {"ingress": [{"from": [_pods(user) for user in callers], "ports": ports}]}
    if options.is_highly_available:
        ways["egress"] = [{"to": [_pods("redis")], "ports": ports}]
    found.append(_policy("krm-redis", _who("redis"), **ways))
    if options.has_monitoring:
        found += _delays()
    return found


def _delays() -> list[Object]:
    influxdb, chronograf = [_port(INFLUXDB_PORT)], [_port(CHRONOGRAF_PORT)]
    writers = [_pods("collector"), _pods("chronograf")]
    return [
        _policy(
            "krm-to-influxdb",
            _who("collector", "chronograf"),
            egress=[{"to": [_pods("influxdb")], "ports": influxdb}],
        ),
        _policy("krm-influxdb", _who("influxdb"), ingress=[{"from": writers, "ports": influxdb}]),
        # By kubectl port-forward alone, which no policy sees: it has no users of its own.
        _policy("krm-chronograf", _who("chronograf"), ingress=[{"from": [_pods("chronograf")], "ports": chronograf}]),
    ]


def _policy(name: str, pods: Object, **ways: Sequence[Object]) -> Object:
    spec: Object = {"podSelector": pods, "policyTypes": [way.capitalize() for way in ways]}
    spec |= {way: list(rules) for way, rules in ways.items() if rules}
    return named("networking.k8s.io/v1", "NetworkPolicy", name, "network", spec=spec)


def _who(*components: str) -> Object:
    names = selector("")
    key = "app.kubernetes.io/component"
    del names[key]
    return {"matchLabels": names, "matchExpressions": [{"key": key, "operator": "In", "values": list(components)}]}


def _pods(component: str) -> Object:
    return {"podSelector": {"matchLabels": selector(component)}}


def _everybody() -> Object:
    """Any Pod of the cluster: the API asks each caller for a token."""
    return {"namespaceSelector": {}}


def _system() -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}


def _port(number: int, protocol: str = "TCP") -> Object:
    return {"port": number, "protocol": protocol}
