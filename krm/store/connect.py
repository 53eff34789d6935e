"""The connection to Redis, and the one place where its errors become ours."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from redis import exceptions

from krm.errors import ConfigError, Fenced, OutOfStep, StoreRefused, StoreUnreachable
from krm.settings import Secret
from krm.store.clients import ClusterRedis, client_of
from krm.store.pace import Pace

BLOCK_MS: Final = 1_000
MIN_VERSION: Final = (7, 0)


_ELSEWHERE: Final = (exceptions.RedisClusterException, exceptions.ClusterError, exceptions.TryAgainError)
"""A Redis Cluster that cannot be found, is short of a node, or moves a slot."""
_NOT_NOW: Final = ("NOREPLICAS", "BUSY ")
"""How refusals begin that end by themselves: no replica hears the master, or a script runs for long."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Redis' errors as ``StoreError``, without ever repeating the URL, which may hold a password."""
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError, *_ELSEWHERE) as error:
        # An error while connecting comes as the cause of another.
        kinds = (type(error), type(error.__cause__))
        if any(issubclass(kind, exceptions.AuthenticationError) for kind in kinds):
            raise StoreRefused("Redis refuses the user or password in KRM_REDIS_URL") from error
        if any(issubclass(kind, exceptions.BusyLoadingError) for kind in kinds):
            raise StoreUnreachable("Redis is still loading its data") from error
        if "Cluster mode is not enabled" in str(error):
            raise StoreRefused("Redis is no Redis Cluster, or does not let this user ask for CLUSTER SLOTS") from error
        raise StoreUnreachable(f"Redis cannot be reached: {_plain(error)}") from error
    except exceptions.MovedError as error:
        raise StoreRefused("this Redis is a node of a Redis Cluster: its URL begins with redis+cluster://") from error
    except exceptions.ResponseError as error:
        text = _plain(error)
        if "KRMFENCED" in text:
            raise Fenced(f"another instance writes now ({text.split('KRMFENCED', 1)[1].strip()[:40]})") from error
        if "KRMOUTOFSTEP" in text:
            raise OutOfStep(
                f"Redis is not in the state that was left ({text.split('KRMOUTOFSTEP', 1)[1].strip()[:60]})"
            ) from error
        if text.startswith(_NOT_NOW):
            raise StoreUnreachable(f"Redis cannot serve this now: {text}") from error
        if isinstance(error, exceptions.OutOfMemoryError) or "OOM command not allowed" in text:
            raise StoreRefused("Redis is full (maxmemory): give it more memory, or cache fewer resources") from error
        raise StoreRefused(f"Redis refuses: {text}") from error
    except RuntimeError as error:
        # uvloop's word for a connection that was reset since it was used last; redis-py knows OSError only.
        if "closed" not in str(error):
            raise
        raise StoreUnreachable("Redis cannot be reached: the connection was reset") from error
    except exceptions.RedisError as error:
        raise StoreRefused(f"Redis answered unexpectedly: {_plain(error)}") from error


def _plain(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


class Store:
    """A client of Redis that answers within bounds and retries nothing by itself: its callers know what is safe."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.pace = Pace()
        """By which everybody who follows something through this client goes there."""

    async def check(self, *, writer: bool) -> list[str]:
        """See that Redis answers, is new enough and does not evict; warnings for what could not be checked.

        Raises ``StoreUnreachable``, ``StoreRefused``, ``ConfigError``.
        """
        with translated():
            warnings = [await self._check_server(where, writer=writer) for where in await self._servers()]
        return [*dict.fromkeys(line for line in warnings if line)]

    async def _check_server(self, where: Mapping[str, Any], *, writer: bool) -> str | None:
        await self.client.ping(**where)
        try:
            info = await self.client.info("server", **where)
            memory = await self.client.info("memory", **where)
        except exceptions.NoPermissionError:
            return "Redis does not let this user ask for its version and memory (INFO): they are not checked"
        version = str(info.get("redis_version", "0"))
        if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
            raise ConfigError(f"Redis is version {version}; KRM needs 7.0 or newer")
        policy = str(memory.get("maxmemory_policy", "unknown"))
        if policy == "noeviction" or not writer:
            return None
        if int(memory.get("maxmemory", 0)):
            raise ConfigError(
                f"Redis evicts keys (maxmemory-policy {policy}), which would silently lose objects:"
                " run it with maxmemory-policy noeviction"
            )
        return f"Redis has maxmemory-policy {policy}; set noeviction before giving it a maxmemory"

    async def _servers(self) -> list[Mapping[str, Any]]:
        """How to address every server that holds keys."""
        if not isinstance(self.client, ClusterRedis):
            return [{}]
        await self.client.initialize()
        return [{"target_nodes": node} for node in self.client.get_primaries()]

    async def time(self, key: str) -> tuple[int, int]:
        """Seconds and microseconds of the clock of the server that holds ``key``. Raises ``StoreError``."""
        with translated():
            where: Mapping[str, Any] = {}
            if isinstance(self.client, ClusterRedis):
                await self.client.initialize()
                where = {"target_nodes": self.client.get_node_from_key(key)}
            seconds, micros = await self.client.time(**where)
        return int(seconds), int(micros)

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script on the server that holds ``keys``; sends its text where Redis has forgotten it."""
        with translated():
            try:
                return await self.client.evalsha(_sha(script), len(keys), *keys, *args)
            except exceptions.NoScriptError:
                # Not SCRIPT LOAD: in a Redis Cluster that would need every node, not only the one with the keys.
                return await self.client.eval(script, len(keys), *keys, *args)

    async def close(self) -> None:
        """Close every connection."""
        if isinstance(self.client, ClusterRedis):
            await self.client.aclose()
        else:
            await self.client.aclose(close_connection_pool=True)


@lru_cache(maxsize=64)
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def open_store(url: Secret, *, connections: int = 64) -> Store:
    """A ``Store`` for ``KRM_REDIS_URL``; connects at the first call. Raises ``ConfigError``."""
    return Store(client_of(url.reveal(), connections=connections))
