"""Discovery: which groups and resources are served, the version, health, and an index of the schemas.

Only what this server really serves is listed. Schemas are given for custom resources, as their definitions state
them; the large schemas of the built-in kinds are not.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from krm.simulator import reviews, status
from krm.simulator.kinds import Json, Kind
from krm.simulator.store import Store

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

VERSION: Json = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0+krm-simulator",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def answer(store: Store, parts: list[str]) -> tuple[bytes, str]:
    """The body and content type of a path that is no resource; raises StatusError 404."""
    match parts:
        case []:
            return _json({"paths": [f"/{path}" for path in _documents(store)]})
        case ["version"]:
            # The one document that the real server writes with indentation and without a final newline.
            return orjson.dumps(VERSION, option=orjson.OPT_INDENT_2), _JSON
        case ["healthz" | "livez" | "readyz", *_]:
            return b"ok", _TEXT
        case ["api"]:
            return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        case ["apis"]:
            groups = [_group(store, name) for name in _groups(store) if name]
            return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        case ["apis", group] if group in _groups(store):
            return _json({"kind": "APIGroup", "apiVersion": "v1", **_group(store, group)})
        case ["api", version] if (("", version)) in _group_versions(store):
            return _json(_resources(store, "", version))
        case ["apis", group, version] if (group, version) in _group_versions(store):
            return _json(_resources(store, group, version))
        case ["openapi", "v3"]:
            return orjson.dumps({"paths": _index(store)}), _TEXT
        case ["openapi", "v3", "apis", group, version] if (group, version) in _group_versions(store):
            return orjson.dumps(_schemas(store, group, version)), _JSON
        case _:
            raise status.no_such_path()


def _json(body: Json) -> tuple[bytes, str]:
    return orjson.dumps(body) + b"\n", _JSON


def _group_versions(store: Store) -> list[tuple[str, str]]:
    served = {(kind.group, kind.version) for kind in store.kinds()}
    return sorted(served | {(group, "v1") for group, _ in reviews.REVIEWS})


def _groups(store: Store) -> list[str]:
    return sorted({group for group, _ in _group_versions(store)})


def _group(store: Store, name: str) -> Json:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version}
        for group, version in _group_versions(store)
        if group == name
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[-1]}


def _resources(store: Store, group: str, version: str) -> Json:
    head: Json = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    listed: list[Json] = []
    for kind in store.kinds():
        if (kind.group, kind.version) == (group, version):
            listed += _entries(kind)
    for review_group, plural in reviews.REVIEWS:
        if review_group == group and version == "v1":
            listed += _entries(reviews.review_kind(review_group, plural))
    listed.sort(key=lambda entry: str(entry["name"]))
    return {**head, "groupVersion": f"{group}/{version}" if group else version, "resources": listed}


def _entries(kind: Kind) -> list[Json]:
    entry: Json = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.storage_hash:
        entry["storageVersionHash"] = kind.storage_hash
    entries = [entry]
    for subresource in kind.subresources:
        below: Json = {"name": f"{kind.plural}/{subresource.name}", "singularName": "", "namespaced": kind.namespaced}
        if subresource.group:
            below |= {"group": subresource.group, "version": subresource.version}
        entries.append(below | {"kind": subresource.kind or kind.kind, "verbs": list(subresource.verbs)})
    return entries


def _documents(store: Store) -> list[str]:
    found = ["api", "api/v1", "apis"]
    for group in _groups(store):
        if group:
            found.append(f"apis/{group}")
            found += [f"apis/{name}/{version}" for name, version in _group_versions(store) if name == group]
    return [*found, "version"]


def _index(store: Store) -> Json:
    found: Json = {}
    for path in _documents(store):
        state = orjson.dumps([path, *sorted(kind.qualified for kind in store.kinds())])
        digest = hashlib.sha512(state).hexdigest().upper()
        found[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return found


def _schemas(store: Store, group: str, version: str) -> Json:
    schemas: Json = {}
    paths: Json = {}
    for kind in store.kinds():
        if (kind.group, kind.version) != (group, version) or kind.definition is None:
            continue
        name = ".".join([*reversed(group.split(".")), version, kind.kind])
        identity = [{"group": group, "kind": kind.kind, "version": version}]
        declared = _published((kind.definition.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"})
        members = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        schemas[name] = {
            **declared,
            "properties": {**members, **declared.get("properties", {})},
            "x-kubernetes-group-version-kind": identity,
        }
        middle = "/namespaces/{namespace}" if kind.namespaced else ""
        paths[f"/apis/{group}/{version}{middle}/{kind.plural}"] = {
            "get": {"x-kubernetes-action": "list", "x-kubernetes-group-version-kind": identity[0]}
        }
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _published(schema: Any) -> Any:
    """A declared schema as it is published: what may be a number or a text says so in plain OpenAPI too."""
    if isinstance(schema, list):
        return [_published(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _published(value) for name, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True and "anyOf" not in schema:
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made
