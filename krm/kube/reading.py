"""One object, as the JSON that the API server sent."""

from __future__ import annotations

import asyncio

import msgspec

from krm import errors
from krm.kube import bodies, failures
from krm.kube.connect import Cluster

_METADATA_ACCEPT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_KIND = "PartialObjectMetadata"
MAX_BYTES = 64 * 2**20


class _Head(msgspec.Struct):
    kind: str
    api_version: str = msgspec.field(name="apiVersion")


_HEAD = msgspec.json.Decoder(_Head)


async def get(cluster: Cluster, path: str, *, timeout_s: float = 10.0) -> bytes:
    """The object at ``path`` (``/api/v1/namespaces/a/pods/b``). Raises ``NotFound``, ``BadData`` and the others."""
    body, kind = await _get(cluster, path, timeout_s, accept=None)
    if kind in ("Status", "Table") or kind.endswith("List"):
        raise errors.BadData(f"get {path}: the answer is a {failures.clean(kind)}, not an object")
    return body


async def metadata(cluster: Cluster, path: str, *, timeout_s: float = 10.0) -> bytes:
    """As ``get``, but the object's metadata alone, as a ``PartialObjectMetadata``."""
    body, kind = await _get(cluster, path, timeout_s, accept=_METADATA_ACCEPT)
    if kind != _METADATA_KIND:
        raise errors.BadData(f"get {path}: the answer is a {failures.clean(kind)}, not {_METADATA_KIND}")
    return body


async def document(
    cluster: Cluster,
    method: str,
    path: str,
    *,
    timeout_s: float,
    accept: str | None = None,
    body: bytes | None = None,
) -> bytes:
    """The whole body of the 2xx answer, within ``timeout_s``; not looked into."""
    where = f"{method.lower()} {path}"
    headers = {"Accept": accept} if accept else {}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    async with (
        cluster.answer(method, path, where=where, timeout_s=timeout_s, headers=headers, body=body) as response,
        failures.within(cluster.peer, where, deadline - loop.time()),
    ):
        return await bodies.read(cluster, response, limit=MAX_BYTES, where=where)


async def _get(cluster: Cluster, path: str, timeout_s: float, accept: str | None) -> tuple[bytes, str]:
    body = await document(cluster, "GET", path, timeout_s=timeout_s, accept=accept)
    try:
        body.decode()
        return body, _HEAD.decode(body).kind
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadData(f"get {path}: the answer is not an object ({failures.clean(str(error))})") from error
