"""What a ``get`` is about: ``pods``, ``po,svc``, ``pod web-1 web-2``, ``pod/web-1 svc/web``, as kubectl takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from krm import resources
from krm.errors import ConfigError
from krm.resources import Resource


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind: all its objects, or those of these names."""

    resource: Resource
    names: tuple[str, ...] = ()


def parse(words: Sequence[str]) -> list[Target]:
    """Read the words after ``get``. Raises ``ConfigError``."""
    if any("/" in word for word in words):
        return _by_pairs(words)
    kinds = [resources.find(kind) for kind in words[0].split(",")]
    names = tuple(dict.fromkeys(words[1:]))
    if "" in names:
        raise ConfigError("a name is empty")
    return [Target(resource=kind, names=names) for kind in dict.fromkeys(kinds)]


def _by_pairs(words: Sequence[str]) -> list[Target]:
    named: dict[Resource, list[str]] = {}
    for word in words:
        kind, slash, name = word.partition("/")
        if not slash or not kind or not name or "/" in name:
            raise ConfigError(f"{word!r}: give either RESOURCE NAME... or RESOURCE/NAME..., not both")
        names = named.setdefault(resources.find(kind), [])
        if name not in names:
            names.append(name)
    return [Target(resource=resource, names=tuple(names)) for resource, names in named.items()]
