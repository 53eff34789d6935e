"""JSON of any model class of the installed kubernetes client, with every field set, or null, or empty.

Independent of how the client under test decodes: it reads ``openapi_types`` and ``attribute_map`` by its own rules.
"""

from __future__ import annotations

import functools
import os
import random
import re
from typing import Any

import kubernetes.client.models as models

from krm_client.registry import RESOURCES

TIMES = (
    "2026-11-23T22:28:39Z",
    "2026-11-23T22:28:39.123456Z",
    "2026-11-23T22:28:39.5Z",
    "2026-11-23T22:28:39+02:00",
    "1970-01-01T00:00:00Z",
)
TEXTS = ("", "plain", "Grüße 世界 🚀", 'quo"te\\back\n\ttab', "\u2028 <&>", "2026-11-23", "true", "17")
BASE64 = ("", "YQ==", "w7w=", "AAECAwQF")
NUMBERS = (0, 1, -1, 443, 2**31, 2**53 + 1, 2**63 - 1)
ANYTHING: tuple[Any, ...] = (8080, "http", "25%", {"a": {"b": [1, None, "x"]}}, [], {}, True, 1.5, "")


EVERY = int(os.environ.get("KRM_TEST_EVERY", "1"))
"""Of the classes that no kind of KRM is made of, only each so-manieth is tried: for releases beside the newest."""


@functools.cache
def model_names() -> list[str]:
    """Every model class of the installed client, or as many of them as `EVERY` says."""
    found = []
    for name in dir(models):
        value = getattr(models, name)
        if isinstance(value, type) and hasattr(value, "openapi_types"):
            found.append(name)
    ours = _below([kind.model for kind in RESOURCES])
    return [name for number, name in enumerate(found) if name in ours or number % EVERY == 0]


def _below(names: list[str]) -> set[str]:
    """These classes and all that they are made of."""
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in seen or not hasattr(models, name):
            continue
        seen.add(name)
        for text in getattr(models, name).openapi_types.values():
            pending += re.findall(r"[A-Z][A-Za-z0-9]+", text)
    return seen


def every_field(name: str, depth: int, random_: random.Random) -> dict[str, Any]:
    """All fields set, in models below down to ``depth`` too; below that only what is required."""
    cls = getattr(models, name, None)
    if cls is None:
        return {}
    wires = cls.attribute_map
    return {
        wires[attribute]: _of_field(cls, attribute, text, depth, random_)
        for attribute, text in cls.openapi_types.items()
    }


def _of_field(cls: Any, attribute: str, text: str, depth: int, random_: random.Random) -> Any:
    declared = _annotation(cls, attribute)
    if "object" not in text or "[" not in declared:
        return value_of(text, depth, random_)
    if "int" in declared:
        return random_.choice((8080, "http", "25%"))
    one = random_.choice([value for value in ANYTHING if isinstance(value, dict)])
    return dict.fromkeys(("a", "b"), one) if text.startswith("Dict") else one if "Dict[" in declared else [one]


def _annotation(cls: Any, attribute: str) -> str:
    """What a pydantic class declares, which is narrower than ``object``; empty for a legacy class."""
    by_wire = {info.serialization_alias or name: info for name, info in getattr(cls, "model_fields", {}).items()}
    info = by_wire.get(cls.attribute_map[attribute])
    return "" if info is None else str(info.annotation)


def value_of(text: str, depth: int, random_: random.Random) -> Any:
    """A value of a type as ``openapi_types`` spells it."""
    inner = text[5:-1]
    if text[:4] in ("list", "List"):
        return [value_of(inner, depth, random_) for _ in range(2 if depth > 1 else 1)]
    if text[:4] in ("dict", "Dict"):
        of = inner.split(", ", 1)[1]
        return {key: value_of(of, depth, random_) for key in ("a.b/c", "ключ")}
    if text == "str":
        return random_.choice(TEXTS)
    if text == "bytes":
        return random_.choice(BASE64)
    if text == "int":
        return random_.choice(NUMBERS)
    if text == "float":
        return random_.choice((0.5, 3, -2.25))
    if text == "bool":
        return random_.choice((True, False))
    if text == "datetime":
        return random_.choice(TIMES)
    if text == "object":
        return random_.choice(ANYTHING)
    return every_field(text, depth - 1, random_) if depth > 0 else required_only(text, random_)


def required_only(name: str, random_: random.Random) -> dict[str, Any]:
    """The fields that the official class insists on; nothing of a class that the client refers to but lacks."""
    cls = getattr(models, name, None)
    if cls is None:
        return {}
    return {
        cls.attribute_map[attribute]: _of_field(cls, attribute, text, 0, random_)
        for attribute, text in cls.openapi_types.items()
        if is_required(cls, attribute)
    }


def is_required(cls: Any, attribute: str) -> bool:
    fields = getattr(cls, "model_fields", None)
    if fields is not None:
        by_wire = {info.serialization_alias or name: info for name, info in fields.items()}
        return bool(by_wire[cls.attribute_map[attribute]].is_required())
    setter = getattr(cls, attribute).fset
    return "must not be `None`" in " ".join(str(const) for const in setter.__code__.co_consts)


def with_nulls(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Each field that need not be there is null."""
    cls = getattr(models, name)
    required = {cls.attribute_map[attribute] for attribute in cls.openapi_types if is_required(cls, attribute)}
    return {wire: inner if wire in required else None for wire, inner in value.items()}


def with_empties(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Every list and map is empty."""
    cls = getattr(models, name)
    texts = {cls.attribute_map[attribute]: text for attribute, text in cls.openapi_types.items()}
    emptied: dict[str, Any] = {"list": [], "dict": {}}
    return {wire: emptied.get(texts[wire][:4].lower(), inner) for wire, inner in value.items()}
