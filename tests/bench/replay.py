"""An API server that costs next to nothing: it replays prepared lines, so that what is measured is KRM.

The objects are the simulator's; beyond ``TEMPLATES`` pods each is one of these under another name and uid. A change is
a template with another version filled in. It runs in a process of its own (``python -m tests.bench.replay``) and is
told by lines of JSON on its standard input what to play; ``Replay`` is its handle.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import uvloop

from krm import resources, simulator
from krm.resources import Resource

TEMPLATES: Final = 2_000
HISTORY: Final = 500_000
TICK_S: Final = 0.001
BOOKMARK_S: Final = 20.0
FIRST_VERSION: Final = 1_000_000
UNACCEPTED: Final = 64 * 2**20
"""Bytes that may wait for a watcher that does not read; more of them is a watch that the server ends."""
SHARES: Final[Mapping[str, float]] = {
    "pods": 0.6,
    "deployments": 0.15,
    "nodes": 0.1,
    "services": 0.05,
    "ingresses": 0.05,
    "persistentvolumeclaims": 0.05,
}
"""Of the changes, where they are played over all kinds."""
_RV: Final = b"\0rv\0"
_NAME: Final = b"\0name\0"
_UID: Final = b"\0uid\0"


@dataclass(eq=False)
class Kind:
    """The objects of one kind."""

    resource: Resource
    path: str
    whole: list[tuple[bytes, ...]]
    """Per template the object's bytes, cut where version, name and uid stand; the marks among them."""
    partial: list[tuple[bytes, ...]]
    namespaces: list[str]
    names: list[bytes]
    uids: list[bytes]
    versions: list[int]
    at: dict[str, int] = field(default_factory=dict)
    """``/namespaces/<namespace>/<plural>/<name>`` -> number of the object."""
    history: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """(version, number of the object) of the changes."""
    watchers: set[Connection] = field(default_factory=set)
    pages: dict[bool, dict[int, tuple[int, bytes]]] = field(default_factory=lambda: {False: {}, True: {}})
    """By whether it is metadata alone: number -> version and JSON as they were listed last."""

    def listed(self, number: int, version: int, *, metadata_only: bool) -> bytes:
        """The JSON of an object in a list; the same bytes again where it is the same."""
        kept = self.pages[metadata_only]
        found = kept.get(number)
        if found is None or found[0] != version:
            found = kept[number] = version, self.object(number, version, metadata_only=metadata_only)
        return found[1]

    def object(self, number: int, version: int, *, metadata_only: bool = False) -> bytes:
        """The JSON of an object."""
        templates = self.partial if metadata_only else self.whole
        filled = {_RV: b"%d" % version, _NAME: self.names[number], _UID: self.uids[number]}
        return b"".join([filled.get(part, part) for part in templates[number % len(templates)]])

    def line(self, number: int, version: int) -> bytes:
        """The line of a watch that tells of a change."""
        return b'{"type":"MODIFIED","object":%s}\n' % self.object(number, version)


def cut(body: bytes, name: str, uid: str, version: int) -> tuple[bytes, ...]:
    """``body`` in parts, marks where version, name and uid stand."""
    body = body.replace(b'"resourceVersion":"%d"' % version, b'"resourceVersion":"' + _RV + b'"', 1)
    body = body.replace(b'"%s"' % name.encode(), b'"' + _NAME + b'"').replace(uid.encode(), _UID)
    parts: list[bytes] = [body]
    for mark in (_RV, _NAME, _UID):
        parts = [piece for part in parts for piece in _split(part, mark)]
    return tuple(parts)


def _split(part: bytes, mark: bytes) -> Iterator[bytes]:
    for number, piece in enumerate(part.split(mark)):
        if number:
            yield mark
        if piece:
            yield piece


def kind(store: simulator.Store, resource: Resource, count: int | None) -> Kind:
    """The objects of ``resource`` in ``store``, multiplied to ``count``."""
    rng = random.Random(7)
    found = store.all(store.kind_named(resource.plural))
    made = Kind(
        resource,
        resource.path(""),
        [cut(one.whole(), one.name, one.uid, one.rv) for one in found],
        [cut(one.partial(), one.name, one.uid, one.rv) for one in found],
        *([], [], [], []),
    )
    for number in range(len(found) if count is None else count):
        one = found[number % len(found)]
        turn = number // len(found)
        made.namespaces.append(one.namespace)
        made.names.append((one.name if not turn else f"{one.name}-{turn}").encode())
        made.uids.append((one.uid if not turn else str(uuid.UUID(int=rng.getrandbits(128), version=4))).encode())
        made.versions.append(FIRST_VERSION - 1)
        place = f"/namespaces/{one.namespace}" if one.namespace else ""
        made.at[f"{place}/{resource.plural}/{made.names[-1].decode()}"] = number
    return made


class Server:
    """What is served, and what is played."""

    def __init__(self, kinds: list[Kind]) -> None:
        self.kinds = {one.path: one for one in kinds}
        self.by_plural = {one.resource.plural: one for one in kinds}
        self.version = FIRST_VERSION
        self.snapshots: dict[tuple[str, int], list[int]] = {}
        self.requests = 0
        self.sent = 0

    def answer(self, connection: Connection, target: str, *, metadata_only: bool) -> bytes | None:
        """The body of an answer; None where the connection is a watch from now on."""
        self.requests += 1
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/api/v1/namespaces/kube-system":
            return b'{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"history"}}'
        found = self.kinds.get(url.path)
        if found is None:
            for one in self.kinds.values():
                number = one.at.get(url.path.removeprefix(one.path.removesuffix(f"/{one.resource.plural}")))
                if number is not None:
                    return one.object(number, one.versions[number])
            return b""
        if query.get("watch") == "1":
            connection.watch(found, int(query["resourceVersion"]))
            return None
        return self._page(found, query, metadata_only=metadata_only)

    def _page(self, found: Kind, query: Mapping[str, str], *, metadata_only: bool) -> bytes:
        version, start = self.version, 0
        if "continue" in query:
            version, start = json.loads(base64.b64decode(query["continue"]))
        versions = self.snapshots.get((found.path, version))
        if versions is None:
            versions = self.snapshots[found.path, version] = list(found.versions)
        end = min(start + int(query.get("limit", 0) or len(versions)), len(versions))
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if end < len(versions):
            metadata["continue"] = base64.b64encode(json.dumps([version, end]).encode()).decode()
            metadata["remainingItemCount"] = len(versions) - end
        else:
            del self.snapshots[found.path, version]
        shape = ("PartialObjectMetadataList", "meta.k8s.io/v1")
        kind_name, api = shape if metadata_only else (f"{found.resource.kind}List", found.resource.api_version)
        head = json.dumps({"kind": kind_name, "apiVersion": api, "metadata": metadata}).encode()[:-1]
        items = [found.listed(n, versions[n], metadata_only=metadata_only) for n in range(start, end)]
        if not items:
            return head + b',"items":[]}\n'
        items[0] = head + b',"items":[' + items[0]
        items[-1] += b"]}\n"
        return b",".join(items)

    async def play(self, *, rate: float, seconds: float, samples_per_s: float, plurals: list[str]) -> None:
        """Change objects at ``rate``; prints of some changes where, which version and when they were written."""
        rng = random.Random(self.version)
        kinds = [self.by_plural[plural] for plural in plurals]
        chosen = rng.choices(kinds, [SHARES[plural] for plural in plurals], k=int(rate * seconds))
        every = max(1, int(rate / samples_per_s)) if samples_per_s else 0
        start, done = time.perf_counter(), 0
        while done < len(chosen):
            now = time.perf_counter()
            due = min(len(chosen), int((now - start) * rate) + 1)
            lines: dict[Kind, list[bytes]] = {}
            sampled = []
            for number in range(done, due):
                one = chosen[number]
                self.version += 1
                which = rng.randrange(len(one.names))
                one.versions[which] = self.version
                one.history.append((self.version, which))
                lines.setdefault(one, []).append(one.line(which, self.version))
                if every and number % every == 0:
                    sampled.append((one, which, self.version))
            done = due
            for one, made in lines.items():
                for watcher in one.watchers:
                    watcher.send(made)
            at = time.perf_counter()
            for one, which, version in sampled:
                print(one.resource.plural, one.namespaces[which] or "-", one.names[which].decode(), version, at)
            if sampled:
                sys.stdout.flush()
            await asyncio.sleep(max(0.0, start + done / rate - time.perf_counter(), TICK_S))
        print("played", self.version, time.perf_counter() - start, flush=True)

    async def bookmark(self) -> None:
        """Tell every watcher now and then how far it has come."""
        while True:
            await asyncio.sleep(BOOKMARK_S)
            for one in self.kinds.values():
                for watcher in one.watchers:
                    watcher.send(
                        [b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d"}}}\n' % self.version]
                    )


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, or a watch."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pending = b""
        self._watched: Kind | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watched is not None:
            self._watched.watchers.discard(self)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head, self._pending = self._pending[:end], self._pending[end + 4 :]
            target = head.split(b" ", 2)[1].decode()
            body = self._server.answer(self, target, metadata_only=b"as=PartialObjectMetadata" in head)
            if body is not None:
                status = b"200 OK" if body else b"404 Not Found"
                body = body or b'{"kind":"Status","apiVersion":"v1","code":404,"reason":"NotFound","message":"no"}'
                self._transport.write(
                    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
                )
                self._transport.write(body)
                self._server.sent += len(body)

    def watch(self, found: Kind, after: int) -> None:
        """Tell of the changes of ``found`` behind a version, those that there were and those that come."""
        self._watched = found
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        missed = [found.line(which, version) for version, which in found.history if version > after]
        if missed:
            self.send(missed)
        found.watchers.add(self)

    def send(self, lines: list[bytes]) -> None:
        """Write lines, as one chunk."""
        if self._transport.get_write_buffer_size() > UNACCEPTED:
            self._transport.abort()
            return
        body = b"".join(lines)
        self._server.sent += len(body)
        self._transport.write(b"%x\r\n%s\r\n" % (len(body), body))


async def serve(pods: int, kubeconfig: Path) -> None:
    """Serve until the standard input ends."""
    server = Server([])
    async with simulator.serve(world=simulator.World(pods=min(pods, TEMPLATES), seed=3)) as simulation:
        for resource in resources.RESOURCES.values():
            one = kind(simulation.store, resource, pods if resource.plural == "pods" else None)
            server.kinds[one.path] = server.by_plural[resource.plural] = one
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    await asyncio.to_thread(
        kubeconfig.write_text,
        json.dumps(
            {
                "clusters": [{"name": "replay", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "contexts": [{"name": "replay", "context": {"cluster": "replay", "user": "nobody"}}],
                "users": [{"name": "nobody", "user": {}}],
                "current-context": "replay",
            }
        ),
    )
    print("serves", server.version, flush=True)
    bookmarks = loop.create_task(server.bookmark())
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while told := await reader.readline():
        order = json.loads(told)
        if order:
            await server.play(**order)
        else:
            print("counts", server.requests, server.sent, server.version, flush=True)
    bookmarks.cancel()


@dataclass(frozen=True)
class Sample:
    """One change that was played."""

    plural: str
    namespace: str
    name: str
    version: str
    at: float
    """When it was written (``time.perf_counter``, which all processes of a machine share)."""


class Replay:
    """The handle of a server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], kubeconfig: Path) -> None:
        self.process = process
        self.kubeconfig = kubeconfig

    def order(self, **order: Any) -> None:
        """Tell it what to do."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def told(self) -> list[str]:
        """The words of its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().split()

    def counts(self) -> tuple[int, int, str]:
        """(requests, bytes sent, version) since its start."""
        self.order()
        _, requests, sent, version = self.told()
        return int(requests), int(sent), version

    def play(
        self, *, rate: float, seconds: float, samples_per_s: float = 0, plurals: tuple[str, ...] = ("pods",)
    ) -> Iterator[Sample]:
        """Play changes; gives the sampled ones as they are written, and ends with the last change."""
        self.order(rate=rate, seconds=seconds, samples_per_s=samples_per_s, plurals=plurals)
        while (words := self.told())[0] != "played":
            plural, namespace, name, version, at = words
            yield Sample(plural, "" if namespace == "-" else namespace, name, version, float(at))


@contextlib.contextmanager
def running(folder: Path, *, pods: int) -> Iterator[Replay]:
    """A replaying server over ``pods``."""
    kubeconfig = folder / "replay.kubeconfig"
    command = [sys.executable, "-m", "tests.bench.replay", str(pods), str(kubeconfig)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        replay = Replay(process, kubeconfig)
        try:
            assert replay.told()[0] == "serves"
            yield replay
        finally:
            process.kill()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # asyncio's own moves what waits to be sent
        runner.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
