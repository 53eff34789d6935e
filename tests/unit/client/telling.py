"""A real WebSocket server that tells subscribers what a test says, connection by connection."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve


class Teller:
    """One connection, as a test's script sees it."""

    def __init__(self, connection: ServerConnection, hello: dict[str, Any], question: dict[str, Any]) -> None:
        self._connection = connection
        self.hello = hello
        self.id = question.get("id")
        self.payload: dict[str, Any] = question.get("payload", {})

    @property
    def variables(self) -> dict[str, Any]:
        found: dict[str, Any] = self.payload.get("variables", {})
        return found

    def send(self, message: dict[str, Any]) -> None:
        self._connection.send(json.dumps(message))

    def tell(self, kind: str, name: str | None, token: str) -> None:
        """An event of a pod of this name."""
        manifest = None if name is None else {"object": {"metadata": {"name": name}, "newField": 1}}
        event = {"type": kind, "resumeToken": token, "object": manifest}
        self.send({"type": "next", "id": self.id, "payload": {"data": {"pods": event}}})

    def refuse(self, code: str, message: str = "refused") -> None:
        errors = [{"message": message, "extensions": {"code": code}}]
        self.send({"type": "error", "id": self.id, "payload": errors})

    def complete(self) -> None:
        self.send({"type": "complete", "id": self.id})

    def close(self, code: int = 1011, reason: str = "") -> None:
        self._connection.close(code, reason)

    def wait(self) -> None:
        """Until the client goes."""
        try:
            while True:
                self._connection.recv(timeout=30)
        except (ConnectionClosed, TimeoutError):
            return


Script = Callable[[Teller], None]


class TellingServer:
    """Plays the next script for each subscription, the last one again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.tellers: list[Teller] = []
        self.gone = threading.Semaphore(0)
        """Released for each connection that is over."""
        self.greet: Callable[[ServerConnection, dict[str, Any]], bool] = lambda _connection, _hello: True
        """May close the connection instead of acknowledging it, and then says False."""
        self._scripts: list[Script] = []
        self._lock = threading.Lock()

    def play(self, *scripts: Script) -> None:
        self._scripts = list(scripts)

    def handle(self, connection: ServerConnection) -> None:
        try:
            hello = json.loads(connection.recv(timeout=10))
            if not self.greet(connection, hello):
                return
            connection.send(json.dumps({"type": "connection_ack"}))
            teller = Teller(connection, hello, json.loads(connection.recv(timeout=10)))
            with self._lock:
                self.tellers.append(teller)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            script(teller)
        except ConnectionClosed:
            return
        finally:
            self.gone.release()


@contextmanager
def telling(tls: ssl.SSLContext | None = None) -> Iterator[TellingServer]:
    server = TellingServer()
    protocol: Any = "graphql-transport-ws"
    with serve(server.handle, "127.0.0.1", 0, subprotocols=[protocol], ssl=tls) as running:
        server.url = f"http{'s' * (tls is not None)}://127.0.0.1:{running.socket.getsockname()[1]}"
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            running.shutdown()
            thread.join(5)
