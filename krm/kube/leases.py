"""A Kubernetes Lease: by it equal workers agree which one works, and see when that one is gone.

Whether its holder is gone is told by our own clock alone: the Lease has not changed for its whole duration while we
looked. The clocks of others are never compared. Who takes it gets a token, the version of the Lease at that moment,
which is higher for every later holder: with it a writer proves to the store that it is not an earlier one.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from krm import errors
from krm.kube import failures, reading
from krm.kube.connect import Cluster

_LOG = logging.getLogger(__name__)

DURATION_S: Final = 10.0
"""A holder that has not renewed its Lease for this long is gone."""
RENEW_S: Final = 3.0
"""From one renewal to the next; each is one write to the API server."""
LOOK_S: Final = 2.0
"""From one look of who waits to the next."""
_TIMEOUT_S: Final = 3.0
_GROUP: Final = "/apis/coordination.k8s.io/v1"


class _Metadata(msgspec.Struct, omit_defaults=True):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815 - the wire's name


class _Spec(msgspec.Struct, omit_defaults=True):
    holderIdentity: str | None = None  # noqa: N815
    leaseDurationSeconds: int | None = None  # noqa: N815
    acquireTime: str | None = None  # noqa: N815
    renewTime: str | None = None  # noqa: N815
    leaseTransitions: int | None = None  # noqa: N815


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    kind: str = "Lease"
    apiVersion: str = "coordination.k8s.io/v1"  # noqa: N815


_LEASE = msgspec.json.Decoder(_Lease)


class Lease:
    """One Lease, as one of those who want it."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        identity: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._monotonic = monotonic
        self._held: _Lease | None = None
        self._token = ""
        self._renewed_at = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        """Version of the Lease of another, and since when it has been so."""
        self._looked_at = -LOOK_S

    async def take(self) -> tuple[str, float]:
        """(token, 0) where it is ours, else ("", seconds to wait). Raises ``ClusterError``."""
        if self._held is not None and await self.keep():
            return self._token, 0.0
        gone_at = self._seen[1] + DURATION_S if self._seen[0] else 0.0
        now = self._monotonic()
        if now < min(gone_at, self._looked_at + LOOK_S):
            return "", min(gone_at, self._looked_at + LOOK_S) - now
        found = await self._look()
        if found is None:
            return await self._write(None)
        holder, version = found.spec.holderIdentity or "", found.metadata.resourceVersion
        if holder in ("", self._identity):
            return await self._write(found)
        if version != self._seen[0]:
            self._seen = (version, self._looked_at)
        left_s = self._seen[1] + DURATION_S - self._monotonic()
        return await self._write(found) if left_s <= 0 else ("", min(left_s, LOOK_S))

    async def keep(self) -> bool:
        """Renew it where that is due; whether it is still ours, as far as can be told.

        An API server that cannot be asked does not make it another's: who writes is decided by the store.
        """
        if self._held is None:
            return False
        if self._monotonic() - self._renewed_at < RENEW_S:
            return True
        try:
            self._held = await self._put(self._held, self._spec(self._held.spec))
        except errors.ClusterError as error:
            if _is_lost(error):
                self._held = None
                return False
            _LOG.debug("a Lease could not be renewed", extra={"lease": self._name, "reason": str(error)})
        self._renewed_at = self._monotonic()
        return True

    async def give_back(self) -> None:
        """Let the next one have it at once. Raises ``ClusterError``."""
        held, self._held = self._held, None
        if held is not None:
            await self._put(held, _Spec(holderIdentity="", leaseDurationSeconds=1, renewTime=_now()))

    async def _look(self) -> _Lease | None:
        self._looked_at = self._monotonic()
        path = f"{_GROUP}/namespaces/{self._namespace}/leases/{self._name}"
        try:
            return _read(path, await reading.get(self._cluster, path, timeout_s=_TIMEOUT_S))
        except errors.NotFound:
            return None

    async def _write(self, before: _Lease | None) -> tuple[str, float]:
        """Make it ours: the API server refuses whoever did not see the newest one."""
        spec = self._spec(before.spec if before else None)
        try:
            if before is None:
                fresh = _Lease(metadata=_Metadata(name=self._name, namespace=self._namespace), spec=spec)
                path = f"{_GROUP}/namespaces/{self._namespace}/leases"
                self._held = await self._send("POST", path, fresh)
            else:
                self._held = await self._put(before, spec)
        except errors.ClusterError as error:
            if _is_lost(error):
                self._looked_at = -LOOK_S
                return "", 0.1
            raise
        self._renewed_at = self._monotonic()
        self._seen = ("", 0.0)
        self._token = self._held.metadata.resourceVersion
        return self._token, 0.0

    def _spec(self, before: _Spec | None) -> _Spec:
        is_ours = before is not None and before.holderIdentity == self._identity
        now = _now()
        transitions = (before.leaseTransitions or 0) if before else 0
        return _Spec(
            holderIdentity=self._identity,
            leaseDurationSeconds=int(DURATION_S),
            acquireTime=before.acquireTime if is_ours and before else now,
            renewTime=now,
            leaseTransitions=transitions if is_ours or before is None else transitions + 1,
        )

    async def _put(self, before: _Lease, spec: _Spec) -> _Lease:
        lease = _Lease(metadata=before.metadata, spec=spec)
        return await self._send("PUT", f"{_GROUP}/namespaces/{self._namespace}/leases/{self._name}", lease)

    async def _send(self, method: str, path: str, lease: _Lease) -> _Lease:
        body = msgspec.json.encode(lease)
        return _read(path, await reading.document(self._cluster, method, path, timeout_s=_TIMEOUT_S, body=body))


def _read(path: str, body: bytes) -> _Lease:
    try:
        found = _LEASE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadData(f"{path}: the answer is not a Lease ({failures.clean(str(error))})") from error
    if not found.metadata.resourceVersion.isdigit():
        raise errors.BadData(f"{path}: the Lease has no version")
    return found


def _is_lost(error: errors.ClusterError) -> bool:
    """Whether another wrote it meanwhile, or it is not there any more."""
    return error.status in (404, 409)


def _now() -> str:
    """As Kubernetes writes a MicroTime."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
