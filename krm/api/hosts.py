"""Refuses requests that were sent to another name than this machine's, where the API listens on loopback for anybody.

A page on the internet can let a name of its own lead to 127.0.0.1; a browser then takes the API for that page's server
and lets it read everything. Only the name in the Host header tells. Beyond loopback names are the operator's business.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from krm.settings import Settings, is_loopback

_KEPT: Final = 64
_LONGEST: Final = 300
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9.-]{1,253}))(?::[0-9]{1,5})?", re.ASCII)


WRONG_HOST: Final = PlainTextResponse("Host: neither localhost nor an address; use the address that krm printed\n", 400)


class Hosts:
    """Which requests to refuse."""

    def __init__(self, settings: Settings) -> None:
        self._is_strict = settings.auth in (None, "none") and is_loopback(settings.host)
        self._taken: set[bytes] = set()

    def refuses(self, scope: Scope) -> bool:
        """Whether a request was sent to a name that may be somebody else's."""
        if not self._is_strict:
            return False
        return not all(self._takes(value) for name, value in scope["headers"] if name == b"host")

    def _takes(self, host: bytes) -> bool:
        if host in self._taken:
            return True
        if not is_local(host.decode("latin-1")):
            return False
        if len(self._taken) < _KEPT and len(host) < _LONGEST:
            self._taken.add(host)
        return True


class OnlyLocal:
    """ASGI middleware that refuses these."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._hosts.refuses(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: 403
        else:
            await WRONG_HOST(scope, receive, send)


def is_local(host: str) -> bool:
    """Whether a Host header can only mean this machine: localhost, or an address, which no name server can redirect."""
    found = _HOST.fullmatch(host.strip().lower())
    if found is None:
        return not host.strip()
    name = (found[1] or found[2]).removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
