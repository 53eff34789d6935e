"""Official objects and lists for the client's answers: whole, alone or in a list, or with some fields only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from krm_client.models import generations, lazy, shapes
from krm_client.models.eager import eagerly
from krm_client.models.lazy import lazily
from krm_client.models.shapes import Shape

TYPE_META = frozenset({"kind", "apiVersion"})


def shape_of_items(model: str, *, eager: bool = False) -> Shape:
    """The shape of a list's items, without ``kind`` and ``apiVersion``: an API server leaves them out of items."""
    return _shape(model, eager, TYPE_META)


def shape_of_single(model: str, *, eager: bool = False) -> Shape:
    """The shape of an object on its own."""
    return _shape(model, eager, frozenset())


def _shape(model: str, eager: bool, leave_out: frozenset[str]) -> Shape:
    if eager:
        return shapes.shape_of(model, eagerly, deep=True, leave_out=leave_out)
    return shapes.shape_of(model, lazily, leave_out=leave_out)


def single(shape: Shape, raw: msgspec.Raw, *, kind: str, api_version: str) -> Any:
    """One object with its kind, which an object that came out of a list may lack."""
    made = from_json(shape, raw)
    stores = {field.wire: field.store for field in shape.fields}
    lazy.preset(made, {stores["kind"]: kind, stores["apiVersion"]: api_version})
    return made


def of_manifest(model: str, manifest: Mapping[str, Any], *, kind: str, api_version: str) -> Any:
    """One object of a manifest that was parsed already, with its kind."""
    return single(shape_of_single(model), msgspec.Raw(encoded(manifest)), kind=kind, api_version=api_version)


def encoded(manifest: Mapping[str, Any]) -> bytes:
    """A manifest's JSON."""
    try:
        return msgspec.json.encode(manifest)
    except (TypeError, ValueError, OverflowError):
        return json.dumps(manifest).encode()


def from_json(shape: Shape, body: bytes | str | msgspec.Raw) -> Any:
    """An object of its JSON; as the official deserialiser makes it (or refuses it) where the JSON does not fit."""
    try:
        return shape.make(msgspec.json.decode(body, type=shape.struct))
    except (msgspec.MsgspecError, UnicodeError):
        return generations.deserialize(shape.name, bytes(body) if isinstance(body, msgspec.Raw) else body)


def list_object(model: str, api_version: str, version: str | None, following: str | None, items: list[Any]) -> Any:
    """An official list like ``V1PodList``."""
    list_model = f"{model}List"
    metadata = _of_wires("V1ListMeta", {"resourceVersion": version, "continue": following})
    kind = list_model.removeprefix("V1")
    return _of_wires(list_model, {"apiVersion": api_version, "kind": kind, "metadata": metadata, "items": items})


def _of_wires(model: str, values: dict[str, Any]) -> Any:
    shape = shape_of_single(model)
    return shape.memory.construct({field.store: values.get(field.wire) for field in shape.fields})
