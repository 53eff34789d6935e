"""Headers that every answer carries, and the count of requests: one ASGI layer around everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing but this origin. The editor of GraphiQL sets styles on elements, hence unsafe-inline for these."""

PAGE_POLICY: Final = CONTENT_POLICY.replace(" 'unsafe-inline'", "")
"""The same without that, for the page at ``/``."""

SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": CONTENT_POLICY,
}

_ALWAYS: Final = [
    *((name.lower().encode(), value.encode()) for name, value in SECURITY.items()),
    (b"cache-control", b"no-store"),
]

Observe = Callable[[str, int, float], None]
"""Called with route, status and seconds."""


def dressed(about: list[tuple[bytes, bytes]], *, is_stopping: bool) -> list[tuple[bytes, bytes]]:
    """The headers of an answer: those about it, which are none of the security ones, and what every answer carries."""
    if is_stopping:  # the next request goes to whoever takes over
        return [*(each for each in about if each[0] != b"connection"), *_ALWAYS, (b"connection", b"close")]
    return about + _ALWAYS


class Headers:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, observe: Observe, is_stopping: Callable[[], bool]) -> None:
        self.app = app
        self.observe = observe
        self.is_stopping = is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if self.is_stopping():
                    headers["Connection"] = "close"  # the next request goes to whoever takes over
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.observe(route(scope), status, time.monotonic() - started)


_ROUTES: Final = frozenset({"/graphql", "/healthz", "/readyz", "/metrics", "/overview", "/"})


def route(scope: Scope) -> str:
    """The path where it is one of ours; one word for all others, so that strangers cannot grow the metrics."""
    path = str(scope["path"])
    if path in _ROUTES:
        return path
    if path.startswith("/frames/"):
        return "/frames"
    return "/static" if path.startswith("/static/") else "other"
