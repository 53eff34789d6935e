"""A life like a cluster's: pods come, are scheduled, run, crash and go; deployments scale and roll; nodes report.

What happens, and in which order, depends on the seed alone; how fast, on the rate. Each step writes one change or a
few that belong together; what follows from it is done some steps later.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from krm.simulator import kinds, manifests, pods
from krm.simulator.kinds import Json, Kind
from krm.simulator.objects import Version
from krm.simulator.pods import App
from krm.simulator.store import Store
from krm.simulator.world import World, text_of

logger = logging.getLogger(__name__)

_TICK_S = 0.01
_MAX_STEPS_A_TICK = 2000
_SKIPS_BEFORE_REST = 20


@dataclass(order=True)
class _Due:
    step: int
    order: int
    action: Callable[[], bool] = field(compare=False)


class Churn:
    """What happens in a world."""

    def __init__(self, world: World, store: Store) -> None:
        self._world = world
        self._store = store
        self._random = world.random
        self._step = 0
        self._order = 0
        self._due: list[_Due] = []
        self.running = 0
        """Pods that the churn has brought into being, less those that it has ended; keeps their number level."""

    # Pace

    async def run(self, rate_per_s: float) -> None:
        """Let things happen at a rate of changes per second, until cancelled."""
        if rate_per_s <= 0:
            return
        loop = asyncio.get_running_loop()
        began, first = loop.time(), self._store.rv
        while True:
            wanted = first + (loop.time() - began) * rate_per_s
            steps = 0
            while self._store.rv < wanted and steps < _MAX_STEPS_A_TICK:
                self.step()
                steps += 1
            if abs(wanted - self._store.rv) > max(rate_per_s * 2, 100):
                # Somebody else wrote, or a snapshot was restored: count anew from here.
                began, first = loop.time(), self._store.rv
            await asyncio.sleep(min(_TICK_S, 1 / rate_per_s) if rate_per_s > 20 else 0.5 / rate_per_s)

    def step(self) -> None:
        """Let the next thing happen."""
        self._step += 1
        for _ in range(_SKIPS_BEFORE_REST):
            if self._due and self._due[0].step <= self._step:
                if heapq.heappop(self._due).action():
                    return
            elif self._something_new():
                return

    def _soon(self, steps: int, action: Callable[[], bool]) -> None:
        self._order += 1
        heapq.heappush(self._due, _Due(self._step + steps, self._order, action))

    def _something_new(self) -> bool:
        app = self._world.apps[self._random.randrange(len(self._world.apps))]
        draw = self._random.random()
        if draw < 0.40:
            return self._heartbeat()
        if draw < 0.60:
            return self._lose_pod(app)
        if draw < 0.72:
            return self._crash(app)
        if draw < 0.97:
            return self._scale(app)
        return self._roll(app)

    # Small things

    def _now(self) -> str:
        return self._store.now_text()

    def _change(self, kind: Kind, namespace: str, name: str, change: Callable[[Json], None]) -> bool:
        version = self._store.get(kind, namespace, name)
        if version is None:
            return False
        obj = version.parse()
        change(obj)
        self._store.update(kind, obj)
        return True

    def _pod(self, app: App, name: str) -> Version | None:
        return self._store.get(kinds.PODS, app.namespace, name)

    # Pods

    def _add_pod(self, app: App, revision: int) -> bool:
        if revision != app.revision:
            return False
        name = f"{app.set_name}-{self._world.suffix(5)}"
        while self._pod(app, name) is not None:
            name = f"{app.set_name}-{self._world.suffix(5)}"
        now = self._now()
        self._store.create(kinds.PODS, pods.pod(app, name=name, uid=self._world.new_uid(), created=now))
        app.pods.append(name)
        self.running += 1
        self._soon(self._random.randrange(1, 4), lambda: self._schedule(app, name))
        return True

    def _schedule(self, app: App, name: str) -> bool:
        place = self._world.place(app.gpus)
        containers = app.parts["containers"]

        def schedule(obj: Json) -> None:
            pods.schedule(obj, place, self._now())

        def start(obj: Json) -> None:
            pods.run(obj, containers, place, self._now())

        version = self._pod(app, name)
        if version is None or version.fields["spec.nodeName"]:
            return False
        self._soon(
            self._random.randrange(2, 12),
            lambda: self._change(kinds.PODS, app.namespace, name, start) and self._report(app),
        )
        return self._change(kinds.PODS, app.namespace, name, schedule)

    def _end_pod(self, app: App, name: str) -> bool:
        version = self._pod(app, name)
        if version is None:
            return False
        self.running -= 1
        grace_s = 30

        def mark(obj: Json) -> None:
            metadata = obj["metadata"]
            metadata["deletionTimestamp"] = text_of(self._store.clock() + timedelta(seconds=grace_s))
            metadata["deletionGracePeriodSeconds"] = grace_s
            metadata["generation"] = metadata.get("generation", 1) + 1

        self._soon(self._random.randrange(3, 20), lambda: self._let_go(app, name, version.uid))
        return self._change(kinds.PODS, app.namespace, name, mark)

    def _let_go(self, app: App, name: str, uid: str) -> bool:
        """The end as a node's agent reports it: containers ended, no grace left, gone."""
        version = self._pod(app, name)
        if version is None or version.uid != uid:
            return False
        now = self._now()

        def finish(obj: Json) -> None:
            for each in obj["status"].get("containerStatuses", []):
                ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now}
                each |= {"ready": False, "started": False, "state": {"terminated": ended}}
            for condition in obj["status"].get("conditions", []):
                if condition["type"] in ("Ready", "ContainersReady"):
                    condition |= {"status": "False", "lastTransitionTime": now}

        def no_grace(obj: Json) -> None:
            obj["metadata"] |= {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0}

        self._change(kinds.PODS, app.namespace, name, finish)
        self._change(kinds.PODS, app.namespace, name, no_grace)
        self._store.delete(kinds.PODS, app.namespace, name)
        return True

    def _lose_pod(self, app: App) -> bool:
        """One pod is deleted and replaced."""
        if not app.pods:
            return False
        name = app.pods.pop(self._random.randrange(len(app.pods)))
        revision = app.revision
        self._soon(1, lambda: self._add_pod(app, revision))
        return self._end_pod(app, name)

    def _crash(self, app: App) -> bool:
        if not app.pods:
            return False
        name = app.pods[self._random.randrange(len(app.pods))]
        version = self._pod(app, name)
        if version is None or version.fields["status.phase"] != "Running":
            return False
        now, code = self._now(), self._random.choice((1, 2, 137, 139))

        def crash(obj: Json) -> None:
            for each in obj["status"].get("containerStatuses", [])[:1]:
                reason = "OOMKilled" if code == 137 else "Error"
                ended = {"exitCode": code, "reason": reason, "startedAt": obj["status"]["startTime"], "finishedAt": now}
                each["lastState"] = {"terminated": ended}
                each["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
                each |= {"ready": False, "started": False, "restartCount": each["restartCount"] + 1}
            self._set_ready(obj, "False", now)

        self._soon(self._random.randrange(4, 20), lambda: self._recover(app, name))
        return self._change(kinds.PODS, app.namespace, name, crash)

    def _recover(self, app: App, name: str) -> bool:
        now = self._now()

        def recover(obj: Json) -> None:
            for each in obj["status"].get("containerStatuses", []):
                each |= {"ready": True, "started": True, "state": {"running": {"startedAt": now}}}
            self._set_ready(obj, "True", now)

        version = self._pod(app, name)
        if version is None or b'"deletionTimestamp"' in version.body:
            return False
        return self._change(kinds.PODS, app.namespace, name, recover)

    @staticmethod
    def _set_ready(obj: Json, value: str, now: str) -> None:
        for condition in obj["status"].get("conditions", []):
            if condition["type"] in ("Ready", "ContainersReady"):
                condition |= {"status": value, "lastTransitionTime": now}

    # Deployments

    def _scale(self, app: App) -> bool:
        # Leans back to the number of pods that the world began with.
        grow = self._random.random() < (0.7 if self.running < 0 else 0.3)
        by = self._random.randrange(1, 4)
        if not grow and len(app.pods) <= by:
            return False
        app.replicas = len(app.pods) + by if grow else len(app.pods) - by
        revision = app.revision
        self._soon(1, lambda: self._scale_set(app))
        for n in range(by):
            if grow:
                self._soon(2 + n, lambda: self._add_pod(app, revision))
            else:
                name = app.pods.pop()
                self._soon(2 + n, lambda name=name: self._end_pod(app, name))  # type: ignore[misc]
        self._soon(by + 15, lambda: self._report(app))

        def scale(obj: Json) -> None:
            obj["spec"]["replicas"] = app.replicas
            obj["metadata"]["generation"] += 1

        return self._change(kinds.DEPLOYMENTS, app.namespace, app.name, scale)

    def _scale_set(self, app: App) -> bool:
        def scale(obj: Json) -> None:
            obj["spec"]["replicas"] = app.replicas
            obj["metadata"]["generation"] += 1
            generation = obj["metadata"]["generation"]
            obj["status"] = manifests.replica_set_status(app.replicas, min(len(app.pods), app.replicas), generation)

        return self._change(kinds.REPLICA_SETS, app.namespace, app.set_name, scale)

    def _report(self, app: App) -> bool:
        """The deployment's status catches up with its pods."""
        running = sum(
            1
            for name in app.pods
            if (version := self._pod(app, name)) is not None and version.fields["status.phase"] == "Running"
        )

        def report(obj: Json) -> None:
            generation = obj["metadata"]["generation"]
            obj["status"] = manifests.deployment_status(app, min(running, app.replicas), self._now(), generation)

        return self._change(kinds.DEPLOYMENTS, app.namespace, app.name, report)

    def _roll(self, app: App) -> bool:
        """A new revision: a new replica set, and its pods in the place of the old ones."""
        if app.old_pods or not app.pods:
            return False
        old_set, app.old_pods, app.pods = app.set_name, app.pods, []
        app.revision += 1
        self._world.new_revision(app)
        revision, count = app.revision, len(app.old_pods)
        self._soon(1, lambda: self._new_set(app, revision))
        for n in range(count):
            self._soon(3 + 4 * n, lambda: self._add_pod(app, revision))
            self._soon(12 + 4 * n, lambda: self._retire(app))
        self._soon(16 + 4 * count, lambda: self._empty_set(app, old_set))
        self._soon(18 + 4 * count, lambda: self._report(app))
        fresh = manifests.deployment(app)

        def roll(obj: Json) -> None:
            obj["spec"]["template"] = fresh["spec"]["template"]
            obj["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = str(app.revision)
            obj["metadata"]["generation"] += 1

        return self._change(kinds.DEPLOYMENTS, app.namespace, app.name, roll)

    def _new_set(self, app: App, revision: int) -> bool:
        if revision != app.revision or self._store.get(kinds.REPLICA_SETS, app.namespace, app.set_name) is not None:
            return False
        self._store.create(kinds.REPLICA_SETS, manifests.replica_set(app, app.replicas, self._now()))
        return True

    def _retire(self, app: App) -> bool:
        return bool(app.old_pods) and self._end_pod(app, app.old_pods.pop(0))

    def _empty_set(self, app: App, name: str) -> bool:
        def empty(obj: Json) -> None:
            obj["spec"]["replicas"] = 0
            obj["metadata"]["generation"] += 1
            obj["status"] = manifests.replica_set_status(0, 0, obj["metadata"]["generation"])

        return self._change(kinds.REPLICA_SETS, app.namespace, name, empty)

    # Nodes

    def _heartbeat(self) -> bool:
        node = self._world.nodes[self._random.randrange(len(self._world.nodes))]
        fails = self._random.random() < 0.02
        if fails:
            self._soon(self._random.randrange(30, 90), lambda: self._node_reports(node.name, is_ready=True))
        return self._node_reports(node.name, is_ready=not fails)

    def _node_reports(self, name: str, *, is_ready: bool) -> bool:
        now = self._now()

        def beat(obj: Json) -> None:
            found = {each["type"]: each for each in obj["status"]["conditions"]}
            was_ready = found["Ready"]["status"] == "True"
            since = now if was_ready is not is_ready else found["Ready"]["lastTransitionTime"]
            obj["status"]["conditions"] = manifests.node_conditions(now, since, is_ready=is_ready)

        return self._change(kinds.NODES, "", name, beat)
