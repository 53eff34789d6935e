"""Reads the official models and writes ``krm/objects/shape.json``: ``python -m krm.schema.models``.

The only server module that imports the Kubernetes models, and only when it is run: at run time KRM knows the file.
It understands the spellings of every client from 29 on (``dict(str, str)``, ``dict[str, str]``, ``Dict[str, str]``)
and refuses what it does not understand, because a spelling that is skipped is a field that silently disappears.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import keyword
import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from krm import resources

log = logging.getLogger(__name__)

SCALARS: Mapping[str, str] = {
    "str": "String",
    "int": "Long",
    "float": "Float",
    "bool": "Boolean",
    "datetime": "DateTime",
    "object": "JSON",
}
QUANTITIES = frozenset(
    {
        ("EmptyDirVolumeSource", "sizeLimit"),
        ("NodeAllocatableMappedResources", "quantity"),
        ("NodeAllocatableOverheadResources", "perContainer"),
        ("NodeAllocatableOverheadResources", "perPod"),
        ("ResourceFieldSelector", "divisor"),
    }
)
"""The quantities outside maps. The client spells them ``str`` like any text, so they are named here."""

RESERVED: Mapping[str, frozenset[str]] = {
    "Pod": frozenset({"object", "requests", "node", "persistentVolumeClaims", "services", "deployment", "owners"}),
    "Deployment": frozenset({"object", "pods"}),
    "PersistentVolumeClaim": frozenset({"object", "pods"}),
    "Service": frozenset({"object", "pods", "ingresses"}),
    "Ingress": frozenset({"object", "services"}),
    "Node": frozenset({"object", "pods"}),
}
"""Names that KRM adds to a kind; a wire field of that name would be hidden."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_VERSION_PREFIX = re.compile(r"^(?:[A-Z][a-z]+)?V1(?=[A-Z])")
_LIST = re.compile(r"^[Ll]ist\[(.+)\]$")
_MAP = re.compile(r"^(?:dict\(str, ?(.+)\)|[Dd]ict\[str, ?(.+)\])$")


class Model(Protocol):
    """What every version of the client gives each model."""

    openapi_types: Mapping[str, str]
    attribute_map: Mapping[str, str]


def shape(models: Mapping[str, Model], kinds: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """``{type: {wire name: spelling}}`` of every type that the kinds lead to, sorted.

    ``models`` has the client's classes by name, such as ``V1Pod``. Raises ``ValueError`` for a spelling or a name
    that cannot be represented, and for two models of one name.
    """
    types: dict[str, dict[str, str]] = {}
    origin: dict[str, str] = {}
    waiting = [f"V1{kind}" for kind in kinds]
    while waiting:
        model_name = waiting.pop()
        name = type_name(model_name)
        if origin.setdefault(name, model_name) != model_name:
            raise ValueError(f"{model_name} and {origin[name]} are both {name}")
        if name in types:
            continue
        model = models[model_name]
        types[name] = {}
        for attribute, spelling in model.openapi_types.items():
            wire = model.attribute_map[attribute]
            check_field_name(name, wire)
            text, inner = field(spelling, models, f"{name}.{wire}")
            types[name][wire] = "Quantity" if (name, wire) in QUANTITIES and text == "String" else text
            if inner is not None:
                waiting.append(inner)
    for name, wire in sorted(QUANTITIES):
        if name in types and types[name].get(wire) != "Quantity":
            raise ValueError(f"{name}.{wire} should be a quantity but is {types[name].get(wire)!r}")
    return {name: dict(sorted(types[name].items())) for name in sorted(types)}


def type_name(model_name: str) -> str:
    """``V1Pod`` -> ``Pod``, ``CoreV1ResourceClaim`` -> ``ResourceClaim``. Raises ``ValueError`` for any other form."""
    name, count = _VERSION_PREFIX.subn("", model_name)
    if count != 1 or not _NAME.fullmatch(name):
        raise ValueError(f"{model_name!r} is not the name of a v1 model")
    return name


def check_field_name(type_: str, wire: str) -> None:
    """Refuses names that cannot be plain fields: ``from``, ``$ref``, ``__x``, or a name that KRM itself adds."""
    if not _NAME.fullmatch(wire) or keyword.iskeyword(wire):
        raise ValueError(f"{type_}.{wire}: this name cannot be a plain field")
    if wire in RESERVED.get(type_, frozenset()):
        raise ValueError(f"{type_}.{wire} would be hidden by the field that KRM adds under this name")


def field(spelling: str, models: Mapping[str, Model], where: str) -> tuple[str, str | None]:
    """Our spelling of a client's type, and the model that it leads to, if any. Raises ``ValueError`` if unknown."""
    spelled = spelling.strip()
    if match := _MAP.match(spelled):
        value = (match.group(1) or match.group(2)).strip()
        text = _leaf(value) or _list_of_leaf(value)
        if text is None:
            raise ValueError(f"{where}: a map of {value!r} is not understood")
        return "{" + text + "}", None
    if match := _LIST.match(spelled):
        text, inner = _plain(match.group(1).strip(), models, where)
        return f"[{text}]", inner
    return _plain(spelled, models, where)


def _plain(name: str, models: Mapping[str, Model], where: str) -> tuple[str, str | None]:
    if leaf := _leaf(name):
        return leaf, None
    if name in models:
        return type_name(name), name
    raise ValueError(f"{where}: the type {name!r} is not understood")


def _leaf(name: str) -> str | None:
    return SCALARS.get(name)


def _list_of_leaf(name: str) -> str | None:
    match = _LIST.match(name)
    return "JSON" if match and match.group(1).strip() in SCALARS else None


@functools.cache
def installed() -> Mapping[str, Model]:
    """The classes of the installed client by name."""
    module = importlib.import_module("kubernetes.client.models")
    classes = {name: getattr(module, name) for name in dir(module)}  # dir, because the newest client loads lazily
    return {name: value for name, value in classes.items() if hasattr(value, "openapi_types")}


def text() -> str:
    """The content of ``shape.json`` for the installed client."""
    kinds = tuple(r.kind for r in resources.RESOURCES.values())
    document = {
        "client": importlib.metadata.version("kubernetes").split(".")[0],
        "types": shape(installed(), kinds),
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write the file beside ``krm/objects/shapes.py``."""
    path = Path(__file__).resolve().parent.parent / "objects" / "shape.json"
    path.write_text(text(), encoding="utf-8")
    log.info("shape written", extra={"path": str(path)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
