"""What is kept of the API server's answers, for how long, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from krm.auth import decisions
from krm.auth.decisions import Decisions
from krm.errors import ClusterUnreachable
from tests.waiting import wait_until


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def telling(value: str, holds_s: float = 5.0) -> Callable[[], Awaitable[tuple[str, float]]]:
    async def ask() -> tuple[str, float]:
        return value, holds_s

    return ask


async def failing() -> tuple[str, float]:
    raise ClusterUnreachable("down")


async def test_an_answer_holds_for_its_time_from_the_asking_on() -> None:
    clock = Clock()
    kept: Decisions[str, str] = Decisions(most=10, monotonic=clock)

    async def slow() -> tuple[str, float]:
        clock.now_s += 3
        return "a", 5.0

    assert await kept.get("k", slow) == "a"
    clock.now_s += 1.9
    assert kept.known("k") == "a"
    clock.now_s += 0.1
    assert kept.known("k") is None
    assert await kept.get("k", telling("b")) == "b"


async def test_what_is_asked_anew_replaces_what_was_kept() -> None:
    kept: Decisions[str, str] = Decisions(most=10)
    await kept.get("k", telling("yes"))
    assert await kept.get("k", telling("no", 0.0), anew=True) == "no"
    assert kept.known("k") is None


async def test_the_least_used_goes_first() -> None:
    kept: Decisions[str, str] = Decisions(most=2)
    for key in ("a", "b"):
        await kept.get(key, telling(key))
    assert kept.known("a") == "a"
    await kept.get("c", telling("c"))
    assert (kept.known("a"), kept.known("b"), kept.known("c"), len(kept)) == ("a", None, "c", 2)


async def test_failures_are_not_kept() -> None:
    kept: Decisions[str, str] = Decisions(most=2)
    with pytest.raises(ClusterUnreachable):
        await kept.get("k", failing)
    assert await kept.get("k", telling("a")) == "a"


async def test_many_who_ask_the_same_ask_once_and_one_who_leaves_takes_nothing_from_the_others() -> None:
    kept: Decisions[str, str] = Decisions(most=2)
    asked, go = [], asyncio.Event()

    async def ask() -> tuple[str, float]:
        asked.append(1)
        await go.wait()
        return "a", 5.0

    waiting = [asyncio.create_task(kept.get("k", ask)) for _ in range(5)]
    await wait_until(lambda: bool(asked))
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    go.set()
    assert await asyncio.gather(*waiting[1:]) == ["a"] * 4
    assert len(asked) == 1


async def test_a_slow_answer_holds_up_nobody_who_asks_for_another() -> None:
    kept: Decisions[str, str] = Decisions(most=2)
    go = asyncio.Event()

    async def ask() -> tuple[str, float]:
        await go.wait()
        return "slow", 5.0

    slow = asyncio.create_task(kept.get("k", ask))
    assert await kept.get("other", telling("a")) == "a"
    assert not slow.done()
    await kept.close()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_too_many_waiting_are_refused_and_a_turn_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decisions, "WAITING", 1)
    monkeypatch.setattr(decisions, "PATIENCE_S", 0.05)
    kept: Decisions[str, str] = Decisions(most=2)

    async def ask() -> tuple[str, float]:
        await asyncio.Event().wait()
        return "never", 5.0

    first = asyncio.create_task(kept.get("k", ask))
    await wait_until(lambda: bool(kept._flights))
    with pytest.raises(ClusterUnreachable, match="wait for the API server"):
        await kept.get("other", ask)
    with pytest.raises(ClusterUnreachable, match="no review within"):
        await first
