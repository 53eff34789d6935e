from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krm import errors
from krm.kube.backoff import Backoff


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def always(value: float) -> Callable[[], float]:
    return lambda: value


def test_waits_double_up_to_the_ceiling() -> None:
    backoff = Backoff(first_s=0.5, ceiling_s=5, clock=Clock(), rand=always(0))
    assert [backoff.failed() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_jitter_takes_off_up_to_a_half() -> None:
    assert Backoff(first_s=1, clock=Clock(), rand=always(0.999)).failed() == pytest.approx(0.5, abs=0.001)


def test_ten_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(ceiling_s=5, clock=Clock(), rand=always(0))
    assert max(backoff.failed() for _ in range(10_000)) == 5


def test_one_success_does_not_reset_it() -> None:
    clock = Clock()
    backoff = Backoff(first_s=1, healthy_s=30, clock=clock, rand=always(0))
    backoff.failed()
    backoff.succeeded()
    clock.now_s += 29
    assert backoff.failed() == 2


@pytest.mark.parametrize("successes", [1, 2], ids=["one", "repeated"])
def test_lasting_health_resets_it(successes: int) -> None:
    clock = Clock()
    backoff = Backoff(first_s=1, healthy_s=30, clock=clock, rand=always(0))
    for _ in range(4):
        backoff.failed()
    backoff.succeeded()
    clock.now_s += 30
    if successes == 2:
        backoff.succeeded()
        assert backoff.failures == 0
    assert backoff.failed() == 1


def test_health_counts_from_the_first_success_after_the_last_failure() -> None:
    clock = Clock()
    backoff = Backoff(first_s=1, healthy_s=30, clock=clock, rand=always(0))
    backoff.succeeded()
    clock.now_s += 10
    backoff.failed()
    clock.now_s += 100  # down, not healthy
    backoff.succeeded()
    clock.now_s += 10
    assert backoff.failed() == 2


@settings(deadline=None)  # a loaded machine is slow, not wrong
@given(asked=st.floats(0.1, 300), rand=st.floats(0, 0.999), failures=st.integers(0, 20))
def test_what_the_server_asked_for_is_never_undercut(asked: float, rand: float, failures: int) -> None:
    backoff = Backoff(clock=Clock(), rand=always(rand))
    for _ in range(failures):
        backoff.failed()
    assert backoff.failed(errors.Throttled("busy", retry_after_s=asked)) >= asked
    assert backoff.failed(errors.ServerFailed("busy", status=503, retry_after_s=asked)) >= asked


@pytest.mark.parametrize("error", [errors.Forbidden("no"), errors.NotFound("no")], ids=["forbidden", "not found"])
@pytest.mark.parametrize("rand", [0.0, 0.999])
def test_what_only_a_person_can_mend_is_tried_at_most_twice_a_minute(error: Exception, rand: float) -> None:
    backoff = Backoff(clock=Clock(), rand=always(rand))
    assert all(backoff.failed(error) >= 30 for _ in range(5))


def test_what_was_of_use_before_it_broke_is_tried_again_soon() -> None:
    backoff = Backoff(first_s=0.25, clock=Clock(), rand=always(0))
    for _ in range(4):
        backoff.failed()
    backoff.progressed()
    assert [backoff.failed() for _ in range(2)] == [0.25, 0.5]


@pytest.mark.parametrize("error", [errors.ServerFailed("busy", status=500), errors.Throttled("busy", retry_after_s=1)])
def test_a_server_that_answers_with_errors_is_asked_every_other_second_in_the_mean_of_a_minute(
    error: Exception,
) -> None:
    waits = Backoff(clock=Clock(), rand=always(0.5))
    asked, at_s = 0, 0.0
    while at_s < 60:
        asked, at_s = asked + 1, at_s + waits.failed(error)
    assert asked <= 30
