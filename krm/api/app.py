"""Assembles the HTTP API: routes, limits in front of the schema, health, metrics, the pages. Starts nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from krm.api import asking, frames, metrics, overview
from krm.api.asking import Asking
from krm.api.bodies import Refusal, refused
from krm.api.door import Door
from krm.api.flights import Flights
from krm.api.headers import PAGE_POLICY, Headers
from krm.api.hosts import Hosts, OnlyLocal
from krm.api.sockets import Socket
from krm.auth.callers import ANYBODY, Caller, Callers
from krm.auth.rights import Rights
from krm.errors import AnswerError, Code, KrmError
from krm.schema import build
from krm.schema.context import Context
from krm.schema.engine import Engine, entry
from krm.schema.limits import Limits
from krm.settings import Settings

log = logging.getLogger(__name__)

RETRY: Final = {"Retry-After": "1"}
STATIC: Final = Path(__file__).parent / "static"


class Api:
    """The handlers and what they share."""

    def __init__(self, settings: Settings, source: overview.Watched, callers: Callers, folder: Path | None) -> None:
        self.settings = settings
        self.source = source
        self.door = Door(callers)
        self.metrics = metrics.Metrics(source, folder)
        self.overview = overview.Overview(source, lambda: self.metrics.asked)
        self.is_stopping = False
        self.flights = Flights(settings.max_in_flight)
        self.engine = Engine(
            build.default(),
            Limits(
                tokens=settings.max_tokens,
                depth=settings.max_depth,
                aliases=settings.max_aliases,
                fields=settings.max_fields,
                equal_fields=settings.max_equal_fields,
            ),
            introspection=settings.introspection,
            timeout_s=settings.query_timeout_s,
        )

    def stop(self) -> None:
        """Readiness goes off and watchers are let go; running requests go on."""
        self.is_stopping = True
        self.overview.end()

    def _refuse(self, refusal: Refusal) -> None:
        self.metrics.count_errors([refusal.code])
        log.info("request refused", extra={"status": refusal.status, "code": str(refusal.code)})

    def _context(self, caller: Caller) -> Context:
        return Context(
            source=self.source,
            rights=caller.rights,
            max_rows=self.settings.max_rows,
            max_response=self.settings.max_response,
            is_compiled=True,
        )

    def _questioned(self, caller: Caller) -> Context:
        context = self._context(caller)
        context.is_streamed = True
        return context

    def asking(self, hosts: Hosts) -> Asking:
        """``POST /graphql``"""
        return Asking(
            self.engine,
            self.metrics,
            hosts,
            self._questioned,
            self._entered,
            self.flights.leave,
            max_body=self.settings.max_body,
            timeout_s=self.settings.query_timeout_s,
            is_stopping=lambda: self.is_stopping,
        )

    async def frames(self, request: Request) -> Response:
        """``GET /frames/{resource}``"""
        try:
            visitor, caller = await self._entered(request)
        except Refusal as refusal:
            self._refuse(refusal)
            return frames.refused(refusal)
        stream: frames.Stream | None = None
        try:
            given = frames.question(request.query_params)
            bounds = frames.Bounds(self.settings.query_timeout_s, self.settings.max_response)
            stream = await frames.opened(self._context(visitor), request.path_params["resource"], given, bounds)
        except KrmError as error:
            answer = frames.refused(error)
            self.metrics.count_errors([answer.code])
            return answer
        finally:
            if stream is None:
                self.flights.leave(caller)
        odd = stream.odd

        def done() -> None:
            self.flights.leave(caller)
            self.metrics.count_odd(odd.count)

        return frames.FrameResponse(stream, done)

    async def socket(self, websocket: WebSocket) -> None:
        """The WebSocket of ``/graphql``."""

        def slot(visitor: Caller) -> AbstractContextManager[None]:
            return self.flights.one(self.caller(websocket, visitor))

        await Socket(websocket, self.engine, self.door, self._context, self.metrics.count, slot).run()

    @staticmethod
    def caller(connection: HTTPConnection, visitor: Caller) -> object:
        """Whom requests in flight are counted for: the connection, where nobody is asked for a name."""
        return connection.client if visitor.key is None else visitor.key

    async def _entered(self, request: Request) -> tuple[Caller, object]:
        """Who sent a request, which is in flight from now on, and whom it counts for. Raises ``Refusal``."""
        visitor = await self.door.admitted(request)
        caller = self.caller(request, visitor)
        try:
            self.flights.enter(caller)
        except AnswerError as error:
            raise Refusal(429, str(error), error.code, RETRY) from error
        return visitor, caller

    async def graphiql(self, request: Request) -> Response:
        """``GET /graphql``: the page; never an answer, whatever the URL says."""
        if not self.settings.graphiql or "query" in request.query_params:
            return refused(Refusal(405, "queries are sent by POST", headers={"Allow": "POST"}))
        return FileResponse(STATIC / "graphiql" / "index.html", headers={"Cache-Control": "no-cache"})

    async def healthz(self, _request: Request) -> Response:
        """``GET /healthz``: the process answers, and still follows Redis; else it is to be restarted."""
        if self.source.failed is not None:
            log.error("a follower has ended", extra={"reason": self.source.failed})
            return PlainTextResponse("failed\n", 503)
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        """``GET /readyz``: every configured resource that may be read has a table."""
        if self.is_stopping:
            return PlainTextResponse("stopping\n", 503)
        ready = self.source.failed is None and all(
            str(self.source.freshness(r).state) != "NOT_READY" for r in self.source.resources
        )
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def metrics_text(self, request: Request) -> Response:
        """``GET /metrics``"""
        try:
            await self.door.admitted(request, path="/metrics")
        except Refusal as refusal:
            return _plainly(refusal)
        return Response(self.metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def watch(self, request: Request) -> Response:
        """``GET /overview``: what the page at ``/`` shows of KRM, as server-sent events."""

        async def rights() -> Rights:
            return (await self.door.admitted(request)).rights

        try:
            await rights()
        except Refusal as refusal:
            return refused(refusal)
        if self.overview.watchers >= overview.STREAMS_MAX:
            text = f"more than {overview.STREAMS_MAX} watch already"
            return refused(Refusal(429, text, Code.RATE_LIMITED, {"Retry-After": "10"}))
        events = self.overview.events(rights)
        return StreamingResponse(events, headers={"X-Accel-Buffering": "no"}, media_type="text/event-stream")

    async def home(self, _request: Request) -> Response:
        """``GET /``: the page, which holds no data."""
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": PAGE_POLICY}
        return FileResponse(STATIC / "ui" / "index.html", headers=headers)


class Application(FastAPI):
    """FastAPI, which questions go past."""

    asking: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """``POST /graphql`` goes its own way."""
        if scope["type"] == "http" and scope["path"] == asking.PATH and scope["method"] == "POST":
            await self.asking(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create(
    settings: Settings, source: overview.Watched, callers: Callers = ANYBODY, folder: Path | None = None
) -> FastAPI:
    """The application over ``source``; ``app.state.api`` is its ``Api``. ``folder``: see ``metrics.share``."""
    if settings.auth == "kubernetes" and callers.is_open:
        raise ValueError("KRM_AUTH=kubernetes needs callers that are reviewed")
    api = Api(settings, source, callers, folder)

    @contextlib.asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(api.overview.run(), name="overview")
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    hosts = Hosts(settings)
    app = Application(title="KRM", openapi_url=None, docs_url=None, redoc_url=None, lifespan=life)
    app.asking = ServerErrorMiddleware(api.asking(hosts), _unexpected)
    app.state.api = api
    app.router.redirect_slashes = False
    app.add_route("/graphql", api.graphiql, methods=["GET"])
    app.router.routes.append(WebSocketRoute("/graphql", api.socket))
    app.add_route("/frames/{resource}", api.frames, methods=["GET"])
    app.add_route("/healthz", api.healthz, methods=["GET"])
    app.add_route("/readyz", api.readyz, methods=["GET"])
    app.add_route("/metrics", api.metrics_text, methods=["GET"])
    app.add_route("/overview", api.watch, methods=["GET"])
    app.add_route("/", api.home, methods=["GET"])
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]  # the handler's own exception type
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(OnlyLocal, hosts=hosts)
    app.add_middleware(Headers, observe=api.metrics.observe, is_stopping=lambda: api.is_stopping)
    return app


def _plainly(refusal: Refusal) -> Response:
    return PlainTextResponse(f"{refusal}\n", refusal.status, headers=refusal.headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    if request.url.path.startswith("/frames/"):
        return frames.Refused(
            Code.BAD_REQUEST, "frames are at GET /frames/{resource}", error.status_code, error.headers
        )
    if request.url.path == "/graphql" and error.status_code == 405:
        return refused(Refusal(405, "queries are sent by POST", headers={"Allow": "GET, POST"}))
    return PlainTextResponse(f"{error.detail}\n", error.status_code, headers=error.headers)


async def _unexpected(_request: Request, error: Exception) -> Response:
    trace = secrets.token_hex(8)
    log.error("a request failed", exc_info=error, extra={"trace": trace})
    body = orjson.dumps({"errors": [entry(Code.INTERNAL, f"internal error, trace {trace}", details={"trace": trace})]})
    return Response(body, 500, media_type="application/json")
