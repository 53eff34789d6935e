"""The official methods (``core_v1.list_namespaced_pod`` and so on), made from the registry.

Names, arguments, results and refusals are those of ``kubernetes.client``. One class serves the blocking and the
awaited client: what differs is only what ``run`` gives back.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from krm_client import calls, errors, operations
from krm_client.calls import Call, Timeouts
from krm_client.models import objects
from krm_client.operations import Listed, Operation, Operations
from krm_client.registry import RESOURCES, ClientResource

Run = Callable[[Operation[Any]], Any]

_FOR_ALL = ("_preload_content", "_request_timeout")
_WITHOUT_EFFECT = ("pretty", "_return_http_data_only", "_content_type", "allow_watch_bookmarks")
_REFUSED: Mapping[str, str] = {
    "async_req": "use AsyncKrmClient, or a thread",
    "watch": "a list does not watch",
    "send_initial_events": "a list does not watch",
    "shard_selector": "KRM does not shard answers",
    "_headers": "KRM takes no other headers",
    "_request_auth": "the token belongs to the client",
    "_host_index": "there is one KRM",
}
"""Official arguments that KRM does not offer: given a value that asks for something, they are refused."""

_OF_LISTS: Mapping[str, str] = {
    "label_selector": "labelSelector",
    "field_selector": "fieldSelector",
    "limit": "first",
    "_continue": "after",
    "resource_version": "minResourceVersion",
}
_LIST_ONLY = (
    "resource_version_match",
    "timeout_seconds",
    "allow_watch_bookmarks",
    "watch",
    "send_initial_events",
    "shard_selector",
)


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """One official method: what it does to which kind."""

    name: str
    resource: ClientResource
    required: tuple[str, ...]
    is_list: bool

    @property
    def accepted(self) -> tuple[str, ...]:
        common = (*_FOR_ALL, "pretty", "_return_http_data_only", "_content_type")
        refused = ("async_req", "_headers", "_request_auth", "_host_index")
        of_lists = (*_OF_LISTS, *_LIST_ONLY) if self.is_list else ()
        return (*self.required, *of_lists, *common, *refused)


def specs_of(facade: str) -> Iterator[MethodSpec]:
    """The official methods of one attribute of the client, e.g. ``core_v1``."""
    for resource in RESOURCES:
        if resource.facade != facade:
            continue
        noun = resource.method_noun
        if resource.namespaced:
            yield MethodSpec(name=f"list_{noun}_for_all_namespaces", resource=resource, required=(), is_list=True)
            yield MethodSpec(name=f"list_namespaced_{noun}", resource=resource, required=("namespace",), is_list=True)
            yield MethodSpec(
                name=f"read_namespaced_{noun}", resource=resource, required=("name", "namespace"), is_list=False
            )
        else:
            yield MethodSpec(name=f"list_{noun}", resource=resource, required=(), is_list=True)
            yield MethodSpec(name=f"read_{noun}", resource=resource, required=("name",), is_list=False)


FACADES: tuple[str, ...] = tuple(dict.fromkeys(resource.facade for resource in RESOURCES))


class Facade:
    """Carries the official methods of one API group as attributes."""

    def __init__(self, name: str, build: Operations, run: Run) -> None:
        for spec in specs_of(name):
            setattr(self, spec.name, FacadeMethod(spec, build, run))


class FacadeMethod:
    """One official method of one client. Calling it runs it; `operation` only builds it."""

    def __init__(self, spec: MethodSpec, build: Operations, run: Run) -> None:
        self._spec = spec
        self._build = build
        self._run = run
        self.__name__ = self.__qualname__ = spec.name
        self.__doc__ = _doc_of(spec)
        self.__signature__ = _signature_of(spec)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.operation(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<method {self.__name__} of KRM's client>"

    def operation(self, *args: Any, **kwargs: Any) -> Operation[Any]:
        """The call with these arguments. Raises the official client's ``ApiTypeError`` and ``ApiValueError``."""
        traced = self.traced(self.bind(args, kwargs))

        def start() -> Call[Any]:
            return (yield from traced.start()).result

        return Operation(document=traced.document, start=start)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by their official names, once checked."""
        return _bind(self._spec, args, kwargs)

    def traced(self, given: dict[str, Any], floor: str | None = None) -> Operation[Traced]:
        """The call with arguments by their official names, and what it tells beside the official result.

        ``floor``: a version that the answer must not be older than, beside what the arguments ask.
        """
        if self._spec.is_list:
            return _list_operation(self._spec, self._build, given, floor)
        return _read_operation(self._spec, self._build, given, floor)


@dataclass(frozen=True, kw_only=True)
class Traced:
    """An official result; ``listed`` is what a list of KRM says about itself."""

    result: Any
    listed: Listed | None = None


def _bind(spec: MethodSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    from kubernetes.client.exceptions import ApiTypeError, ApiValueError

    if len(args) > len(spec.required):
        wanted = ", ".join(spec.required) or "none"
        raise ApiTypeError(f"{spec.name}() takes {wanted} by position; give the others by name")
    given = dict(zip(spec.required, args, strict=False))
    for name, value in kwargs.items():
        if name in given:
            raise ApiTypeError(f"{spec.name}() got multiple values for argument '{name}'")
        if name not in spec.accepted:
            raise ApiTypeError(f"Got an unexpected keyword argument '{name}' to method {spec.name}")
        if name in _REFUSED and value:
            raise ApiTypeError(f"Argument '{name}' of method {spec.name} is not offered by KRM: {_REFUSED[name]}")
        given[name] = value
    for name in spec.required:
        if given.get(name) is None:
            raise ApiValueError(f"Missing the required parameter `{name}` when calling `{spec.name}`")
    return given


def _list_operation(spec: MethodSpec, build: Operations, given: dict[str, Any], floor: str | None) -> Operation[Traced]:
    arguments = {ours: given.get(official) for official, ours in _OF_LISTS.items()}
    arguments["namespace"] = given.get("namespace")
    arguments["first"] = arguments["first"] or None
    arguments["after"] = arguments["after"] or None
    arguments["minResourceVersion"] = newer_of(_minimum_version(spec, given), floor)
    preload = given.get("_preload_content", True)
    listing = build.listing(spec.resource, arguments, raw=not preload, timeouts=_timeouts(build, given))

    def start() -> Call[Traced]:
        listed: Listed = yield from listing.start()
        kind = spec.resource
        if preload:
            result = objects.list_object(kind.model, kind.api_version, listed.version, listed.following, listed.items)
        else:
            result = operations.raw_list_response(kind, listed)
        return Traced(result=result, listed=listed)

    return Operation(document=listing.document, start=start)


def _read_operation(spec: MethodSpec, build: Operations, given: dict[str, Any], floor: str | None) -> Operation[Traced]:
    arguments: dict[str, Any] = {name: given[name] for name in spec.required}
    arguments["minResourceVersion"] = floor
    preload = given.get("_preload_content", True)
    reading = build.reading(spec.resource, arguments, raw=not preload, timeouts=_timeouts(build, given))

    def start() -> Call[Traced]:
        found = yield from reading.start()
        return Traced(result=found if preload else operations.raw_response(bytes(found)))

    return Operation(document=reading.document, start=start)


def newer_of(one: str | None, other: str | None) -> str | None:
    """Of two versions the newer. What is not a number is left to the server to refuse."""
    if one is None or other is None:
        return one or other
    return other if one.isdecimal() and other.isdecimal() and int(other) > int(one) else one


def _minimum_version(spec: MethodSpec, given: dict[str, Any]) -> str | None:
    """``resource_version`` as the API server reads it: unset or "0" is any version, else not older than this one."""
    version, match = given.get("resource_version"), given.get("resource_version_match")
    if match not in (None, "", "NotOlderThan", "Exact"):
        raise errors.KrmQueryError(f"resource_version_match: {match!r} is neither 'NotOlderThan' nor 'Exact'")
    if match and not version:
        raise errors.KrmQueryError("resource_version_match: needs resource_version")
    if match == "Exact":
        raise errors.KrmQueryError(
            f"resource_version_match: {spec.name} gives the current state, not that at a version"
        )
    return None if version in (None, "", "0") else str(version)


def _timeouts(build: Operations, given: dict[str, Any]) -> Timeouts:
    chosen = calls.timeouts_of(given.get("_request_timeout"), build.policy.timeouts)
    seconds = given.get("timeout_seconds")
    if not seconds:
        return chosen
    return Timeouts(connect_s=min(chosen.connect_s, seconds), read_s=min(chosen.read_s, seconds))


def _doc_of(spec: MethodSpec) -> str:
    what = f"list the {spec.resource.plural}" if spec.is_list else f"read one {spec.resource.kind}"
    result = spec.resource.list_model if spec.is_list else spec.resource.model
    return f"As the official client's method of this name: {what} from KRM; gives a {result}."


def _signature_of(spec: MethodSpec) -> inspect.Signature:
    kinds = inspect.Parameter
    names = dict.fromkeys(spec.accepted)
    parameters = [
        kinds(name, kinds.POSITIONAL_OR_KEYWORD)
        if name in spec.required
        else kinds(name, kinds.KEYWORD_ONLY, default=True if name == "_preload_content" else None)
        for name in names
        if name not in _REFUSED
    ]
    return inspect.Signature(parameters)
