"""Subclasses of the official API classes: reads of KRM's kinds go to the session, writes are remembered by it.

All else is inherited: other kinds, logs, exec, and the ``..._with_http_info`` forms of the reads.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from krm_client.dropin import session as sessions
from krm_client.dropin.written import Deleted
from krm_client.facade import MethodSpec, specs_of
from krm_client.registry import RESOURCES, ClientResource

CLASSES: Mapping[str, str] = {"CoreV1Api": "core_v1", "AppsV1Api": "apps_v1", "NetworkingV1Api": "networking_v1"}
"""Official classes with a kind that KRM may hold, and what holds their methods in `KrmClient`."""

_WRITES = (
    "(create|replace|patch|delete_collection|delete)_(?:namespaced_)?{noun}"
    "(?:_(?:status|scale|resize|ephemeralcontainers|binding|eviction))?"
)


class Read(NamedTuple):
    """A read that KRM may answer, of one API object."""

    api: Any
    spec: MethodSpec
    official: Callable[..., Any]

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The arguments by name; None where they do not fit, which the official method says best."""
        names = _positional(self.official)
        if len(args) > len(names) or not kwargs.keys().isdisjoint(names[: len(args)]):
            return None
        return {**dict(zip(names, args, strict=False)), **kwargs}


def subclass(name: str) -> type[Any]:
    """The official class of this name with KRM behind its reads."""
    import kubernetes.client

    official: type[Any] = getattr(kubernetes.client, name)
    body: dict[str, Any] = {"__doc__": official.__doc__, "__module__": "krm_client.kubernetes.client"}
    for spec in specs_of(CLASSES[name]):
        body[spec.name] = _reading(spec, getattr(official, spec.name))
    body.update(_writes(CLASSES[name], official))
    return type(name, (official,), body)


def read_of(func: Any) -> Read | None:
    """What ``v1.list_namespaced_pod`` reads, where that is a method of a class made here."""
    plain = getattr(func, "__func__", None)
    spec = getattr(plain, "krm_spec", None)
    return Read(func.__self__, spec, inspect.unwrap(plain)) if plain and isinstance(spec, MethodSpec) else None


def session_for(api: Any) -> sessions.Session | None:
    """The session that answers for an API object; None where it talks to another cluster than KRM's."""
    session = sessions.current()
    return session if session.stands_for(str(api.api_client.configuration.host)) else None


def _reading(spec: MethodSpec, official: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(official)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = session_for(self)
        given = Read(self, spec, official).given(args, kwargs) if session is not None else None
        if session is None or given is None:
            return official(self, *args, **kwargs)
        return session.read(spec, given, lambda: official(self, *args, **kwargs))

    method.krm_spec = spec  # type: ignore[attr-defined]  # a mark that `read_of` finds
    return method


def _writes(facade: str, official: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    for kind in RESOURCES:
        if kind.facade != facade:
            continue
        pattern = re.compile(_WRITES.format(noun=kind.method_noun))
        for name in dir(official):
            match = pattern.fullmatch(name)
            if match is None:
                continue
            method = getattr(official, name)
            if match[1] == "delete_collection":
                list_all = getattr(official, f"list_{'namespaced_' * kind.namespaced}{kind.method_noun}")
                yield name, _deleting_many(kind, method, list_all)
            else:
                is_deletion = match[1] == "delete" and name.endswith(kind.method_noun)
                yield name, _writing(kind, method, is_deletion=is_deletion)


def _writing(kind: ClientResource, official: Callable[..., Any], *, is_deletion: bool) -> Callable[..., Any]:
    def write(session: sessions.Session, api: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        answer = official(api, *args, **kwargs)
        given = _named(official, args, kwargs)
        if is_deletion:
            session.written.deleted(kind, given.get("namespace"), str(given.get("name")), answer)
        else:
            session.written.wrote(kind, answer)
        return answer

    return _remembered(official, write)


def _deleting_many(
    kind: ClientResource, official: Callable[..., Any], list_all: Callable[..., Any]
) -> Callable[..., Any]:
    """The answer to such a deletion does not say what is gone: what was there before and is not there after."""

    def write(session: sessions.Session, api: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = _named(official, args, kwargs)
        chosen = {name: given[name] for name in ("namespace", "label_selector", "field_selector") if given.get(name)}
        before = [one.metadata for one in list_all(api, **chosen).items]
        answer = official(api, *args, **kwargs)
        after = list_all(api, **chosen).items
        left = {one.metadata.uid for one in after}
        for one in after:
            session.written.wrote(kind, one)
        gone = [Deleted(namespace=one.namespace, name=one.name, uid=one.uid) for one in before if one.uid not in left]
        session.written.gone(kind, gone)
        return answer

    return _remembered(official, write)


def _remembered(official: Callable[..., Any], write: Callable[..., Any]) -> Callable[..., Any]:
    """A method that writes by ``write``, or officially where there is nothing to remember or to learn it from."""

    @functools.wraps(official)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("async_req"):
            return self.api_client.pool.apply_async(method, (self, *args), {**kwargs, "async_req": False})
        session = session_for(self)
        if session is None or kwargs.get("dry_run") or not kwargs.get("_preload_content", True):
            return official(self, *args, **kwargs)
        return write(session, self, args, kwargs)

    return method


def _named(official: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(zip(_positional(official), args, strict=False)), **kwargs}


@functools.lru_cache(maxsize=256)
def _positional(official: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a method's positional parameters; nearly all are only by name up to kubernetes 36."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(official).parameters.values())[1:]
    return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)
