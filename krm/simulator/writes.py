"""Writes: create, update, patch, delete, with the rules of the API for versions, generations and deletion.

The controllers of a real cluster are not here, apart from what a deletion needs: the node's agent that lets a pod go
after its grace period, and the protection of claims.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web

from krm.simulator import bodies, defaults, managed, options, patches, status
from krm.simulator import kinds as kinds_module
from krm.simulator.kinds import Json, Kind
from krm.simulator.objects import Version
from krm.simulator.paths import Target
from krm.simulator.store import AlreadyExistsError, Store

_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
_FIXED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName")
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.:")


@dataclass(frozen=True, kw_only=True)
class WriteSettings:
    """How writes behave."""

    grace_scale: float = 1.0
    """Factor on the time that a terminating pod really stays; its timestamps are not scaled."""
    finalizer_delay_s: float = 0.01
    """How soon the protection of an unused claim is lifted."""


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
        self._settings = settings
        self._random = random.Random(0)  # noqa: S311 - names, not secrets
        self._timers: set[asyncio.TimerHandle] = set()

    def close(self) -> None:
        """Give up what was to happen later."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def answer(self, ask: Ask) -> tuple[int, bytes]:
        """Carry out a write: (status code, body). Raises StatusError."""
        target = ask.target
        if target.subresource == "eviction":
            self._delete(target, {})
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
                return 200, self._delete(target, _delete_options(ask))
            case _:
                return 200, self._delete_collection(ask)

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
            _validate(kind, obj)
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
            _validate(kind, obj)
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

    # Delete

    def _delete(self, target: Target, asked: Json) -> bytes:
        version = self._existing(target)
        kind = target.kind
        conditions = asked.get("preconditions") or {}
        if conditions.get("uid", version.uid) != version.uid:
            text = f"Precondition failed: UID in precondition: {conditions['uid']}, UID in object meta: {version.uid}"
            raise status.conflict(kind, version.name, text)
        if conditions.get("resourceVersion", str(version.rv)) != str(version.rv):
            wanted = conditions["resourceVersion"]
            raise status.conflict(
                kind,
                version.name,
                f"Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: "
                f"{version.rv}",
            )
        left = self.remove(version, asked.get("gracePeriodSeconds"))
        if kind.returns_deleted or left.version is not None:
            return (left.version or left.last).whole() + b"\n"
        return _encode(status.success(kind, version.name, version.uid))

    def remove(self, version: Version, grace_s: int | None = None) -> Removal:
        """Delete an object: at once, or after its grace period or finalizers."""
        kind, obj = version.kind, version.parse()
        metadata = obj["metadata"]
        if kind is kinds_module.NAMESPACES:
            return Removal(version=None, last=self._remove_namespace(version, obj))
        grace_s = _grace(kind, obj, grace_s)
        if grace_s > 0 or metadata.get("finalizers"):
            if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) <= grace_s:
                return Removal(version=version, last=version)
            marked = self._mark(kind, obj, grace_s)
            self._finish_later(marked, grace_s)
            return Removal(version=marked, last=marked)
        if "deletionTimestamp" in metadata:
            self._mark(kind, obj, 0)
        return Removal(version=None, last=self._store.delete(kind, version.namespace, version.name))

    def _mark(self, kind: Kind, obj: Json, grace_s: int) -> Version:
        metadata = obj["metadata"]
        is_first = "deletionTimestamp" not in metadata
        until = self._store.clock() + timedelta(seconds=grace_s)
        metadata["deletionTimestamp"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata["deletionGracePeriodSeconds"] = grace_s
        if is_first and kind.has_generation:
            metadata["generation"] = metadata.get("generation", 0) + 1
        return self._store.update(kind, obj)

    def _finish_later(self, marked: Version, grace_s: int) -> None:
        kind = marked.kind
        if kind.graceful:
            self._later(grace_s * self._settings.grace_scale, lambda: self._let_go(marked))
        elif kind is kinds_module.PERSISTENT_VOLUME_CLAIMS:
            self._later(self._settings.finalizer_delay_s, lambda: self._lift_protection(marked))

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)

    def _let_go(self, marked: Version) -> None:
        """What the agent of the node does when the containers have ended: delete with no grace left."""
        version = self._store.get(marked.kind, marked.namespace, marked.name)
        if version is not None and version.uid == marked.uid:
            self.remove(version, 0)

    def _lift_protection(self, marked: Version) -> None:
        version = self._store.get(marked.kind, marked.namespace, marked.name)
        if version is None or version.uid != marked.uid:
            return
        if version.parse()["metadata"].get("finalizers") == [defaults.PVC_PROTECTION]:
            self._store.delete(marked.kind, marked.namespace, marked.name)

    def _remove_namespace(self, version: Version, obj: Json) -> Version:
        obj["metadata"]["deletionTimestamp"] = self._store.now_text()
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        self._store.update(version.kind, obj)
        for kind in self._store.kinds():
            if kind.namespaced:
                for inside in self._store.collection(kind).in_namespace(version.name):
                    self._store.delete(kind, inside.namespace, inside.name)
        return self._store.delete(version.kind, "", version.name)

    def _delete_collection(self, ask: Ask) -> bytes:
        target = ask.target
        asked = options.parse(target.kind, target.namespace, "", ask.query)
        grace_s = _delete_options(ask).get("gracePeriodSeconds")
        removed: list[bytes] = []
        for version in self._store.collection(target.kind).in_namespace(target.namespace):
            if asked.selection.matches(version):
                self.remove(version, grace_s)
                removed.append(version.body)
        head = orjson.dumps({"kind": target.kind.list_kind, "apiVersion": target.kind.api_version})
        metadata = orjson.dumps({"resourceVersion": str(self._store.rv)})
        return head[:-1] + b',"metadata":' + metadata + b',"items":[' + b",".join(removed) + b"]}\n"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What a deletion left behind: the object that still stands, or nothing; and its last state."""

    version: Version | None
    last: Version


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
    return {"apiVersion": kind.api_version, "kind": kind.kind, **deepcopy(body)}


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


def _grace(kind: Kind, obj: Json, asked: int | None) -> int:
    if not kind.graceful:
        return 0
    finished = (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if finished or not obj.get("spec", {}).get("nodeName"):
        return 0
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _delete_options(ask: Ask) -> Json:
    asked = dict(ask.body) if isinstance(ask.body, dict) else {}
    if (text := ask.query.get("gracePeriodSeconds")) is not None:
        if not text.isdigit():
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        asked["gracePeriodSeconds"] = int(text)
    return asked


def _validate(kind: Kind, obj: Json) -> None:
    """What the schema of a definition says of required members, types and enumerations."""
    schema = ((kind.definition or {}).get("schema") or {}).get("openAPIV3Schema")
    if schema:
        problems: list[tuple[str, str, str]] = []
        _problems(schema, {key: obj[key] for key in obj if key not in ("apiVersion", "kind", "metadata")}, "", problems)
        if problems:
            raise status.invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), problems)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _problems(schema: Json, value: Any, at: str, found: list[tuple[str, str, str]]) -> None:
    wanted = _TYPES.get(schema.get("type", ""))
    if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        shown = orjson.dumps(value).decode()
        text = f'Invalid value: {shown}: {at} in body must be of type {schema["type"]}: "{type(value).__name__}"'
        found.append((at, "FieldValueTypeInvalid", text))
        return
    if "enum" in schema and value not in schema["enum"]:
        names = ", ".join(f'"{each}"' for each in schema["enum"])
        found.append((at, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {names}'))
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                place = f"{at}.{name}" if at else name
                found.append((place, "FieldValueRequired", "Required value"))
        for name, below in (schema.get("properties") or {}).items():
            if name in value and value[name] is not None:
                _problems(below, value[name], f"{at}.{name}" if at else name, found)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            _problems(schema["items"], item, f"{at}[{index}]", found)
