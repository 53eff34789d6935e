"""gql transports over httpx2 that hand over the bytes of an answer, and say precisely what failed.

gql's own transport parses JSON into dictionaries and folds every failure of the connection into one error with
its text. These send our token by our rules, follow only redirects that keep the question a question, and leave
decoding to `answers`.
"""

from __future__ import annotations

import ssl
from typing import Any

import gql.transport.httpx as gql_httpx
import httpx2
import msgspec
from gql import GraphQLRequest
from graphql import ExecutionResult, GraphQLError

from krm_client import documents, errors, proxies
from krm_client.answers import Answer
from krm_client.calls import Send, Timeouts
from krm_client.documents import Document, RouteQuery
from krm_client.errors import KrmConnectError, KrmError, KrmTlsError
from krm_client.settings import ClientSettings

_MAX_REDIRECTS = 5
_KEEPS_METHOD = (307, 308)


Parameters = tuple[tuple[str, str], ...]


class KrmRequest(GraphQLRequest):
    """A request that sends its text as it was written; gql prints its parsed document anew each time."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        super().__init__(document.text, variable_values=dict(document.variables))

    @property
    def payload(self) -> dict[str, Any]:
        body: dict[str, Any] = {"query": self.text}
        if self.variable_values:
            body["variables"] = self.variable_values
        return body


def request_of(document: Document) -> KrmRequest:
    """Raises `KrmQueryError` for a text that is not GraphQL, `KrmUsageError` for variables that JSON cannot carry."""
    if not documents.is_finite(document.variables):
        raise errors.KrmUsageError("the variables are not JSON: it has no NaN and no Infinity")
    try:
        return KrmRequest(document)
    except GraphQLError as error:
        raise errors.KrmQueryError(str(error).splitlines()[0], code="GRAPHQL_VALIDATION") from error


class _Bytes:
    """What both transports share: how a request is put together, and what becomes of the answer."""

    def _request_content(self, request: KrmRequest) -> bytes:
        try:
            return msgspec.json.encode(request.payload)
        except (TypeError, ValueError, OverflowError) as error:
            raise errors.KrmUsageError(f"the variables are not JSON: {error}") from error

    @staticmethod
    def _result(response: httpx2.Response) -> ExecutionResult:
        return ExecutionResult(data={"answer": _answer(response)})

    @staticmethod
    def _next(response: httpx2.Response, hops: int) -> httpx2.Request | None:
        """The request to follow a redirect with. httpx2 has dropped the token from it where the host differs."""
        following = response.next_request
        if following is None:
            return None
        to = f"{following.url.scheme}://{following.url.netloc.decode()}{following.url.path}"
        if response.status_code not in _KEEPS_METHOD or following.url.scheme != response.url.scheme:
            raise errors.KrmProtocolError(f"KRM is elsewhere (HTTP {response.status_code}): use {to} as the address")
        if hops >= _MAX_REDIRECTS:
            raise errors.KrmProtocolError(f"more than {_MAX_REDIRECTS} redirects, the last to {to}")
        return following


def _answer(response: httpx2.Response) -> Answer:
    return Answer(status=response.status_code, content=response.content, headers=response.headers)


class BlockingTransport(_Bytes, gql_httpx.HTTPXTransport):
    """For `KrmClient`."""

    def execute(
        self, request: GraphQLRequest, *, extra_args: dict[str, Any] | None = None, upload_files: bool = False
    ) -> ExecutionResult:
        assert isinstance(request, KrmRequest)
        assert self.client is not None
        assert not upload_files
        post = self.client.build_request("POST", self.url, content=self._request_content(request), **(extra_args or {}))
        return self._result(self._sent(post))

    def fetch(self, address: str, parameters: Parameters, options: dict[str, Any]) -> Answer:
        """Ask something that is not GraphQL."""
        assert self.client is not None
        return _answer(self._sent(self.client.build_request("GET", address, params=parameters, **options)))

    def _sent(self, request: httpx2.Request) -> httpx2.Response:
        assert self.client is not None
        response = self.client.send(request)
        hops = 0
        while (following := self._next(response, hops)) is not None:
            hops += 1
            response = self.client.send(following)
        return response


class AwaitedTransport(_Bytes, gql_httpx.HTTPXAsyncTransport):
    """For `AsyncKrmClient`."""

    async def execute(
        self, request: GraphQLRequest, *, extra_args: dict[str, Any] | None = None, upload_files: bool = False
    ) -> ExecutionResult:
        assert isinstance(request, KrmRequest)
        assert self.client is not None
        assert not upload_files
        post = self.client.build_request("POST", self.url, content=self._request_content(request), **(extra_args or {}))
        return self._result(await self._sent(post))

    async def fetch(self, address: str, parameters: Parameters, options: dict[str, Any]) -> Answer:
        """Ask something that is not GraphQL."""
        assert self.client is not None
        return _answer(await self._sent(self.client.build_request("GET", address, params=parameters, **options)))

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        assert self.client is not None
        response = await self.client.send(request)
        hops = 0
        while (following := self._next(response, hops)) is not None:
            hops += 1
            response = await self.client.send(following)
        return response


def transport_options(settings: ClientSettings) -> dict[str, Any]:
    """Arguments of both transports."""
    options: dict[str, Any] = {
        "url": settings.url,
        "follow_redirects": False,
        "headers": {"accept": "application/json", "content-type": "application/json", "user-agent": "krm-client"},
        "trust_env": False,
        "proxy": proxies.proxy_of(settings.origin),
    }
    if settings.origin.scheme == "https":
        options["verify"] = tls_context(settings)
    else:
        # Loading certificates takes a fifth of a second; without https nothing is verified, as no redirect
        # leads there.
        options["verify"] = False
    return options


def route_request(settings: ClientSettings, send: Send, query: RouteQuery) -> tuple[str, Parameters, dict[str, Any]]:
    """What a transport's ``fetch`` takes."""
    options = request_options(settings, send)
    # The connection's own say that JSON is sent and wanted.
    options["headers"]["accept"] = query.accept
    return settings.url.removesuffix("/graphql") + query.path, query.parameters, options


def tls_context(settings: ClientSettings) -> ssl.SSLContext:
    """Trusts what the system trusts, or the named authority alone."""
    return ssl.create_default_context(cafile=settings.ca_file)


def request_options(settings: ClientSettings, send: Send) -> dict[str, Any]:
    """Arguments of one request: its timeouts, and the token if it may go along."""
    headers: dict[str, str] = {}
    authorization = settings.credentials.header_for(settings.origin)
    if authorization is not None:
        headers["authorization"] = authorization
    return {"headers": headers, "timeout": _timeout(send.timeouts)}


def _timeout(timeouts: Timeouts) -> httpx2.Timeout:
    return httpx2.Timeout(timeouts.read_s, connect=timeouts.connect_s)


FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError)
"""What sending can raise."""


def error_of(cause: Exception, settings: ClientSettings) -> KrmError:
    """Our error for a failure of the connection."""
    at = proxies.shown(settings.origin)
    said = str(cause) or type(cause).__name__
    if isinstance(cause, httpx2.ConnectTimeout):
        return errors.KrmTimeout(f"{at}: no connection in time")
    if isinstance(cause, httpx2.TimeoutException):
        return errors.KrmTimeout(f"{at}: no answer in time")
    if _is_tls(cause):
        return KrmTlsError(f"{at}: {said}{_tls_hint(said, settings)}")
    if isinstance(cause, httpx2.DecodingError):
        return errors.KrmProtocolError(f"{at}: the answer's compression is broken: {said}")
    if isinstance(cause, httpx2.RemoteProtocolError):
        return KrmConnectError(f"{at}: {said}{_protocol_hint(settings)}")
    return KrmConnectError(f"{at}: {said}")


def _is_tls(cause: BaseException) -> bool:
    seen: BaseException | None = cause
    for _ in range(10):
        if seen is None:
            return False
        if isinstance(seen, ssl.SSLError):
            return True
        seen = seen.__cause__ or seen.__context__
    return "[SSL" in str(cause)


def _tls_hint(said: str, settings: ClientSettings) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in said and settings.ca_file is None:
        return " (set KRM_CA_FILE to the certificate of its authority)"
    if "WRONG_VERSION_NUMBER" in said or "RECORD_LAYER" in said:
        return " (is it http instead of https?)"
    return ""


def _protocol_hint(settings: ClientSettings) -> str:
    return " (is it https instead of http?)" if settings.origin.scheme == "http" else ""
