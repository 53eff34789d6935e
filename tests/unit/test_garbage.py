"""The collector rests while tables are filled, and is on again whatever comes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from krm import garbage


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    assert gc.isenabled()
    thresholds = gc.get_threshold()
    yield
    gc.enable()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_nothing_is_collected_until_the_last_table_is_full() -> None:
    with garbage.filling():
        assert not gc.isenabled()
        with garbage.filling():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_fillings_may_end_in_any_order() -> None:
    first, second = garbage.filling(), garbage.filling()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_a_filling_that_fails_leaves_the_collector_on_and_keeps_nothing() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ValueError, match="broken"), garbage.filling(lasts=True):
        raise ValueError("broken")
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_what_lasts_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    with garbage.filling(lasts=True):
        kept = [[number] for number in range(1_000)]
    assert gc.get_freeze_count() >= before + len(kept)


def test_a_collector_that_somebody_switched_off_stays_off() -> None:
    gc.disable()
    with garbage.filling(lasts=True):
        pass
    assert not gc.isenabled()
