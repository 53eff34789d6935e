"""The delay store of ``krm demo --with-delay``: an InfluxDB of its own, unless one is given, and the collector."""

from __future__ import annotations

import dataclasses
import socket
from dataclasses import dataclass
from typing import Final

from krm.cli.serving import roles, sockets
from krm.cli.serving.children import Part
from krm.cli.serving.roles import ClusterChoice
from krm.errors import ConfigError
from krm.settings import Settings

NAME: Final = "influxdb"
_DATABASE: Final = "krm"


@dataclass(frozen=True, kw_only=True)
class DelayStore:
    """What runs for it, and what is said of it."""

    parts: tuple[Part, ...]
    told: tuple[str, ...]
    listening: socket.socket | None = None
    """Of the own InfluxDB; to be closed at the end."""

    def close(self) -> None:
        """Let go of the socket."""
        if self.listening is not None:
            self.listening.close()


NONE: Final = DelayStore(parts=(), told=())


def of(settings: Settings) -> DelayStore:
    """The delay store that ``settings`` name, else an own one. Raises ``ConfigError`` where there is no influxd."""
    if settings.influx_url is not None:
        return DelayStore(parts=(_collector(settings),), told=_told(settings.influx_url, settings.influx_bucket))
    from krm.simulator import influx

    influxd = influx.find_influxd()
    if influxd is None:
        raise ConfigError(
            "--with-delay needs InfluxDB: install influxd 1.x (Debian: apt install influxdb), or name one by"
            " KRM_INFLUX_URL"
        )
    listening = sockets.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sockets.port_of(listening)}"
    server = Part(
        name=NAME,
        run=lambda: roles.keep_delays(settings, influxd, listening),
        keeps=(listening.fileno(),),
        imports=("krm.simulator.influx",),
    )
    collecting = dataclasses.replace(settings, influx_url=url, influx_bucket=_DATABASE, influx_token=None)
    return DelayStore(parts=(server, _collector(collecting)), told=_told(url, _DATABASE), listening=listening)


def _collector(settings: Settings) -> Part:
    return Part(
        name="collector",
        run=lambda: roles.work("collector", settings, settings.resources, ClusterChoice()),
        imports=("krm.workers.entry",),
    )


def _told(url: str, bucket: str) -> tuple[str, ...]:
    query = "SELECT percentile(delay_seconds, 99) FROM stream_delay GROUP BY resource, event"
    return (
        f"  delays         {url} (InfluxDB, bucket {bucket})",
        f"                 curl -sG {url}/query -d db={bucket.split('/')[0]} --data-urlencode 'q={query}'",
    )
