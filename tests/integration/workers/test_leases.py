"""Workers that run twice: a Lease of the API server says which one works, and the store lets no other write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from krm import resources, simulator
from krm.errors import ClusterError, Fenced, Forbidden, ServerFailed
from krm.kube import connect as kube
from krm.kube import leases, reading
from krm.kube.leases import Lease
from krm.simulator import FaultKind, Simulation
from krm.store.writing import TableWriter
from tests.chain import Chain, running
from tests.waiting import wait_until

PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases/krm-streamer-pods"


class Clock:
    """A clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def simulation() -> AsyncIterator[Simulation]:
    async with simulator.serve(world=simulator.World(pods=1, seed=1)) as started:
        yield started


@pytest.fixture
async def cluster(simulation: Simulation, tmp_path: Path) -> AsyncIterator[kube.Cluster]:
    (tmp_path / "kubeconfig").write_text(simulation.kubeconfig())
    opened = await kube.open(tmp_path / "kubeconfig", None)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(cluster: kube.Cluster, clock: Clock) -> Callable[[str], Lease]:
    def made(identity: str) -> Lease:
        name = "krm-streamer-pods"
        return Lease(cluster, namespace="default", name=name, identity=identity, monotonic=clock)

    return made


async def spec(cluster: kube.Cluster) -> dict[str, object]:
    found = msgspec.json.decode(await reading.get(cluster, PATH))
    return dict(found["spec"])


async def test_the_first_has_it_and_the_second_waits(cluster: kube.Cluster, lease: Callable[[str], Lease]) -> None:
    one, two = lease("one"), lease("two")
    token, wait_s = await one.take()
    assert token.isdigit()
    assert wait_s == 0
    token, wait_s = await two.take()
    assert token == ""
    assert 0 < wait_s <= leases.LOOK_S
    assert (await spec(cluster))["holderIdentity"] == "one"


async def test_who_renews_keeps_it(clock: Clock, lease: Callable[[str], Lease]) -> None:
    one, two = lease("one"), lease("two")
    first, _ = await one.take()
    for _ in range(12):
        clock.now_s += leases.RENEW_S
        assert await one.keep()
        assert (await two.take())[0] == ""
    assert (await one.take())[0] == first


async def test_who_is_silent_loses_it_after_its_duration_and_not_before(
    cluster: kube.Cluster, clock: Clock, lease: Callable[[str], Lease]
) -> None:
    one, two = lease("one"), lease("two")
    old, _ = await one.take()
    waited_s = 0.0
    token, wait_s = await two.take()
    while not token:
        clock.now_s += wait_s
        waited_s += wait_s
        token, wait_s = await two.take()
    assert leases.DURATION_S <= waited_s <= leases.DURATION_S + 2
    assert int(token) > int(old)
    assert (await spec(cluster))["leaseTransitions"] == 1
    assert not await one.keep()
    assert (await one.take())[0] == ""


async def test_who_gives_it_back_is_followed_at_once(clock: Clock, lease: Callable[[str], Lease]) -> None:
    one, two = lease("one"), lease("two")
    old, _ = await one.take()
    await two.take()
    await one.give_back()
    clock.now_s += leases.LOOK_S
    token, _ = await two.take()
    assert int(token) > int(old)


async def test_of_two_that_take_it_at_once_one_has_it(lease: Callable[[str], Lease]) -> None:
    taken = await asyncio.gather(*(lease(str(n)).take() for n in range(8)))
    assert len([token for token, _ in taken if token]) == 1


async def test_a_deleted_lease_is_made_again(
    simulation: Simulation, cluster: kube.Cluster, clock: Clock, lease: Callable[[str], Lease]
) -> None:
    one = lease("one")
    old, _ = await one.take()
    await reading.document(cluster, "DELETE", PATH, timeout_s=5)
    clock.now_s += leases.RENEW_S
    assert not await one.keep()
    token, _ = await one.take()
    assert int(token) > int(old)


async def test_an_api_server_that_does_not_answer_takes_it_from_nobody(
    simulation: Simulation, clock: Clock, lease: Callable[[str], Lease]
) -> None:
    one = lease("one")
    await one.take()
    simulation.faults.add(FaultKind.STATUS, resource="leases", status=503, count=1)
    clock.now_s += leases.RENEW_S
    assert await one.keep()
    clock.now_s += leases.RENEW_S
    assert await one.keep()


@pytest.mark.parametrize(("status", "kind"), [(403, Forbidden), (500, ServerFailed)])
async def test_what_cannot_be_asked_is_an_error(
    simulation: Simulation, lease: Callable[[str], Lease], status: int, kind: type[ClusterError]
) -> None:
    simulation.faults.add(FaultKind.STATUS, resource="leases", status=status, count=1)
    with pytest.raises(kind):
        await lease("one").take()


# Workers.


def led(chain: Chain) -> None:
    """Give every worker a Lease of its own identity."""
    number = 0

    def made(role: str, kind: resources.Resource, cluster: kube.Cluster) -> Lease:
        nonlocal number
        number += 1
        return Lease(cluster, namespace="default", name=f"krm-{role}-{kind.qualified}", identity=f"pod-{number}")

    chain.leads = made


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "DURATION_S", 2.0)
    monkeypatch.setattr(leases, "RENEW_S", 0.5)
    monkeypatch.setattr(leases, "LOOK_S", 0.3)


@pytest.mark.usefixtures("_short")
async def test_the_second_takes_over_and_the_first_writes_nothing_more(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, started=False) as first:
        led(first)
        await first.start_all()
        await first.ready()
        second = Chain(first.simulation, redis_url, tmp_path / "kubeconfig", [resources.PODS])
        led(second)
        try:
            await second.start("aggregator")
            old, new = first.workers["aggregator", "pods"], second.workers["aggregator", "pods"]
            await wait_until(lambda: "waiting" in str(new._logged), 10, "the second waits")
            assert isinstance(old.writer, TableWriter)
            # Frozen, as by SIGSTOP: it neither renews nor beats, and knows nothing of it when it wakes.
            held = old.writer._holder
            await first.kill("aggregator")
            await wait_until(lambda: new.writer._holder, 15, "the second works")
            old.writer._holder = held
            before = await second.ready()
            with pytest.raises(Fenced):
                await old.writer.apply(before, [])
            with pytest.raises(Fenced):
                await old.writer.begin()
            assert first.simulation.churn is not None
            for _ in range(20):
                first.simulation.churn.step()
            await second.converged()
        finally:
            await second.close()


@pytest.mark.usefixtures("_short")
async def test_without_the_right_to_leases_the_first_in_redis_works(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, started=False) as chain:
        led(chain)
        chain.simulation.faults.add(FaultKind.STATUS, resource="leases", status=403, count=None)
        await chain.start_all()
        await chain.converged()


@pytest.mark.usefixtures("_short")
async def test_workers_give_their_leases_back_at_the_end(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, started=False) as chain:
        led(chain)
        await chain.start_all()
        await chain.ready()
        kinds = chain.simulation.store.kind_named("leases.coordination.k8s.io")
        held = [v.parse()["spec"]["holderIdentity"] for v in chain.simulation.store.all(kinds)]
        assert len([one for one in held if one.startswith("pod-")]) == 3
        for role in ("streamer", "verifier", "aggregator"):
            await chain.stop(role)
        left = [v.parse()["spec"].get("holderIdentity", "") for v in chain.simulation.store.all(kinds)]
        assert [one for one in left if one.startswith("pod-")] == []
