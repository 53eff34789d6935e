"""The life that all workers share: get the right to write, work, say how one is, back off, drain on request.

A worker is one pass that goes on until something ends it; whatever ends it, the next pass starts from what is stored.
This is the only place that catches everything: a worker must not die of one bad object, nor be silent about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from typing import Any, Final, Protocol

import msgspec

from krm import errors
from krm.kube.backoff import Backoff
from krm.resources import Resource
from krm.store.head import WorkerStatus
from krm.store.writing import Writer

logger = logging.getLogger(__name__)

BEAT_S: Final = 1.0
LEAST_BEAT_S: Final = 0.05
"""From one heartbeat to the next, however much there is to say."""
STORE_CEILING_S: Final = 1.0
"""Redis is ours, and near: who waits for it asks once a second, so that it is filled again as soon as it is back."""
CANCEL_S: Final = 0.25
CANCEL_TRIES: Final = 24
REPEAT_S: Final = 60.0
"""A failure that goes on is logged once, then at most this often."""


class Lead(Protocol):
    """By what equal workers agree which one works; ``krm.kube.leases.Lease`` is one."""

    async def take(self) -> tuple[str, float]:
        """(token, 0) where it is ours, else ("", seconds to wait). Raises ``ClusterError``."""

    async def keep(self) -> bool:
        """Renew it where that is due; whether it is still ours."""

    async def give_back(self) -> None:
        """Let the next one have it at once. Raises ``ClusterError``."""


class Worker(ABC):
    """One worker of one resource."""

    lead: Lead | None = None
    """None: whoever is first in Redis works."""

    def __init__(self, resource: Resource, writer: Writer) -> None:
        self.resource = resource
        self.writer = writer
        self.status = WorkerStatus(role=writer.role)
        self.clock_offset_ms = 0
        """Redis' clock minus this machine's."""
        self._logged: tuple[str, float] = ("", 0.0)
        self._news = asyncio.Event()
        """Set when the state of an answer depends on what the next heartbeat tells."""
        self._is_led = False

    @abstractmethod
    async def work(self) -> None:
        """One pass: read what is stored, then work until something ends it. Holds the fence."""

    def say(self, **changes: Any) -> None:
        """Change what the next heartbeat tells; it does not wait where answers depend on it."""
        before, self.status = self.status, msgspec.structs.replace(self.status, **changes)
        if (before.connected, before.state) != (self.status.connected, self.status.state):
            self._news.set()

    def now_ms(self) -> int:
        """Redis' clock, as far as the last heartbeat tells."""
        return int(time.time() * 1000) + self.clock_offset_ms

    async def live(self) -> None:
        """Work until cancelled; gives the fence back at the end."""
        backoff, store_backoff = Backoff(), Backoff(first_s=0.1, ceiling_s=STORE_CEILING_S)
        try:
            while True:
                try:
                    wait_s = await self._acquire()
                    if wait_s:
                        self._log(logging.INFO, "waits: another instance writes", self.writer.waits_for)
                        await asyncio.sleep(min(wait_s, BEAT_S))
                        continue
                    await self._hold(backoff)
                except errors.Fenced as error:
                    self._log(logging.WARNING, "lost the right to write", str(error))
                except Exception as error:
                    if _is_cancelled():
                        raise
                    is_store = isinstance(error, errors.StoreUnreachable)
                    delay_s = self._failed(error, store_backoff if is_store else backoff)
                    await self._linger(delay_s)
        finally:
            with contextlib.suppress(errors.StoreError, asyncio.TimeoutError):
                self.say(state="stopped", connected=False)
                async with asyncio.timeout(2):
                    await self._beat()
                    await self.writer.release()
            if self.lead is not None:
                with contextlib.suppress(errors.ClusterError, asyncio.TimeoutError):
                    async with asyncio.timeout(2):
                        await self.lead.give_back()

    async def _acquire(self) -> float:
        """Become the one that works; 0 when we are, else the seconds to wait.

        Where the Lease cannot be asked for (no right to, or no API server), silence in Redis decides alone: the store
        lets nobody write whose place another has taken.
        """
        token, self._is_led = "", False
        self.writer.waits_for = "waiting"
        if self.lead is not None:
            try:
                token, wait_s = await self.lead.take()
                if wait_s:
                    return wait_s
                self._is_led = True
            except errors.ClusterError as error:
                self._log(logging.WARNING, "no Lease; the first in Redis works", str(error))
        return await self.writer.acquire(token)

    async def _hold(self, backoff: Backoff) -> None:
        """Work and beat side by side; either's end ends the other."""
        self.say(state="running", reason=None)
        await self._beat()
        led = [self._keep_on(self.lead)] if self.lead is not None and self._is_led else []
        await first_of(self.work(), self._beat_on(backoff), *led)

    @staticmethod
    async def _keep_on(lead: Lead) -> None:
        """Beside the heartbeats, which must not wait for an API server that is slow."""
        while True:
            await asyncio.sleep(BEAT_S)
            if not await lead.keep():
                raise errors.Fenced("another instance has the Lease now")

    async def _beat_on(self, backoff: Backoff) -> None:
        while True:
            await asyncio.sleep(LEAST_BEAT_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S - LEAST_BEAT_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._beat()
                backoff.succeeded()
            except errors.StoreUnreachable:
                # The work itself notices if it matters; a missed beat alone is no reason to stop a stream.
                logger.debug("missed a heartbeat", extra={"resource": self.resource.plural})

    async def _beat(self) -> None:
        redis_ms = await self.writer.beat(self.status)
        self.clock_offset_ms = redis_ms - int(time.time() * 1000)

    async def _linger(self, delay_s: float) -> None:
        """Wait, and go on saying how one is: a worker that backs off is not one that is gone."""
        deadline = time.monotonic() + delay_s
        while (left_s := deadline - time.monotonic()) > 0:
            with contextlib.suppress(errors.StoreError):
                await self._beat()
            await asyncio.sleep(min(left_s, BEAT_S))

    def _failed(self, error: Exception, backoff: Backoff) -> float:
        delay_s = backoff.failed(error)
        state = "forbidden" if isinstance(error, errors.Forbidden) else "failing"
        state = "gone" if isinstance(error, errors.NotFound) else state
        self.say(state=state, reason=str(error)[:300], connected=False)
        if isinstance(error, errors.KrmError):
            self._log(logging.WARNING, "stopped and will try again", str(error), delay_s=round(delay_s, 2))
        else:
            logger.error("failed unexpectedly and will try again", exc_info=error, extra=self._names())
        return delay_s

    def _names(self) -> dict[str, object]:
        return {"role": self.status.role, "resource": self.resource.plural}

    def _log(self, level: int, message: str, reason: str, **more: object) -> None:
        said, at = self._logged
        if reason == said and time.monotonic() - at < REPEAT_S:
            return
        self._logged = (reason, time.monotonic())
        logger.log(level, message, extra={**self._names(), "reason": reason, **more})


def _is_cancelled() -> bool:
    # A cancellation that a library has turned into an error is still one.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run ``works`` side by side until one ends, by itself or by an error (raised); the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel(tasks)


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` and wait for their end.

    More than once: before Python 3.12 ``asyncio.wait_for`` swallows a cancellation that comes together with the result
    that it waits for, and the task goes on. Being cancelled meanwhile does not leave them behind either.
    """
    ending = set(tasks)
    pending = {task for task in ending if not task.done()}
    interrupted = False
    for _ in range(CANCEL_TRIES):
        if not pending:
            break
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=CANCEL_S)
        except asyncio.CancelledError:
            interrupted = True
        pending = {task for task in pending if not task.done()}
    for task in pending:
        logger.error("a task does not end", extra={"task": repr(task)[:200]})
    for task in ending - pending:
        if not task.cancelled():
            task.exception()  # whoever awaited it has been told; asyncio need not complain
    if interrupted:
        raise asyncio.CancelledError
