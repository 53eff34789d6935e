"""A reader that looks on while things break: an API replica, and the stored heads.

What it sees must never be empty without an error, never go back in one history, and never hold a row that the API
server did not have.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from krm import errors, resources
from krm.merge import Key, State
from krm.objects.versions import newer
from krm.settings import Secret
from krm.store.connect import open_store
from krm.store.reading import TableStore
from krm.store.rows import Codec
from krm.table.follow import Follower
from krm.table.replica import Replica
from krm.workers.runner import cancel


class Looking:
    """One API replica that is asked all the time."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.looks = 0
        self.broken: list[str] = []
        self._last = ("", "")

    def rows(self) -> dict[Key, State]:
        """What it would answer."""
        return {row.key: State(row.uid, row.version) for row in self.follower.replica.rows()}

    def look(self) -> None:
        head = self.follower.head
        if not self.follower.is_ready or head is None:
            return
        self.looks += 1
        epoch, version = self._last
        if not len(self.follower.replica):
            self.broken.append("ready, and empty")
        if epoch == head.epoch and newer(version, head.resource_version):
            self.broken.append(f"went back from {version} to {head.resource_version}")
        self._last = (head.epoch, head.resource_version)

    async def look_for_ever(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(errors.StoreError):
                self.look()
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def looking(url: str, cluster: str = "default") -> AsyncIterator[Looking]:
    """An API replica of the pods, from loading on until the exit."""
    store = open_store(Secret(url))
    source = TableStore(store, cluster, resources.PODS)
    follower = Follower(source, Replica(source.resource, Codec(source.resource), cluster=cluster))
    found = Looking(follower)
    tasks = [asyncio.create_task(follower.run()), asyncio.create_task(found.look_for_ever())]
    try:
        yield found
    finally:
        await cancel(tasks)
        await store.close()
