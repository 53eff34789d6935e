"""How soon a worker tries again: at once after what was of use, ever later while nothing helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm.kube.backoff import Backoff
from krm.simulator import Fault, FaultKind
from krm.workers import runner, streamer
from tests.chain import Chain, running
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every wait of a streamer, in seconds."""
    found: list[float] = []

    class Recorded(Backoff):
        def failed(self, error: Exception | None = None) -> float:
            found.append(super().failed(error))
            return found[-1]

    monkeypatch.setattr(streamer, "Backoff", Recorded)
    return found


def churned(chain: Chain, steps: int) -> None:
    assert chain.simulation.churn is not None
    for _ in range(steps):
        chain.simulation.churn.step()


async def test_a_watch_that_brought_events_is_opened_again_at_once_each_time(
    redis_url: str, tmp_path: Path, waits: list[float]
) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain:
        await chain.converged()
        for number in range(6):
            cut = chain.simulation.faults.add(FaultKind.CUT_LINE, resource="pods", every=3, count=1)

            def is_cut(cut: Fault = cut) -> bool:
                churned(chain, 1)
                return cut.happened == 1

            await wait_until(is_cut)
            await chain.converged()
            assert len(waits) == number + 1
        assert max(waits) <= 0.25


async def test_a_storm_of_410_costs_a_list_at_once_and_then_ever_fewer(
    redis_url: str, tmp_path: Path, waits: list[float]
) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain:
        await chain.converged()
        listed = chain.simulation.requests.total("list", "pods")
        chain.simulation.faults.add(FaultKind.GONE, resource="pods", count=3)
        churned(chain, 5)
        await wait_until(lambda: len(waits) == 3, 30, "three places are lost")
        assert waits[1] >= 1
        assert waits[2] >= 2
        assert chain.simulation.requests.total("list", "pods") - listed == 3
        await chain.converged(deadline_s=30)


async def test_a_heartbeat_does_not_wait_where_answers_depend_on_it(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain:
        monkeypatch.setattr(runner, "BEAT_S", 3_600.0)  # from the next heartbeat on

        async def told(is_connected: bool) -> bool:
            return (await chain.table().statuses())["streamer"].connected is is_connected

        await chain.converged()
        await chain.stop("streamer")
        await chain.start("streamer")
        await wait_until(lambda: told(is_connected=True), 30, "that the watch is open is told")
        chain.simulation.faults.add(FaultKind.STATUS, resource="pods", verb="watch", status=503, count=None)
        chain.simulation.faults.add(FaultKind.CUT_LINE, resource="pods", count=1)
        churned(chain, 5)
        await wait_until(lambda: told(is_connected=False), 30, "that it is not open is told")
