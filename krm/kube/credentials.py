"""Keeps the access to a cluster fresh: token files each minute, plugins when they expire, everything after a 401."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from krm.errors import ConfigError
from krm.kube import access, kubeconfig, plugin

_LOG = logging.getLogger(__name__)
REREAD_S = 60.0
"""Files are read again after this: the official client's figure, well inside the life of a projected token."""
_EARLY_S = 60.0
"""A plugin's credential is renewed this long before it expires, or at half of a shorter life."""
_RERUN_S = 5.0
"""A plugin is not run again sooner, however many requests were refused."""


class Credentials:
    """The current ``Access`` of one cluster. ``load`` must have succeeded once."""

    def __init__(
        self,
        path: Path | None,
        context: str | None,
        *,
        env: Mapping[str, str],
        allow_insecure: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._context = context
        self._env = env
        self._allow_insecure = allow_insecure
        self._clock = clock
        self._wall = wall
        self._lock = asyncio.Lock()
        self._access: access.Access | None = None
        self._read_at_s = 0.0
        self._given: plugin.Credential | None = None
        self._given_at_s = 0.0
        self._renew_at_s: float | None = None

    async def load(self) -> access.Access:
        """Read everything now. Raises ``ConfigError``."""
        async with self._lock:
            return await self._load(renew=True)

    async def current(self) -> access.Access:
        """What a request sends now; files are read again where a minute has passed.

        A file that cannot be read for the moment leaves the former access in force, with a warning.
        """
        known = self._access
        if known is not None and self._clock() - self._read_at_s < REREAD_S and not self._is_due():
            return known
        async with self._lock:
            if self._access is not None and self._clock() - self._read_at_s < REREAD_S and not self._is_due():
                return self._access
            return await self._reload(renew=self._is_due())

    async def renewed(self, used: access.Access) -> access.Access:
        """What to send after ``used`` was refused with a 401: everything read again, at once."""
        async with self._lock:
            if self._access is not None and not self._access.same_credentials(used):
                return self._access  # another request was refused before and has renewed them
            return await self._reload(renew=self._clock() - self._given_at_s >= _RERUN_S)

    def _is_due(self) -> bool:
        return self._renew_at_s is not None and self._wall() >= self._renew_at_s

    async def _reload(self, *, renew: bool) -> access.Access:
        try:
            return await self._load(renew=renew)
        except ConfigError as error:
            if self._access is None:
                raise
            _LOG.warning(
                "credentials could not be read again; the former ones stay in use", extra={"error": str(error)}
            )
            self._read_at_s = self._clock()
            if self._is_due():
                self._renew_at_s = self._wall() + _RERUN_S
            return self._access

    async def _load(self, *, renew: bool) -> access.Access:
        known = self._access.tls if self._access is not None else None
        files = kubeconfig.paths(self._path, self._env)
        if not files:
            if not self._env.get("KUBERNETES_SERVICE_HOST"):
                raise ConfigError(
                    f"no cluster is configured: no --kubeconfig, no KUBECONFIG, no {kubeconfig.DEFAULT}, "
                    "and this is not a pod of a cluster"
                )
            if self._context is not None:
                raise ConfigError(f"there is no kubeconfig to find the context {self._context!r} in; give --kubeconfig")
            self._access = await asyncio.to_thread(access.in_cluster, self._env, known=known)
        else:
            selected = await asyncio.to_thread(kubeconfig.read, files, self._context)
            if renew:
                self._given_at_s = self._clock()
                self._given = await access.credential(selected, self._env)
                self._renew_at_s = self._renewal(self._given)
            self._access = await asyncio.to_thread(
                access.from_kubeconfig,
                selected,
                self._given,
                self._env,
                allow_insecure=self._allow_insecure,
                known=known,
            )
        self._read_at_s = self._clock()
        return self._access

    def _renewal(self, given: plugin.Credential | None) -> float | None:
        if given is None or given.expires_at_s is None:
            return None
        left_s = given.expires_at_s - self._wall()
        return self._wall() + max(_RERUN_S, left_s - min(_EARLY_S, left_s / 2))
