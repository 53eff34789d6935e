"""A real HTTP server that answers canned bytes, for tests of what the client makes of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(kw_only=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(kw_only=True)
class Reply:
    """One answer. ``cut`` bytes are promised in Content-Length and never sent; ``hang`` holds the answer back."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    hang: threading.Event | None = None


def data(value: Mapping[str, Any], errors: list[dict[str, Any]] | None = None) -> Reply:
    """A GraphQL answer with data, and errors beside it if given."""
    body: dict[str, Any] = {"data": value}
    if errors is not None:
        body["errors"] = errors
    return Reply(body=json.dumps(body).encode())


def error(code: str, message: str = "refused", *, status: int = 200, path: list[str] | None = None) -> Reply:
    """A GraphQL answer of one error."""
    one = {"message": message, "extensions": {"code": code}, "path": path or []}
    return Reply(body=json.dumps({"data": None, "errors": [one]}).encode(), status=status)


def listing(field_name: str, manifests: list[Any], **more: Any) -> Reply:
    """The answer to a list of whole objects."""
    connection = {
        "resourceVersion": more.get("version", "100"),
        "pageInfo": {"hasNextPage": "after" in more, "endCursor": more.get("after")},
        "scope": {"complete": more.get("complete", True), "namespaces": more.get("namespaces")},
        "nodes": manifests if more.get("bare") else [{"object": manifest} for manifest in manifests],
    }
    return data({field_name: connection})


class Server:
    """Answers each request with the next reply, the last one again and again; remembers what was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.connections: set[tuple[str, int]] = set()
        self._replies: list[Reply] = []
        self._rule: Callable[[Asked], Reply] | None = None
        self._lock = threading.Lock()

    def answer(self, *replies: Reply) -> None:
        self._replies = list(replies)

    def answer_by(self, rule: Callable[[Asked], Reply]) -> None:
        self._rule = rule

    def next_for(self, asked: Asked, peer: tuple[str, int]) -> Reply:
        with self._lock:
            self.asked.append(asked)
            self.connections.add(peer)
            if self._rule is not None:
                return self._rule(asked)
            return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


@contextmanager
def serving(prepare: Callable[[ThreadingHTTPServer], str] | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """A server on a free port. ``prepare`` may wrap its socket in TLS and gives the scheme."""
    held: list[Server] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(method=self.command, path=self.path, headers=headers, body=self.rfile.read(size))
            reply = held[0].next_for(asked, self.client_address)
            if reply.hang is not None:
                reply.hang.wait(30)
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.cut))
            self.end_headers()
            self.wfile.write(reply.body)
            if reply.cut:
                self.close_connection = True

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 (the base class's names)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return

    http = Quiet((host, 0), Handler)
    scheme = prepare(http) if prepare is not None else "http"
    held.append(Server(f"{scheme}://{host}:{http.server_address[1]}"))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield held[0]
    finally:
        http.shutdown()
        http.server_close()
        thread.join(5)
