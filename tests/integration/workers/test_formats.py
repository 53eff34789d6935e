"""During an upgrade two formats lie in one Redis: old and new workers run side by side, each for its own readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm.store import keys
from tests.chain import running
from tests.looking import looking
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)


async def test_two_formats_live_side_by_side_and_the_older_one_goes_without_a_trace(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
    async with running(redis_url, folders[0], shards=2) as old, looking(redis_url) as old_reader:
        await old.converged()
        monkeypatch.setattr(keys, "FORMAT", keys.FORMAT + 1)
        async with running(redis_url, folders[1], pods=40) as new, looking(redis_url) as new_reader:
            await new.converged()
            assert new.table().keys.prefix.startswith("krm:2:")
            for chain in (old, new):
                assert chain.simulation.churn is not None
                for _ in range(30):
                    chain.simulation.churn.step()
            await new.converged()
            await wait_until(lambda: old_reader.rows() == old.truth(), 20, "the older readers go on")
            await wait_until(lambda: new_reader.rows() == new.truth(), 20, "the newer readers have their own")
            for role in ("streamer", "verifier", "aggregator"):
                await old.stop(role)
            gone = await new.store.client.keys("krm:1:*")
            assert len(gone) > 5
            await new.store.client.unlink(*gone)
            loads = new_reader.follower.loads
            assert new.simulation.churn is not None
            for _ in range(30):
                new.simulation.churn.step()
            await new.converged()
            await wait_until(lambda: new_reader.rows() == new.truth(), 20, "nothing was taken from the newer ones")
            assert new_reader.follower.loads == loads
            assert old_reader.broken == new_reader.broken == []
