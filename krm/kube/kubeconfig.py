"""Kubeconfig files: which ones count, what they say together, and which entries a context means.

Reads them as the official client does (of several files the first that names an entry gives it, the last that names a
current context gives that), but says which file, line and entry is wrong. What the chosen entries *mean* is left to
the official client, see ``krm.kube.access``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from krm.errors import ConfigError

DEFAULT = "~/.kube/config"
_LISTS = ("clusters", "contexts", "users")
_MAX_BYTES = 16 * 2**20
_FILE_KEYS: Mapping[str, tuple[str, ...]] = {
    "clusters": ("certificate-authority",),
    "contexts": (),
    "users": ("client-certificate", "client-key", "tokenFile"),
}
_INNER = {"clusters": "cluster", "contexts": "context", "users": "user"}

Entry = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The entries of one context. Paths in them are absolute."""

    source: str
    """For messages: ``context 'a' of FILE``."""
    context: Entry
    cluster: Entry
    user: Entry
    directory: Path
    """Where the file that gave the user lies: exec plugins run there."""


def paths(kubeconfig: Path | None, env: Mapping[str, str]) -> tuple[Path, ...]:
    """The kubeconfig files that count: the given one, else those of KUBECONFIG, else the default one; those that exist.

    Empty if nothing was named and there is no default one. Raises ``ConfigError`` if what was named is not there.
    """
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise ConfigError(f"the kubeconfig {kubeconfig} does not exist; give another with --kubeconfig")
        return (kubeconfig,)
    if named := env.get("KUBECONFIG"):
        listed = [Path(p).expanduser() for p in named.split(os.pathsep) if p]
        found = tuple(p for p in listed if p.is_file())
        if not found:
            raise ConfigError(f"KUBECONFIG names {named}, which does not exist; correct it or give --kubeconfig")
        return found
    home = Path(env["HOME"]) if env.get("HOME") else None
    default = Path(DEFAULT).expanduser() if home is None else home / DEFAULT.removeprefix("~/")
    return (default,) if default.is_file() else ()


def read(files: Sequence[Path], context: str | None) -> Selected:
    """The entries that ``context`` (None: the current one) means in ``files``. Raises ``ConfigError``."""
    merged: dict[str, dict[str, tuple[Entry, Path]]] = {kind: {} for kind in _LISTS}
    current = ""
    for file in files:
        document = _load(file)
        current = _text(document, "current-context", str(file)) or current
        for kind in _LISTS:
            for name, entry in _entries(document, kind, file):
                merged[kind].setdefault(name, (entry, file))
    return _select(merged, context or current, files, asked=context is not None)


def _select(
    merged: Mapping[str, Mapping[str, tuple[Entry, Path]]], name: str, files: Sequence[Path], *, asked: bool
) -> Selected:
    where = os.pathsep.join(map(str, files))
    known = ", ".join(sorted(merged["contexts"])) or "none"
    if not name:
        raise ConfigError(f"{where}: no current-context is set; choose with --context one of: {known}")
    if name not in merged["contexts"]:
        which = f"there is no context {name!r}" if asked else f"the current-context {name!r} does not exist"
        raise ConfigError(f"{where}: {which}; choose with --context one of: {known}")
    context, file = merged["contexts"][name]
    source = f"context {name!r} of {file}"
    cluster_name, user_name = _text(context, "cluster", source), _text(context, "user", source)
    if cluster_name not in merged["clusters"]:
        raise ConfigError(f"{source}: its cluster {cluster_name!r} does not exist")
    if user_name and user_name not in merged["users"]:
        raise ConfigError(f"{source}: its user {user_name!r} does not exist")
    cluster, _ = merged["clusters"][cluster_name]
    if not _text(cluster, "server", source):
        raise ConfigError(f"{source}: its cluster {cluster_name!r} names no server")
    user, user_file = merged["users"][user_name] if user_name else ({}, file)
    return Selected(source=source, context=context, cluster=cluster, user=user, directory=user_file.resolve().parent)


def _load(file: Path) -> Entry:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the kubeconfig {file} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"the kubeconfig {file} is over {_MAX_BYTES} bytes")
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"the kubeconfig {file}{line} is not YAML: {problem}") from error
    if document is None:
        raise ConfigError(f"the kubeconfig {file} is empty")
    if not isinstance(document, dict):
        raise ConfigError(f"the kubeconfig {file} is not a kubeconfig: its top is not a mapping")
    return document


def _entries(document: Entry, kind: str, file: Path) -> list[tuple[str, Entry]]:
    listed = document.get(kind)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise ConfigError(f"the kubeconfig {file}: {kind} is not a list")
    found = []
    for number, item in enumerate(listed):
        name = item.get("name") if isinstance(item, dict) else None
        entry = item.get(_INNER[kind]) if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(entry, dict | None):
            raise ConfigError(
                f"the kubeconfig {file}: {kind}[{number}] is not a mapping with 'name' and {_INNER[kind]!r}"
            )
        found.append((name, _with_absolute_paths(entry or {}, kind, file)))
    return found


def _with_absolute_paths(entry: Entry, kind: str, file: Path) -> Entry:
    base = file.resolve().parent
    absolute = dict(entry)
    for key in _FILE_KEYS[kind]:
        if path := _text(entry, key, f"the kubeconfig {file}"):
            absolute[key] = str(base / path)
    return absolute


def _text(entry: Entry, key: str, where: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{where}: {key} is not a text")
    return value or ""
