"""Encoded objects: what the store keeps of each version, and the bytes that lists and watches are joined from.

An object is encoded once, when it is written. Built-in kinds are stored as the items of their lists (without
apiVersion and kind, members in the order of the API's structures); custom resources with both and in alphabetical
order. Nothing here knows of history or of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from krm.simulator.kinds import Json, Kind

_METADATA_ORDER = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
_BOOLEANS = frozenset({"unschedulable", "hostNetwork"})
_PLACED = frozenset({"metadata", "kind", "apiVersion", "status"})
_NO_LABELS: Mapping[str, str] = {}
_METADATA_MARK = b'"metadata":'


@dataclass(slots=True, kw_only=True, eq=False)
class Version:
    """One object at one version. Treated as immutable: lists, watches and snapshots share it."""

    kind: Kind
    rv: int
    key: str
    """``namespace/name``, or the name of a cluster-wide object: sorts as the real store sorts."""
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    """Values of the field selectors that this kind supports, as text."""
    body: bytes
    """The item as it stands in a list."""
    metadata_at: tuple[int, int]
    """Where in the body the metadata stands."""

    def parse(self) -> Json:
        """A new dict of the whole object, with apiVersion and kind; the caller may change it."""
        item = cast(Json, orjson.loads(self.body))
        if self.kind.custom:
            return item
        return {"kind": self.kind.kind, "apiVersion": self.kind.api_version, **item}

    def whole(self) -> bytes:
        """The object as a GET answers it, without the final newline."""
        if self.kind.custom:
            return self.body
        return head(self.kind) + self.body[1:]

    def partial(self) -> bytes:
        """The object as PartialObjectMetadata."""
        start, end = self.metadata_at
        return (
            b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":' + self.body[start:end] + b"}"
        )


def head(kind: Kind) -> bytes:
    """The opening of a built-in object: ``{"kind":...,"apiVersion":...,``."""
    return b'{"kind":"%s","apiVersion":"%s",' % (kind.kind.encode(), kind.api_version.encode())


def key_of(kind: Kind, namespace: str, name: str) -> str:
    """The place of an object in its collection."""
    return f"{namespace}/{name}" if kind.namespaced else name


def encode(kind: Kind, obj: Json, rv: int) -> Version:
    """Make a version of an object dict (which is not kept); sets its resourceVersion."""
    metadata = obj["metadata"]
    metadata["resourceVersion"] = str(rv)
    if kind.custom:
        body = orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)
        encoded = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
        start = body.index(_METADATA_MARK + encoded) + len(_METADATA_MARK)
    else:
        encoded = orjson.dumps({name: metadata[name] for name in _METADATA_ORDER if name in metadata})
        item: dict[str, Any] = {"metadata": orjson.Fragment(encoded)}
        item |= {name: value for name, value in obj.items() if name not in _PLACED}
        if "status" in obj:
            item["status"] = obj["status"]
        body = orjson.dumps(item)
        start = len(_METADATA_MARK) + 1
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    return Version(
        kind=kind,
        rv=rv,
        key=key_of(kind, namespace, name),
        namespace=namespace,
        name=name,
        uid=metadata.get("uid", ""),
        labels=metadata.get("labels") or _NO_LABELS,
        fields={label: _field_text(obj, parts) for label, parts in kind.field_paths},
        body=body,
        metadata_at=(start, start + len(encoded)),
    )


def with_version(version: Version, rv: int) -> Version:
    """The same object under another resourceVersion, as a deletion shows it."""
    return encode(version.kind, version.parse(), rv)


def _field_text(obj: Mapping[str, Any], parts: tuple[str, ...]) -> str:
    """The value at a path as a field selector compares it; absent is the empty text."""
    value: Any = obj
    for part in parts:
        if not isinstance(value, dict):
            return ""
        value = value.get(part)
        if value is None:
            # A boolean that is not set counts as false for a selector.
            return "false" if parts[-1] in _BOOLEANS else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
