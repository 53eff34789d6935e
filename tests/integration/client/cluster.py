"""A simulated cluster with KRM over it, each a process, and a door to the API server that counts who passes."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from krm.store.local import LocalRedis
from krm_client.registry import RESOURCES
from tests.bench import stack
from tests.servers import free_port

_REQUEST = re.compile(rb"(?:^|\n)(GET|POST|PUT|PATCH|DELETE) (/[^ ?]*)(\?\S*)? HTTP/1\.1\r\n")


class Door:
    """A TCP proxy that counts the requests that pass, and that can be shut and lead elsewhere."""

    def __init__(self, host: str, port: int) -> None:
        self.leads_to = (host, port)
        self.counts: Counter[str] = Counter()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._begin()

    def shut(self) -> None:
        """Break every connection and take no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listening.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def reopen(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self.leads_to)
                with self._lock:
                    self._open |= {client, server}
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if counts:
                    self._count(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, data: bytes) -> None:
        for verb, path, query in _REQUEST.findall(data):
            is_watch = b"watch=true" in query.lower()
            with self._lock:
                self.counts["WATCH" if is_watch else verb.decode()] += 1
                self.counts[f"{verb.decode()} {path.decode()}"] += 1


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What runs, and how a program comes to it."""

    kubeconfig: Path
    krm_url: str
    env: Mapping[str, str]

    @contextlib.contextmanager
    def another_api(self) -> Iterator[int]:
        """The port of one more process of KRM's API, which knows nothing of the first."""
        port = free_port()
        process = _start({**self.env, "KRM_PORT": str(port)}, "serve")
        try:
            stack._wait_ready(f"http://127.0.0.1:{port}")
            yield port
        finally:
            stack._end([process])

    @contextlib.contextmanager
    def krm_door(self) -> Iterator[Door]:
        """A door to KRM's API."""
        host, _, port = self.krm_url.removeprefix("http://").partition(":")
        door = Door(host, int(port))
        try:
            yield door
        finally:
            door.shut()

    @contextlib.contextmanager
    def door(self, folder: Path) -> Iterator[tuple[Door, Path]]:
        """A door, and a kubeconfig that leads through it."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        server = config["clusters"][0]["cluster"]["server"]
        host, _, port = server.removeprefix("http://").partition(":")
        door = Door(host, int(port))
        config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{door.port}"
        path = folder / "kubeconfig-door"
        path.write_text(yaml.safe_dump(config))
        try:
            yield door, path
        finally:
            door.shut()


@contextlib.contextmanager
def running(folder: Path, *, pods: int = 40, resources: str | None = None) -> Iterator[Cluster]:
    """A cluster at rest in which a program may write, with KRM's workers and API over it."""
    every = ",".join(resource.qualified_plural for resource in RESOURCES)
    port = free_port()
    with stack.simulated(folder, pods=pods, churn=0) as kubeconfig, LocalRedis() as redis:
        env = {
            **os.environ,
            "KRM_REDIS_URL": redis.url,
            "KRM_RESOURCES": resources or every,
            "KRM_PORT": str(port),
            "KRM_VERIFY_INTERVAL": "2s",
            "KRM_LOG_LEVEL": "warning",
        }
        from_cluster = ("--kubeconfig", str(kubeconfig))
        commands = [("verify", *from_cluster), ("stream", *from_cluster), ("aggregate",), ("serve",)]
        processes = [_start(env, *command) for command in commands]
        url = f"http://127.0.0.1:{port}"
        try:
            stack._wait_ready(url)
            yield Cluster(kubeconfig=kubeconfig, krm_url=url, env=env)
        finally:
            stack._end(processes)


def _start(env: Mapping[str, str], *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "krm", *command], env=dict(env))
