"""Writes: create, update and patch, with the rules of the API for versions, generations and identity.

Deletions are in `deletions`. No controller acts on what is written.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from krm.simulator import bodies, defaults, deletions, managed, patches, schemas, status
from krm.simulator import kinds as kinds_module
from krm.simulator.deletions import Deleter, WriteSettings
from krm.simulator.history import AlreadyExistsError
from krm.simulator.kinds import Json, Kind
from krm.simulator.objects import Version
from krm.simulator.paths import Target
from krm.simulator.store import Store

_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
_FIXED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName")
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.:")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One write request, read and parsed."""

    target: Target
    verb: str
    manager: str
    body: Any = None
    media: str = ""
    query: Any = field(default_factory=dict)


async def read(request: web.Request, target: Target, verb: str, user: str) -> Ask:
    """Take a write request apart; raises StatusError."""
    if request.query.get("dryRun"):
        raise status.bad_request("dryRun is not offered by the simulated server")
    raw = await bodies.read_bytes(request)
    content_type = request.headers.get("Content-Type", "")
    media = content_type.partition(";")[0].strip().lower()
    body: Any = None
    if verb == "patch":
        if media not in patches.SUPPORTED:
            raise status.unsupported_media_type(patches.SUPPORTED)
        body = bodies.decode(raw, "application/yaml" if media == patches.APPLY else "application/json")
    elif raw.strip():
        body = bodies.decode(raw, content_type)
    if verb in ("create", "update") and not isinstance(body, dict):
        raise status.bad_request("couldn't get version/kind; the body is not an object")
    agent = request.query.get("fieldManager") or managed.manager_of(request.headers.get("User-Agent", user))
    return Ask(target=target, verb=verb, manager=agent, body=body, media=media, query=request.query)


class Writer:
    """Carries out writes on a store."""

    def __init__(self, store: Store, settings: WriteSettings) -> None:
        self._store = store
        self._deleter = Deleter(store, settings)
        self._random = random.Random(0)  # noqa: S311 - names, not secrets

    def close(self) -> None:
        """Give up what was to happen later."""
        self._deleter.close()

    def answer(self, ask: Ask) -> tuple[int, bytes]:
        """Carry out a write: (status code, body). Raises StatusError."""
        try:
            return self._answer(ask)
        except (AttributeError, KeyError, TypeError) as error:
            # A body whose members are not of the types that the kind has.
            kind = ask.target.kind
            text = f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: {error}"
            raise status.bad_request(text) from error

    def _answer(self, ask: Ask) -> tuple[int, bytes]:
        target = ask.target
        if target.subresource == "eviction":
            self._deleter.delete(self._existing(target), {})
            return 201, _encode(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
            )
        match ask.verb:
            case "create":
                return 201, self.create(target, ask.body, ask.manager).whole() + b"\n"
            case "update":
                return 200, self._update(ask).whole() + b"\n"
            case "patch":
                return self._patch(ask)
            case "delete":
                asked = deletions.read_options(ask.body, ask.query)
                return 200, self._deleter.delete(self._existing(target), asked)
            case _:
                asked = deletions.read_options(ask.body, ask.query)
                return 200, self._deleter.delete_collection(target, ask.query, asked.get("gracePeriodSeconds"))

    # Create

    def create(self, target: Target, body: Json, manager: str) -> Version:
        """Add an object as a client gives it."""
        kind, store = target.kind, self._store
        obj = _checked(kind, body)
        metadata = obj["metadata"] = dict(obj.get("metadata") or {})
        self._name(kind, metadata)
        self._place(target, metadata)
        if metadata.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "managedFields", "generation", "selfLink"):
            metadata.pop(name, None)
        if kind.has_status:
            obj.pop("status", None)
        if kind.custom:
            schemas.validate(kind, obj)
        defaults.apply_defaults(kind, obj)
        if made := _entry(kind, obj, manager, store.now_text()):
            metadata["managedFields"] = [made]
        if kind.has_generation:
            metadata["generation"] = 1
        defaults.admit(kind, obj)
        try:
            return store.create(kind, obj)
        except AlreadyExistsError as error:
            raise status.already_exists(kind, metadata["name"]) from error

    def _name(self, kind: Kind, metadata: Json) -> None:
        if not metadata.get("name"):
            prefix = metadata.get("generateName")
            if not prefix:
                text = "Required value: name or generateName is required"
                raise status.invalid(kind.group, kind.kind, "", [("metadata.name", "FieldValueRequired", text)])
            metadata["name"] = prefix[:58] + "".join(self._random.choices(_NAME_ALPHABET, k=5))
        name = metadata["name"]
        if len(name) > 253 or not _NAME_CHARACTERS.issuperset(name) or not (name[0].isalnum() and name[-1].isalnum()):
            text = (
                f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
                "characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
                "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            )
            raise status.invalid(kind.group, kind.kind, name, [("metadata.name", "FieldValueInvalid", text)])

    def _place(self, target: Target, metadata: Json) -> None:
        if not target.kind.namespaced:
            metadata.pop("namespace", None)
            return
        if not target.namespace:
            raise status.method_not_allowed()
        if metadata.get("namespace", target.namespace) != target.namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        namespace = self._store.get(kinds_module.NAMESPACES, "", target.namespace)
        if namespace is None:
            raise status.not_found(kinds_module.NAMESPACES, target.namespace)
        metadata["namespace"] = target.namespace

    # Update

    def _existing(self, target: Target) -> Version:
        version = self._store.get(target.kind, target.namespace, target.name)
        if version is None:
            raise status.not_found(target.kind, target.name)
        return version

    def _update(self, ask: Ask) -> Version:
        obj = _checked(ask.target.kind, ask.body)
        obj["metadata"] = dict(obj.get("metadata") or {})
        if obj["metadata"].get("name") != ask.target.name:
            raise status.bad_request(
                f"the name of the object ({obj['metadata'].get('name', '')}) does not match the name on the URL "
                f"({ask.target.name})"
            )
        return self._replace(ask, self._existing(ask.target), obj)

    def _patch(self, ask: Ask) -> tuple[int, bytes]:
        target = ask.target
        version = self._store.get(target.kind, target.namespace, target.name)
        if version is None:
            if ask.media != patches.APPLY or not isinstance(ask.body, dict):
                raise status.not_found(target.kind, target.name)
            return 201, self.create(target, ask.body, ask.manager).whole() + b"\n"
        obj = patches.apply_patch(version.parse(), ask.body, ask.media)
        if (obj.get("metadata") or {}).get("name") != target.name:
            raise status.bad_request("the name of the object may not be changed")
        return 200, self._replace(ask, version, obj).whole() + b"\n"

    def _replace(self, ask: Ask, version: Version, obj: Json) -> Version:
        """Put an object in the place of a version, as far as the path allows it to change."""
        kind, before = version.kind, version.parse()
        _check_shape(kind, obj)
        metadata = obj["metadata"]
        _check_identity(kind, version, metadata)
        if ask.target.subresource == "status":
            obj = {**before, "status": obj.get("status")}
            obj["metadata"] = metadata = {**before["metadata"]}
        elif kind.has_status:
            obj.pop("status", None)
            if "status" in before:
                obj["status"] = before["status"]
        if kind.custom:
            schemas.validate(kind, obj)
        defaults.apply_defaults(kind, obj)
        if kind.namespaced:
            metadata["namespace"] = version.namespace
        for name in (*_FIXED, "generation", "managedFields", "resourceVersion"):
            metadata.pop(name, None)
            if name in before["metadata"]:
                metadata[name] = before["metadata"][name]
        if _same(before, obj):
            return version
        if _is_new_generation(kind, before, obj):
            metadata["generation"] = before["metadata"].get("generation", 0) + 1
        made = _entry(kind, obj, ask.manager, self._store.now_text(), ask.target.subresource)
        # An object that nobody's fields were recorded for stays so, as on the real server.
        if made and (kept := before["metadata"].get("managedFields")):
            metadata["managedFields"] = managed.renewed(kept, made)
        if "deletionTimestamp" in metadata and not metadata.get("finalizers") and not kind.graceful:
            return self._store.delete(kind, version.namespace, version.name)
        return self._store.update(kind, obj)


def _encode(body: Json) -> bytes:
    return orjson.dumps(body) + b"\n"


def _checked(kind: Kind, body: Json) -> Json:
    """The body with apiVersion and kind in their place; raises StatusError when it is another kind's."""
    found = body.get("kind") or kind.kind
    version = body.get("apiVersion") or kind.api_version
    if found != kind.kind or version != kind.api_version:
        raise status.bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
            if version != kind.api_version
            else f"{found} in version {version!r} cannot be handled as a {kind.kind}"
        )
    _check_shape(kind, body)
    return {"apiVersion": kind.api_version, "kind": kind.kind, **deepcopy(body)}


def _check_shape(kind: Kind, obj: Json) -> None:
    """Raise StatusError 400 where a member that all kinds have is of the wrong type."""
    metadata = obj.get("metadata") or {}
    wrong = None
    if not isinstance(metadata, dict):
        wrong = "metadata"
    elif not all(isinstance(metadata.get(name) or "", str) for name in ("name", "namespace", "generateName")):
        wrong = "metadata.name"
    else:
        for name in ("labels", "annotations"):
            texts = metadata.get(name) or {}
            if not isinstance(texts, dict) or not all(isinstance(each, str) for each in texts.values()):
                wrong = f"metadata.{name}"
    if wrong is None and not kind.custom and not isinstance(obj.get("spec") or {}, dict):
        wrong = "spec"
    if wrong is not None:
        raise status.bad_request(
            f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: "
            f"json: cannot unmarshal value into Go struct field .{wrong}"
        )


def _entry(kind: Kind, obj: Json, manager: str, at: str, subresource: str = "") -> Json | None:
    if subresource == "status":
        part = {"apiVersion": obj["apiVersion"], "status": obj.get("status") or {}}
    else:
        part = {name: value for name, value in obj.items() if name != "status"}
    made = managed.entry(part, manager=manager, at=at, subresource=subresource, custom=kind.custom)
    return made if made["fieldsV1"] else None


def _check_identity(kind: Kind, version: Version, metadata: Json) -> None:
    if metadata.get("uid", version.uid) != version.uid:
        text = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {version.uid}"
        raise status.conflict(kind, version.name, text)
    if metadata.get("resourceVersion", str(version.rv)) != str(version.rv):
        raise status.conflict(kind, version.name, _MODIFIED)


def _same(before: Json, after: Json) -> bool:
    option = orjson.OPT_SORT_KEYS
    return orjson.dumps(before, option=option) == orjson.dumps(after, option=option)


def _is_new_generation(kind: Kind, before: Json, after: Json) -> bool:
    if not kind.has_generation:
        return False

    def content(obj: Json) -> Json:
        return {name: value for name, value in obj.items() if name not in ("metadata", "status")}

    if kind.generation_by_annotations and before["metadata"].get("annotations") != after["metadata"].get("annotations"):
        return True
    return content(before) != content(after)
