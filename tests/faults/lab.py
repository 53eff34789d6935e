"""The product as its users run it, a process each, between proxies that can break every connection it has.

    simulated API server <- proxy <- verify, stream  -> proxy -> Redis <- proxy <- aggregate, serve <- judge

The simulated server and the proxies live in the test's process, so that a fault is one call; Redis, workers and API
are processes, so that they can be stopped and killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import redis.asyncio as aioredis

from krm import errors, resources, simulator
from krm.resources import Resource
from krm.settings import Secret
from krm.simulator import Simulation
from krm.store.connect import open_store
from krm.store.reading import TableStore
from krm.workers.runner import cancel
from tests import servers
from tests.faults import proxy
from tests.faults.figures import Figures
from tests.faults.judge import Judge, Truth
from tests.faults.proxy import Proxy
from tests.integration.cli.programs import environment
from tests.waiting import NotInTimeError, wait_until

WORKERS: Final = ("verify", "stream", "aggregate")
READY_S: Final = 240.0
HEAL_S: Final = 45.0


class RedisProcess:
    """A Redis that can be killed and started again at its address, empty as Redis without persistence is."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = servers.free_port()
        self._folder = folder
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        program, _ = servers.redis_program()
        command = [str(program.path), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir"]
        command += [str(self._folder), "--enable-debug-command", "local", *self._options]
        self._spawn(command, program.env())

        async def answers() -> bool:
            try:
                async with aioredis.Redis(port=self.port, socket_timeout=1) as client:
                    return bool(await client.ping())
            except (aioredis.ConnectionError, aioredis.TimeoutError):
                return False

        await wait_until(answers, 20, "redis answers")

    def _spawn(self, command: Sequence[str], env: Mapping[str, str] | None) -> None:
        with (self._folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def client(self) -> Any:
        """A client of one's own."""
        return aioredis.Redis(port=self.port, socket_timeout=30)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(10)


class Lab:
    """What runs, and what can be done to it."""

    simulation: Simulation
    api_proxy: Proxy
    redis_proxy: Proxy
    truth: Truth
    judge: Judge

    def __init__(
        self, folder: Path, figures: Figures, interval_s: float, env: dict[str, str], redis_options: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.figures = figures
        self.interval_s = interval_s
        self.port = servers.free_port()
        self.redis = RedisProcess(folder, *redis_options)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._env = env
        self._places: dict[str, str] = {}
        self._kinds = env.get("KRM_RESOURCES", "pods").split(",")

    @property
    def url(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """Leads to the API server through the proxy."""
        return self.folder / "kubeconfig"

    def environment(self) -> dict[str, str]:
        """Of every process."""
        return environment(
            {
                "KRM_REDIS_URL": f"redis://127.0.0.1:{self.redis_proxy.port}/0",
                "KRM_RESOURCES": "pods",
                "KRM_PORT": str(self.port),
                "KRM_VERIFY_INTERVAL": f"{round(self.interval_s * 1000)}ms",
                "KRM_LIST_PAGE_SIZE": "100",
                "KRM_LOG_FORMAT": "json",
                **self._env,
            }
        )

    def start(self, *names: str, prefix: Sequence[str] = (), **popen: Any) -> None:
        """Start processes: ``verify``, ``stream``, ``aggregate``, ``serve``; ``stream-2`` is another ``stream``."""
        for name in names:
            command = name.partition("-")[0]
            arguments = ["--kubeconfig", str(self.kubeconfig)] if command in ("verify", "stream") else []
            with self.log(name).open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [*prefix, sys.executable, "-m", "krm", command, *arguments],
                    env=self.environment(),
                    **{"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, **popen},
                )

    def log(self, name: str) -> Path:
        """What a process has logged."""
        return self.folder / f"{name}.log"

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal; after SIGKILL it is over when this returns."""
        process = self.processes[name]
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait(10)

    def rss_mib(self, name: str) -> float:
        """Resident memory of a process."""
        for line in Path(f"/proc/{self.processes[name].pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def children(self, name: str) -> list[int]:
        """Process ids of the children of a process."""
        pid = self.processes[name].pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def descriptors(self, name: str) -> int:
        """Open file descriptors of a process."""
        return len(list(Path(f"/proc/{self.processes[name].pid}/fd").iterdir()))

    def churn(self, steps: int) -> None:
        """Let so many things happen in the cluster, at once."""
        assert self.simulation.churn is not None
        for _ in range(steps):
            self.simulation.churn.step()

    async def live(self, seconds: float, *, per_s: float = 40.0) -> None:
        """Let things happen for a while."""
        ends = time.monotonic() + seconds
        while (left_s := ends - time.monotonic()) > 0:
            self.churn(max(1, round(per_s / 20)))
            await asyncio.sleep(min(left_s, 0.05))

    def touch(self, name: str = "") -> tuple[str, str, str]:
        """Change one pod; (namespace, name, version)."""
        pods = self.simulation.store.kind_named("pods")
        if name not in self._places:
            self._places = {one.name: one.key for one in self.simulation.store.all(pods)}
        current = self.simulation.store.collection(pods).current
        version = current[self._places.get(name) or next(iter(self._places.values()))]
        pod = version.parse()
        pod["metadata"].setdefault("annotations", {})["touched"] = str(time.time_ns())
        done = self.simulation.store.update(pods, pod)
        return version.namespace, version.name, str(done.rv)

    async def sees(self, touched: tuple[str, str, str], deadline_s: float = HEAL_S) -> None:
        """Wait until an answer has a change."""
        namespace, name, version = touched

        def seen() -> bool:
            row = self.judge.rows.get((namespace, name))
            return row is not None and int(row.version) >= int(version)

        await wait_until(seen, deadline_s, "an answer has the change")

    def table(self, kind: Resource = resources.PODS) -> TableStore:
        """The table in Redis; close its ``store``."""
        return TableStore(open_store(Secret(f"redis://127.0.0.1:{self.redis.port}/0")), "default", kind)

    def restored(self) -> None:
        """The cluster's history is another from now on."""
        self.truth.reset()
        self.judge._last = ("", 0)

    async def whole(self, deadline_s: float = READY_S) -> None:
        """Wait until the answers are the cluster and say so."""

        def whole() -> bool:
            return self.judge.is_whole()

        try:
            await wait_until(whole, deadline_s, "whole")
        except NotInTimeError as error:
            lost, ghosts = self.judge.differences()
            raise NotInTimeError(
                f"not the cluster as it is: state {self.judge.state or self.judge.codes}, {self.judge.reason},"
                f" {lost} rows lost, {ghosts} ghosts; {self.tails()}"
            ) from error

    async def heals(self, *, deadline_s: float = HEAL_S) -> float:
        """The fault is over: count how long it takes until the answers are the cluster, row by row."""
        began = time.monotonic()
        self.figures.times += 1
        looks = self.judge.looks
        await wait_until(lambda: self.judge.looks > looks, deadline_s, "the API answers")
        try:
            await self.whole(deadline_s)
        except NotInTimeError:
            lost, ghosts = self.judge.differences()
            self.figures.lost += lost
            self.figures.ghosts += ghosts
            raise
        took_s = time.monotonic() - began
        self.figures.seconds.append(round(took_s, 3))
        return took_s

    def tails(self) -> str:
        """The last words of every process."""
        words = {
            name: self.log(name).read_text().splitlines()[-3:] for name in self.processes if self.log(name).exists()
        }
        return "; ".join(f"{name}: {lines}" for name, lines in words.items())

    async def measure_lists(self) -> None:
        """Tell the judge how long the longest list took, until cancelled."""
        table = self.table()
        try:
            while True:
                with contextlib.suppress(errors.StoreError):
                    head = await table.head()
                    if head is not None:
                        self.judge.longest_list_s = max(self.judge.longest_list_s, head.took_s)
                await asyncio.sleep(0.2)
        finally:
            await table.store.close()

    async def proven(self) -> None:
        """Rows, number and digest of the stored table fit each other, and it is the cluster."""
        from tests.chain import described

        table = self.table()
        try:

            async def equal() -> bool:
                head = await table.head()
                return head is not None and (head.rows, head.digest) == described(self.truth.now())

            await wait_until(equal, HEAL_S, "the stored table is the cluster")
        finally:
            await table.store.close()

    def end(self) -> None:
        """End every process."""
        for process in self.processes.values():
            servers.end(process)
        self.redis.end()


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    figures: Figures,
    *,
    pods: int = 300,
    interval_s: float = 3.0,
    lossless: bool = True,
    redis_by_proxy: bool = True,
    tokens: dict[str, simulator.User] | None = None,
    kubeconfig: Callable[[str], str] | None = None,
    redis_options: Sequence[str] = (),
    **env: str,
) -> AsyncIterator[Lab]:
    """A lab whose answers are the cluster, and a judge who looks at them all the time; what broke is an error."""
    lab = Lab(folder, figures, interval_s, env, redis_options)
    if not redis_by_proxy:
        env["KRM_REDIS_URL"] = f"redis://127.0.0.1:{lab.redis.port}/0"
    world = simulator.World(pods=pods, seed=5)
    async with contextlib.AsyncExitStack() as stack:
        lab.simulation = await stack.enter_async_context(
            simulator.serve(world=world, tokens=tokens, auth=tokens is not None)
        )
        lab.truth = Truth(lab.simulation)
        lab.api_proxy = await stack.enter_async_context(proxy.to("127.0.0.1", lab.simulation.port))
        lab.redis_proxy = await stack.enter_async_context(proxy.to("127.0.0.1", lab.redis.port))
        plain = lab.simulation.kubeconfig().replace(str(lab.simulation.port), str(lab.api_proxy.port))
        lab.kubeconfig.write_text(kubeconfig(plain) if kubeconfig else plain)
        lab.judge = Judge(lab.url, lab.truth, figures, interval_s, is_lossless=lossless)
        lab.judge.pause_s = 0.03 if pods < 1_000 else 1.0
        stack.callback(lab.end)
        await lab.redis.start()
        lab.start(*WORKERS, "serve")
        looking = [asyncio.create_task(lab.judge.look_for_ever()), asyncio.create_task(lab.measure_lists())]
        try:
            await lab.whole()
            yield lab
            figures.note(slowest_answer_s=lab.judge.slowest_s)
        finally:
            await cancel(looking)
        assert not lab.judge.broken, lab.judge.broken
