"""Two clusters under one ``KRM_CLUSTER``: it is said clearly, and their rows are never mixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm import simulator
from tests.chain import running
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)


async def test_stream_of_another_cluster_is_refused_and_changes_nothing(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await chain.converged()
        rows = await chain.stored()
        async with simulator.serve(world=simulator.World(pods=40, seed=9), churn=50.0) as other:
            own = (tmp_path / "kubeconfig").read_text()
            await chain.stop("streamer")
            (tmp_path / "kubeconfig").write_text(other.kubeconfig())
            await chain.start("streamer")

            async def refused() -> bool:
                said = (await chain.table().statuses())["streamer"]
                return said.state == "failing" and "KRM_CLUSTER=default is of another cluster" in str(said.reason)

            await wait_until(refused, 20)
            listed = (await chain.ready()).scopes[0].listing

            async def verified() -> bool:
                return (await chain.ready()).scopes[0].listing != listed

            await wait_until(verified, 20)
            assert await chain.stored() == rows == chain.truth()
            await chain.stop("streamer")
            (tmp_path / "kubeconfig").write_text(own)
            await chain.start("streamer")
            assert chain.simulation.churn is not None
            for _ in range(20):
                chain.simulation.churn.step()
            await chain.converged()


async def test_cluster_that_is_set_up_anew_under_the_same_name_is_taken_over(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await chain.converged()
        epoch = (await chain.ready()).epoch
        async with simulator.serve(world=simulator.World(pods=40, seed=9)) as other:
            for role in ("streamer", "verifier"):
                await chain.stop(role)
            (tmp_path / "kubeconfig").write_text(other.kubeconfig())
            chain.simulation, chain._truths = other, {}
            for role in ("streamer", "verifier"):  # which streams before the first list of its own cluster
                await chain.start(role)
            await chain.converged(30)

            async def meets() -> bool:
                head = await chain.ready()
                return head.contiguous and head.epoch != epoch

            await wait_until(meets, 30, "the stream goes on behind the new cluster's list")
            for role in ("streamer", "verifier", "aggregator"):
                await chain.stop(role)
