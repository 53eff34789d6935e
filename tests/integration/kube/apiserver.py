"""A server that answers scripted bytes over real sockets: what a well-behaved one cannot be made to send.

It speaks just enough HTTP to record requests as they came over the wire, duplicate headers included.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.waiting import wait_until

CRLF = b"\r\n"


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [v for k, v in self.headers if k.lower() == name.lower()]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlsplit(self.target).query).items()}


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in headers.items())]
    return CRLF.join([*(line.encode() for line in lines), b"", b""])


def answer(body: bytes | dict[str, Any], status: int = 200, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "Content-Length": str(len(data))}
    sent.update({k.replace("_", "-"): v for k, v in headers.items()})

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, sent) + data)
        await writer.drain()

    return write


def refusal(code: int, message: str = "no", **headers: str) -> Answer:
    return answer({"kind": "Status", "status": "Failure", "message": message, "code": code}, code, **headers)


def page(
    items: Sequence[dict[str, Any]],
    version: str = "5",
    following: str = "",
    kind: str = "PodList",
    remaining: int | None = None,
) -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": version, **({"continue": following} if following else {})}
    if remaining is not None:
        meta["remainingItemCount"] = remaining
    return {"kind": kind, "apiVersion": "v1", "metadata": meta, "items": list(items)}


def stream(*chunks: bytes, end: str = "clean", after: asyncio.Event | None = None) -> Answer:
    """A chunked body; ``end``: clean, cut (no last chunk), reset, hang, garbage; not before ``after`` is set."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
        for chunk in chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        if after is not None:
            await asyncio.wait_for(after.wait(), 10)
        if end == "clean":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        elif end == "garbage":
            writer.write(b"zz\r\nnot a chunk\r\n")
            await writer.drain()
        elif end == "hang":
            await hang(writer)
        elif end == "reset":
            await reset(writer)
        if end != "clean":
            writer.close()

    return write


async def hang(writer: asyncio.StreamWriter) -> None:
    """Answer nothing until the other side goes, or a long time is over."""
    try:
        await wait_until(writer.is_closing, 30, "the client goes")
    finally:
        writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of a proper end."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class ApiServer:
    """Answers each request with the next of ``answers``; the last one is repeated."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    is_tls: bool = False
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self.is_tls else ''}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                self.requests.append(request)
                chosen = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await chosen(writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return  # the other side has gone, which is its right
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        text = (await reader.readuntil(CRLF + CRLF)).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *rest = text.split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(k, v.strip()) for k, _, v in (line.partition(":") for line in rest if line)]
    length = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
    return Request(method=method, target=target, headers=headers, body=await reader.readexactly(length))


@asynccontextmanager
async def running(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[ApiServer]:
    server = ApiServer(answers=list(answers), is_tls=tls is not None)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:  # the end of the test; asyncio's callback would report it as an error
            return

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def kubeconfig(
    file: Path, server: str, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None
) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    file.write_text(yaml.safe_dump(document))
    return file
