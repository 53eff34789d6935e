"""What ``watch()`` gives: an iterator of events, blocking or awaited.

The blocking one runs the subscription on an event loop in a thread of its own, so that it can be used anywhere (in a
notebook, too) and the server's pings are answered while the caller is busy with an event.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar

from krm_client.errors import KrmUsageError
from krm_client.models import objects
from krm_client.registry import ClientResource

if TYPE_CHECKING:
    from krm_client.subscriptions import Told

T = TypeVar("T")

_CLOSE_S = 5.0


class Event(TypedDict):
    """``type`` is ADDED, MODIFIED, DELETED or RESYNC: forget what you have, all that there is follows."""

    type: str
    object: Any
    """The official object; None for RESYNC."""
    raw_object: dict[str, Any] | None
    """Its manifest, with fields that the installed models do not know."""


class _Reader:
    """Turns what is told into events, and remembers where the watch stands."""

    def __init__(
        self, kind: ClientResource, told: AsyncGenerator[Told], timeout_s: float | None, silence_s: float | None
    ) -> None:
        self._kind = kind
        self._told = told
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self._deadline: float | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self.resume_token: str | None = None

    async def next(self) -> Event | None:
        """The next event, or None when the time of the watch is over."""
        loop = asyncio.get_running_loop()
        if self._deadline is None and self._timeout_s is not None:
            self._deadline = loop.time() + self._timeout_s
        self._waiting = asyncio.current_task()
        silent_at = None if self._silence_s is None else loop.time() + self._silence_s
        ends_at = min((at for at in (self._deadline, silent_at) if at is not None), default=None)
        try:
            async with asyncio.timeout_at(ends_at):
                told = await anext(self._told)
        except TimeoutError:
            await self._told.aclose()
            if ends_at != self._deadline:
                raise TimeoutError(f"no event for {self._silence_s} s") from None
            return None
        finally:
            self._waiting = None
        self.resume_token = told.resume_token or None
        return Event(type=told.type, object=self._object(told.manifest), raw_object=told.manifest)

    async def close(self) -> None:
        """End; whoever waits for the next event gets none."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting], timeout=_CLOSE_S)
        await self._told.aclose()

    def _object(self, manifest: dict[str, Any] | None) -> Any:
        if manifest is None:
            return None
        kind = self._kind
        return objects.of_manifest(kind.model, manifest, kind=kind.kind, api_version=kind.api_version)


class AsyncWatch:
    """An asynchronous iterator of `Event`; close it with ``aclose`` or by ``async with``."""

    def __init__(
        self,
        kind: ClientResource,
        start: Callable[[], AsyncGenerator[Told]],
        timeout_s: float | None,
        silence_s: float | None = None,
    ) -> None:
        self._reader = _Reader(kind, start(), timeout_s, silence_s)
        self._ended = False

    @property
    def resume_token(self) -> str | None:
        """Where to go on later: ``watch(..., resume_token=...)`` gives what comes after the last event."""
        return self._reader.resume_token

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = None if self._ended else await self._reader.next()
        if event is None:
            self._ended = True
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """End the watch."""
        self._ended = True
        await self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Watch:
    """An iterator of `Event`; close it with ``close``, by ``with``, or by letting go of it."""

    def __init__(
        self,
        kind: ClientResource,
        start: Callable[[], AsyncGenerator[Told]],
        timeout_s: float | None,
        silence_s: float | None = None,
    ) -> None:
        self._loop = _LoopThread()
        self._reader = _Reader(kind, start(), timeout_s, silence_s)
        self._ended = False
        self._process = os.getpid()
        self._end = weakref.finalize(self, _end, self._loop, self._reader)

    @property
    def resume_token(self) -> str | None:
        """Where to go on later: ``watch(..., resume_token=...)`` gives what comes after the last event."""
        return self._reader.resume_token

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._process != os.getpid():
            raise KrmUsageError("a watch does not survive a fork; begin another with its resume_token")
        if self._ended:
            raise StopIteration
        try:
            event = self._loop.run(self._reader.next)
        except concurrent.futures.CancelledError:
            raise StopIteration from None  # closed by another thread
        except BaseException:
            self.close()
            raise
        if event is None:
            self.close()
            raise StopIteration
        return event

    def close(self) -> None:
        """End the watch; may be called from another thread, too."""
        self._ended = True
        if self._process == os.getpid():
            self._end()
        else:
            self._end.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="krm-watch", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float | None = None) -> T:
        """What ``work`` gives. It is begun in the thread of the loop: whatever interrupts this one, it is awaited."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(work()))
            tasks[0].add_done_callback(functools.partial(_hand_over, done))

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        try:
            self._loop.call_soon_threadsafe(begin)
            return done.result(timeout_s)
        except BaseException:
            if not done.done():  # it goes on, and nobody waits for it any more
                with contextlib.suppress(RuntimeError):  # unless its loop has been closed by another thread
                    self._loop.call_soon_threadsafe(cancel)
            raise

    def end(self) -> None:
        if self._loop.is_closed():
            return
        is_outside = threading.current_thread() is not self._thread
        if is_outside and self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                self.run(_cancel_others, 2 * _CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        if is_outside:
            self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()


def _hand_over(done: concurrent.futures.Future[T], task: asyncio.Task[T]) -> None:
    error = concurrent.futures.CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


async def _cancel_others() -> None:
    """What an interrupted close has left running, the reading of the socket above all."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_CLOSE_S)


async def _settle() -> None:
    """End what is left, and give closed connections the turns of the loop in which they let go of their sockets."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)


def _end(loop: _LoopThread, reader: _Reader) -> None:
    try:
        loop.run(reader.close, 2 * _CLOSE_S)
    except TimeoutError:
        return
    finally:
        loop.end()
