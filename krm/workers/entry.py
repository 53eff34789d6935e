"""A process of workers: the workers of one role, for one resource or several, until they are told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from krm import errors, garbage
from krm.kube import connect as kube
from krm.kube.backoff import Backoff
from krm.kube.lease_names import lease_name
from krm.kube.leases import Lease
from krm.resources import Resource
from krm.settings import Settings
from krm.store.connect import Store, open_store
from krm.store.reading import TableStore
from krm.store.writing import Role
from krm.workers.aggregator import Aggregator
from krm.workers.runner import Worker, cancel
from krm.workers.streamer import Streamer
from krm.workers.verifier import Verifier

logger = logging.getLogger(__name__)

ALIVE_S: Final = 5.0
"""From one touch of the file for the liveness probe to the next."""


def main(
    role: Role,
    settings: Settings,
    resources: Sequence[Resource],
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    alive_file: Path | None = None,
) -> None:
    """Run the workers of ``role`` for ``resources`` until SIGINT or SIGTERM. Raises ``ConfigError``.

    ``alive_file`` is touched as long as the event loop runs: for a liveness probe.
    """
    garbage.settle()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(role, settings, resources, kubeconfig=kubeconfig, context=context, alive_file=alive_file))


async def run(
    role: Role,
    settings: Settings,
    resources: Sequence[Resource],
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    stop: asyncio.Event | None = None,
    alive_file: Path | None = None,
) -> None:
    """The same inside an event loop; ends when ``stop`` is set (by default by a signal)."""
    stop = stop or stopped_by_signal()
    async with contextlib.AsyncExitStack() as ends:
        ends.push_async_callback(cancel, _living(alive_file))
        store = open_store(settings.require_redis())
        ends.push_async_callback(store.close)
        if not await _checked(store, stop):
            return
        workers: list[Worker] = []
        for resource in resources if role != "collector" else ():
            table = TableStore(store, settings.cluster, resource)
            cluster = await _opened(role, kubeconfig, context)
            if cluster is not None:
                ends.push_async_callback(cluster.close)
            workers.append(_worker(role, resource, settings, table, cluster))
        if role == "collector":
            workers = _collectors(settings, [TableStore(store, settings.cluster, one) for one in resources], ends)
        logger.info("works", extra={"role": role, "resources": ",".join(r.plural for r in resources)})
        await _until(stop, workers)
        logger.info("stopped", extra={"role": role})


def _collectors(settings: Settings, tables: Sequence[TableStore], ends: contextlib.AsyncExitStack) -> list[Worker]:
    # Here: InfluxDB's client takes a second and 60 MB, which no other worker should pay.
    from krm.influx import Influx
    from krm.workers.collector import Collector

    assert settings.influx_url is not None  # whoever starts a collector has looked
    influx = Influx(settings.influx_url, settings.influx_token, org=settings.influx_org, bucket=settings.influx_bucket)
    ends.push_async_callback(influx.close)
    return [Collector(table.resource, settings, table, influx) for table in tables]


async def _opened(role: Role, kubeconfig: Path | None, context: str | None) -> kube.Cluster | None:
    """The cluster; an aggregator needs it for its Lease alone, so it may be missing there."""
    try:
        return await kube.open(kubeconfig, context)
    except errors.ConfigError:
        if role == "aggregator" and kubeconfig is None and context is None:
            return None
        raise


def _worker(
    role: Role, resource: Resource, settings: Settings, table: TableStore, cluster: kube.Cluster | None
) -> Worker:
    worker: Worker
    if cluster is None or role == "aggregator":
        worker = Aggregator(resource, settings, table)
    else:
        worker = (Streamer if role == "streamer" else Verifier)(resource, settings, table, cluster)
    namespace = cluster.own_namespace if cluster is not None else None
    if cluster is not None and namespace is not None:
        identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        name = lease_name(role, resource)
        worker.lead = Lease(cluster, namespace=namespace, name=name, identity=identity)
    return worker


def _living(path: Path | None) -> list[asyncio.Task[None]]:
    """A task that touches ``path`` again and again. Raises ``ConfigError`` where it cannot."""
    if path is None:
        return []
    if (reason := _touched(path)) is not None:
        raise errors.ConfigError(f"--alive-file: {path} cannot be written: {reason}")
    return [asyncio.create_task(_touch_on(path))]


async def _touch_on(path: Path) -> None:
    while True:
        await asyncio.sleep(ALIVE_S)
        if (reason := _touched(path)) is not None:  # the probe will say so; a worker is no worse for it
            logger.warning("the file for the liveness probe cannot be written", extra={"reason": reason})


def _touched(path: Path) -> str | None:
    """Touch ``path``; why not, if not."""
    try:
        path.touch()
    except OSError as error:
        return str(error.strerror)
    return None


def stopped_by_signal() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _checked(store: Store, stop: asyncio.Event) -> bool:
    """Wait until Redis answers and is fit; False when told to stop before."""
    backoff = Backoff()
    said = ""
    while not stop.is_set():
        try:
            for warning in await store.check(writer=True):
                logger.warning(warning)
        except errors.StoreError as error:
            if str(error) != said:
                said = str(error)
                logger.warning("waits for Redis", extra={"reason": said})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff.failed(error))
        else:
            return True
    return False


async def _until(stop: asyncio.Event, workers: Sequence[Worker]) -> None:
    lives = [asyncio.create_task(worker.live()) for worker in workers]
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([*lives, stopping], return_when=asyncio.FIRST_COMPLETED)
        for life in done - {stopping}:
            await life  # a worker's life ends only by an error that nobody foresaw
    finally:
        await cancel([*lives, stopping])
