"""A simulation that runs: the listening socket, the life in the cluster, and what can be done to both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from krm.simulator.access import Access, User
from krm.simulator.bodies import MAX_BYTES
from krm.simulator.churn import Churn
from krm.simulator.counters import Requests
from krm.simulator.faults import Faults
from krm.simulator.history import Snapshot
from krm.simulator.server import Server, ServerSettings
from krm.simulator.store import Store
from krm.simulator.world import World

logger = logging.getLogger(__name__)

_COMPACT_EVERY_S = 30.0
_SHUTDOWN_S = 1.0


class Simulation:
    """A simulated API server, running. Made by `serve`."""

    def __init__(
        self,
        server: Server,
        *,
        world: World | None,
        tls: ssl.SSLContext | None,
        host: str,
        port: int,
        sock: socket.socket | None = None,
    ) -> None:
        self.server = server
        self.store: Store = server.store
        self.faults: Faults = server.faults
        self.requests: Requests = server.requests
        self.access: Access = server.access
        self.world = world
        self.churn = None if world is None else Churn(world, server.store)
        self.snapshots: dict[str, Snapshot] = {}
        self.host, self.port = host, port
        self._tls = tls
        self._sock = sock
        self._runner: web.AppRunner | None = None
        self._site: web.BaseSite | None = None
        self._life: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        server.operations = self

    @property
    def url(self) -> str:
        """Where it listens, without a final slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    # Life

    async def start(self, *, history_s: float) -> None:
        """Listen."""
        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self.server.handle)
        app.on_response_prepare.append(_as_the_real_server)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await self._listen()
        self._housekeeping = asyncio.create_task(self._keep_house(history_s))

    async def _listen(self) -> None:
        assert self._runner is not None
        sock, self._sock = self._sock, None  # closed with its site: after a restart it listens there anew
        if sock is not None:
            self._site = web.SockSite(self._runner, sock, ssl_context=self._tls)
        else:
            self._site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End everything: life, streams, socket."""
        for task in (self._life, self._housekeeping):
            await _ended(task)
        self.server.writer.close()
        self.server.end_watches()
        if self._runner is not None:
            transports = self._transports()
            await self._runner.cleanup()
            # A closed TLS connection waits for its client, who may be busy elsewhere: it is not waited for.
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0)

    async def _keep_house(self, history_s: float) -> None:
        """Compact what is older than the history that is kept, as a real cluster does every five minutes."""
        loop = asyncio.get_running_loop()
        seen: deque[tuple[float, int]] = deque()
        while True:
            seen.append((loop.time(), self.store.rv))
            while len(seen) > 1 and seen[1][0] <= loop.time() - history_s:
                seen.popleft()
            if seen[0][0] <= loop.time() - history_s:
                self.store.compact(seen[0][1])
            await asyncio.sleep(min(_COMPACT_EVERY_S, history_s))

    def set_churn(self, rate_per_s: float) -> None:
        """Let things happen in the world at this rate (changes per second); 0 stops them. Raises ValueError."""
        if rate_per_s < 0 or rate_per_s > 1_000_000:
            raise ValueError("rate must lie between 0 and 1000000 changes per second")
        if self._life is not None:
            self._life.cancel()
            self._life = None
        if rate_per_s > 0:
            if self.churn is None:
                raise ValueError("there is no world in which anything could happen")
            self._life = asyncio.create_task(self.churn.run(rate_per_s))

    # What can be done to it

    def compact(self, rv: int | None = None) -> int:
        """Forget the history up to a version (now): older watches and lists are answered with 410."""
        return self.store.compact(rv)

    def snapshot(self) -> Snapshot:
        """Keep the state as it is now."""
        return self.store.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, as after a restore of etcd: connections are closed, versions begin again there."""
        self.store.restore(snapshot)
        self.server.forget()
        self._drop_connections()

    async def restart(self, down_s: float = 0.0) -> None:
        """Close all connections and forget what a new process would not know; listen again `down_s` later."""
        assert self._runner is not None
        if down_s > 0 and self._site is not None:
            await self._site.stop()
        self.server.forget()
        self._drop_connections()
        if down_s > 0:
            await asyncio.sleep(down_s)
            await self._listen()

    def _drop_connections(self) -> None:
        self.server.end_watches(abort=True)
        for transport in self._transports():
            transport.abort()

    def _transports(self) -> list[asyncio.Transport]:
        if self._runner is None or self._runner.server is None:
            return []
        found = [connection.transport for connection in self._runner.server.connections]
        return [transport for transport in found if transport is not None]

    def kubeconfig(self, token: str = "") -> str:
        """A kubeconfig (YAML) that leads here."""
        user = f"    token: {token}\n" if token else "    {}\n"
        insecure = "    insecure-skip-tls-verify: true\n" if self._tls is not None else ""
        return (
            "apiVersion: v1\nkind: Config\ncurrent-context: simulator\n"
            f"clusters:\n- name: simulator\n  cluster:\n    server: {self.url}\n{insecure}"
            f"users:\n- name: simulator\n  user:\n{user}"
            "contexts:\n- name: simulator\n  context:\n    cluster: simulator\n    user: simulator\n"
        )


async def _as_the_real_server(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def serve(
    *,
    world: World | None = None,
    store: Store | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    churn: float = 0.0,
    settings: ServerSettings | None = None,
    faults: Faults | None = None,
    tokens: Mapping[str, User] | None = None,
    auth: bool = False,
    tls: ssl.SSLContext | None = None,
    sock: socket.socket | None = None,
    history_s: float = 300.0,
) -> AsyncIterator[Simulation]:
    """Run a simulated API server until the block is left.

    `world` fills the store (an empty one unless given) and lives at `churn` changes per second. `auth` switches
    authentication and authorization on: `tokens` by bearer token, rights by the roles and bindings in the store.
    `sock` is a socket that listens already, instead of `host` and `port`.
    `history_s` is how long old versions can be listed and watched from.
    """
    store = store or Store()
    if world is not None:
        world.populate(store)
    access = Access(store=store, enabled=auth, tokens=dict(tokens or {}))
    server = Server(store, settings=settings or ServerSettings(), access=access, faults=faults or Faults())
    simulation = Simulation(server, world=world, tls=tls, host=host, port=port, sock=sock)
    await simulation.start(history_s=history_s)
    try:
        if churn:
            simulation.set_churn(churn)
        yield simulation
    finally:
        await simulation.stop()
