"""Reaching into objects whose shape nobody has checked: what is absent or of another sort reads as empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def mapping(owner: Object, *path: str) -> Object:
    """The mapping at ``path``, or an empty one."""
    found: Any = owner
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def items(owner: Object, *path: str) -> list[Object]:
    """The mappings of the list at ``path``."""
    found = mapping(owner, *path[:-1]).get(path[-1])
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def texts(owner: Object, *path: str) -> list[str]:
    """The texts of the list at ``path``."""
    found = mapping(owner, *path[:-1]).get(path[-1])
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def text(owner: Object, *path: str, default: str = "") -> str:
    """The text at ``path``; ``default`` for none and for an empty one."""
    found = mapping(owner, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) and found else default


def number(owner: Object, *path: str) -> int:
    """The whole number at ``path``, or 0."""
    found = mapping(owner, *path[:-1]).get(path[-1])
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def pairs(labels: Object) -> str:
    """``a=b,c=d``, sorted, ``<none>`` for none."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "<none>"
