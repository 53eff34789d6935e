"""Objects to test with: small builders, and random ones that resemble what an API server sends."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import orjson

from krm.resources import PODS, Resource
from krm.store.rows import Codec, Row
from krm.table.replica import Replica


def pod(name: str = "a", namespace: str = "default", **more: Any) -> dict[str, Any]:
    """A pod with the members of ``more`` in place: version, uid, labels, owners, node, phase, containers, spec."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": more.get("uid", f"uid-{namespace}-{name}"),
        "resourceVersion": str(more.get("version", 1)),
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    if "labels" in more:
        metadata["labels"] = more["labels"]
    if "owners" in more:
        metadata["ownerReferences"] = [{"uid": uid, "kind": "ReplicaSet", "name": uid} for uid in more["owners"]]
    spec: dict[str, Any] = {"containers": more.get("containers", [{"name": "main", "image": "nginx:1"}])}
    if "node" in more:
        spec["nodeName"] = more["node"]
    spec.update(more.get("spec", {}))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": more.get("phase")},
    }


def row(codec: Codec, obj: Mapping[str, Any], *, time_streamed: float | None = None) -> Row:
    """The row of an object."""
    return codec.encode(orjson.dumps(obj), time_streamed=time_streamed)


codec_of = cache(Codec)
"""Making one takes longer than a dozen rows."""


def replica(objects: Iterable[Mapping[str, Any]], resource: Resource = PODS) -> Replica:
    """A replica that holds these objects."""
    codec = codec_of(resource)
    filled = Replica(resource, codec, cluster="default")
    filled.load([row(codec, obj) for obj in objects])
    return filled


_CPU = ("100m", "0.1", "1", "1000m", "1500m", "2", "1e3", "0.25k")
_MEMORY = ("128Mi", "134217728", "1Gi", "1024Mi", "1G", "0", "500M")
_IMAGES = ("nginx:1", "nginx:2", "Reg.io/App:1", "app(1)", "")
_TEXTS = ("a", "b", "10", "9", "1Gi", "2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00", "", "Ä", "true")


def random_pod(source: random.Random, number: int) -> dict[str, Any]:
    """A pod in which everything that filters and orders look at varies, or is missing or null."""

    def maybe(value: Any, chance: float = 0.8) -> Any:
        return value if source.random() < chance else None

    containers = [_random_container(source, at) for at in range(source.choice((0, 1, 1, 2, 3)))]
    metadata: dict[str, Any] = {
        "name": f"{source.choice(('p', 'q', '10', '9'))}-{number}",
        "namespace": source.choice(("default", "kube-system", "team-a", "team-b")),
        "uid": f"uid-{number}",
        "resourceVersion": str(source.randrange(1, 10**6)),
        "creationTimestamp": maybe(f"2026-0{source.randrange(1, 4)}-01T00:00:00Z"),
        "generation": maybe(source.choice((1, 2, 10))),
    }
    labels = {key: source.choice(("x", "y", "z", "")) for key in ("app", "tier", "a.b/c") if source.random() < 0.6}
    if source.random() < 0.9:
        metadata["labels"] = maybe(labels, 0.95)
    if source.random() < 0.7:
        metadata["annotations"] = {"note": source.choice(_TEXTS), "n's": source.choice(_TEXTS)}
    spec: dict[str, Any] = {"containers": maybe(containers, 0.95), "nodeName": maybe(f"n{source.randrange(4)}")}
    for name, choices in (
        ("hostNetwork", (True, False, None)),
        ("priority", (0, 1, 1.0, -5, 2**40, None)),
        ("terminationGracePeriodSeconds", (0, 30, 30.5)),
        ("overhead", ({"cpu": "10m"}, None)),
        ("tolerations", ([{"key": "k", "tolerationSeconds": 3}], [])),
    ):
        if source.random() < 0.5:
            spec[name] = source.choice(choices)
    if source.random() < 0.3:
        spec["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": source.choice(("c1", "c2"))}}]
    return {"metadata": metadata, "spec": spec, "status": maybe({"phase": source.choice(("Running", "Pending", None))})}


def _random_container(source: random.Random, at: int) -> dict[str, Any]:
    container: dict[str, Any] = {"name": f"c{at}", "image": source.choice(_IMAGES)}
    if source.random() < 0.2:
        del container["image"]
    if source.random() < 0.7:
        requests = {"cpu": source.choice(_CPU), "memory": source.choice(_MEMORY)}
        container["resources"] = {"requests": {k: v for k, v in requests.items() if source.random() < 0.8}}
    if source.random() < 0.5:
        ports = [{"containerPort": source.choice((80, 443, 8080))} for _ in range(source.randrange(3))]
        container["ports"] = ports
    return container
