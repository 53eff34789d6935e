"""The server's clock out of Date headers: the true skew always lies within what is told of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.kube.clock import NARROWEST_S, PROBES_MAX, SHARP_S, ServerClock


class World:
    """Two clocks and a network, under control."""

    def __init__(self, skew_s: float = 0.0, trip_s: float = 0.01) -> None:
        self.now_s = 1_000.3
        self.wall_s = 1_790_000_000.0
        self.skew_s = skew_s
        self.trip_s = trip_s
        self.clock = ServerClock(wall=lambda: self.wall_s + self.now_s, steady=lambda: self.now_s)

    def ask(self, share: float = 0.5) -> None:
        """One request; the answer is written after ``share`` of its trip."""
        sent_s = self.now_s
        written_s = self.wall_s + sent_s + share * self.trip_s + self.skew_s
        self.now_s += self.trip_s
        self.clock.observe(float(math.floor(written_s)), sent_s, self.now_s)

    def told(self) -> tuple[float, float]:
        skew = self.clock.skew()
        assert skew is not None
        return skew.seconds, skew.uncertainty_s


def test_nothing_is_told_before_the_first_date() -> None:
    assert World().clock.skew() is None
    assert World().clock.until_turn_s() == 0


@pytest.mark.parametrize("skew_s", [-3600.0, -0.6, 0.0, 0.4, 3600.0])
def test_probes_at_the_turn_of_a_second_make_it_sharp(skew_s: float) -> None:
    world = World(skew_s)
    for _ in range(PROBES_MAX):
        world.now_s += world.clock.until_turn_s()
        world.ask()
    seconds, uncertainty_s = world.told()
    assert uncertainty_s <= SHARP_S
    assert seconds == pytest.approx(skew_s, abs=uncertainty_s)


@given(
    st.floats(-1e5, 1e5),
    st.lists(st.tuples(st.floats(0.001, 3.0), st.floats(0, 1), st.floats(0.0, 90.0)), min_size=1, max_size=30),
)
def test_the_true_skew_is_within_the_uncertainty(skew_s: float, answers: list[tuple[float, float, float]]) -> None:
    world = World(skew_s)
    for trip_s, share, pause_s in answers:
        world.trip_s = trip_s
        world.ask(share)
        seconds, uncertainty_s = world.told()
        assert abs(seconds - skew_s) <= uncertainty_s + 1e-4
        assert uncertainty_s >= NARROWEST_S / 2 - 1e-9
        world.now_s += pause_s
    assert world.clock.resets == 0


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_our_clock_may_be_set_at_any_time(step_s: float) -> None:
    world = World()
    world.ask()
    before, uncertainty_s = world.told()
    world.wall_s += step_s  # the server's goes on as it was
    seconds, after = world.told()
    assert (seconds, after) == pytest.approx((before - step_s, uncertainty_s))


def test_a_server_whose_clock_was_set_is_believed_at_once() -> None:
    world = World()
    for _ in range(5):
        world.ask()
    world.skew_s = 40.0
    world.ask()
    seconds, uncertainty_s = world.told()
    assert seconds == pytest.approx(40.0, abs=uncertainty_s)
    assert world.clock.resets == 1


def test_what_is_old_is_less_certain() -> None:
    world = World()
    world.ask()
    _, before = world.told()
    world.now_s += 10_000
    assert world.told()[1] == pytest.approx(before + 1.0)
