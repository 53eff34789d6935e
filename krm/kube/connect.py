"""A connection to one cluster: sends requests with fresh credentials over verified TLS and counts what they cost.

One ``Cluster`` per process and cluster; all its requests share a pool. It answers with the open response; what an
answer's body means is for ``listing``, ``watching``, ``reading``, ``reviews`` and ``discovery``.
"""

from __future__ import annotations

import email.utils
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

import aiohttp
import yarl
from multidict import CIMultiDict

from krm import errors
from krm.kube import access, bodies, clock, failures
from krm.kube.credentials import Credentials

_LOG = logging.getLogger(__name__)
CONNECT_TIMEOUT_S = 5.0
"""For name, TCP and TLS together: a host that swallows packets must not hold a worker for minutes."""
_READ_BUFFER_BYTES = 2**18
"""Read from the network ahead of whoever consumes: a few dozen events, so that a burst arrives in batches."""
_CONNECTIONS_MAX = 512
_ERROR_BODY_BYTES = 2**16
_KEEPALIVE = (
    ("TCP_KEEPIDLE", 5),  # seconds without traffic, then every 5 s a probe, dead after 3: about 20 s
    ("TCP_KEEPINTVL", 5),
    ("TCP_KEEPCNT", 3),
)


class Cluster:
    """One cluster's API server. Make it with ``open``, end it with ``close``."""

    def __init__(
        self, credentials: Credentials, first: access.Access, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock.ServerClock(wall=wall)
        """The server's, from the Dates of its answers."""
        self._credentials = credentials
        self._access = first
        self._session = aiohttp.ClientSession(
            auto_decompress=False,  # bodies are inflated within bounds, see krm.kube.bodies
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"krm/{metadata.version('kubernetes-resource-monitor')}"},
            read_bufsize=_READ_BUFFER_BYTES,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
            trust_env=False,  # proxies are chosen in krm.kube.proxies; ~/.netrc is never read
        )
        self.requests = 0
        """HTTP requests sent, repeated ones included."""
        self.bytes_received = 0
        """Bytes of answers' bodies as they came over the wire (compressed where they were)."""

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self._access.server)

    @property
    def source(self) -> str:
        """Where server and credentials came from: ``context 'a' of FILE``."""
        return self._access.source

    @property
    def own_namespace(self) -> str | None:
        """The namespace of the Pod that this runs in, if it is one of this cluster."""
        return access.own_namespace() if self._access.source == access.IN_CLUSTER else None

    @property
    def peer(self) -> failures.Peer:
        """For the words of errors."""
        now = self._access
        shown = None if now.proxy is None else str(yarl.URL(now.proxy).with_user(None))
        return failures.Peer(server=str(now.server), credentials=now.source, ca=now.ca, proxy=shown)

    async def close(self) -> None:
        """End all connections. Requests under way fail."""
        await self._session.close()

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        *,
        where: str,
        timeout_s: float,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The open 2xx answer to a request; ``timeout_s`` bounds the time until its headers have come.

        ``path`` starts with a slash and is not encoded. A 401 is repeated once with credentials read anew, if these
        differ. Raises the ``ClusterError`` that the status or the network's failure means.
        """
        response = await self._send(method, path, where, timeout_s, query, headers, body)
        try:
            yield response
        finally:
            response.close()  # no more than a return to the pool where the body was read to its end

    async def _send(
        self,
        method: str,
        path: str,
        where: str,
        timeout_s: float,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> aiohttp.ClientResponse:
        used = self._access = await self._credentials.current()
        for is_last in (False, True):
            async with failures.within(self.peer, where, timeout_s):
                response = await self._request(used, method, path, query, headers, body)
                if 200 <= response.status < 300:
                    return response
                refused = await self._refusal(response, where)
            if is_last or not isinstance(refused, errors.Unauthorized):
                raise refused
            renewed = await self._credentials.renewed(used)
            if renewed.same_credentials(used):
                raise refused
            _LOG.info("credentials were refused; trying again with new ones", extra={"source": renewed.source})
            used = self._access = renewed
        raise AssertionError("unreachable")

    async def _request(
        self,
        used: access.Access,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> aiohttp.ClientResponse:
        if not path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} is not a path of the API")
        sent = CIMultiDict({"Accept": "application/json", "Accept-Encoding": "gzip"})
        sent.update(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
        for name, value in used.headers:
            sent.add(name, value.reveal())
        url = used.server.with_path(used.server.path.rstrip("/") + path).with_query(query or {})
        sent_s = self.clock.steady()
        try:
            response = await self._once(used, method, url, sent, body)
        except aiohttp.ServerDisconnectedError:
            if method != "POST":  # the library repeats the others itself
                raise
            # A pooled connection that the server closed meanwhile. Our only POSTs are reviews, which change nothing,
            # and Leases, which cannot be made twice.
            response = await self._once(used, method, url, sent, body)
        _keep_alive(response)
        date_s = _date_s(response)
        if date_s is not None:
            self.clock.observe(date_s, sent_s, self.clock.steady())
        return response

    async def _once(
        self, used: access.Access, method: str, url: yarl.URL, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        self.requests += 1
        return await self._session.request(
            method,
            url,
            headers=headers,
            data=body,
            ssl=used.tls.context if used.tls is not None else True,
            server_hostname=used.server_name if used.tls is not None else None,
            proxy=used.proxy,
            allow_redirects=False,  # an API server sends none, and credentials must not follow one
        )

    async def _refusal(self, response: aiohttp.ClientResponse, where: str) -> errors.ClusterError:
        try:
            body = await bodies.read(self, response, limit=_ERROR_BODY_BYTES, where=where)
        except errors.BadData:
            body = b""
        finally:
            response.close()
        return failures.refused(self.peer, where, response, body)


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """Let the kernel find out within about 20 s that the other side is gone."""
    transport = response.connection.transport if response.connection is not None else None
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _date_s(response: aiohttp.ClientResponse) -> float | None:
    """The answer's Date in unix seconds; None where there is none that can be read."""
    try:
        return email.utils.parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except ValueError:
        return None


async def open(  # noqa: A001 - read as connect.open
    kubeconfig: Path | None,
    context: str | None,
    *,
    env: Mapping[str, str] | None = None,
    allow_insecure: bool = False,
) -> Cluster:
    """The cluster that the official client would find: ``kubeconfig``, KUBECONFIG, ~/.kube/config, the pod's own.

    Reads configuration and runs an exec plugin, but does not speak to the API server yet. ``allow_insecure`` accepts a
    kubeconfig that switches the check of the server's certificate off. Raises ``ConfigError``.
    """
    credentials = Credentials(
        kubeconfig, context, env=dict(os.environ if env is None else env), allow_insecure=allow_insecure
    )
    return Cluster(credentials, await credentials.load())
