"""A TCP proxy that does to connections what networks do: delays, throttles, holes, resets, cuts, refusals.

It runs in the event loop of the test and knows nothing of what it forwards, but for one thing: whether the first bytes
of a connection ask for a watch, so that a fault can hit watches alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.waiting import wait_until

_PIECE = 65_536
FOREVER_S = 3_600.0


@dataclass(eq=False)
class Connection:
    """One forwarded connection."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    asked: bytes = b""
    """The newest request's beginning."""
    is_hole: bool = False
    """Keeps both sockets open and forwards nothing more."""
    cut_after: int | None = None
    """Bytes towards the client until it is reset."""

    @property
    def is_watch(self) -> bool:
        """Whether its newest request is a watch."""
        return b"watch=1" in self.asked

    def reset(self) -> None:
        """RST to both sides, whatever lies in the buffers."""
        for writer in (self.client, self.server):
            found = writer.get_extra_info("socket")
            if found is not None and found.family in (socket.AF_INET, socket.AF_INET6) and found.fileno() >= 0:
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


@dataclass(kw_only=True)
class Proxy:
    """Forwards ``port`` of loopback to ``target``; its members may be changed at any time."""

    target: tuple[str, int]
    port: int = 0
    delay_s: float = 0.0
    """Before each piece towards the client."""
    bytes_per_s: float = 0.0
    """Towards the client; 0: unbounded."""
    is_hole: bool = False
    """All connections, new ones too, are accepted and forward nothing."""
    connections: set[Connection] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen(self) -> None:
        """Accept connections (again)."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Reset all connections and accept none until ``listen``."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()
        await asyncio.sleep(0)

    def reset(self, which: Callable[[Connection], bool] = lambda one: True) -> int:
        """RST; how many."""
        chosen = [one for one in self.connections if which(one)]
        for one in chosen:
            one.reset()
        return len(chosen)

    def cut(self, after: int, which: Callable[[Connection], bool] = lambda one: True) -> int:
        """RST chosen connections once so many bytes more went towards the client, wherever that is; how many."""
        chosen = [one for one in self.connections if which(one)]
        for one in chosen:
            one.cut_after = after
        return len(chosen)

    def hole(self, which: Callable[[Connection], bool] = lambda one: True) -> int:
        """Let chosen connections fall silent for ever; how many."""
        chosen = [one for one in self.connections if which(one)]
        for one in chosen:
            one.is_hole = True
        return len(chosen)

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            return  # a task of a server's connection must not end as cancelled
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wait_until(lambda: not self.is_hole, FOREVER_S)
        their_reader, their_writer = await asyncio.open_connection(*self.target)
        connection = Connection(writer, their_writer)
        self.connections.add(connection)
        try:
            up = asyncio.ensure_future(self._pump(connection, reader, their_writer, is_up=True))
            down = asyncio.ensure_future(self._pump(connection, their_reader, writer, is_up=False))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (up, down):
                    task.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self.connections.discard(connection)
            their_writer.transport.abort()

    async def _pump(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        while data := await reader.read(_PIECE):
            if is_up and data.startswith((b"GET ", b"POST ")):
                connection.asked = data[:2_000]
            if self.is_hole or connection.is_hole:
                await wait_until(lambda: not self.is_hole and not connection.is_hole, FOREVER_S)
            if not is_up and self.delay_s:
                await asyncio.sleep(self.delay_s)
            if not is_up and connection.cut_after is not None:
                if len(data) > connection.cut_after:
                    writer.write(data[: connection.cut_after])
                    with contextlib.suppress(OSError):
                        await writer.drain()
                    connection.reset()
                    return
                connection.cut_after -= len(data)
            writer.write(data)
            await writer.drain()
            if not is_up and self.bytes_per_s:
                await asyncio.sleep(len(data) / self.bytes_per_s)


@contextlib.asynccontextmanager
async def to(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy to a server, ended at the exit."""
    proxy = Proxy(target=(host, port))
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
