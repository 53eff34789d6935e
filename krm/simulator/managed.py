"""managedFields: who set which fields, in the form that the real server keeps on each object.

Plausible rather than exact: one entry per manager, operation and subresource, made from the fields that the object
has now. Conflicts between appliers are not tracked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from krm.simulator.kinds import Json

_MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "podIPs": ("ip",),
    "hostIPs": ("ip",),
    "addresses": ("type",),
}
_ATOMIC = frozenset({"selector", "nodeSelector", "fieldRef", "roleRef"})
_IGNORED_METADATA = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
    }
)


def manager_of(user_agent: str) -> str:
    """The name of a manager as the real server takes it: the user agent up to its first slash."""
    return user_agent.partition("/")[0][:128] or "unknown"


def entry(obj: Json, *, manager: str, at: str, operation: str = "Update", subresource: str = "") -> Json:
    """One entry of managedFields for the fields of an object."""
    made: Json = {
        "manager": manager,
        "operation": operation,
        "apiVersion": obj.get("apiVersion", "v1"),
        "time": at,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields(obj),
    }
    if subresource:
        made["subresource"] = subresource
    return made


def fields(obj: Json) -> Json:
    """The set of fields of an object in the notation FieldsV1."""
    found: Json = {}
    for name in sorted(obj):
        if name in ("apiVersion", "kind"):
            continue
        if name == "metadata":
            metadata = {key: value for key, value in obj[name].items() if key not in _IGNORED_METADATA}
            if metadata:
                found["f:metadata"] = {f"f:{key}": _of(key, metadata[key]) for key in sorted(metadata)}
        else:
            found[f"f:{name}"] = _of(name, obj[name], top=True)
    return found


def _of(name: str, value: Any, *, top: bool = False) -> Json:
    if isinstance(value, dict) and value and name not in _ATOMIC:
        members = {f"f:{key}": _of(key, value[key]) for key in sorted(value)}
        return members if top or name in ("template", "metadata", "strategy", "spec") else {".": {}, **members}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return _of_list(name, value)
    return {}


def _of_list(name: str, items: list[Json]) -> Json:
    keys = _MERGE_KEYS.get(name)
    if name == "ports":
        keys = ("containerPort", "protocol") if "containerPort" in items[0] else ("port", "protocol")
    if keys is None:
        return {}
    found: Json = {} if name == "containers" else {".": {}}
    for item in items:
        key = orjson.dumps({each: item[each] for each in keys if each in item}).decode()
        if name == "ownerReferences":
            found[f"k:{key}"] = {}
        else:
            found[f"k:{key}"] = {".": {}, **{f"f:{member}": _of(member, item[member]) for member in sorted(item)}}
    return dict(sorted(found.items()))


def renewed(before: list[Json], made: Json) -> list[Json]:
    """The entries of an object after a write: the manager's own entry is replaced, the others stay."""

    def who(each: Json) -> tuple[str, str, str]:
        return each["manager"], each["operation"], each.get("subresource", "")

    return [*(each for each in before if who(each) != who(made)), made]
