"""Writes of the official API classes: they go to the API server as ever, and the session remembers what they did.

The ``..._with_http_info`` forms and ``_preload_content=False`` count, too. Where an answer tells nothing of the object
(an eviction, a binding, the deletion of many), the API server is asked before and after what there is.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from krm_client.dropin import session as sessions
from krm_client.dropin.written import Deleted
from krm_client.registry import RESOURCES, ClientResource

Official = Callable[..., Any]
Write = Callable[["sessions.Session", Any, tuple[Any, ...], dict[str, Any]], Any]
"""Carries a write out and remembers it: of a session, an API object and the arguments."""

_INFO = "_with_http_info"
_WRITES = (
    "(create|replace|patch|delete_collection|delete)_(?:namespaced_)?{noun}"
    f"(?:_(status|scale|resize|ephemeralcontainers|binding|eviction))?(?:{_INFO})?"
)
_TELL_NOTHING = ("binding", "eviction")


def overrides(facade: str, official: type[Any]) -> Iterator[tuple[str, Official]]:
    """Methods to put in the place of an official class's writes of KRM's kinds, by their names."""
    for kind in RESOURCES:
        if kind.facade != facade:
            continue
        pattern = re.compile(_WRITES.format(noun=kind.method_noun))
        for name in dir(official):
            match = pattern.fullmatch(name)
            method = getattr(official, name)
            # Up to kubernetes 36 the plain form only calls the other one, which is ours.
            if match is not None and name + _INFO not in inspect.unwrap(method).__code__.co_names:
                yield name, _remembered(method, _write_of(kind, official, method, verb=match[1], below=match[2]))


def _write_of(kind: ClientResource, api_class: type[Any], official: Official, *, verb: str, below: str | None) -> Write:
    noun = f"{'namespaced_' * kind.namespaced}{kind.method_noun}"
    if verb == "delete_collection":
        return _deleting_many(kind, official, getattr(api_class, f"list_{noun}"))
    if below in _TELL_NOTHING:
        return _looking_after(kind, official, getattr(api_class, f"read_{noun}"))
    return _writing(kind, official, is_deletion=verb == "delete")


def _writing(kind: ClientResource, official: Official, *, is_deletion: bool) -> Write:
    def write(session: sessions.Session, api: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        answer, told = _told(official(api, *args, **kwargs))
        given = _named(official, args, kwargs)
        if is_deletion:
            session.written.deleted(kind, given.get("namespace"), str(given.get("name")), told)
        else:
            session.written.wrote(kind, told)
        return answer

    return write


def _looking_after(kind: ClientResource, official: Official, read: Official) -> Write:
    """Where the object may not be read, its reads through KRM may be older than the write."""

    def write(session: sessions.Session, api: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from kubernetes.client.exceptions import ApiException

        given = _named(official, args, kwargs)
        namespace, name = given.get("namespace"), str(given.get("name"))
        try:
            before = read(api, name, namespace).metadata.uid
        except ApiException:
            before = None
        answer = official(api, *args, **kwargs)
        after = None
        try:
            found = read(api, name, namespace)
        except ApiException as error:
            if error.status != 404:
                return answer
        else:
            session.written.wrote(kind, found)
            after = found.metadata.uid
        if before is not None and before != after:
            session.written.gone(kind, [Deleted(namespace=namespace, name=name, uid=before)])
        return answer

    return write


def _deleting_many(kind: ClientResource, official: Official, list_all: Official) -> Write:
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

    return write


def _remembered(official: Official, write: Write) -> Official:
    """A method that writes by ``write``, or officially where KRM stands for another cluster or nothing is written."""

    @functools.wraps(official)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("async_req"):
            return self.api_client.pool.apply_async(method, (self, *args), {**kwargs, "async_req": False})
        session = sessions.session_for(self)
        if session is None or kwargs.get("dry_run"):
            return official(self, *args, **kwargs)
        return write(session, self, args, kwargs)

    return method


def _told(answer: Any) -> tuple[Any, Any]:
    """The answer for the program, and the object in it: as a model, or as JSON where the response was left unread."""
    from urllib3 import HTTPResponse

    if isinstance(answer, tuple):
        return answer, answer[0]
    if not isinstance(answer, HTTPResponse):
        return answer, answer
    content = answer.read(decode_content=False)

    def again() -> HTTPResponse:
        return HTTPResponse(
            body=io.BytesIO(content),
            headers=answer.headers,
            status=answer.status,
            reason=answer.reason,
            version=answer.version,
            preload_content=False,
        )

    try:
        return again(), json.loads(again().data)
    except ValueError:
        return again(), None


def _named(official: Official, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(zip(positional(official), args, strict=False)), **kwargs}


@functools.lru_cache(maxsize=256)
def positional(official: Official) -> tuple[str, ...]:
    """The names of a method's positional parameters; nearly all are only by name up to kubernetes 36."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(official).parameters.values())[1:]
    return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)
