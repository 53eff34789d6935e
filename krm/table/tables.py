"""The replicas of all resources of an API process, and waiting until one is fresh enough for a question."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final

from krm.errors import AnswerError, Code
from krm.objects import versions
from krm.resources import Resource
from krm.store.pace import Pace
from krm.store.rows import Codec
from krm.table.follow import Follower, Source
from krm.table.freshness import Freshness, State
from krm.table.replica import Replica

PATIENCE_S: Final = 2.0
"""How long a question waits for a table that is fresh enough."""


class Tables:
    """Followers by resource. ``async with`` starts and ends them."""

    def __init__(
        self, followers: Iterable[Follower], *, cluster: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.cluster = cluster
        self._followers: Mapping[str, Follower] = {follower.resource.plural: follower for follower in followers}
        self._monotonic = monotonic
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def of(cls, sources: Iterable[Source], *, redact: Iterable[str] = ()) -> Tables:
        """Tables that follow ``sources``, one for each resource; rows that hold what ``redact`` names are not shown."""
        known = list(sources)
        cluster = known[0].cluster if known else ""
        pace = Pace()
        return cls(
            (
                Follower(
                    source,
                    Replica(source.resource, Codec(source.resource), cluster=source.cluster),
                    redact=redact,
                    pace=pace,
                )
                for source in known
            ),
            cluster=cluster,
        )

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        for follower in self._followers.values():
            self._tasks.append(asyncio.create_task(follower.run(), name=f"table {follower.resource.plural}"))

    async def stop(self) -> None:
        """Stop following; the replicas stay as they are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def __aenter__(self) -> Tables:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The resources that are cached."""
        return tuple(follower.resource for follower in self._followers.values())

    @property
    def is_ready(self) -> bool:
        """Whether every resource can be answered, or never will be (forbidden, gone)."""
        return all(f.is_ready or f.freshness().state in _HOPELESS for f in self._followers.values())

    @property
    def failed(self) -> str | None:
        """Why following has ended although nobody stopped it: a defect; None as it should be."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                return f"{task.get_name()}: {error!r}"
        return None

    def follower(self, resource: Resource) -> Follower:
        """The follower of a resource. Raises ``AnswerError`` KIND_UNKNOWN if it is not cached."""
        found = self._followers.get(resource.plural)
        if found is None or found.resource != resource:
            known = sorted(self._followers)
            near = difflib.get_close_matches(resource.plural, known, n=3) or known
            raise AnswerError(
                Code.KIND_UNKNOWN, f"{resource.name} are not cached here; cached are {', '.join(near)}", nearest=near
            )
        return found

    def get(self, resource: Resource) -> Replica:
        """The replica of a resource, proven whole. Raises ``AnswerError``: KIND_UNKNOWN, NOT_READY."""
        follower = self.follower(resource)
        if not follower.is_ready:
            raise _not_ready(follower.freshness())
        return follower.replica

    def freshness(self, resource: Resource) -> Freshness:
        """How true an answer for a resource is now. Raises ``AnswerError`` KIND_UNKNOWN."""
        return self.follower(resource).freshness()

    async def wait(
        self, resource: Resource, *, max_staleness_s: float | None = None, min_version: str | None = None
    ) -> Freshness:
        """Wait until a resource is ready and fresh enough, at most ``PATIENCE_S``; how fresh it is then.

        Raises ``AnswerError``: KIND_UNKNOWN, NOT_READY (at once), TOO_STALE, STALE_REPLICA.
        """
        follower = self.follower(resource)
        deadline = self._monotonic() + PATIENCE_S
        while True:
            if not follower.is_ready:
                raise _not_ready(follower.freshness())
            now = follower.freshness()
            problem = _problem(follower, now, max_staleness_s, min_version)
            if problem is None:
                return now
            left_s = deadline - self._monotonic()
            if left_s <= 0:
                raise problem
            await follower.news(timeout_s=left_s)


_HOPELESS: Final = frozenset((State.FORBIDDEN, State.GONE))


def _not_ready(now: Freshness) -> AnswerError:
    return AnswerError(
        Code.NOT_READY,
        f"{now.resource} cannot be answered ({now.state}): {now.reason or 'no proven table'}",
        state=str(now.state),
    )


def _problem(
    follower: Follower, now: Freshness, max_staleness_s: float | None, min_version: str | None
) -> AnswerError | None:
    if min_version is not None and versions.newer(min_version, now.resource_version or ""):
        return AnswerError(
            Code.STALE_REPLICA,
            f"{now.resource} are at version {now.resource_version or 'none'}, older than the asked {min_version}",
            resourceVersion=now.resource_version,
        )
    if max_staleness_s is not None:
        age_s = now.age_s(follower.now_ms() or 0)
        if age_s is None or age_s > max_staleness_s:
            shown = "unknown" if age_s is None else f"{age_s:.1f} s"
            return AnswerError(
                Code.TOO_STALE, f"{now.resource} may be {shown} old, at most {max_staleness_s:g} s were asked for"
            )
    return None
