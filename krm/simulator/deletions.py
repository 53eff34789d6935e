"""Deletions: at once, after a grace period, or when the finalizers are gone.

Two controllers of a real cluster are played here, since without them nothing would ever go: the node's agent that
lets a pod go after its grace period, and the protection of claims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from krm.simulator import defaults, options, status
from krm.simulator import kinds as kinds_module
from krm.simulator.kinds import Json, Kind
from krm.simulator.objects import Version
from krm.simulator.paths import Target
from krm.simulator.store import Store


@dataclass(frozen=True, kw_only=True)
class WriteSettings:
    """How writes behave."""

    grace_scale: float = 1.0
    """Factor on the time that a terminating pod really stays; its timestamps are not scaled."""
    finalizer_delay_s: float = 0.01
    """How soon the protection of an unused claim is lifted."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What a deletion left behind: the object that still stands, or nothing; and its last state."""

    version: Version | None
    last: Version


class Deleter:
    """Deletes objects of a store."""

    def __init__(self, store: Store, settings: WriteSettings) -> None:
        self._store = store
        self._settings = settings
        self._timers: set[asyncio.TimerHandle] = set()

    def close(self) -> None:
        """Give up what was to happen later."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def delete(self, version: Version, asked: Json) -> bytes:
        """Delete an object as the options of a request ask; the answer's body. Raises StatusError."""
        kind = version.kind
        conditions = asked.get("preconditions") or {}
        if conditions.get("uid", version.uid) != version.uid:
            text = f"Precondition failed: UID in precondition: {conditions['uid']}, UID in object meta: {version.uid}"
            raise status.conflict(kind, version.name, text)
        if conditions.get("resourceVersion", str(version.rv)) != str(version.rv):
            wanted = conditions["resourceVersion"]
            raise status.conflict(
                kind,
                version.name,
                f"Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: "
                f"{version.rv}",
            )
        left = self.remove(version, asked.get("gracePeriodSeconds"))
        if kind.returns_deleted or left.version is not None:
            return (left.version or left.last).whole() + b"\n"
        return orjson.dumps(status.success(kind, version.name, version.uid)) + b"\n"

    def remove(self, version: Version, grace_s: int | None = None) -> Removal:
        """Delete an object: at once, or after its grace period or finalizers."""
        kind, obj = version.kind, version.parse()
        metadata = obj["metadata"]
        if kind is kinds_module.NAMESPACES:
            return Removal(version=None, last=self._remove_namespace(version, obj))
        grace_s = _grace(kind, obj, grace_s)
        if grace_s > 0 or metadata.get("finalizers"):
            if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) <= grace_s:
                return Removal(version=version, last=version)
            marked = self._mark(kind, obj, grace_s)
            self._finish_later(marked, grace_s)
            return Removal(version=marked, last=marked)
        if "deletionTimestamp" in metadata:
            self._mark(kind, obj, 0)
        return Removal(version=None, last=self._store.delete(kind, version.namespace, version.name))

    def _mark(self, kind: Kind, obj: Json, grace_s: int) -> Version:
        metadata = obj["metadata"]
        is_first = "deletionTimestamp" not in metadata
        until = self._store.clock() + timedelta(seconds=grace_s)
        metadata["deletionTimestamp"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata["deletionGracePeriodSeconds"] = grace_s
        if is_first and kind.has_generation:
            metadata["generation"] = metadata.get("generation", 0) + 1
        return self._store.update(kind, obj)

    def _finish_later(self, marked: Version, grace_s: int) -> None:
        kind = marked.kind
        if kind.graceful:
            self._later(grace_s * self._settings.grace_scale, lambda: self._let_go(marked))
        elif kind is kinds_module.PERSISTENT_VOLUME_CLAIMS:
            self._later(self._settings.finalizer_delay_s, lambda: self._lift_protection(marked))

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)

    def _let_go(self, marked: Version) -> None:
        """What the agent of the node does when the containers have ended: delete with no grace left."""
        version = self._store.get(marked.kind, marked.namespace, marked.name)
        if version is not None and version.uid == marked.uid:
            self.remove(version, 0)

    def _lift_protection(self, marked: Version) -> None:
        version = self._store.get(marked.kind, marked.namespace, marked.name)
        if version is None or version.uid != marked.uid:
            return
        if version.parse()["metadata"].get("finalizers") == [defaults.PVC_PROTECTION]:
            self._store.delete(marked.kind, marked.namespace, marked.name)

    def _remove_namespace(self, version: Version, obj: Json) -> Version:
        obj["metadata"]["deletionTimestamp"] = self._store.now_text()
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        self._store.update(version.kind, obj)
        for kind in self._store.kinds():
            if kind.namespaced:
                for inside in self._store.collection(kind).in_namespace(version.name):
                    self._store.delete(kind, inside.namespace, inside.name)
        return self._store.delete(version.kind, "", version.name)

    def delete_collection(self, target: Target, query: Mapping[str, str], grace_s: int | None) -> bytes:
        """Delete all objects of a selection; the answer's body. Raises StatusError."""
        asked = options.parse(target.kind, target.namespace, "", query)
        removed: list[bytes] = []
        for version in self._store.collection(target.kind).in_namespace(target.namespace):
            if asked.selection.matches(version):
                self.remove(version, grace_s)
                removed.append(version.body)
        head = orjson.dumps({"kind": target.kind.list_kind, "apiVersion": target.kind.api_version})
        metadata = orjson.dumps({"resourceVersion": str(self._store.rv)})
        return head[:-1] + b',"metadata":' + metadata + b',"items":[' + b",".join(removed) + b"]}\n"


def _grace(kind: Kind, obj: Json, asked: int | None) -> int:
    if not kind.graceful:
        return 0
    finished = (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if finished or not obj.get("spec", {}).get("nodeName"):
        return 0
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def read_options(body: Any, query: Mapping[str, str]) -> Json:
    """The options of a deletion, from body and query; raises StatusError."""
    asked = dict(body) if isinstance(body, dict) else {}
    if (text := query.get("gracePeriodSeconds")) is not None:
        if not text.isdigit():
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        asked["gracePeriodSeconds"] = int(text)
    grace_s = asked.get("gracePeriodSeconds")
    if grace_s is not None and (not isinstance(grace_s, int) or isinstance(grace_s, bool) or grace_s < 0):
        raise status.bad_request("gracePeriodSeconds must be a number that is not negative")
    if not isinstance(asked.get("preconditions") or {}, dict):
        raise status.bad_request("preconditions must be an object")
    return asked
