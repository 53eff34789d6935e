"""The source of answers of a running API: the tables that follow Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import AbstractContextManager

from krm.resources import Resource
from krm.settings import Settings
from krm.store.head import DriftLine, WorkerStatus
from krm.store.reading import Change, TableStore
from krm.table.feeds import Feed
from krm.table.freshness import Freshness
from krm.table.replica import Replica
from krm.table.tables import Tables


class Live:
    """``krm.schema.context.Source`` and what the metrics need beside it, over ``Tables``."""

    def __init__(self, tables: Tables, stores: Sequence[TableStore], settings: Settings) -> None:
        self._tables = tables
        self._stores = {store.resource.plural: store for store in stores}
        self.cluster = settings.cluster

    @property
    def resources(self) -> Sequence[Resource]:
        """The configured kinds."""
        return self._tables.resources

    @property
    def failed(self) -> str | None:
        """Why following ended although nobody stopped it."""
        return self._tables.failed

    def get(self, resource: Resource) -> Replica:
        """Raises ``AnswerError`` KIND_UNKNOWN, NOT_READY."""
        return self._tables.get(resource)

    async def wait(
        self, resource: Resource, max_staleness_s: float | None = None, min_version: str | None = None
    ) -> Replica:
        """The replica once it is as fresh as asked. Raises ``AnswerError``."""
        if max_staleness_s is None and min_version is None:
            return self._tables.get(resource)
        await self._tables.wait(resource, max_staleness_s=max_staleness_s, min_version=min_version)
        return self._tables.get(resource)

    def freshness(self, resource: Resource) -> Freshness:
        """How true an answer is now."""
        return self._tables.freshness(resource)

    def rows(self, resource: Resource, namespaces: Set[str] | None = None) -> int:
        """How many objects the table has, in all namespaces or in some; 0 while there is none."""
        follower = self._tables.follower(resource)
        return follower.replica.count(namespaces) if follower.is_ready else 0

    def namespaces(self) -> Set[str]:
        """The namespaces that have rows of any kind."""
        followers = [self._tables.follower(resource) for resource in self._tables.resources if resource.namespaced]
        return set[str]().union(*(follower.replica.namespaces for follower in followers if follower.is_ready))

    def feed(self, resource: Resource) -> AbstractContextManager[Feed]:
        """What changes from now on. Raises ``AnswerError`` KIND_UNKNOWN."""
        return self._tables.follower(resource).feed()

    def position(self, resource: Resource) -> tuple[str, int, str] | None:
        """Run, number and id of the last change that the replica has; None while it is not ready."""
        return self._tables.follower(resource).position

    async def changes(self, resource: Resource, after: str, count: int) -> Sequence[Change]:
        """The kept changes after an id, oldest first. Raises ``StoreError``."""
        return await self._stores[resource.plural].changes(after, count=count)

    async def oldest_change(self, resource: Resource) -> str | None:
        """Id of the oldest change that is kept. Raises ``StoreError``."""
        return await self._stores[resource.plural].oldest_change()

    def now_ms(self, resource: Resource) -> int:
        """Redis' clock; 0 before it was read once."""
        return self._tables.follower(resource).now_ms() or 0

    async def drift(self, resource: Resource, before: str, count: int) -> Sequence[DriftLine]:
        """What verification corrected, newest first. Raises ``StoreError``."""
        return await self._stores[resource.plural].drift(before, count=count)

    async def drift_count(self, resource: Resource) -> int:
        """How many lines of drift are kept. Raises ``StoreError``."""
        return await self._stores[resource.plural].drift_count()

    async def store_memory(self) -> tuple[int, int | None]:
        """Bytes that Redis uses, and its bound. Raises ``StoreError``."""
        return await next(iter(self._stores.values())).memory()

    def statuses(self, resource: Resource) -> Mapping[str, WorkerStatus]:
        """The workers' newest heartbeats."""
        return self._tables.follower(resource).statuses
