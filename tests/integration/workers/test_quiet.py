"""A watch that brings nothing because nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm.workers import streamer
from tests.chain import running
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


async def test_a_quiet_watch_is_opened_anew_once_for_the_same_rows(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamer, "QUIET_S", 0.02)
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await chain.converged()
        store, requests = chain.simulation.store, chain.simulation.requests
        nodes = store.kind_named("nodes")
        node = store.all(nodes)[0].parse()
        node["metadata"]["annotations"] = {"touched": "once"}
        store.update(nodes, node)  # the version of lists of pods rises, and no pod changes
        version = str(store.rv)

        async def is_listed() -> bool:
            return (await chain.table().list_heads())[""].listed_at == version

        watches = requests.total("watch", "pods")
        await wait_until(is_listed, 40, "a list that is newer than the stream")
        lists = requests.total("list", "pods")
        await wait_until(lambda: requests.total("list", "pods") >= lists + 6, 40, "six more lists")
        assert 1 <= requests.total("watch", "pods") - watches <= 3  # more than one where an answer takes its time
