"""How late events come, measured on the whole write side: a delay that is put in comes out, within a second."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from krm.kube.clock import SHARP_S
from krm.objects import moments
from krm.simulator import FaultKind
from krm.store import delays
from krm.store.delays import Sample
from tests.chain import Chain, running
from tests.contract.recordings import load
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)


async def samples(chain: Chain) -> list[Sample]:
    """All samples that are in Redis."""
    found = await chain.store.client.xrange(chain.table().keys.delays)
    return [
        delays.decode(identifier, [part for pair in fields.items() for part in pair]) for identifier, fields in found
    ]


def a_pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team-0"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
        "status": {},
    }


def create(chain: Chain, *names: str, ago_s: float = 0.0) -> None:
    """Create pods, which say that they were created ``ago_s`` before."""
    store = chain.simulation.store
    created = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ago_s)
    for name in names:
        pod = a_pod(name)
        pod["metadata"]["creationTimestamp"] = created.strftime("%Y-%m-%dT%H:%M:%SZ")
        store.create(store.kind_named("pods"), pod)


async def sampled(chain: Chain, *names: str) -> dict[str, Sample]:
    async def all_of_them() -> dict[str, Sample]:
        found = {one.name: one for one in await samples(chain)}
        return found if set(names) <= set(found) else {}

    return await wait_until(all_of_them, 30, f"samples of {names}")


async def streams(chain: Chain) -> None:
    """Wait until the stream's place is beyond the list: what comes now comes live."""
    await chain.converged()

    async def connected() -> bool:
        status = (await chain.table().statuses()).get("streamer")
        return status is not None and status.connected and status.skew_s is not None

    await wait_until(connected, 20)


@pytest.mark.parametrize("skew_s", [3600.0, -3600.0])
async def test_a_delay_of_the_stream_comes_out_within_a_second(redis_url: str, tmp_path: Path, skew_s: float) -> None:
    async with running(redis_url, tmp_path, started=False) as chain:
        # The server's clock is off: in its Dates, and in the times that it gives to objects.
        chain.simulation.faults.add(FaultKind.SKEW, skew_s=skew_s, count=None)
        await chain.start_all()
        await streams(chain)
        chain.simulation.faults.add(FaultKind.LATE, resource="pods", delay_s=DELAY_S, count=1)
        began_s = time.monotonic()
        create(chain, "late", ago_s=-skew_s)
        found = (await sampled(chain, "late"))["late"]
        most_s = time.monotonic() - began_s
        uncertainty_s = await sharp(chain)
        streamer = (await chain.table().statuses())["streamer"]
        assert streamer.skew_s == pytest.approx(skew_s, abs=uncertainty_s + 0.05)
    assert (found.event, found.basis) == ("ADDED", "creation")
    assert found.skew_s == pytest.approx(skew_s, abs=UNCERTAIN_S)
    # From what was put in, to what it took until it was seen; a creation has whole seconds.
    assert found.delay_s is not None
    assert DELAY_S - UNCERTAIN_S <= found.delay_s <= most_s + 1 + UNCERTAIN_S


DELAY_S = 1.5
UNCERTAIN_S = 0.6
"""Of the skew after a single answer."""


async def sharp(chain: Chain) -> float:
    """The skew's uncertainty, once the streamer has asked for the time as often as it needs."""

    async def small() -> float | None:
        uncertainty_s = (await chain.table().statuses())["streamer"].skew_uncertainty_s
        return uncertainty_s if uncertainty_s is not None and uncertainty_s <= 2 * SHARP_S else None

    found = await wait_until(small, 40, "the skew is known")
    assert found is not None
    return found


async def test_neither_the_first_list_nor_a_later_one_is_a_sample(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await streams(chain)
        await wait_until(lambda: listed(chain) >= 4, 30)
        assert await samples(chain) == []


def listed(chain: Chain) -> int:
    return chain.simulation.requests.total("list", "pods")


async def test_thousand_creations_of_one_second_are_thousand_samples(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as chain:
        await streams(chain)
        names = [f"many-{number}" for number in range(1_000)]
        create(chain, *names)
        found = await sampled(chain, *names)
        assert len({one.at_ns for one in found.values()}) == 1_000
        status = await wait_until(lambda: told(chain, 1_000), 10)
        assert status is not None


async def told(chain: Chain, count: int) -> Any:
    status = (await chain.table().statuses())["streamer"]
    return status if sum(one.count for one in status.delays) == count else None


async def test_what_came_twice_is_one_sample(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as chain:
        await streams(chain)
        chain.simulation.faults.add(FaultKind.DUPLICATE, resource="pods", count=None)
        create(chain, *(f"p-{number}" for number in range(20)))
        await sampled(chain, *(f"p-{number}" for number in range(20)))
        chain.simulation.faults.clear()
        await chain.simulation.restart()
        create(chain, "after")
        await sampled(chain, "after")
        assert sorted(one.name for one in await samples(chain)) == sorted(["after", *(f"p-{n}" for n in range(20))])


async def test_an_event_that_waited_for_the_streamer_is_late(redis_url: str, tmp_path: Path) -> None:
    """The stream was blind for so long, and says so; what it had told before its stop is not told again."""
    async with running(redis_url, tmp_path) as chain:
        await streams(chain)
        create(chain, "before")
        await sampled(chain, "before")
        await chain.stop("streamer")
        create(chain, "meanwhile", ago_s=600)
        await chain.start("streamer")
        found = await sampled(chain, "meanwhile")
        assert found["meanwhile"].delay_s is not None
        assert found["meanwhile"].delay_s >= 599
        assert [one.name for one in await samples(chain)] == ["before", "meanwhile"]


@pytest.mark.parametrize(
    ("status", "grace_s", "basis", "least_s"),
    [
        pytest.param({}, 30, "request", 30, id="asked half a minute before"),
        pytest.param({"state": {"terminated": {"exitCode": 0}}}, 30, "container_finished", 5, id="stopped 5 s before"),
    ],
)
async def test_a_deletion_is_measured_by_what_the_pod_tells(
    redis_url: str, tmp_path: Path, status: dict[str, Any], grace_s: int, basis: str, least_s: float
) -> None:
    def ago(seconds: float) -> str:
        moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    async with running(redis_url, tmp_path) as chain:
        await streams(chain)
        store = chain.simulation.store
        pods = store.kind_named("pods")
        pod = a_pod("p")
        if status:
            status["state"]["terminated"]["finishedAt"] = ago(5)
        # Asked 30 s ago, with 30 s of grace: its deletionTimestamp is now.
        pod["metadata"] |= {"deletionTimestamp": ago(0), "deletionGracePeriodSeconds": grace_s}
        pod["status"] = {"containerStatuses": [{"name": "c", **status}]}
        store.create(pods, pod)
        store.delete(pods, "team-0", "p")

        async def deleted() -> Sample | None:
            return next((one for one in await samples(chain) if one.event == "DELETED"), None)

        found = await wait_until(deleted, 20)
    assert found is not None
    assert found.basis == basis
    assert found.delay_s is not None
    assert least_s - 1 <= found.delay_s <= least_s + 5


@pytest.mark.parametrize("name", ["services", "nodes", "deployments", "ingresses"])
def test_what_a_real_server_deletes_in_one_step_does_not_tell_when(name: str) -> None:
    gone = [event["object"] for event in load(f"{name}-watch-lifecycle").events if event["type"] == "DELETED"]
    assert gone
    assert {moments.deletion(orjson.dumps(obj)).basis for obj in gone} == {moments.Basis.UNKNOWN}
