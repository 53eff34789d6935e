"""Patches: JSON merge patch, the simple operations of JSON patch, and strategic merge as far as lists go by `name`.

Pure functions on parsed JSON; the original is not changed.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

from krm.simulator import status
from krm.simulator.kinds import Json

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
SUPPORTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY)

_LIST_KEYS = ("name", "type", "uid", "containerPort", "mountPath", "ip")


def apply_patch(obj: Json, patch: Any, media: str) -> Json:
    """The object after a patch of one of the supported media types; raises StatusError."""
    if media == JSON_PATCH:
        if not isinstance(patch, list):
            raise status.bad_request(
                "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            )
        return json_patch(obj, patch)
    if not isinstance(patch, dict):
        raise status.bad_request("error decoding patch: the patch is not an object")
    return cast(Json, _merge(obj, patch, strategic=media != MERGE_PATCH))


def _merge(target: Any, patch: Any, *, strategic: bool) -> Any:
    if not isinstance(patch, dict):
        if strategic and isinstance(patch, list) and isinstance(target, list):
            return _merge_lists(target, patch)
        return deepcopy(patch)
    if strategic and patch.get("$patch") == "replace":
        return {key: deepcopy(value) for key, value in patch.items() if key != "$patch"}
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if strategic and key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value, strategic=strategic)
    return merged


def _merge_lists(target: list[Any], patch: list[Any]) -> list[Any]:
    key = next(
        (name for name in _LIST_KEYS if patch and all(isinstance(each, dict) and name in each for each in patch)), None
    )
    if key is None:
        return deepcopy(patch)
    merged = list(target)
    for item in patch:
        at = next((n for n, old in enumerate(merged) if isinstance(old, dict) and old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(deepcopy(item))
        else:
            merged[at] = _merge(merged[at], item, strategic=True)
    return merged


def json_patch(obj: Json, operations: list[Any]) -> Json:
    """`add`, `replace`, `remove` and `test` of RFC 6902; raises StatusError 422 where one does not fit."""
    result: Any = deepcopy(obj)
    for operation in operations:
        try:
            result = _operate(result, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            path = operation.get("path") if isinstance(operation, dict) else operation
            raise status.StatusError(
                422, "Invalid", f"the server rejected our request due to an error in our request: {path}", details={}
            ) from error
    return cast(Json, result)


def _operate(document: Any, operation: Json) -> Any:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    if not parts:
        raise ValueError(operation["path"])
    parent = document
    for part in parts[:-1]:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    last = parts[-1]
    if isinstance(parent, list):
        _operate_on_list(parent, last, operation)
    else:
        _operate_on_map(parent, last, operation)
    return document


def _operate_on_map(parent: Json, last: str, operation: Json) -> None:
    match operation["op"]:
        case "add":
            parent[last] = operation["value"]
        case "replace":
            if last not in parent:
                raise KeyError(last)
            parent[last] = operation["value"]
        case "remove":
            del parent[last]
        case "test":
            if parent.get(last) != operation["value"]:
                raise ValueError(last)
        case other:
            raise ValueError(other)


def _operate_on_list(parent: list[Any], last: str, operation: Json) -> None:
    match operation["op"]:
        case "add":
            parent.insert(len(parent) if last == "-" else int(last), operation["value"])
        case "replace":
            parent[int(last)] = operation["value"]
        case "remove":
            del parent[int(last)]
        case "test":
            if parent[int(last)] != operation["value"]:
                raise ValueError(last)
        case other:
            raise ValueError(other)
