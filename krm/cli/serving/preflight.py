"""``krm run`` asks first: will Redis do, will the cluster have us? So that what is wrong is one line.

What fails later (a server that goes away, rights that are taken) is for the workers, who wait and go on; and so is a
kind that may not be listed: the others work.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from krm import errors
from krm.cli.serving.roles import ClusterChoice
from krm.settings import Settings

if TYPE_CHECKING:
    from krm.kube.connect import Cluster

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


async def _rights(cluster: Cluster, settings: Settings) -> list[str]:
    """A word on each kind that cannot be listed. Raises when none can, or when the server does not answer."""
    asked = [
        (r, scope) for r in settings.resources for scope in (settings.namespaces if r.namespaced else None) or ("",)
    ]
    found = await asyncio.gather(*(_refusal(cluster, resource.path(scope)) for resource, scope in asked))
    refused = [error for error in found if isinstance(error, errors.Forbidden | errors.NotFound)]
    if len(refused) == len(asked):
        raise refused[0]
    return [
        f"{resource.name}{f' of namespace {scope}' if scope else ''} will be missing as long as this is so: {error}"
        for (resource, scope), error in zip(asked, found, strict=True)
        if error is not None
    ]


async def _refusal(cluster: Cluster, path: str) -> errors.ClusterError | None:
    """List one object: the right to list, nothing more."""
    from krm.kube import listing

    try:
        async for _page in listing.pages(cluster, path, limit=1, timeout_s=_TIMEOUT_S):
            break
    except (errors.Forbidden, errors.NotFound, errors.Throttled, errors.ServerFailed, errors.BadData) as error:
        return error
    return None
