"""The connection to Redis, and the one place where its errors become ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from krm.errors import ConfigError, Fenced, OutOfStep, StoreRefused, StoreUnreachable
from krm.settings import Secret

TIMEOUT_S: Final = 5.0
"""For connecting and for an answer; a blocking read asks for less."""
BLOCK_MS: Final = 1_000
MIN_VERSION: Final = (7, 0)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Redis' errors as ``StoreError``, without ever repeating the URL, which may hold a password."""
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        # An error while connecting comes as the cause of another.
        kinds = (type(error), type(error.__cause__))
        if any(issubclass(kind, exceptions.AuthenticationError) for kind in kinds):
            raise StoreRefused("Redis refuses the user or password in KRM_REDIS_URL") from error
        if any(issubclass(kind, exceptions.BusyLoadingError) for kind in kinds):
            raise StoreUnreachable("Redis is still loading its data") from error
        raise StoreUnreachable(f"Redis cannot be reached: {_plain(error)}") from error
    except exceptions.ResponseError as error:
        text = _plain(error)
        if "KRMFENCED" in text:
            raise Fenced(f"another instance writes now ({text.split('KRMFENCED', 1)[1].strip()[:40]})") from error
        if "KRMOUTOFSTEP" in text:
            raise OutOfStep(
                f"Redis is not in the state that was left ({text.split('KRMOUTOFSTEP', 1)[1].strip()[:60]})"
            ) from error
        if isinstance(error, exceptions.OutOfMemoryError) or "OOM command not allowed" in text:
            raise StoreRefused("Redis is full (maxmemory): give it more memory, or cache fewer resources") from error
        raise StoreRefused(f"Redis refuses: {text}") from error
    except exceptions.RedisError as error:
        raise StoreRefused(f"Redis answered unexpectedly: {_plain(error)}") from error


def _plain(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


class Store:
    """A client of Redis that answers within bounds and retries nothing by itself: its callers know what is safe."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def check(self, *, writer: bool) -> list[str]:
        """See that Redis answers, is new enough and does not evict; warnings for what could not be checked.

        Raises ``StoreUnreachable``, ``StoreRefused``, ``ConfigError``.
        """
        warnings: list[str] = []
        with translated():
            await self.client.ping()
            try:
                info = await self.client.info("server")
                memory = await self.client.info("memory")
            except exceptions.NoPermissionError:
                return ["Redis does not let this user ask for its version and memory (INFO): they are not checked"]
        version = str(info.get("redis_version", "0"))
        if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
            raise ConfigError(f"Redis is version {version}; KRM needs 7.0 or newer")
        if not writer:
            return warnings
        policy = str(memory.get("maxmemory_policy", "unknown"))
        if policy != "noeviction" and int(memory.get("maxmemory", 0)):
            raise ConfigError(
                f"Redis evicts keys (maxmemory-policy {policy}), which would silently lose objects:"
                " run it with maxmemory-policy noeviction"
            )
        if policy != "noeviction":
            warnings.append(f"Redis has maxmemory-policy {policy}; set noeviction before giving it a maxmemory")
        return warnings

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose(close_connection_pool=True)


def open_store(url: Secret, *, connections: int = 64) -> Store:
    """A ``Store`` for ``KRM_REDIS_URL``; connects at the first call. Raises ``ConfigError``."""
    text = url.reveal()
    if text.startswith(("redis+sentinel://", "redis+cluster://")):
        raise ConfigError("KRM_REDIS_URL: Sentinel and Redis Cluster are not supported by this version of KRM")
    try:
        client = aioredis.Redis.from_url(
            text,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            **({} if text.startswith("unix://") else {"socket_keepalive": True}),
            health_check_interval=30,
            max_connections=connections,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
    except (ValueError, exceptions.RedisError):
        # Without its cause, whose text may hold a part of the password.
        raise ConfigError("KRM_REDIS_URL is not a Redis URL such as redis://host:6379/0") from None
    return Store(client)
