"""The simulated API server: requests in, answers out.

Ties the parts together: which resource (`paths`), may this user (`access`), which objects (`lists`, `watches`,
`writes`), in which form (`encoding`, `tables`), and what goes wrong on purpose (`faults`). Not here: the life of the
listening socket (`running`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiohttp import web

from krm.simulator import answers, control, discovery, encoding, options, paths, reviews, status, tables, writes
from krm.simulator.access import Access, User
from krm.simulator.counters import Requests
from krm.simulator.deletions import WriteSettings
from krm.simulator.encoding import Shape
from krm.simulator.faults import FaultKind, Faults
from krm.simulator.lists import Lister, Page
from krm.simulator.paths import Target
from krm.simulator.status import StatusError
from krm.simulator.store import Store
from krm.simulator.watches import Watch, WatchSettings
from krm.simulator.writes import Writer

logger = logging.getLogger(__name__)

_VERBS: Mapping[str, str] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How the server behaves, faults apart."""

    watch: WatchSettings = field(default_factory=WatchSettings)
    write: WriteSettings = field(default_factory=WriteSettings)
    fresh_wait_s: float = 3.0
    """How long a request for a version from the future waits for it before it is refused."""
    gzip_from: int = 128 * 1024
    """Bodies from this size are compressed when the client accepts that."""
    control: bool = False
    """Whether `/_simulator/...` is served: it lets any caller break the server."""


class Server:
    """Answers requests from a store."""

    def __init__(self, store: Store, *, settings: ServerSettings, access: Access, faults: Faults) -> None:
        self.store = store
        self.settings = settings
        self.access = access
        self.faults = faults
        self.requests = Requests()
        self.lister = Lister(store)
        self.writer = Writer(store, settings.write)
        self.watches: set[Watch] = set()
        self.operations: control.Operations | None = None
        """Set by whoever runs the server; without it there is nothing to control."""
        faults.on_change = self._wake_watches

    def _wake_watches(self) -> None:
        for watch in tuple(self.watches):
            watch.wake()

    def end_watches(self, *, abort: bool = False) -> None:
        """End all streams: properly, or by closing their connections."""
        for watch in tuple(self.watches):
            if abort:
                watch.abort()
            else:
                watch.end()

    def forget(self) -> None:
        """What a restarted process has lost: caches, and the versions from which watches may resume."""
        self.lister.forget()
        self.store.forget()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        parts = [unquote(part) for part in request.rel_url.raw_path.split("/") if part]
        if parts[:1] == ["_simulator"] and self.settings.control:
            return await control.answer(self.operations, request, parts[1:])
        call = _Call(server=self, request=request, parts=parts)
        try:
            return await call.answer()
        except StatusError as error:
            return await call.refuse(error)
        except (StopAnsweringError, ConnectionResetError):  # the client has gone
            return web.Response()


class StopAnsweringError(Exception):
    """The connection is gone on purpose."""


class _Call:
    """One request on its way through the server."""

    def __init__(self, *, server: Server, request: web.Request, parts: list[str]) -> None:
        self._server = server
        self._request = request
        self._parts = parts
        self._verb = request.method.lower()
        self._resource = "/" + "/".join(parts[:2])
        self._skew_s = 0.0

    async def refuse(self, error: StatusError) -> web.StreamResponse:
        """Answer with a failure."""
        count = self._server.requests.count(self._verb, self._resource, error.code)
        return await answers.send_status(self._request, error, count, skew_s=self._skew_s)

    async def answer(self) -> web.StreamResponse:
        server, request = self._server, self._request
        target = self._find()
        if target is None:
            if (fault := server.faults.take(FaultKind.SKEW, (self._resource,), self._verb)) is not None:
                self._skew_s = fault.skew_s
            await self._misbehave((self._resource,), "")
            user = server.access.authenticate(request.headers)
            return await self._answer_path(user)
        self._resource = target.kind.qualified
        self._verb = _verb(request, target)
        if (fault := server.faults.take(FaultKind.SKEW, target.names, self._verb, target.namespace)) is not None:
            self._skew_s = fault.skew_s
        await self._misbehave(target.names, target.namespace)
        user = server.access.authenticate(request.headers)
        server.access.authorize(user, self._verb, target)
        if self._verb not in _verbs_of(target):
            raise status.method_not_allowed()
        if self._verb == "list":
            return await self._list(target)
        if self._verb == "watch":
            return await self._watch(target)
        if self._verb == "get":
            return await self._get(target)
        return await self._write(target, user)

    def _find(self) -> Target | None:
        found = paths.group_version(self._parts)
        if found is None or not found[2]:
            return None
        if reviews.is_review(self._parts):
            return None
        return paths.find(self._server.store, self._parts)

    async def _answer_path(self, user: User) -> web.StreamResponse:
        """Paths that are no stored resource: reviews, discovery, health, version."""
        server, request = self._server, self._request
        if reviews.is_review(self._parts):
            self._verb, self._resource = "create", self._parts[3]
            body = await reviews.answer(server.access, server.store, user, request, self._parts)
            count = server.requests.count(self._verb, self._resource, 201)
            return await answers.send_json(request, 201, body, count, skew_s=self._skew_s)
        path = "/" + "/".join(self._parts)
        self._verb = "get" if request.method in ("GET", "HEAD") else self._verb
        server.access.authorize_path(user, self._verb, path)
        document, content_type = discovery.answer(server.store, self._parts)
        count = server.requests.count(self._verb, path, 200)
        return await answers.send(request, 200, [document], count, content_type=content_type, skew_s=self._skew_s)

    # Faults of whole requests

    async def _misbehave(self, names: tuple[str, ...], namespace: str) -> None:
        faults, verb = self._server.faults, self._verb
        if (fault := faults.take(FaultKind.DELAY, names, verb, namespace)) is not None:
            await asyncio.sleep(fault.delay_s)
        if (fault := faults.take(FaultKind.HANG, names, verb, namespace)) is not None:
            await self._hang(fault.delay_s)
        if faults.take(FaultKind.RESET, names, verb, namespace) is not None:
            self._reset()
        if (fault := faults.take(FaultKind.STATUS, names, verb, namespace)) is not None:
            raise status.from_code(fault.status, fault.message, fault.retry_after_s)
        is_later = bool(self._request.query.get("continue"))
        if is_later and (fault := faults.take(FaultKind.LATER_PAGE, names, verb, namespace)) is not None:
            raise status.from_code(fault.status, fault.message, fault.retry_after_s)
        if self._request.query.get("sendInitialEvents") and (
            faults.take(FaultKind.NO_INITIAL_EVENTS, names, verb, namespace) is not None
        ):
            text = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise status.invalid("meta.k8s.io", "ListOptions", "", [("sendInitialEvents", "FieldValueForbidden", text)])

    async def _hang(self, at_most_s: float) -> None:
        # Ends when the client goes (which cancels this task) or when the time is over, then without an answer.
        await asyncio.sleep(at_most_s or 3600.0)
        self._reset()

    def _reset(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()
        raise StopAnsweringError

    # Reading

    def _shape(self) -> Shape:
        return tables.shape(self._request.headers.get("Accept", ""))

    async def _fresh(self, wanted: int, timeout_s: int | None) -> None:
        """Wait for a version that the server has not reached yet, for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._server.settings.fresh_wait_s, timeout_s or 60)):
                await self._server.store.reached(wanted)

    async def _list(self, target: Target) -> web.StreamResponse:
        server, request = self._server, self._request
        shape = self._shape()
        asked = options.parse(target.kind, target.namespace, "", request.query)
        if asked.rv is not None and server.lister.must_wait(asked):
            await self._fresh(asked.rv, asked.timeout_s)
        page = server.lister.page(target.kind, asked)
        faults, names = server.faults, target.names
        if faults.take(FaultKind.EMPTY_LIST, names, "list", target.namespace) is not None:
            page = Page(kind=target.kind, rv=page.rv, versions=())
        count = server.requests.count("list", target.kind.qualified, 200)
        if faults.take(FaultKind.GARBAGE_BODY, names, "list", target.namespace) is not None:
            return await answers.send(request, 200, [b"<html>bad gateway"], count, content_type="text/html")
        pieces = (
            iter([tables.table(page, request.query, server.store.clock())])
            if shape is Shape.TABLE
            else encoding.list_pieces(page, shape)
        )
        return await answers.send(
            request,
            200,
            pieces,
            count,
            skew_s=self._skew_s,
            gzip_from=server.settings.gzip_from,
            faults=answers.BodyFaults(
                truncate=faults.take(FaultKind.TRUNCATED_LIST, names, "list", target.namespace),
                slow=faults.take(FaultKind.SLOW, names, "list", target.namespace),
            ),
        )

    async def _watch(self, target: Target) -> web.StreamResponse:
        server = self._server
        shape = self._shape()
        asked = options.parse(target.kind, target.namespace, target.name, self._request.query)
        if asked.send_initial and asked.rv is not None and asked.rv > server.store.rv:
            await self._fresh(asked.rv, asked.timeout_s)
            if asked.rv > server.store.rv:
                raise status.too_large_version(asked.rv, server.store.rv)
        count = server.requests.count("watch", target.kind.qualified, 200)
        watch = Watch(
            store=server.store,
            kind=target.kind,
            options=asked,
            shape=Shape.METADATA if shape is Shape.TABLE else shape,
            settings=server.settings.watch,
            faults=server.faults,
            count=count,
        )
        response = answers.stream(skew_s=self._skew_s)
        open_watches, resource = server.requests.open_watches, target.kind.qualified
        open_watches[resource] = open_watches.get(resource, 0) + 1
        server.watches.add(watch)
        try:
            await watch.run(self._request, response)
        finally:
            server.watches.discard(watch)
            open_watches[resource] -= 1
        return response

    async def _get(self, target: Target) -> web.StreamResponse:
        server = self._server
        version = server.store.get(target.kind, target.namespace, target.name)
        if version is None:
            raise status.not_found(target.kind, target.name)
        count = server.requests.count("get", target.kind.qualified, 200)
        if target.subresource == "log":
            text = f"{version.fields['status.phase']} on {version.fields['spec.nodeName']}\n"
            return await answers.send(self._request, 200, [text.encode()], count, content_type="text/plain")
        shape = self._shape()
        if shape is Shape.TABLE:
            page = Page(kind=target.kind, rv=version.rv, versions=(version,))
            body = tables.table(page, self._request.query, server.store.clock())
        else:
            body = encoding.one(version, shape)
        return await answers.send(
            self._request, 200, [body], count, skew_s=self._skew_s, gzip_from=server.settings.gzip_from
        )

    # Writing

    async def _write(self, target: Target, user: User) -> web.StreamResponse:
        server, request = self._server, self._request
        ask = await writes.read(request, target, self._verb, user.name)
        code, body = server.writer.answer(ask)
        count = server.requests.count(self._verb, target.kind.qualified, code)
        return await answers.send(request, code, [body], count, skew_s=self._skew_s)


def _verbs_of(target: Target) -> tuple[str, ...]:
    if not target.subresource:
        return target.kind.verbs
    return next(each.verbs for each in target.kind.subresources if each.name == target.subresource)


def _verb(request: web.Request, target: Target) -> str:
    if request.method in ("GET", "HEAD"):
        if request.query.get("watch", "false").lower() not in ("false", "0", ""):
            return "watch"
        return "get" if target.name else "list"
    verb = _VERBS.get(request.method)
    if verb is None:
        raise status.method_not_allowed()
    if target.name == "" and verb == "delete":
        return "deletecollection"
    # Created is in a collection (or below an object), everything else happens to an object.
    fits = (not target.name or bool(target.subresource)) if verb == "create" else bool(target.name)
    if not fits:
        raise status.method_not_allowed()
    return verb
