"""One subscription, as an asynchronous generator: resumed after every break, and never with a gap that is not told.

The protocol is gql's (``graphql-transport-ws``). Here is what it leaves to its user: the token, a bound on what waits
for the reader, errors as ours, and going on after a break with the last event's resume token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import websockets
from gql import Client
from gql.transport.common.adapters.websockets import WebSocketsAdapter
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport
from graphql import ExecutionResult

from krm_client import answers, errors, proxies, transports
from krm_client.answers import GraphQLError
from krm_client.documents import Document
from krm_client.errors import KrmConnectError, KrmError, KrmTlsError
from krm_client.settings import ClientSettings

log = logging.getLogger(__name__)

PROTOCOL = "graphql-transport-ws"

_WAITING_EVENTS = 256
"""Events that may wait for the reader; when they are as many, no more are taken from the socket."""

_LARGEST_EVENT = 64 * 2**20
"""Bytes; objects of Kubernetes are below 2 MiB."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CLOSE_S = 1.0
_LISTENER_TURNS = 10_000

_STARTING = (502, 503, 504)
_UNKNOWN_CALLER = (4401, 4403)
"""Codes with which a server closes the socket of somebody whom it does not know (any more)."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event as it came. ``manifest`` is None where there is no object (a gap)."""

    type: str
    manifest: dict[str, Any] | None
    resume_token: str


class _Event(msgspec.Struct):
    type: str
    resumeToken: str  # noqa: N815 (GraphQL's name)
    object: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Subscribed:
    """What to subscribe to, and how long to try to come back after a break (seconds)."""

    document: Document
    settings: ClientSettings
    patience_s: float


class _BoundedTransport(WebsocketsTransport):
    """gql's transport, which stops reading when the reader is far behind, and loses no event that comes at once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._room = asyncio.Semaphore(_WAITING_EVENTS)
        self._listened_to: set[int | None] = set()
        self._is_left = False

    def taken(self) -> None:
        """The reader has taken one event."""
        self._room.release()

    def leave(self) -> None:
        """The reader wants no more: nothing waits for it any longer."""
        self._is_left = True
        self._room.release()

    async def _handle_answer(
        self, answer_type: str, answer_id: int | None, execution_result: ExecutionResult | None
    ) -> None:
        if execution_result is not None and not self._is_left:
            await self._room.acquire()
            await self._until_listened_to(answer_id)
        await super()._handle_answer(answer_type, answer_id, execution_result)

    async def _receive_data_loop(self) -> None:
        """As gql's, which ends while events are on their way still: behind them comes the server's goodbye."""
        adapter = self.adapter
        assert isinstance(adapter, WebSocketsAdapter)
        websocket = adapter.websocket
        await super()._receive_data_loop()
        if websocket is not None:
            with contextlib.suppress(websockets.ConnectionClosed):
                async for _ in websocket:
                    pass

    async def _until_listened_to(self, answer_id: int | None) -> None:
        """gql sends the question first and then notes who waits for the answer, which may be here by then."""
        if answer_id in self._listened_to:
            return
        for _ in range(_LISTENER_TURNS):
            if answer_id in self.listeners or self._is_left:
                break
            await asyncio.sleep(0)
        self._listened_to.add(answer_id)


@dataclass(kw_only=True)
class _Course:
    """Where a subscription stands over its connections."""

    token: str | None
    broken_since: float
    attempt: int = 0
    has_begun: bool = False
    acknowledged_at: float | None = None
    """When the present connection was accepted; None before that."""

    def heard(self, now: float) -> None:
        """An event has come: the next break is a new one."""
        self.broken_since, self.attempt, self.has_begun = now, 0, True

    def broke(self, now: float) -> bool:
        """The connection is gone; whether it had been accepted. One that has held for a while counts as healthy."""
        accepted_at, self.acknowledged_at = self.acknowledged_at, None
        if accepted_at is not None and now - accepted_at > _LONGEST_PAUSE_S:
            self.broken_since, self.attempt = now, 0
        return accepted_at is not None

    def pause_s(self) -> float:
        self.attempt += 1
        grown = min(_FIRST_PAUSE_S * 2.0 ** (self.attempt - 1), _LONGEST_PAUSE_S)
        return grown * (0.5 + random.random() / 2)  # noqa: S311 (jitter)


async def events(subscribed: Subscribed, token: str | None) -> AsyncGenerator[Told]:
    """The events, for ever, from ``token`` on or from the beginning.

    Raises the server's refusal, or the last failure once no connection held for ``patience_s`` (at the start: for the
    timeout of the settings).
    """
    loop = asyncio.get_running_loop()
    course = _Course(token=token, broken_since=loop.time())
    while True:
        try:
            async with contextlib.aclosing(_connection(subscribed, course)) as connection:
                async for told in connection:
                    course.token = told.resume_token
                    course.heard(loop.time())
                    yield told
                    course.heard(loop.time())
            failure: KrmError = KrmConnectError("the server has ended the subscription")
            course.broke(loop.time())
        except KrmError as error:
            was_accepted = course.broke(loop.time())
            if course.has_begun and error.code == "CURSOR_INVALID":
                # Our own token, and the server (another version of it, say) cannot read it: what came since is unknown.
                course.token = None
                yield Told(type="RESYNC", manifest=None, resume_token="")
                continue
            if not _may_pass(error, course, was_accepted=was_accepted):
                raise
            failure = error
        pause_s = course.pause_s()
        patience_s = subscribed.patience_s
        if not course.has_begun:
            patience_s = min(patience_s, subscribed.settings.timeout_s)
        if loop.time() + pause_s > course.broken_since + patience_s:
            raise failure
        log.info("a watch is interrupted and goes on", extra={"reason": str(failure), "pause_s": round(pause_s, 3)})
        await asyncio.sleep(pause_s)


def _may_pass(error: KrmError, course: _Course, *, was_accepted: bool) -> bool:
    """Whether trying again may help."""
    if isinstance(error, KrmTlsError):
        return False
    if isinstance(error, KrmConnectError | errors.KrmTimeout):
        return True
    if isinstance(error, errors.KrmAuthError):
        return was_accepted  # the token has expired meanwhile; its file may hold a new one
    # A server that was just started.
    return course.has_begun and getattr(error, "status", None) in _STARTING


async def _connection(subscribed: Subscribed, course: _Course) -> AsyncGenerator[Told]:
    """The events of one connection, until the server ends it. Raises our errors."""
    document, settings = subscribed.document, subscribed.settings
    variables = (
        dict(document.variables) if course.token is None else {**document.variables, "resumeToken": course.token}
    )
    request = transports.request_of(Document(text=document.text, variables=variables, field=document.field))
    transport = _BoundedTransport(**_options(settings))
    client = Client(transport=transport, fetch_schema_from_transport=False, execute_timeout=None)
    try:
        session = await client.connect_async()  # type: ignore[no-untyped-call]  # gql leaves it bare
    except (TransportError, TimeoutError) as cause:
        raise _broken(cause, settings) from cause
    course.acknowledged_at = asyncio.get_running_loop().time()
    results = session.subscribe(request, get_execution_result=True)
    try:
        async for result in results:
            transport.taken()
            yield _told(result.data, document.field)
    except TransportQueryError as error:
        raise _refusal(error) from error
    except TransportError as cause:
        raise _broken(cause, settings) from cause
    finally:
        transport.leave()
        with contextlib.suppress(TransportError):  # saying goodbye to a server that has gone
            await results.aclose()
        await client.close_async()  # type: ignore[no-untyped-call]  # as above


def _options(settings: ClientSettings) -> dict[str, Any]:
    address = settings.url.replace("http", "ws", 1)
    authorization = settings.credentials.header_for(settings.origin)
    options: dict[str, Any] = {
        "url": address,
        "subprotocols": [PROTOCOL],
        "init_payload": {} if authorization is None else {"authorization": authorization},
        "connect_timeout": settings.timeout_s,
        "ack_timeout": settings.timeout_s,
        "close_timeout": _CLOSE_S,
        "connect_args": {
            "max_size": _LARGEST_EVENT,
            "close_timeout": _CLOSE_S,
            "proxy": proxies.proxy_of(settings.origin),
        },
    }
    if settings.origin.scheme == "https":
        options["ssl"] = transports.tls_context(settings)
    return options


def _told(data: Mapping[str, Any] | None, field: str) -> Told:
    try:
        event = msgspec.convert((data or {}).get(field), _Event)
    except msgspec.ValidationError as error:
        raise errors.KrmSchemaMismatch(f"an event is not of the form that this client knows: {error}") from error
    manifest = None
    if event.object is not None:
        manifest = event.object.get("object")
        if not isinstance(manifest, dict):
            raise errors.KrmSchemaMismatch("an event has no object in it", field="object")
    return Told(type=event.type, manifest=manifest, resume_token=event.resumeToken)


def _refusal(error: TransportQueryError) -> KrmError:
    """What an ``error`` message or an event with ``errors`` says. gql wraps the list of the former in a list."""
    listed = error.errors or []
    flat = listed[0] if len(listed) == 1 and isinstance(listed[0], list) else listed
    try:
        reported = msgspec.convert(flat, list[GraphQLError])
    except msgspec.ValidationError:
        reported = []
    if not reported:
        return errors.KrmProtocolError(f"the subscription ended with an error: {error}")
    return answers.errors_of(reported)


def _broken(cause: BaseException, settings: ClientSettings) -> KrmError:
    """Our error for a connection that was not made, or that ended."""
    at = proxies.shown(settings.origin)
    root = cause.__cause__ or cause
    if isinstance(root, websockets.ConnectionClosed):
        closed = root.rcvd
        if closed is not None and closed.code in _UNKNOWN_CALLER:
            return errors.KrmAuthError(closed.reason or "the server does not know who asks", code="UNAUTHENTICATED")
        return KrmConnectError(f"{at}: the connection was closed: {root}")
    if isinstance(root, websockets.InvalidStatus):
        status = root.response.status_code
        return answers.failure_of(answers.Answer(status=status, content=bytes(root.response.body or b"")))
    if isinstance(root, TimeoutError):
        return errors.KrmTimeout(f"{at}: no answer in time")
    if isinstance(root, (OSError, websockets.WebSocketException)):
        return transports.error_of(root, settings)
    return KrmConnectError(f"{at}: {cause or type(cause).__name__}")
