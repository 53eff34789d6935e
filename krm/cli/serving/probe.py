"""Asking the API of ``krm demo`` and ``krm run`` whether it answers with data yet: short, local, without the client."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_TIMEOUT_S: Final = 1.0
_QUERY: Final = b'{"query": "{ freshness { resource state reason } }"}'
_UNDECIDED: Final = frozenset({"NOT_READY", "CATCHING_UP", "HISTORY_RESET"})


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the API listens, seen from this machine."""

    host: str
    port: int
    is_tls: bool = False

    @property
    def url(self) -> str:
        """To open in a browser, or for KRM_URL."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{shown}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far the API is."""

    is_ready: bool
    states: Mapping[str, str]
    """By resource; empty where the API does not tell us, because we have no token."""
    reasons: Mapping[str, str]


NOTHING: Final = Standing(is_ready=False, states={}, reasons={})


def reachable(host: str) -> str:
    """The address of this machine under which something that listens on ``host`` can be asked."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)


def ask(address: Address) -> Standing:
    """One look. Whatever fails is "not yet"."""
    connection = _connection(address)
    try:
        connection.request("POST", "/graphql", _QUERY, {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        if response.status == 401:
            connection.request("GET", "/readyz")
            return Standing(is_ready=connection.getresponse().status == 200, states={}, reasons={})
        return _standing(json.loads(body)) if response.status == 200 else NOTHING
    except (OSError, http.client.HTTPException, ValueError):
        return NOTHING
    finally:
        connection.close()


def _connection(address: Address) -> http.client.HTTPConnection:
    if not address.is_tls:
        return http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
    # Our own server on this machine, of which only "ready" is asked; its certificate is made for another name.
    context = ssl._create_unverified_context()  # noqa: S323
    return http.client.HTTPSConnection(address.host, address.port, timeout=_TIMEOUT_S, context=context)


def _standing(answer: Any) -> Standing:
    every = (answer.get("data") or {}).get("freshness") if isinstance(answer, dict) else None
    if not every:
        return NOTHING
    states = {str(one["resource"]): str(one["state"]) for one in every}
    reasons = {str(one["resource"]): str(one["reason"]) for one in every if one.get("reason")}
    return Standing(is_ready=not _UNDECIDED & set(states.values()), states=states, reasons=reasons)
