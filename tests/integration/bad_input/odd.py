"""Objects as no API server should send them, put into the simulated one past everything that it checks."""

from __future__ import annotations

import json
from typing import Any

from krm.resources import PODS, Resource
from krm.simulator import Simulation
from krm.simulator.history import EventType
from krm.simulator.objects import Version

NAME_253 = ".".join(["a" * 63] * 3 + ["b" * 61])
NOTE_BYTES = 1_500_000


def put(simulation: Simulation, item: dict[str, Any], name: str, kind: Resource = PODS) -> int:
    """Let ``item`` be in lists and watches from now on, byte for byte; its version in the history is the answer.

    ``name`` is only the place that it takes in the store. Where ``item`` has ``RV`` as a version, the real one is put.
    """
    store = simulation.store
    served = store.kind_named(kind.qualified)
    version = store.rv + 1
    body = json.dumps(item).replace('"RV"', f'"{version}"').encode()
    made = Version(
        kind=served,
        rv=version,
        key=f"default/{name}",
        namespace="default",
        name=name,
        uid="",
        labels={},
        fields={},
        body=body,
        metadata_at=(1, 1),
    )
    store._commit(served, EventType.ADDED, made, None)
    return version


def metadata(name: str, /, **more: Any) -> dict[str, Any]:
    """Of a whole object; members that are ``...`` are left out."""
    whole = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "RV", **more}
    return {member: value for member, value in whole.items() if value is not ...}


def _asking(quantity: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": quantity, "memory": "1Gi"}}}]}


NAMED: dict[str, dict[str, Any]] = {
    "no-uid": {"metadata": metadata("no-uid", uid=...)},
    "uid-null": {"metadata": metadata("uid-null", uid=None)},
    "uid-number": {"metadata": metadata("uid-number", uid=5)},
    NAME_253: {"metadata": metadata(NAME_253)},
    "large": {"metadata": metadata("large", annotations={"note": "x" * NOTE_BYTES})},
    "integers": {"metadata": metadata("integers", generation=2**63), "spec": {"priority": 2**70}},
    "labels-null": {"metadata": metadata("labels-null", labels=None, annotations=None, ownerReferences=None)},
    "label-null": {"metadata": metadata("label-null", labels={"a": None, "b": 5, "c": "kept"})},
    "labels-list": {"metadata": metadata("labels-list", labels=["a"], ownerReferences=[None, 5, {"uid": None}])},
    "quantity": {"metadata": metadata("quantity"), "spec": _asking("1e3Ki")},
    "quantity-null": {"metadata": metadata("quantity-null"), "spec": _asking(None)},
    "no-zone": {
        "metadata": metadata("no-zone", creationTimestamp="2026-01-01T00:00:00"),
        "status": {"startTime": "yesterday"},
    },
    "time-number": {"metadata": metadata("time-number", creationTimestamp=1_700_000_000)},
    "spec-null": {"metadata": metadata("spec-null"), "spec": None, "status": None},
    "spec-text": {"metadata": metadata("spec-text"), "spec": "x", "status": [1]},
    "controls": {"metadata": metadata("controls", annotations={"a": "\u202e\u0000\n\u001b[2J"})},
    "deep": {"metadata": metadata("deep"), "spec": {"x": json.loads("[" * 400 + "]" * 400)}},
}
"""Objects that have a name and a version: each is a row."""

UNVERSIONED: dict[str, dict[str, Any]] = {
    "no-version": {"metadata": metadata("no-version", resourceVersion=...)},
    "version-null": {"metadata": metadata("version-null", resourceVersion=None)},
    "version-text": {"metadata": metadata("version-text", resourceVersion="abc")},
    "version-zero": {"metadata": metadata("version-zero", resourceVersion="0")},
}
"""Objects that have a name but no version by which they could be told from older and newer ones."""

NAMELESS: dict[str, dict[str, Any]] = {
    "no-metadata": {"spec": {"nodeName": "somewhere"}},
    "metadata-null": {"metadata": None},
    "metadata-list": {"metadata": [1]},
    "empty": {},
    "no-name": {"metadata": metadata("x", name=...)},
    "no-name-either": {"metadata": metadata("y", name=...)},
}
"""Objects that cannot be told from each other by name; the table has room for one in each namespace."""
