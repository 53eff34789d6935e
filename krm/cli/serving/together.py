"""Everything in one terminal: which parts there are, in which order they start, what is said when they are ready."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from krm.cli.serving import announce, delays, probe, roles, sockets
from krm.cli.serving.children import Part
from krm.cli.serving.probe import Address
from krm.cli.serving.relay import Relay
from krm.cli.serving.roles import ClusterChoice, Role
from krm.cli.serving.supervisor import Supervisor
from krm.settings import Secret, Settings
from krm.store.local import LocalRedis

SLOW_S: Final = 20.0
"""A start that takes longer than this says what it waits for."""
_SIMULATOR: Final = "cluster"
_ROLES: Final[tuple[Role, ...]] = ("verifier", "streamer", "aggregator")


@dataclass(frozen=True, kw_only=True)
class Together:
    """What is to run. ``simulated`` and ``cluster`` exclude each other."""

    settings: Settings
    cluster: ClusterChoice
    simulated: roles.Simulated | None = None
    duration_s: float | None = None
    title: str
    with_delay: bool = False
    """Keep delays in InfluxDB too."""


def run(wanted: Together) -> int:
    """Run until told to end; returns the exit status. Raises ``KrmError`` and ``OSError``."""
    began = time.monotonic()
    wanted.settings.check_api()
    listening = sockets.listen(wanted.settings.host, wanted.settings.port)
    redis = None if wanted.settings.redis_url else LocalRedis(max_memory_bytes=_half_of_memory())
    try:
        if redis is not None:
            redis.spawn()  # it answers long before the first part asks
        settings = _for_children(wanted.settings, sockets.port_of(listening), redis)
        store = delays.of(settings) if wanted.with_delay else delays.NONE
        parts, cluster_socket = _parts(wanted, settings, listening)
        address = Address(
            host=probe.reachable(settings.host), port=settings.port, is_tls=settings.tls_cert_file is not None
        )
        ready = announce.Announcement(address=address, title=wanted.title, began=began, slow_s=SLOW_S, more=store.told)
        supervisor = Supervisor(
            parts=[*parts, *store.parts],
            last=frozenset({_SIMULATOR, delays.NAME}),
            redis=redis,
            duration_s=wanted.duration_s,
            look=ready.look,
            relay=Relay(sys.stderr.fileno(), has_names=settings.log_format != "json"),
        )
        try:
            return supervisor.run()
        finally:
            store.close()
            if cluster_socket is not None:
                cluster_socket.close()
    finally:
        listening.close()
        if redis is not None:
            redis.stop()


def _for_children(settings: Settings, port: int, redis: LocalRedis | None) -> Settings:
    """What the parts are told: where Redis is, the port, and how to log into a pipe that leads to our terminal."""
    chosen_format = settings.log_format or ("text" if sys.stderr.isatty() else "json")
    url = settings.redis_url if redis is None else Secret(redis.url)
    return dataclasses.replace(settings, redis_url=url, port=port, log_format=chosen_format)


def _parts(wanted: Together, settings: Settings, listening: socket.socket) -> tuple[list[Part], socket.socket | None]:
    """The parts in the order in which they start: what takes longest first."""
    cluster, simulator, cluster_socket = wanted.cluster, [], None
    keeps: tuple[int, ...] = ()
    if wanted.simulated is not None:
        simulated = wanted.simulated
        cluster_socket = sockets.listen("127.0.0.1", 0)
        kubeconfig = _kubeconfig(sockets.port_of(cluster_socket))
        keeps = (kubeconfig,)
        cluster = ClusterChoice(kubeconfig=_path_of(kubeconfig))
        cluster_listening = cluster_socket
        simulator = [
            Part(
                name=_SIMULATOR,
                run=lambda: roles.simulate(settings, simulated, cluster_listening),
                keeps=(cluster_socket.fileno(),),
                imports=("krm.simulator",),
            )
        ]
    api = Part(name="api", run=lambda: roles.serve(settings, listening, cluster), keeps=(listening.fileno(), *keeps))
    workers = [
        Part(name=role, run=_working(role, settings, cluster), keeps=keeps, imports=("krm.workers.entry",))
        for role in _ROLES
    ]
    return [api, *simulator, *workers], cluster_socket


def _working(role: Role, settings: Settings, cluster: ClusterChoice) -> Callable[[], int]:
    return lambda: roles.work(role, settings, settings.resources, cluster)


def _kubeconfig(port: int) -> int:
    """A kubeconfig in memory, as a file descriptor that the workers inherit: no file that could be left behind."""
    text = (
        "apiVersion: v1\nkind: Config\ncurrent-context: demo\n"
        f"clusters: [{{name: demo, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
        "users: [{name: demo, user: {}}]\ncontexts: [{name: demo, context: {cluster: demo, user: demo}}]\n"
    )
    memory = os.memfd_create("kubeconfig", os.MFD_CLOEXEC)
    os.write(memory, text.encode())
    return memory


def _path_of(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}")


def _half_of_memory() -> int:
    """Redis refuses writes beyond it, and says so, before the machine begins to swap."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
