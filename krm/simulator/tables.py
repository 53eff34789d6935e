"""Which form of an answer a client accepts, and tables: what `kubectl get` prints, made by the server.

Pods have their columns; custom resources those of their definition; all others their name and when they were created.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from krm.simulator import encoding, status
from krm.simulator.encoding import Shape
from krm.simulator.kinds import PODS, Json, Kind
from krm.simulator.lists import Page
from krm.simulator.objects import Version

_NONE = "<none>"
_UNKNOWN = "<unknown>"


def shape(accept: str) -> Shape:
    """The form that an Accept header asks for first of those that are offered; raises StatusError 406."""
    if not accept.strip():
        return Shape.WHOLE
    for choice in accept.split(","):
        media, _, rest = choice.strip().partition(";")
        if media.strip() not in ("application/json", "application/*", "*/*"):
            continue
        parameters = dict(part.strip().partition("=")[::2] for part in rest.split(";") if part.strip())
        form = parameters.get("as", "")
        if form in ("PartialObjectMetadataList", "PartialObjectMetadata"):
            return Shape.METADATA
        if form == "Table":
            return Shape.TABLE
        if not form:
            return Shape.WHOLE
    raise status.not_acceptable()


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    cell: Callable[[Json, datetime], Any]

    def definition(self) -> Json:
        """As the table states it."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


def table(page: Page, query: Mapping[str, str], now: datetime) -> bytes:
    """A list as a Table document."""
    columns = _columns(page.kind)
    head: Json = {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": encoding.list_metadata(page),
        "columnDefinitions": [column.definition() for column in columns],
    }
    include = query.get("includeObject", "Metadata")
    rows = [_row(version, columns, include, now) for version in page.versions]
    return orjson.dumps({**head, "rows": rows}) + b"\n"


def _row(version: Version, columns: Sequence[Column], include: str, now: datetime) -> Json:
    obj = version.parse()
    row: Json = {"cells": [column.cell(obj, now) for column in columns]}
    if include == "Object":
        row["object"] = orjson.Fragment(version.whole())
    elif include != "None":
        row["object"] = orjson.Fragment(version.partial())
    return row


def _columns(kind: Kind) -> tuple[Column, ...]:
    if kind is PODS:
        return _POD_COLUMNS
    printed = (kind.definition or {}).get("additionalPrinterColumns") or []
    if printed:
        return (_NAME, *(_printed(each) for each in printed))
    return (_NAME, _AGE if kind.custom else _CREATED)


def _printed(spec: Json) -> Column:
    path = [part for part in re.split(r"[.\[\]]", str(spec["jsonPath"])) if part]

    def cell(obj: Json, now: datetime) -> Any:
        value: Any = obj
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return age(str(value), now) if spec["type"] == "date" and value else value

    return Column(
        name=spec["name"],
        type=spec["type"],
        format=spec.get("format", ""),
        description=spec.get(
            "description", f"Custom resource definition column (in JSONPath format): {spec['jsonPath']}"
        ),
        priority=spec.get("priority", 0),
        cell=cell,
    )


def age(timestamp: str, now: datetime) -> str:
    """A duration as kubectl prints it: `2m3s`, `5h2m`, `13d`."""
    try:
        began = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return _UNKNOWN
    seconds = int((now.astimezone(UTC) - began).total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 10:
        return f"{minutes}m{seconds}s" if seconds else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 8:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days, hours = divmod(hours, 24)
    if days < 8:
        return f"{days}d{hours}h" if hours else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, days = divmod(days, 365)
    return f"{years}y{days}d" if days and years < 8 else f"{years}y"


def _pod_ready(obj: Json, _now: datetime) -> str:
    ready = sum(1 for each in obj.get("status", {}).get("containerStatuses", []) if each.get("ready"))
    return f"{ready}/{len(obj['spec'].get('containers') or [])}"


def _pod_status(obj: Json, _now: datetime) -> str:
    found = obj.get("status", {})
    reason = found.get("reason") or found.get("phase", "")
    for container in found.get("containerStatuses", []):
        state = container.get("state", {})
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        reason = waiting.get("reason") or terminated.get("reason") or reason
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else str(reason)


def _pod_restarts(obj: Json, now: datetime) -> str:
    statuses = obj.get("status", {}).get("containerStatuses", [])
    restarts = sum(each.get("restartCount", 0) for each in statuses)
    ended = [each.get("lastState", {}).get("terminated", {}).get("finishedAt") for each in statuses]
    last = max((each for each in ended if each), default=None)
    return f"{restarts} ({age(last, now)} ago)" if restarts and last else str(restarts)


def _pod_gates(obj: Json, _now: datetime) -> str:
    gates = obj["spec"].get("readinessGates") or []
    if not gates:
        return _NONE
    conditions = {each["type"]: each["status"] for each in obj.get("status", {}).get("conditions", [])}
    return f"{sum(1 for gate in gates if conditions.get(gate['conditionType']) == 'True')}/{len(gates)}"


def _age_cell(obj: Json, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp", ""), now)


_MORE = "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
_CREATION = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    f"in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. {_MORE}"
)
_NAME = Column(
    name="Name",
    format="name",
    description=(
        "Name must be unique within a namespace. Is required when creating resources, although some resources may "
        "allow a client to request the generation of an appropriate name automatically. Name is primarily intended "
        "for creation idempotence and configuration definition. Cannot be updated. More info: "
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
    ),
    cell=lambda obj, _now: obj["metadata"]["name"],
)
_CREATED = Column(
    name="Created At",
    type="date",
    description=_CREATION,
    cell=lambda obj, _now: obj["metadata"].get("creationTimestamp"),
)
_AGE = Column(name="Age", description=_CREATION, cell=_age_cell)
_POD_COLUMNS = (
    _NAME,
    Column(
        name="Ready",
        description="The aggregate readiness state of this pod for accepting traffic.",
        cell=_pod_ready,
    ),
    Column(
        name="Status",
        description="The aggregate status of the containers in this pod.",
        cell=_pod_status,
    ),
    Column(
        name="Restarts",
        description=(
            "The number of times the containers in this pod have been restarted and when the last container in this "
            "pod has restarted."
        ),
        cell=_pod_restarts,
    ),
    _AGE,
    Column(
        name="IP",
        description=(
            "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated."
        ),
        priority=1,
        cell=lambda obj, _now: obj.get("status", {}).get("podIP") or _NONE,
    ),
    Column(
        name="Node",
        description=(
            "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling "
            "by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes "
            "responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod "
            "to be scheduled on a specific node. "
            "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename"
        ),
        priority=1,
        cell=lambda obj, _now: obj["spec"].get("nodeName") or _NONE,
    ),
    Column(
        name="Nominated Node",
        description=(
            "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled "
            "right away as preemption victims receive their graceful termination periods. This field does not "
            "guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if "
            "other nodes become available sooner. Scheduler may also decide to give the resources on this node to a "
            "higher priority pod that is created after preemption. As a result, this field may be different than "
            "PodSpec.nodeName when the pod is scheduled."
        ),
        priority=1,
        cell=lambda obj, _now: obj.get("status", {}).get("nominatedNodeName") or _NONE,
    ),
    Column(
        name="Readiness Gates",
        description=(
            "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its "
            'containers are ready AND all conditions specified in the readiness gates have status equal to "True" '
            "More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates"
        ),
        priority=1,
        cell=_pod_gates,
    ),
)
