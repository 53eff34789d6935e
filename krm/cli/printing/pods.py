"""The columns of pods. STATUS is more than the phase: it names what keeps a pod from running, as kubectl does."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from krm.cli.printing.ages import age
from krm.cli.printing.reach import Object, items, mapping, number, text


@dataclass
class _Tally:
    """What the walk over the containers' states finds."""

    reason: str
    ready: int = 0
    restarts: int = 0
    sidecar_restarts: int = 0
    restarted_at: str = ""
    sidecar_restarted_at: str = ""


def cells(pod: Object, now: datetime.datetime | None) -> list[str]:
    """NAME READY STATUS RESTARTS AGE, then IP, NODE, NOMINATED NODE, READINESS GATES."""
    tally = _tally(pod)
    sidecars = _sidecars(pod)
    total = len(items(pod, "spec", "containers")) + len(sidecars)
    restarts = str(tally.restarts)
    if tally.restarts and tally.restarted_at and now is not None:
        restarts += f" ({age(tally.restarted_at, now)} ago)"
    return [
        text(pod, "metadata", "name"),
        f"{tally.ready}/{total}",
        _final_reason(pod, tally.reason),
        restarts,
        age(mapping(pod, "metadata").get("creationTimestamp"), now),
        _ip(pod),
        text(pod, "spec", "nodeName", default="<none>"),
        text(pod, "status", "nominatedNodeName", default="<none>"),
        _gates(pod),
    ]


def _sidecars(pod: Object) -> set[str]:
    return {
        text(container, "name")
        for container in items(pod, "spec", "initContainers")
        if container.get("restartPolicy") == "Always"
    }


def _tally(pod: Object) -> _Tally:
    tally = _Tally(reason=text(pod, "status", "reason") or text(pod, "status", "phase"))
    conditions = items(pod, "status", "conditions")
    if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in conditions):
        tally.reason = "SchedulingGated"
    if not _initialise(pod, tally) or _holds(conditions, "Initialized"):
        tally.restarts, tally.restarted_at = tally.sidecar_restarts, tally.sidecar_restarted_at
        _count_containers(pod, tally, has_ready_condition=_holds(conditions, "Ready"))
    return tally


def _holds(conditions: Iterable[Object], kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def _initialise(pod: Object, tally: _Tally) -> bool:
    """Walk over the init containers; tells whether one of them is what the pod waits for."""
    sidecars = _sidecars(pod)
    count = len(items(pod, "spec", "initContainers"))
    for index, status in enumerate(items(pod, "status", "initContainerStatuses")):
        is_sidecar = text(status, "name") in sidecars
        tally.restarts += number(status, "restartCount")
        tally.restarted_at = max(tally.restarted_at, _last_end(status))
        if is_sidecar:
            tally.sidecar_restarts += number(status, "restartCount")
            tally.sidecar_restarted_at = max(tally.sidecar_restarted_at, _last_end(status))
        ended, waiting = mapping(status, "state", "terminated"), mapping(status, "state", "waiting")
        if ended and not number(ended, "exitCode"):
            continue
        if is_sidecar and status.get("started") is True:
            tally.ready += status.get("ready") is True
            continue
        if ended:
            tally.reason = "Init:" + (text(ended, "reason") or _exit(ended))
        elif text(waiting, "reason") not in ("", "PodInitializing"):
            tally.reason = "Init:" + text(waiting, "reason")
        else:
            tally.reason = f"Init:{index}/{count}"
        return True
    return False


def _count_containers(pod: Object, tally: _Tally, *, has_ready_condition: bool) -> None:
    has_running = False
    for status in reversed(items(pod, "status", "containerStatuses")):
        tally.restarts += number(status, "restartCount")
        tally.restarted_at = max(tally.restarted_at, _last_end(status))
        ended, waiting = mapping(status, "state", "terminated"), mapping(status, "state", "waiting")
        if text(waiting, "reason"):
            tally.reason = text(waiting, "reason")
        elif "terminated" in mapping(status, "state"):
            tally.reason = text(ended, "reason") or _exit(ended)
        elif status.get("ready") is True and "running" in mapping(status, "state"):
            has_running = True
            tally.ready += 1
    if tally.reason == "Completed" and has_running:
        tally.reason = "Running" if has_ready_condition else "NotReady"


def _last_end(status: Object) -> str:
    """RFC 3339 in UTC with seconds, as the API server writes it: the order of the texts is that of the times."""
    return text(status, "lastState", "terminated", "finishedAt")


def _exit(ended: Object) -> str:
    signal = number(ended, "signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{number(ended, 'exitCode')}"


def _final_reason(pod: Object, reason: str) -> str:
    if not text(pod, "metadata", "deletionTimestamp"):
        return reason
    if text(pod, "status", "reason") == "NodeLost":
        return "Unknown"
    return reason if text(pod, "status", "phase") in ("Failed", "Succeeded") else "Terminating"


def _ip(pod: Object) -> str:
    addresses = items(pod, "status", "podIPs")
    first = text(addresses[0], "ip") if addresses else text(pod, "status", "podIP")
    return first or "<none>"


def _gates(pod: Object) -> str:
    gates = items(pod, "spec", "readinessGates")
    if not gates:
        return "<none>"
    conditions = items(pod, "status", "conditions")
    return f"{sum(_holds(conditions, text(gate, 'conditionType')) for gate in gates)}/{len(gates)}"
