"""The whole write side on real parts: a simulated cluster, a real Redis, and workers that can be stopped and started.

Workers run as tasks of the test's loop, each with its own connections, exactly as a process of theirs would run them;
``kill`` ends one without letting it say goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from krm import resources, simulator
from krm.kube import connect as kube
from krm.merge import Key, State
from krm.resources import Resource
from krm.settings import Secret, Settings
from krm.store import rows
from krm.store.connect import Store, open_store
from krm.store.head import Head
from krm.store.reading import TableStore
from krm.store.rows import Codec
from krm.workers.aggregator import Aggregator
from krm.workers.runner import Lead, Worker, cancel
from krm.workers.streamer import Streamer
from krm.workers.verifier import Verifier
from tests.waiting import wait_until

ROLES = ("verifier", "streamer", "aggregator")


class Chain:
    """Workers of some resources between a simulated API server and Redis."""

    def __init__(
        self,
        simulation: simulator.Simulation,
        redis_url: str,
        kubeconfig: Path,
        kinds: Sequence[Resource],
        **flags: object,
    ) -> None:
        self.simulation = simulation
        self.kinds = kinds
        self.settings = Settings.load({"redis_url": Secret(redis_url), "verify_interval_s": 2.0, **flags}, {})
        self.store: Store = open_store(Secret(redis_url))
        self._redis_url = redis_url
        self._kubeconfig = kubeconfig
        self._lives: dict[tuple[str, str], tuple[asyncio.Task[None], contextlib.AsyncExitStack]] = {}
        self.workers: dict[tuple[str, str], Worker] = {}
        self.leads: Callable[[str, Resource, kube.Cluster], Lead] | None = None
        """Makes the Lease of a worker; None: the workers have none."""
        self._truths: dict[tuple[str, int], dict[Key, State]] = {}

    def table(self, kind: Resource = resources.PODS) -> TableStore:
        """What a reader sees."""
        return TableStore(self.store, self.settings.cluster, kind)

    async def start(self, role: str, kind: Resource = resources.PODS) -> None:
        """Start one worker."""
        stack = contextlib.AsyncExitStack()
        store = open_store(Secret(self._redis_url))
        stack.push_async_callback(store.close)
        table = TableStore(store, self.settings.cluster, kind)
        worker: Worker
        if role == "aggregator":
            worker = Aggregator(kind, self.settings, table)
        else:
            cluster = await kube.open(self._kubeconfig, None)
            stack.push_async_callback(cluster.close)
            worker = (Streamer if role == "streamer" else Verifier)(kind, self.settings, table, cluster)
        if self.leads is not None:
            asked = await kube.open(self._kubeconfig, None)
            stack.push_async_callback(asked.close)
            worker.lead = self.leads(role, kind, asked)
        self.workers[role, kind.plural] = worker
        self._lives[role, kind.plural] = (asyncio.create_task(worker.live()), stack)

    async def start_all(self) -> None:
        """Start every worker of every kind."""
        for kind in self.kinds:
            for role in ROLES:
                await self.start(role, kind)

    async def stop(self, role: str, kind: Resource = resources.PODS) -> None:
        """End one worker as SIGTERM does."""
        task, stack = self._lives.pop((role, kind.plural))
        await cancel([task])
        assert task.done()
        await stack.aclose()

    async def kill(self, role: str, kind: Resource = resources.PODS) -> None:
        """End one worker as SIGKILL does: its connections go first, so that it can neither release nor say anything."""
        worker = self.workers[role, kind.plural]

        async def unheard(*_: object) -> int:
            return 0

        worker.writer.beat = unheard  # type: ignore[method-assign, assignment]
        worker.writer.release = unheard  # type: ignore[method-assign, assignment]
        if worker.lead is not None:
            worker.lead.give_back = unheard  # type: ignore[method-assign, assignment]
        await self.stop(role, kind)

    async def close(self) -> None:
        """End everything."""
        for role, plural in list(self._lives):
            await self.stop(role, next(kind for kind in self.kinds if kind.plural == plural))
        await self.store.close()

    async def ready(self, kind: Resource = resources.PODS, deadline_s: float = 20.0) -> Head:
        """The head, once there is a table."""

        async def head() -> Head | None:
            found = await self.table(kind).head()
            return found if found is not None and found.state == "ready" else None

        found = await wait_until(head, deadline_s, f"{kind.plural} ready")
        assert found is not None
        return found

    def truth(self, kind: Resource = resources.PODS) -> dict[Key, State]:
        """What the API server has."""
        at = (kind.plural, self.simulation.store.rv)
        if at not in self._truths:
            served = self.simulation.store.kind_named(kind.qualified)
            found: dict[Key, State] = {}
            for version in self.simulation.store.all(served):
                metadata = version.parse()["metadata"]
                key = (metadata.get("namespace", ""), metadata["name"])
                found[key] = State(metadata["uid"], metadata["resourceVersion"])
            self._truths = {at: found}
        return self._truths[at]

    async def stored(self, kind: Resource = resources.PODS) -> dict[Key, State]:
        """What the rows in Redis say."""
        codec = Codec(kind)
        found: dict[Key, State] = {}
        async for part in self.table(kind).records():
            for uid, record in part:
                row = codec.decode(record)
                assert row.uid == uid
                found[row.key] = State(row.uid, row.version)
        return found

    async def proven(self, kind: Resource = resources.PODS) -> bool:
        """Whether rows, number and digest of the stored table fit each other."""
        head = await self.ready(kind)
        return (head.rows, head.digest) == described(await self.stored(kind))

    async def converged(self, deadline_s: float = 20.0) -> None:
        """Wait until every table equals what the API server has, row by row; the world must be at rest."""
        for kind in self.kinds:

            async def equal(kind: Resource = kind) -> bool:
                head = await self.table(kind).head()
                truth = self.truth(kind)
                # The cheap look first: reading every row again and again would leave the workers no time.
                if head is None or head.state != "ready" or (head.rows, head.digest) != described(truth):
                    return False
                return await self.stored(kind) == truth and await self.proven(kind)

            await wait_until(equal, deadline_s, f"{kind.plural} as the API server has them")


def described(table: Mapping[Key, State]) -> tuple[int, int]:
    """(rows, digest) of a table."""
    return len(table), sum(rows.digest(*state) for state in table.values()) % rows.DIGEST_MODULUS


@contextlib.asynccontextmanager
async def running(
    redis_url: str,
    folder: Path,
    *,
    pods: int = 60,
    churn: float = 0.0,
    kinds: Sequence[Resource] = (resources.PODS,),
    server: simulator.ServerSettings | None = None,
    started: bool = True,
    **flags: object,
) -> AsyncIterator[Chain]:
    """A chain on a fresh cluster; ``started`` starts all its workers."""
    world = simulator.World(pods=pods, seed=7)
    async with simulator.serve(world=world, churn=churn, settings=server) as simulation:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(simulation.kubeconfig())
        chain = Chain(simulation, redis_url, kubeconfig, kinds, **flags)
        try:
            if started:
                await chain.start_all()
            yield chain
        finally:
            await chain.close()
