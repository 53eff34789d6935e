"""F32: InfluxDB is down, slow, full or picky; the cache does not notice, and what is lost is counted."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
from aiohttp import web

from krm.store import delays
from tests.chain import Chain, running
from tests.faults.figures import Figures
from tests.integration.delay.collecting import Scripted, collecting, emptied
from tests.integration.delay.conftest import served
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

EVENTS = 120
KEPT = 100
MOST_S = 0.05
"""By how much the cache may be later than with an InfluxDB that is well."""


def answers(how: str) -> Scripted:
    """An InfluxDB that does this for ever."""
    refusals = {
        "429": web.Response(status=429, headers={"Retry-After": "300"}),
        "503": web.Response(status=503),
        "partial write": web.Response(
            status=400, headers={"X-Influxdb-Error": "partial write: field type conflict dropped=1"}
        ),
    }

    class Always(Scripted):
        async def _write(self, request: web.Request) -> web.StreamResponse:
            if how != "well":
                kept = refusals.get(how)
                made = "hang" if kept is None else web.Response(status=kept.status, headers=kept.headers)
                self.answers.append(made)
            return await super()._write(request)

    return Always()


async def events(chain: Chain, prefix: str) -> list[float]:
    """Seconds from each change of the cluster until it is in the log."""
    store = chain.simulation.store
    pods = store.kind_named("pods")
    took: list[float] = []
    for number in range(EVENTS):
        metadata = {"name": f"{prefix}-{number}", "namespace": "team-0"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": {}}
        began_s = time.perf_counter()
        version = str(store.create(pods, pod).rv)

        async def logged(version: str = version) -> bool:
            return bool(await chain.store.client.hget(chain.table().keys.position, "end:") == version.encode())

        await wait_until(logged, 30)
        took.append(time.perf_counter() - began_s)
    return took


@pytest.mark.parametrize("how", ["down", "429", "503", "slow", "partial write"])
async def test_f32(
    figures: Figures, redis_url: str, tmp_path: Path, free_port: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures.name("F32", "InfluxDB down, slow, refusing")
    monkeypatch.setattr(delays, "KEPT", KEPT)
    async with running(redis_url, tmp_path) as chain:
        await chain.converged()
        async with served(answers("well").application()) as url, collecting(chain.table(), url):
            before_s = await events(chain, "well")
            await emptied(chain.table())
        influx = answers(how)
        async with served(influx.application(), 0 if how != "down" else free_port) as url:
            asked = url if how != "down" else "http://127.0.0.1:9"
            async with collecting(chain.table(), asked, timeout_s=30.0) as ill:
                during_s = await events(chain, "ill")
                await chain.converged()

                async def is_told() -> bool:
                    return (await chain.table().statuses())["collector"].state == "failing"

                if how != "slow":  # then it is still being waited for
                    await wait_until(is_told, 30, "the collector says that it fails")
        waiting = await chain.store.client.xlen(chain.table().keys.delays)
        async with served(answers("well").application()) as url, collecting(chain.table(), url) as collector:
            await emptied(chain.table())
            written = collector.status.written
        settled = ill.status.written + ill.status.rejected  # what InfluxDB refused for good

        async def lost() -> int:
            counted = (await chain.table().statuses())["streamer"].samples_lost
            return counted if counted + written + settled >= EVENTS else 0

        counted = await wait_until(lost, 30, "what was lost is counted")
        assert waiting <= KEPT
        assert waiting == written
        # What is dropped from the log while a collector has it in hand is counted by both.
        assert EVENTS <= counted + written + settled <= EVENTS + settled
        later_s = statistics.median(during_s) - statistics.median(before_s)
        figures.times += EVENTS
        figures.note(later_ms=later_s * 1000, samples_lost=float(counted or 0))
        assert later_s < MOST_S
