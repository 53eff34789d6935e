"""Official objects and lists for the client's answers: whole, alone or in a list, or with some fields only."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from krm_client.models import generations, lazy, shapes
from krm_client.models.shapes import Shape

TYPE_META = frozenset({"kind", "apiVersion"})


def shape_of_items(model: str) -> Shape:
    """The shape of a list's items, without ``kind`` and ``apiVersion``: an API server leaves them out of items."""
    return shapes.shape_of(model, lazy.make, TYPE_META)


def shape_of_single(model: str) -> Shape:
    return shapes.shape_of(model, lazy.make)


def single(shape: Shape, raw: msgspec.Raw, *, kind: str, api_version: str) -> Any:
    """One object with its kind, which an object that came out of a list may lack."""
    made = from_raw(shape, raw)
    stores = {field.wire: field.store for field in shape.fields}
    lazy.preset(made, {stores["kind"]: kind, stores["apiVersion"]: api_version})
    return made


def from_raw(shape: Shape, raw: msgspec.Raw) -> Any:
    """An object of its JSON: lazy, or as the official deserialiser makes it where the JSON does not fit the types."""
    try:
        return lazy.make(shape, msgspec.json.decode(raw, type=shape.struct))
    except (msgspec.MsgspecError, UnicodeError):
        return generations.deserialize(shape.name, bytes(raw))


def list_object(model: str, api_version: str, version: str | None, following: str | None, items: list[Any]) -> Any:
    """An official list like ``V1PodList``."""
    list_model = f"{model}List"
    metadata = _of_wires("V1ListMeta", {"resourceVersion": version, "continue": following})
    kind = list_model.removeprefix("V1")
    return _of_wires(list_model, {"apiVersion": api_version, "kind": kind, "metadata": metadata, "items": items})


def _of_wires(model: str, values: dict[str, Any]) -> Any:
    cls, stores = _stores_by_wire(model)
    return generations.construct(cls, {store: values.get(wire) for wire, store in stores.items()})


@functools.cache
def _stores_by_wire(model: str) -> tuple[type[Any], dict[str, str]]:
    cls = generations.model_class(model)
    return cls, {field.wire: field.store for field in generations.fields_of_class(cls)}


def finished(objects: Iterable[Any], *, eager: bool) -> list[Any]:
    finish: Callable[[Any], Any] = lazy.finish_all
    return [finish(one) for one in objects] if eager else list(objects)
