"""The official client's own deserialiser, and a comparison that lets nothing pass."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from kubernetes.client import ApiClient


@functools.cache
def api_client() -> Any:
    return ApiClient()


def official(model: str, body: bytes) -> Any:
    """What the official client makes of an answer, through its public method."""
    client = api_client()
    if "response_text" in inspect.signature(client.deserialize).parameters:
        return client.deserialize(body.decode(), model, "application/json")

    class Response:
        data = body.decode()

    return client.deserialize(Response, model)


def difference(ours: Any, theirs: Any, at: str = "") -> str | None:
    """The first place where two values differ in type or content, attribute by attribute; None if there is none."""
    if hasattr(type(theirs), "openapi_types"):
        if not isinstance(ours, type(theirs)) or ours.__class__ is not type(theirs):
            return f"{at}: {ours.__class__} instead of {type(theirs)}"
        for attribute in type(theirs).openapi_types:
            found = difference(getattr(ours, attribute), getattr(theirs, attribute), f"{at}.{attribute}")
            if found:
                return found
        return None
    if type(ours) is not type(theirs):
        return f"{at}: {type(ours)} instead of {type(theirs)}"
    if isinstance(theirs, list):
        if len(ours) != len(theirs):
            return f"{at}: {len(ours)} items instead of {len(theirs)}"
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next((found for i, (a, b) in pairs if (found := difference(a, b, f"{at}[{i}]"))), None)
    if isinstance(theirs, dict):
        if list(ours) != list(theirs):
            return f"{at}: keys {list(ours)} instead of {list(theirs)}"
        return next((found for key in theirs if (found := difference(ours[key], theirs[key], f"{at}[{key!r}]"))), None)
    # repr as well: a datetime equals another one in another zone.
    return None if ours == theirs and repr(ours) == repr(theirs) else f"{at}: {ours!r} instead of {theirs!r}"
