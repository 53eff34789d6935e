"""What each program runs: the way from settings into the API, the workers and the simulated cluster."""

from __future__ import annotations

import functools
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from krm import logs
from krm.resources import Resource
from krm.settings import Settings

Role = Literal["streamer", "verifier", "aggregator", "collector"]


@dataclass(frozen=True, kw_only=True)
class ClusterChoice:
    """Which cluster, as the official client would be told."""

    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """The simulated cluster of the demo."""

    pods: int
    churn_per_s: float
    seed: int


def settings_from(flags: Mapping[str, object], env: Mapping[str, str]) -> Settings:
    """Settings, and a word on variables that mean nothing. Raises ``ConfigError``."""
    from krm import settings
    from krm.cli import output

    for line in settings.unknown(env):
        output.say(f"warning: {line}")
    return Settings.load(flags, env)


def work(
    role: Role,
    settings: Settings,
    resources: Sequence[Resource],
    cluster: ClusterChoice,
    alive_file: Path | None = None,
) -> int:
    """The workers of ``role`` until SIGTERM or SIGINT."""
    logs.configure(settings.log_format, settings.log_level)
    from krm.workers import entry

    entry.main(role, settings, resources, kubeconfig=cluster.kubeconfig, context=cluster.context, alive_file=alive_file)
    return 0


def serve(settings: Settings, listening: socket.socket | None, cluster: ClusterChoice) -> int:
    """The API until SIGTERM or SIGINT. ``cluster`` is asked who callers are, where ``KRM_AUTH`` says so."""
    logs.configure(settings.log_format, settings.log_level)
    from krm.api import server

    admission = None
    if settings.auth == "kubernetes":
        from krm.auth import reviewed

        reviewed.check(cluster.kubeconfig, cluster.context)
        admission = functools.partial(
            reviewed.reviewed, cluster.kubeconfig, cluster.context, audience=settings.token_audience
        )
    server.run(settings, listening, admission)
    return 0


def simulate(settings: Settings, simulated: Simulated, listening: socket.socket) -> int:
    """The simulated cluster on ``listening`` until SIGTERM or SIGINT."""
    logs.configure(settings.log_format, settings.log_level)
    import asyncio

    asyncio.run(_simulate(simulated, listening))
    return 0


def keep_delays(settings: Settings, influxd: Path, listening: socket.socket) -> int:
    """An InfluxDB of the demo's own on ``listening`` until SIGTERM or SIGINT."""
    logs.configure(settings.log_format, settings.log_level)
    import asyncio

    asyncio.run(_keep_delays(influxd, listening))
    return 0


async def _keep_delays(influxd: Path, listening: socket.socket) -> None:
    from krm.simulator import influx

    try:
        async with influx.running(influxd, listening):
            await _told_to_end()
    finally:
        listening.close()


async def _told_to_end() -> None:
    import asyncio
    import signal

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


async def _simulate(simulated: Simulated, listening: socket.socket) -> None:
    from krm import simulator

    world = simulator.World(pods=simulated.pods, seed=simulated.seed)
    async with simulator.serve(world=world, churn=simulated.churn_per_s, sock=listening):
        await _told_to_end()
