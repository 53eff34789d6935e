"""Subclasses of the official API classes: reads of KRM's kinds go to the session, `writes` are remembered by it.

All else is inherited: other kinds, logs, exec, and the ``..._with_http_info`` forms of the reads.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from krm_client.dropin import session as sessions
from krm_client.dropin import writes
from krm_client.facade import MethodSpec, specs_of

CLASSES: Mapping[str, str] = {"CoreV1Api": "core_v1", "AppsV1Api": "apps_v1", "NetworkingV1Api": "networking_v1"}
"""Official classes with a kind that KRM may hold, and what holds their methods in `KrmClient`."""


class Read(NamedTuple):
    """A read that KRM may answer, of one API object."""

    api: Any
    spec: MethodSpec
    official: Callable[..., Any]

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The arguments by name; None where they do not fit, which the official method says best."""
        names = writes.positional(self.official)
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
    body.update(writes.overrides(CLASSES[name], official))
    return type(name, (official,), body)


def read_of(func: Any) -> Read | None:
    """What ``v1.list_namespaced_pod`` reads, where that is a method of a class made here."""
    plain = getattr(func, "__func__", None)
    spec = getattr(plain, "krm_spec", None)
    return Read(func.__self__, spec, inspect.unwrap(plain)) if plain and isinstance(spec, MethodSpec) else None


def _reading(spec: MethodSpec, official: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(official)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = sessions.session_for(self)
        given = Read(self, spec, official).given(args, kwargs) if session is not None else None
        if session is None or given is None:
            return official(self, *args, **kwargs)
        return session.read(spec, given, lambda: official(self, *args, **kwargs))

    method.krm_spec = spec  # type: ignore[attr-defined]  # a mark that `read_of` finds
    return method
