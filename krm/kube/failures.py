"""What the API server's refusals and the network's failures are called in KRM, with words that say what to do.

Every error of the HTTP library ends here. No text of an answer is passed on without being cut and cleaned, and no
request header (they carry credentials) gets into an error.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
import msgspec

from krm import errors

_MAX_TEXT = 256
_MAX_RETRY_AFTER_S = 300.0


class _Details(msgspec.Struct):
    retryAfterSeconds: float | None = None  # noqa: N815 - the wire's name


class Status(msgspec.Struct):
    """The API server's ``Status`` object, in an error answer or in an ERROR event."""

    kind: str = ""
    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(Status)
_REASON_CODES: Mapping[str, int] = {
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "Expired": 410,
    "Gone": 410,
    "TooManyRequests": 429,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "Timeout": 504,
}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Who is spoken to, for the words of an error."""

    server: str
    credentials: str
    """Where the credentials came from: ``context 'a' of FILE``."""
    ca: str
    """What the server's certificate is checked against."""
    proxy: str | None = None


def clean(text: str) -> str:
    """``text`` on one line, without control characters, at most 256 characters."""
    visible = "".join(c if c.isprintable() else " " for c in text[: 4 * _MAX_TEXT])
    words = " ".join(visible.split())
    return words if len(words) <= _MAX_TEXT else words[: _MAX_TEXT - 3] + "..."


def read_status(body: bytes) -> Status | None:
    """``body`` as a ``Status`` object, or None if it is not one."""
    try:
        status = _STATUS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return status if status.kind == "Status" else None


def refusal(peer: Peer, where: str, status: Status, *, retry_after: str | None = None) -> errors.ClusterError:
    """The error that a ``Status`` means; ``retry_after`` is that header of the answer."""
    code = status.code or _REASON_CODES.get(status.reason or "", 500)
    said = clean(status.message or status.reason or f"HTTP status {code}")
    wait_s = _retry_after_s(retry_after, status)
    if code == 401:
        return errors.Unauthorized(
            f"{where}: {peer.server} does not accept the credentials from {peer.credentials} ({said})"
        )
    if code == 403:
        hint = f" (no credentials were sent: {peer.credentials} gives none)" if "system:anonymous" in said else ""
        return errors.Forbidden(f"{where}: {said}{hint}")
    if code == 404:
        return errors.NotFound(f"{where}: {said}")
    if code == 410:
        return errors.Gone(f"{where}: the version is compacted away, a new list is needed ({said})")
    if code == 429:
        return errors.Throttled(f"{where}: {said}", retry_after_s=1.0 if wait_s is None else wait_s)
    return errors.ServerFailed(f"{where}: status {code}: {said}", status=code, retry_after_s=wait_s)


def refused(peer: Peer, where: str, response: aiohttp.ClientResponse, body: bytes) -> errors.ClusterError:
    """The error that an answer other than 2xx means; a body that is no ``Status`` is quoted."""
    status = read_status(body) or Status(message=body.decode("utf-8", "replace").strip() or response.reason)
    status.code = response.status
    return refusal(peer, where, status, retry_after=response.headers.get("Retry-After"))


def _retry_after_s(header: str | None, status: Status) -> float | None:
    wait_s = status.details.retryAfterSeconds if status.details is not None else None
    if header is not None:
        if header.strip().isascii() and header.strip().isdigit():
            wait_s = float(header.strip()[:9])
        else:
            wait_s = _until_s(header)
    if wait_s is None:
        return None
    return min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S)


def _until_s(moment: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(moment).timestamp() - time.time()
    except ValueError:
        return None


@contextmanager
def translated(peer: Peer, where: str) -> Iterator[None]:
    """Errors of the HTTP library raised inside become ours.

    Errors that carry the request (and with it the credentials) are not chained.
    """
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise _bad_http(peer, where, error) from None
    except aiohttp.InvalidURL as error:
        raise errors.ConfigError(f"{where}: {clean(str(error))} is not a URL") from error
    except (aiohttp.ClientError, ssl.SSLError, OSError) as error:  # OSError: also TimeoutError
        raise errors.ClusterUnreachable(f"{where}: {_unreachable(peer, error)}") from error


@asynccontextmanager
async def within(peer: Peer, where: str, timeout_s: float) -> AsyncIterator[None]:
    """The body must end within ``timeout_s`` seconds, else ``ClusterUnreachable``; library errors become ours.

    Never yield from a generator inside it: its timer cancels the task that entered.
    """
    try:
        async with asyncio.timeout(timeout_s) as timer:
            with translated(peer, where):
                yield
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise errors.ClusterUnreachable(f"{where}: no answer from {peer.server} within {timeout_s:.3g} s") from error


def _bad_http(peer: Peer, where: str, error: aiohttp.ClientResponseError) -> errors.ClusterError:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return errors.ClusterUnreachable(
            f"{where}: the proxy {peer.proxy} answered status {error.status} to the way to {peer.server}; "
            "if that server is reached directly, name it in NO_PROXY"
        )
    return errors.BadData(
        f"{where}: {peer.server} does not speak HTTP as it should: {clean(error.message) or error.status}"
    )


def _unreachable(peer: Peer, error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
        said = getattr(cause, "verify_message", "") or clean(str(cause))
        return f"the certificate of {peer.server} does not verify against {peer.ca}: {said}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"no connection to the proxy {peer.proxy} ({_os_text(error)}); should NO_PROXY name the server?"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name in {peer.server} does not resolve ({_os_text(error)}); is {peer.credentials} right?"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"no TLS with {peer.server} ({_os_text(error)}); is it https, and is the client certificate right?"
    if isinstance(error, aiohttp.ClientConnectorError):
        return (
            f"no connection to {peer.server} ({_os_text(error)}); "
            f"is the API server running, is the server in {peer.credentials} right?"
        )
    if isinstance(error, TimeoutError):
        return f"no connection to {peer.server} in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return f"{peer.server} closed the connection without an answer"
    return f"the connection to {peer.server} broke ({clean(str(error)) or type(error).__name__})"


def _os_text(error: aiohttp.ClientOSError) -> str:
    cause = getattr(error, "os_error", error)
    number = cause.errno if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) else None
    if number is not None and number > 0:  # names that do not resolve have negative ones, and a text of their own
        return os.strerror(number)  # asyncio's text names the address only
    return clean(cause.strerror or str(cause))
