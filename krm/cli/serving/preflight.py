"""``krm run`` asks before it starts anything: will Redis do, will the cluster have us? So that what is wrong is one line.

What fails later (a server that goes away, rights that are taken) is for the workers, who wait and go on; and so is a
kind that may not be listed: the others work.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from krm import errors
from krm.cli.serving.roles import ClusterChoice
from krm.settings import Settings

_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found."""

    server: str
    warnings: tuple[str, ...]


def check(settings: Settings, cluster: ClusterChoice) -> Seen:
    """Ask Redis (where one is given) and the API server. Raises ``KrmError`` that says what to do."""
    return asyncio.run(_check(settings, cluster))


def check_redis(settings: Settings) -> list[str]:
    """Ask Redis alone, where one is given; returns warnings. Raises ``KrmError``."""
    return asyncio.run(_redis(settings))


async def _check(settings: Settings, choice: ClusterChoice) -> Seen:
    from krm.kube import connect

    cluster = await connect.open(choice.kubeconfig, choice.context)
    try:
        warnings = await _redis(settings)
        warnings += await _rights(cluster, settings)
        return Seen(server=cluster.server, warnings=tuple(warnings))
    finally:
        await cluster.close()


async def _redis(settings: Settings) -> list[str]:
    if settings.redis_url is None:
        return []
    from krm.store import connect

    store = connect.open_store(settings.redis_url)
    try:
        return await store.check(writer=True)
    except errors.StoreUnreachable as error:
        raise errors.KrmError(
            f"{error}. Is it running, and is KRM_REDIS_URL (or --redis-url) its address? Without it, krm brings its own"
        ) from error
    finally:
        await store.close()


async def _rights(cluster: "connect.Cluster", settings: Settings) -> list[str]:
    """A word on each kind that cannot be listed. Raises when none can, or when the server does not answer."""
    refused: list[errors.ClusterError] = []
    warnings = []
    scopes = [("" if settings.namespaces is None else settings.namespaces[0], r) for r in settings.resources]
    for scope, resource in scopes:
        try:
            await _list_one(cluster, resource.path(scope))
        except (errors.Forbidden, errors.NotFound) as error:
            refused.append(error)
            warnings.append(f"{resource.name} will be missing: {error}")
        except (errors.Throttled, errors.ServerFailed) as error:
            warnings.append(f"{resource.name} may come late: {error}")
    if len(refused) == len(settings.resources):
        raise refused[0]
    return warnings
