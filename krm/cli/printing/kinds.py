"""The columns of every kind but pods, and where to find a kind's columns."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from krm.cli.printing import pods
from krm.cli.printing.ages import age
from krm.cli.printing.reach import Object, items, mapping, number, pairs, text, texts
from krm.resources import Resource

Cells = Callable[[Object, datetime.datetime | None], list[str]]


@dataclass(frozen=True, kw_only=True)
class Printer:
    """The headings of a kind and what stands under them; the wide ones come last."""

    headings: tuple[str, ...]
    wide_headings: tuple[str, ...] = ()
    cells: Cells
    wide_cells: Cells | None = None
    """Where ``-o wide`` also shows more in the usual columns."""


def _name(owner: Object) -> str:
    return text(owner, "metadata", "name")


def _age(owner: Object, now: datetime.datetime | None) -> str:
    return age(mapping(owner, "metadata").get("creationTimestamp"), now)


def deployment(owner: Object, now: datetime.datetime | None) -> list[str]:
    """READY counts against the wanted replicas."""
    containers = items(owner, "spec", "template", "spec", "containers")
    return [
        _name(owner),
        f"{number(owner, 'status', 'readyReplicas')}/{number(owner, 'spec', 'replicas')}",
        str(number(owner, "status", "updatedReplicas")),
        str(number(owner, "status", "availableReplicas")),
        _age(owner, now),
        ",".join(text(container, "name") for container in containers),
        ",".join(text(container, "image") for container in containers),
        _selector(mapping(owner, "spec", "selector")),
    ]


def _selector(selector: Object) -> str:
    parts = [f"{name}={value}" for name, value in sorted(mapping(selector, "matchLabels").items())]
    for rule in items(selector, "matchExpressions"):
        key, values = text(rule, "key"), ",".join(sorted(texts(rule, "values")))
        forms = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(forms.get(text(rule, "operator"), key))
    return ",".join(parts) or "<none>"


_ACCESS_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def claim(owner: Object, now: datetime.datetime | None) -> list[str]:
    """Capacity and access modes are those of the bound volume."""
    volume = text(owner, "spec", "volumeName")
    given = texts(owner, "status", "accessModes") if volume else []
    modes = [short for mode, short in _ACCESS_MODES.items() if mode in given]
    annotated = text(owner, "metadata", "annotations", "volume.beta.kubernetes.io/storage-class")
    return [
        _name(owner),
        "Terminating" if text(owner, "metadata", "deletionTimestamp") else text(owner, "status", "phase"),
        volume,
        text(owner, "status", "capacity", "storage") if volume else "",
        ",".join(modes),
        annotated or text(owner, "spec", "storageClassName"),
        text(owner, "spec", "volumeAttributesClassName", default="<unset>"),
        _age(owner, now),
        text(owner, "spec", "volumeMode", default="<unset>"),
    ]


def service(owner: Object, now: datetime.datetime | None) -> list[str]:
    """As `service_wide`, with the address of a load balancer cut."""
    return _service(owner, now, is_wide=False)


def service_wide(owner: Object, now: datetime.datetime | None) -> list[str]:
    """With its selector, and the whole address of a load balancer."""
    return _service(owner, now, is_wide=True)


def _service(owner: Object, now: datetime.datetime | None, *, is_wide: bool) -> list[str]:
    addresses = texts(owner, "spec", "clusterIPs") or [text(owner, "spec", "clusterIP")]
    return [
        _name(owner),
        text(owner, "spec", "type"),
        addresses[0] or "<none>",
        _external(owner, is_wide=is_wide),
        ",".join(_port(port) for port in items(owner, "spec", "ports")) or "<none>",
        _age(owner, now),
        pairs(mapping(owner, "spec", "selector")),
    ]


def _port(port: Object) -> str:
    node_port = number(port, "nodePort")
    return f"{number(port, 'port')}{f':{node_port}' if node_port else ''}/{text(port, 'protocol', default='TCP')}"


def _external(owner: Object, *, is_wide: bool) -> str:
    given = texts(owner, "spec", "externalIPs")
    kind = text(owner, "spec", "type", default="ClusterIP")
    if kind == "ExternalName":
        return text(owner, "spec", "externalName", default="<none>")
    if kind != "LoadBalancer":
        return ",".join(given) or "<none>"
    balancer = _balancer(owner, is_wide=is_wide)
    return ",".join(([balancer] if balancer else []) + given) or "<pending>"


def _balancer(owner: Object, *, is_wide: bool) -> str:
    found = {text(one, "ip") or text(one, "hostname") for one in items(owner, "status", "loadBalancer", "ingress")}
    shown = ",".join(sorted(found - {""}))
    return shown if is_wide or len(shown) <= 16 else shown[:13] + "..."


def ingress(owner: Object, now: datetime.datetime | None) -> list[str]:
    """As `ingress_wide`, with a long address cut."""
    return _ingress(owner, now, is_wide=False)


def ingress_wide(owner: Object, now: datetime.datetime | None) -> list[str]:
    """With the whole address."""
    return _ingress(owner, now, is_wide=True)


def _ingress(owner: Object, now: datetime.datetime | None, *, is_wide: bool) -> list[str]:
    return [
        _name(owner),
        text(owner, "spec", "ingressClassName", default="<none>"),
        _hosts(items(owner, "spec", "rules")),
        _balancer(owner, is_wide=is_wide),
        "80, 443" if items(owner, "spec", "tls") else "80",
        _age(owner, now),
    ]


def _hosts(rules: list[Object]) -> str:
    shown: list[str] = []
    for rule in rules:
        if len(shown) == 3:
            return f"{','.join(shown)} + {len(rules) - 3} more..."
        if host := text(rule, "host"):
            shown.append(host)
    return ",".join(shown) or "*"


def node(owner: Object, now: datetime.datetime | None) -> list[str]:
    """ROLES are those that labels name."""
    system = mapping(owner, "status", "nodeInfo")
    return [
        _name(owner),
        _node_status(owner),
        _roles(mapping(owner, "metadata", "labels")),
        _age(owner, now),
        text(system, "kubeletVersion"),
        _address(owner, "InternalIP"),
        _address(owner, "ExternalIP"),
        text(system, "osImage", default="<unknown>"),
        text(system, "kernelVersion", default="<unknown>"),
        text(system, "containerRuntimeVersion", default="<unknown>"),
    ]


def _node_status(owner: Object) -> str:
    ready = [c.get("status") for c in items(owner, "status", "conditions") if c.get("type") == "Ready"]
    status = "Unknown" if not ready else "Ready" if ready[0] == "True" else "NotReady"
    return status + (",SchedulingDisabled" if mapping(owner, "spec").get("unschedulable") is True else "")


def _roles(labels: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    roles = {name.removeprefix(prefix) for name in labels if name.startswith(prefix)} - {""}
    if text(labels, "kubernetes.io/role"):
        roles.add(text(labels, "kubernetes.io/role"))
    return ",".join(sorted(roles)) or "<none>"


def _address(owner: Object, kind: str) -> str:
    found = [text(one, "address") for one in items(owner, "status", "addresses") if one.get("type") == kind]
    return found[0] if found and found[0] else "<none>"


_PRINTERS: Final[Mapping[str, Printer]] = {
    "Pod": Printer(
        headings=("NAME", "READY", "STATUS", "RESTARTS", "AGE"),
        wide_headings=("IP", "NODE", "NOMINATED NODE", "READINESS GATES"),
        cells=pods.cells,
    ),
    "Deployment": Printer(
        headings=("NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"),
        wide_headings=("CONTAINERS", "IMAGES", "SELECTOR"),
        cells=deployment,
    ),
    "PersistentVolumeClaim": Printer(
        headings=(
            *("NAME", "STATUS", "VOLUME", "CAPACITY", "ACCESS MODES", "STORAGECLASS", "VOLUMEATTRIBUTESCLASS", "AGE"),
        ),
        wide_headings=("VOLUMEMODE",),
        cells=claim,
    ),
    "Service": Printer(
        headings=("NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"),
        wide_headings=("SELECTOR",),
        cells=service,
        wide_cells=service_wide,
    ),
    "Ingress": Printer(
        headings=("NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"), cells=ingress, wide_cells=ingress_wide
    ),
    "Node": Printer(
        headings=("NAME", "STATUS", "ROLES", "AGE", "VERSION"),
        wide_headings=("INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"),
        cells=node,
    ),
}

_ANY: Final = Printer(headings=("NAME", "AGE"), cells=lambda owner, now: [_name(owner), _age(owner, now)])


def printer(resource: Resource) -> Printer:
    """The kind's columns; name and age for a kind that has none of its own."""
    return _PRINTERS.get(resource.kind, _ANY)
