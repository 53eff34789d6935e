"""A redis-py client for each form of ``KRM_REDIS_URL``: one server, Sentinels that name the master, a Redis Cluster.

    redis://[user:password@]host:port[/db]                 rediss:// the same with TLS, unix:// through a socket
    redis+sentinel://[user:password@]host:port,.../service[/db]
    redis+cluster://[user:password@]host:port,...

redis-py's options follow after ``?`` in every form. The two forms of ours use TLS where any option begins with ``ssl``
(``ssl=true`` alone trusts the system's authorities). No client retries by itself: its callers know what is safe.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from krm.errors import ConfigError

TIMEOUT_S: Final = 5.0
"""For connecting and for an answer; a blocking read asks for less."""
SENTINEL_TIMEOUT_S: Final = 1.0
"""A Sentinel that is silent for this long is passed over: there are others."""
SENTINEL: Final = "redis+sentinel://"
CLUSTER: Final = "redis+cluster://"
_PORTS: Final = {SENTINEL: 26379, CLUSTER: 6379}
_SHAPES: Final = {
    SENTINEL: "redis+sentinel://host:26379,host:26379/service",
    CLUSTER: "redis+cluster://host:6379,host:6379",
}
_NO: Final = frozenset({"false", "no", "0", "f", "n"})


class Sentinels(Sentinel):
    """The Sentinels, which say in a few words why they name nobody."""

    async def discover_master(self, service_name: str) -> Any:
        """Address of the master. Raises ``MasterNotFoundError``."""
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError as error:
            reason: Exception = error
            try:
                await self.sentinels[0].ping()
            except (exceptions.ConnectionError, exceptions.TimeoutError) as silent:
                reason = silent
            told = "it is down, or another service" if reason is error else reason
            raise MasterNotFoundError(f"no Sentinel names a master of this service: {told}") from reason


class SentinelRedis(aioredis.Redis):
    """A client of the master that the Sentinels name, which closes its connections to them as well."""

    sentinels: Sentinels

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close every connection."""
        await super().aclose(close_connection_pool)
        await self.sentinels.aclose()


class ClusterRedis(RedisCluster):
    """redis-py's client of a Redis Cluster, which finds the cluster again when every node has another address.

    It knows where the keys of XREAD are, too: redis-py asks a server for that at every call.
    """

    given: list[tuple[str, int]]
    """The nodes that the URL names; redis-py remembers only those that it found."""

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> RedisCluster:
        """Find the nodes and their slots, where that is due."""
        more = [*(additional_startup_nodes_info or ()), *self.given]
        return await super().initialize(more, last_failed_node_name)

    async def _determine_slot(self, command: str, *args: Any) -> int:
        if command == "XREAD":
            return self.keyslot(args[args.index(b"STREAMS") + 1])
        return await super()._determine_slot(command, *args)


def client_of(url: str, *, connections: int) -> Any:
    """A client that connects at the first call. Raises ``ConfigError``, which does not repeat the URL."""
    scheme = next((known for known in _SHAPES if url.startswith(known)), None)
    common: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "health_check_interval": 30,
        "max_connections": connections,
        "decode_responses": False,
    }
    try:
        if scheme is None:
            return _plain(url, common)
        hosts, path, options = _parts(scheme, url.removeprefix(scheme))
        common |= {"socket_keepalive": True, **options}
        return _cluster(hosts, path, common) if scheme == CLUSTER else _sentinel(hosts, path, common)
    except (ValueError, exceptions.RedisError, exceptions.RedisClusterException):
        # Without its cause, whose text may hold a part of the password.
        shape = _SHAPES.get(scheme or "", "redis://host:6379/0")
        raise ConfigError(f"KRM_REDIS_URL is not a Redis URL such as {shape}") from None
    except TypeError as error:
        raise ConfigError(f"KRM_REDIS_URL has an option that Redis' client does not know: {error}") from None


def _never() -> Retry:
    return Retry(NoBackoff(), 0)


def _plain(url: str, common: Mapping[str, Any]) -> Any:
    keepalive = {} if url.startswith("unix://") else {"socket_keepalive": True}
    client: Any = aioredis.Redis.from_url(url, **common, **keepalive, retry=_never())
    client.connection_pool.make_connection()  # not connected; an option that nothing knows shows here
    return client


def _parts(scheme: str, rest: str) -> tuple[list[tuple[str, int]], list[str], dict[str, Any]]:
    """Hosts with ports, the words of the path, and the options with user and password."""
    address, _, query = rest.partition("?")
    place, *path = address.split("/")
    login, _, hosts = place.rpartition("@")
    options = dict(parse_url(f"redis://{login}{'@' if login else ''}host?{query}"))
    options.pop("host")
    tls = [name for name in options if name.startswith("ssl")]
    options["ssl"] = bool(tls) and str(options.get("ssl", "true")).lower() not in _NO
    return [_host(one, _PORTS[scheme]) for one in hosts.split(",")], [word for word in path if word], options


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(default_port)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536 or (":" in host and host[0] != "["):
        raise ValueError("a host, a colon, a port")
    return host.strip("[]"), int(port)


def _sentinel(hosts: list[tuple[str, int]], path: list[str], options: dict[str, Any]) -> Any:
    service, *database = path  # ValueError without a service
    if database:
        options["db"] = int("".join(database))
    to_sentinels = {name: value for name, value in options.items() if name.startswith(("ssl", "socket_keepalive"))}
    to_sentinels |= {
        name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
    }
    if not options["ssl"]:
        for kwargs in (options, to_sentinels):
            for name in [name for name in kwargs if name.startswith("ssl")]:
                del kwargs[name]
    impatient = {"socket_timeout": SENTINEL_TIMEOUT_S, "socket_connect_timeout": SENTINEL_TIMEOUT_S}
    settings = {**to_sentinels, **impatient, "retry": _never()}
    sentinels = Sentinels(hosts, sentinel_kwargs=settings)  # type: ignore[no-untyped-call] # redis-py's
    client: Any = sentinels.master_for(service, redis_class=SentinelRedis, **options, retry=_never())
    client.connection_pool.make_connection()
    client.sentinels = sentinels
    return client


def _cluster(hosts: list[tuple[str, int]], path: list[str], options: dict[str, Any]) -> ClusterRedis:
    if path:
        raise ValueError("a Redis Cluster has one database")
    known = inspect.signature(RedisCluster.__init__).parameters
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"{unknown[0]!r}")
    nodes = [ClusterNode(host, port) for host, port in hosts]
    # A moved slot is noted one by one: reading the whole map anew would close connections that others wait on.
    client = ClusterRedis(startup_nodes=nodes, **options, reinitialize_steps=0, retry=_never())
    client.given = hosts
    return client
