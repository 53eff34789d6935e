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
_STRUCTURES = frozenset({"metadata", "names", "nodeInfo", "spec", "strategy", "template", "updateStrategy"})
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


def entry(
    obj: Json, *, manager: str, at: str, operation: str = "Update", subresource: str = "", custom: bool = False
) -> Json:
    """One entry of managedFields for the fields of an object (`custom`: of a kind from a definition)."""
    made: Json = {
        "manager": manager,
        "operation": operation,
        "apiVersion": obj.get("apiVersion", "v1"),
        "time": at,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields(obj, custom=custom),
    }
    if subresource:
        made["subresource"] = subresource
    return made


def fields(obj: Json, *, custom: bool = False) -> Json:
    """The set of fields of an object in the notation FieldsV1."""
    found: Json = {}
    for name in sorted(obj):
        if name in ("apiVersion", "kind"):
            continue
        value = obj[name]
        if name == "metadata":
            value = {key: value[key] for key in value if key not in _IGNORED_METADATA}
        if not _is_empty(value):
            found[f"f:{name}"] = _of_custom(value, is_metadata=name == "metadata") if custom else _of(name, value, "")
    return found


def _is_empty(value: Any) -> bool:
    return value is None or value == {}


def _of(name: str, value: Any, parent: str) -> Json:
    if isinstance(value, dict) and value and name not in _ATOMIC:
        members = {f"f:{key}": _of(key, value[key], name) for key in sorted(value)}
        # Members that are structures by value always exist: nobody sets the structure itself.
        is_structure = not parent or name in _STRUCTURES or (parent, name) == ("spec", "resources")
        return members if is_structure else {".": {}, **members}
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
            found[f"k:{key}"] = {".": {}, **{f"f:{member}": _of(member, item[member], name) for member in sorted(item)}}
    return dict(sorted(found.items()))


def _of_custom(value: Any, *, is_metadata: bool = False) -> Json:
    if not isinstance(value, dict) or not value:
        return {}
    members = {f"f:{key}": _of_custom(value[key]) for key in sorted(value)}
    return members if is_metadata else {".": {}, **members}


def renewed(before: list[Json], made: Json) -> list[Json]:
    """The entries of an object after a write: the manager's own entry is replaced, the others stay."""

    def who(each: Json) -> tuple[str, str, str]:
        return each["manager"], each["operation"], each.get("subresource", "")

    return [*(each for each in before if who(each) != who(made)), made]
