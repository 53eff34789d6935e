"""Waiting for something to become true, with a deadline: the tests' only way to let time pass."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")
_PAUSE_S: Final = 0.01


class NotInTimeError(AssertionError):
    """The condition did not become true before the deadline."""


@overload
async def wait_until(
    condition: Callable[[], Coroutine[Any, Any, T | None]], deadline_s: float = 10.0, what: str = ""
) -> T: ...


@overload
async def wait_until(condition: Callable[[], T | None], deadline_s: float = 10.0, what: str = "") -> T: ...


async def wait_until(condition: Callable[[], Any], deadline_s: float = 10.0, what: str = "") -> Any:
    """The condition's first true value; it may be a plain function or a coroutine function.

    Raises ``NotInTimeError`` after ``deadline_s``, which names ``what`` and the last value.
    """
    ends = time.monotonic() + deadline_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > ends:
            raise NotInTimeError(f"{what or _name(condition)}: not within {deadline_s} s, last value {value!r}")
        await asyncio.sleep(_PAUSE_S)


def block_until(condition: Callable[[], T], deadline_s: float = 10.0, what: str = "") -> T:
    """The same outside of an event loop."""
    ends = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > ends:
            raise NotInTimeError(f"{what or _name(condition)}: not within {deadline_s} s, last value {value!r}")
        time.sleep(_PAUSE_S)
    return value


@contextlib.asynccontextmanager
async def alongside(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Do ``work`` as well, until the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _name(condition: object) -> str:
    return getattr(condition, "__qualname__", repr(condition))
