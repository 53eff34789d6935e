"""What an event costs does not depend on how many objects there are."""

from __future__ import annotations

from pathlib import Path

from tests.chain import Chain, running
from tests.waiting import wait_until

EVENTS = 400


async def bytes_per_event(chain: Chain) -> float:
    """Bytes that reach Redis for one event, from streamer and aggregator together."""
    await chain.converged(deadline_s=60)
    pods = chain.simulation.store.kind_named("pods")
    victims = [version.parse() for version in chain.simulation.store.all(pods)[:EVENTS]]

    async def received() -> int:
        return int((await chain.store.client.info("stats"))["total_net_input_bytes"])

    before = await received()
    for pod in victims:
        pod["metadata"]["annotations"] = {**pod["metadata"].get("annotations", {}), "touched": "once"}
        chain.simulation.store.update(pods, pod)
    target = str(chain.simulation.store.rv)

    async def seen() -> bool:
        head = await chain.table().head()
        return head is not None and head.resource_version == target

    await wait_until(seen, 30)
    return (await received() - before) / EVENTS


async def test_bytes_to_redis_per_event_are_the_same_for_ten_times_the_objects(redis_url: str, tmp_path: Path) -> None:
    cost: dict[int, float] = {}
    for pods in (1_000, 10_000):
        folder = tmp_path / str(pods)
        folder.mkdir()
        async with running(redis_url, folder, pods=pods, verify_interval_s=3600.0) as chain:
            cost[pods] = await bytes_per_event(chain)
            await chain.store.client.flushall()
    assert abs(cost[10_000] / cost[1_000] - 1) <= 0.1, cost
    print(f"bytes to Redis per event: {cost[1_000]:.0f} at 1,000 pods, {cost[10_000]:.0f} at 10,000")
