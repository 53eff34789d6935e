"""A source of answers for tests of schema and API: real replicas filled in the test, with a freshness that is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import orjson

from krm import resources
from krm.errors import AnswerError, Code
from krm.resources import Resource
from krm.store.head import DriftLine, Missed, WorkerStatus
from krm.store.reading import Change
from krm.store.rows import Codec
from krm.table.feeds import Delta, Feed
from krm.table.freshness import Freshness, State
from krm.table.replica import Replica

VERIFIED_MS = 1_790_000_000_000


class FilledSource:
    """Replicas without a follower."""

    def __init__(self, objects: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, cluster: str = "test") -> None:
        self.cluster = cluster
        self.resources: Sequence[Resource] = tuple(resources.RESOURCES.values())
        self.states: dict[str, State] = {}
        self.run = "run-1"
        self.feed_most = 1_000
        self.feeds: dict[str, set[Feed]] = {}
        self.log: dict[str, list[Change]] = {}
        self.drifts: dict[str, list[DriftLine]] = {}
        self.failed: str | None = None
        self.held: frozenset[str] | None = None
        """The namespaces of which there are lists; None for all."""
        self.waited: list[tuple[str, float | None, str | None]] = []
        self._replicas = {r.plural: Replica(r, Codec(r), cluster=cluster) for r in self.resources}
        for plural, each in (objects or {}).items():
            self.fill(plural, each)

    def fill(self, plural: str, objects: Sequence[Mapping[str, Any]]) -> None:
        replica = self._replicas[plural]
        replica.load([replica.codec.encode(orjson.dumps(o)) for o in objects])

    def get(self, resource: Resource) -> Replica:
        if self.state(resource) in (State.NOT_READY, State.FORBIDDEN, State.GONE):
            raise AnswerError(Code.NOT_READY, f"{resource.plural}: no verified list has been aggregated yet")
        return self._replicas[resource.plural]

    async def wait(
        self, resource: Resource, max_staleness_s: float | None = None, min_version: str | None = None
    ) -> Replica:
        self.waited.append((resource.plural, max_staleness_s, min_version))
        return self.get(resource)

    def state(self, resource: Resource) -> State:
        return self.states.get(resource.plural, State.SYNCED)

    def change(self, plural: str, obj: Mapping[str, Any] | None, *, uid: str = "") -> None:
        """One step of a table: an object that is there now, or the uid of one that has gone."""
        replica = self._replicas[plural]
        row = None if obj is None else replica.codec.encode(orjson.dumps(obj))
        number = replica.seq + 1
        step = replica.step(number, row.uid if row is not None else uid, row)
        last = row or step.before
        assert last is not None
        kind = "DELETED" if row is None else "MODIFIED" if step.before else "ADDED"
        change = Change(
            id=f"{number}-0",
            seq=number,
            type=kind,
            uid=last.uid,
            version=last.version,
            record=last.record,
            previous=step.before.record if step.before else b"",
            unseen=False,
        )
        self.log.setdefault(plural, []).append(change)
        for feed in self.feeds.get(plural, ()):
            feed.give([Delta(change.id, number, step.before, step.after, last if row is None else None)])

    @contextmanager
    def feed(self, resource: Resource) -> Iterator[Feed]:
        feed = Feed(most=self.feed_most)
        self.feeds.setdefault(resource.plural, set()).add(feed)
        try:
            yield feed
        finally:
            self.feeds[resource.plural].discard(feed)

    def position(self, resource: Resource) -> tuple[str, int, str] | None:
        if self.state(resource) is State.NOT_READY:
            return None
        number = self._replicas[resource.plural].seq
        return (self.run, number, f"{number}-0")

    async def changes(self, resource: Resource, after: str, count: int) -> Sequence[Change]:
        later = [change for change in self.log.get(resource.plural, ()) if _id(change.id) > _id(after)]
        return later[:count]

    async def oldest_change(self, resource: Resource) -> str | None:
        log = self.log.get(resource.plural)
        return log[0].id if log else None

    def now_ms(self, resource: Resource) -> int:
        return self._replicas[resource.plural].seq

    async def drift(self, resource: Resource, before: str, count: int) -> Sequence[DriftLine]:
        bound = before.removeprefix("(")
        older = [
            line
            for line in self.drifts.get(resource.plural, ())
            if before == "+" or _id(line.id) < _id(bound) or (line.id == bound and not before.startswith("("))
        ]
        return sorted(older, key=lambda line: _id(line.id), reverse=True)[:count]

    async def drift_count(self, resource: Resource) -> int:
        return len(self.drifts.get(resource.plural, ()))

    def rows(self, resource: Resource, namespaces: Set[str] | None = None) -> int:
        return self._replicas[resource.plural].count(namespaces)

    def namespaces(self) -> Set[str]:
        return {each for resource in self.resources for each in self._replicas[resource.plural].namespaces if each}

    async def store_memory(self) -> tuple[int, int | None]:
        return 50_000_000, None

    def statuses(self, resource: Resource) -> Mapping[str, WorkerStatus]:
        return {"streamer": WorkerStatus(role="streamer", requests=3, bytes=4_000)}

    def freshness(self, resource: Resource) -> Freshness:
        state = self.state(resource)
        if state is State.NOT_READY:
            return Freshness(cluster=self.cluster, resource=resource.name, state=state, reason="no list yet")
        return Freshness(
            cluster=self.cluster,
            resource=resource.name,
            state=state,
            resource_version="1042",
            verified_resource_version="1040",
            verified_at_ms=VERIFIED_MS,
            verified_age_s=1.5,
            last_event_ms=VERIFIED_MS + 1_000,
            stream_lag_s=0.02,
            contiguous=True,
            epoch="e1",
            missed=Missed(added=1, modified=2, deleted=3, ghosts=4),
            namespaces=self.held if resource.namespaced else None,
        )


def _id(text: str) -> tuple[int, int]:
    ms, _, number = text.partition("-")
    return int(ms), int(number)


def pod(name: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    """A pod such as an API server sends."""
    number = more.pop("number", 0)
    labels = more.pop("labels", {"app": name.rsplit("-", 1)[0]})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": more.pop("uid", f"uid-{namespace}-{name}"),
            "resourceVersion": str(1000 + number),
            "creationTimestamp": "2026-11-23T10:00:00Z",
            "generation": 2**40,
            "labels": labels,
            "annotations": {"note": 'quote " and ünïcode \u2028'},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-rs", "uid": "o1", "controller": True}
            ],
        },
        "spec": {
            "nodeName": more.pop("node", f"node-{number % 3}"),
            "hostIPC": False,
            "containers": [
                {
                    "name": "main",
                    "image": more.pop("image", f"registry.example/app:{number % 4}"),
                    "ports": [{"containerPort": 8080, "name": "http"}],
                    "env": [{"name": "A", "value": "1"}, {"name": "B"}],
                    "resources": {"requests": {"cpu": "250m", "memory": "64Mi", "nvidia.com/gpu": "1"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "exec": {"command": ["true"]}},
                },
                {"name": "side", "image": "side:1", "resources": {"requests": {"cpu": "1"}}},
            ],
            "securityContext": {"runAsUser": 2**31 + 5},
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
            **more.pop("spec", {}),
        },
        "status": {
            "phase": more.pop("phase", "Running" if number % 4 else "Pending"),
            "podIP": f"10.0.0.{number}",
            "podIPs": [{"ip": f"10.0.0.{number}"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T10:00:01Z"}],
            **more.pop("status", {}),
        },
        **more,
    }


def node(name: str) -> dict[str, Any]:
    """A node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "7", "labels": {"zone": "a"}},
        "spec": {"unschedulable": False},
        "status": {"capacity": {"cpu": "8", "memory": "32Gi"}},
    }
