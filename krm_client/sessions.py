"""The two drivers of a call: one blocks, one is awaited. All that they do is send and wait.

A session is made at the first call and again after a fork or on another event loop, because connections must
not be shared between processes or loops.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from krm_client.answers import Answer
from krm_client.calls import Call, Pause, Send
from krm_client.documents import RouteQuery
from krm_client.errors import KrmError, KrmUsageError
from krm_client.settings import ClientSettings

if TYPE_CHECKING:
    from gql.client import AsyncClientSession, SyncClientSession

T = TypeVar("T")


class BlockingDriver:
    """Runs calls in the caller's thread. Threads may share it."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._session: SyncClientSession | None = None
        self._process = os.getpid()
        self._closed = False
        self._left_to_parent: list[Any] = []

    def run(self, call: Call[T]) -> T:
        try:
            step = next(call)
            while True:
                try:
                    reply = self._do(step)
                except KrmError as error:
                    step = call.throw(error)
                else:
                    step = call.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def close(self) -> None:
        """Close the connections; later calls are refused."""
        with self._lock:
            session, self._session, self._closed = self._session, None, True
            ours = self._process == os.getpid()
        if session is not None and ours:
            session.client.close_sync()  # type: ignore[no-untyped-call]  # gql leaves it bare

    def _do(self, step: Send | Pause) -> Answer | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        from krm_client import transports

        session = self._current()
        if isinstance(step.document, RouteQuery):
            return self._fetch(step, step.document, session)
        request = transports.request_of(step.document)
        options = transports.request_options(self._settings, step)
        try:
            result = session.execute(request, get_execution_result=True, extra_args=options)
        except transports.FAILURES as cause:
            raise transports.error_of(cause, self._settings) from cause
        assert result.data is not None
        answer: Answer = result.data["answer"]
        return answer

    def _fetch(self, step: Send, query: RouteQuery, session: SyncClientSession) -> Answer:
        from krm_client import transports

        transport = session.transport
        assert isinstance(transport, transports.BlockingTransport)
        try:
            return transport.fetch(*transports.route_request(self._settings, step, query))
        except transports.FAILURES as cause:
            raise transports.error_of(cause, self._settings) from cause

    def _current(self) -> SyncClientSession:
        if self._process != os.getpid():
            self._after_fork()
        session = self._session
        if session is not None:
            return session
        with self._lock:
            if self._closed:
                raise KrmUsageError("this client is closed")
            if self._session is None:
                self._session = self._connect()
            return self._session

    def _after_fork(self) -> None:
        """Leave the parent's connections alone (neither use nor close them) and take a lock that no thread holds."""
        self._left_to_parent.append(self._session)
        self._lock = threading.Lock()
        self._session = None
        self._process = os.getpid()

    def _connect(self) -> SyncClientSession:
        from gql import Client

        from krm_client import transports

        transport = transports.BlockingTransport(**transports.transport_options(self._settings))
        client = Client(transport=transport, fetch_schema_from_transport=False)
        session: SyncClientSession = client.connect_sync()  # type: ignore[no-untyped-call]  # as above
        return session


class AwaitedDriver:
    """Runs calls on the running event loop; one session for each loop in use."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._session: AsyncClientSession | None = None
        self._home: tuple[int, int] | None = None
        self._left_behind: list[Any] = []
        self._connecting: asyncio.Lock | None = None
        self._closed = False

    async def run(self, call: Call[T]) -> T:
        try:
            step = next(call)
            while True:
                try:
                    reply = await self._do(step)
                except KrmError as error:
                    step = call.throw(error)
                else:
                    step = call.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def close(self) -> None:
        """Close the connections; later calls are refused."""
        session, self._session, self._closed = self._session, None, True
        if session is not None and self._home == _home():
            await session.client.close_async()  # type: ignore[no-untyped-call]  # as above

    async def _do(self, step: Send | Pause) -> Answer | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        from krm_client import transports

        session = await self._current()
        if isinstance(step.document, RouteQuery):
            return await self._fetch(step, step.document, session)
        request = transports.request_of(step.document)
        options = transports.request_options(self._settings, step)
        try:
            result = await session.execute(request, get_execution_result=True, extra_args=options)
        except transports.FAILURES as cause:
            raise transports.error_of(cause, self._settings) from cause
        assert result.data is not None
        answer: Answer = result.data["answer"]
        return answer

    async def _fetch(self, step: Send, query: RouteQuery, session: AsyncClientSession) -> Answer:
        from krm_client import transports

        transport = session.transport
        assert isinstance(transport, transports.AwaitedTransport)
        try:
            return await transport.fetch(*transports.route_request(self._settings, step, query))
        except transports.FAILURES as cause:
            raise transports.error_of(cause, self._settings) from cause

    async def _current(self) -> AsyncClientSession:
        if self._home != _home():
            self._left_behind = [self._session]
            self._session, self._home, self._connecting = None, _home(), asyncio.Lock()
        assert self._connecting is not None
        async with self._connecting:
            if self._closed:
                raise KrmUsageError("this client is closed")
            if self._session is None:
                self._session = await self._connect()
            return self._session

    async def _connect(self) -> AsyncClientSession:
        from gql import Client

        from krm_client import transports

        transport = transports.AwaitedTransport(**transports.transport_options(self._settings))
        client = Client(transport=transport, fetch_schema_from_transport=False, execute_timeout=None)
        session: AsyncClientSession = await client.connect_async()  # type: ignore[no-untyped-call]  # as above
        return session


def _home() -> tuple[int, int]:
    return os.getpid(), id(asyncio.get_running_loop())
