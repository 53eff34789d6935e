"""How a process spreads its rounds: nothing waits while little happens, and nobody waits for more than a beat."""

from __future__ import annotations

import pytest

from krm.store.pace import BUSY, FOLLOWS, MAX_BEAT_S, ROUNDS, WINDOW_S, Pace


class Clock:
    """Time that passes when it is told to, or somebody rests."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.rests: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.rests.append(delay_s)
        self.now_s += delay_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("krm.store.pace.asyncio.sleep", made.sleep)
    return made


def paced(clock: Clock) -> Pace:
    return Pace(lambda: clock.now_s)


async def play(tested: Pace, clock: Clock, *, rate: float, kinds: int, seconds: float = 2.0) -> None:
    """Rounds of 1 ms of ``kinds`` streams, each with what has come since its last one."""
    end_s, last_s = clock.now_s + seconds, dict.fromkeys(range(kinds), clock.now_s)
    while clock.now_s < end_s:
        for kind in range(kinds):
            clock.now_s += 0.001
            came = round((clock.now_s - last_s[kind]) * rate / kinds)
            if came:
                last_s[kind] = clock.now_s
                await tested.led(f"kind {kind}", came)


async def test_while_little_happens_nobody_rests(clock: Clock) -> None:
    tested = paced(clock)
    await play(tested, clock, rate=BUSY * 0.9, kinds=3)
    await tested.followed("kind 0", 1, tested.now())
    assert clock.rests == []


async def test_who_leads_begins_with_a_beat(clock: Clock) -> None:
    tested = paced(clock)
    await play(tested, clock, rate=2_000, kinds=3)
    clock.now_s += 0.0013
    await tested.led("kind 0", 5)
    beats = clock.now_s / (3 / ROUNDS)
    assert abs(beats - round(beats)) < 1e-6
    assert clock.rests
    assert max(clock.rests) <= 3 / ROUNDS


async def test_who_follows_is_there_before_the_next_beat(clock: Clock) -> None:
    tested = paced(clock)
    await play(tested, clock, rate=2_000, kinds=6)
    clock.rests.clear()
    came_at = tested.now()
    clock.now_s += 0.002
    await tested.followed("kind 0", 40, came_at)
    assert clock.now_s == pytest.approx(came_at + 6 / ROUNDS * FOLLOWS)
    await tested.followed("kind 0", 40, clock.now_s - 1)  # the round took longer than a beat
    assert len(clock.rests) == 1


async def test_the_more_kinds_the_longer_the_beat_up_to_a_bound(clock: Clock) -> None:
    tested = paced(clock)
    await play(tested, clock, rate=4_000, kinds=1)
    assert max(clock.rests) <= 1 / ROUNDS + 1e-9
    await play(tested, clock, rate=4_000, kinds=40)
    assert 1 / ROUNDS < max(clock.rests) <= MAX_BEAT_S


async def test_what_was_long_ago_says_nothing(clock: Clock) -> None:
    tested = paced(clock)
    await play(tested, clock, rate=5_000, kinds=2)
    clock.rests.clear()
    clock.now_s += 60
    await tested.led("kind 0", 1)
    clock.now_s += WINDOW_S / 2
    await tested.led("kind 0", 1)
    assert clock.rests == []
