"""Refuses requests that were sent to another name than this machine's, where the API listens on loopback for anybody.

A page on the internet can let a name of its own lead to 127.0.0.1; a browser then takes the API for that page's server
and lets it read everything. Only the name in the Host header tells. Beyond loopback names are the operator's business.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from krm.settings import Settings, is_loopback

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9.-]{1,253}))(?::[0-9]{1,5})?", re.ASCII)


class Hosts:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self._is_strict = settings.auth in (None, "none") and is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._is_strict or _are_local(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: 403
        else:
            text = "Host: neither localhost nor an address; use the address that krm printed\n"
            await PlainTextResponse(text, 400)(scope, receive, send)


def _are_local(scope: Scope) -> bool:
    return all(is_local(host) for host in Headers(scope=scope).getlist("host"))


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
