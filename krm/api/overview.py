"""What the page at ``/`` shows of KRM itself: how each kind stands now, and how it went in the last quarter of an hour.

One task looks once a second, whoever watches; every watcher is told the same, less what it may not list. The history is
this process's own: it begins when the process does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from krm.api.bodies import Refusal
from krm.api.metrics import Observed
from krm.auth.rights import Rights
from krm.errors import AnswerError, StoreError
from krm.resources import Resource
from krm.schema.context import Source
from krm.schema.relations import RELATIONS

LOOK_S: Final = 1.0
STEP_S: Final = 5
"""Seconds that one point of the history stands for."""
POINTS: Final = 180
"""A quarter of an hour."""
STREAMS_MAX: Final = 500
ADMITTED_LOOKS: Final = 10
"""Looks after which it is asked again whether a watcher is still let in."""
MEMORY_EVERY_S: Final = 10.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_COUNTED: Final = ("events", "corrected", "restarts")


class Watched(Observed, Protocol):
    """What is looked at."""

    async def store_memory(self) -> tuple[int, int | None]:
        """Bytes that Redis uses, and its bound. Raises ``StoreError``."""
        ...


@dataclass
class _Kind:
    """What the point that is being made has of one kind so far."""

    seen: dict[str, float] = field(default_factory=dict)
    """The counters at the last look."""
    counted: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0.0))
    lags_s: list[float] = field(default_factory=list)
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=STEP_S))
    """Events of the last looks."""


class Overview:
    """The looks, and those who watch."""

    def __init__(
        self,
        source: Watched,
        asked: Callable[[], float],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._asked = asked
        self._wall = wall
        self._monotonic = monotonic
        self._kinds = {resource.plural: _Kind() for resource in source.resources}
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._looks = 0
        self._memory: tuple[int | None, int | None] = (None, None)
        self._memory_at = float("-inf")
        self._now: dict[str, Any] = {}
        self._news = asyncio.Event()
        self._is_ended = False
        self.watchers = 0

    async def run(self) -> None:
        """Look once a second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    def end(self) -> None:
        """Let go whoever watches."""
        self._is_ended = True
        self._wake()

    async def look(self) -> None:
        """Look once, and tell those who watch."""
        if self._monotonic() - self._memory_at >= MEMORY_EVERY_S:
            self._memory_at = self._monotonic()
            try:
                self._memory = await self._source.store_memory()
            except StoreError:  # the states say so already, in words
                self._memory = (None, None)
        self._now = self._standing()
        self._looks += 1
        if self._looks % STEP_S == 0:
            self._points.append(self._point())
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def events(self, admitted: Callable[[], Awaitable[Rights]]) -> AsyncGenerator[bytes]:
        """Server-sent events for one watcher: ``start`` once, then ``now`` a second and ``point`` a step.

        ``admitted`` tells the watcher's rights, and is asked again now and then; its ``Refusal`` is the end.
        """
        self.watchers += 1
        try:
            rights = await admitted()
            asked_at = self._looks
            yield _event("start", self._start())
            step = self._looks // STEP_S
            while not self._is_ended:
                news = self._news
                if self._looks - asked_at >= ADMITTED_LOOKS:
                    rights, asked_at = await admitted(), self._looks
                if self._now:
                    yield _event("now", await self._allowed(rights))
                if self._looks // STEP_S != step and self._points:
                    step = self._looks // STEP_S
                    yield _event("point", self._points[-1])
                await news.wait()
        except Refusal:  # who comes again is told why
            return
        finally:
            self.watchers -= 1

    async def _allowed(self, rights: Rights) -> dict[str, Any]:
        """What a watcher may know: of kinds that it may not list, not how many objects there are."""
        rows = await counts(self._source, rights)
        kinds = [{**each, "rows": rows[each["resource"]]} for each in self._now["resources"]]
        return {**self._now, "resources": kinds}

    def _start(self) -> dict[str, Any]:
        return {
            "cluster": self._source.cluster,
            "stepSeconds": STEP_S,
            "points": list(self._points),
            "kinds": [_described(resource) for resource in self._source.resources],
        }

    def _standing(self) -> dict[str, Any]:
        kinds, requests, received = [], 0, 0
        for resource in self._source.resources:
            fresh = self._source.freshness(resource)
            statuses = self._source.statuses(resource)
            requests += sum(status.requests for status in statuses.values())
            received += sum(status.bytes for status in statuses.values())
            streamer = statuses.get("streamer")
            missed = fresh.missed
            corrected = missed.added + missed.modified + missed.deleted + missed.ghosts
            kind = self._kinds[resource.plural]
            events = _count(kind, "events", streamer.events if streamer else 0)
            _count(kind, "corrected", corrected)
            _count(kind, "restarts", streamer.restarts if streamer else 0)
            kind.rates.append(events)
            if fresh.stream_lag_s is not None:
                kind.lags_s.append(fresh.stream_lag_s)
            kinds.append(
                {
                    "resource": resource.name,
                    "state": str(fresh.state),
                    "reason": fresh.reason,
                    "version": fresh.resource_version,
                    "verifiedAgeSeconds": fresh.verified_age_s,
                    "lagSeconds": fresh.stream_lag_s,
                    "contiguous": fresh.contiguous,
                    "eventsPerSecond": sum(kind.rates) / len(kind.rates),
                    "corrected": corrected,
                    "missed": {name: getattr(missed, name) for name in ("added", "modified", "deleted", "ghosts")},
                }
            )
        used, most = self._memory
        return {
            "atMs": int(self._wall() * 1000),
            "resources": kinds,
            "asked": int(self._asked()),
            "made": {"requests": requests, "bytes": received},
            "redis": {"bytes": used, "maxBytes": most},
            "replica": {"bytes": _resident_bytes()},
            "watchers": self.watchers,
        }

    def _point(self) -> dict[str, Any]:
        """What happened since the last point, by kind."""
        point: dict[str, Any] = {"atMs": self._now["atMs"], "kinds": {}}
        for resource in self._source.resources:
            kind = self._kinds[resource.plural]
            lags = sorted(kind.lags_s)
            point["kinds"][resource.name] = {
                **{name: kind.counted[name] for name in _COUNTED},
                "lagP50": lags[len(lags) // 2] if lags else None,
                "lagP99": lags[min(len(lags) - 1, len(lags) * 99 // 100)] if lags else None,
            }
            kind.counted = dict.fromkeys(_COUNTED, 0.0)
            kind.lags_s.clear()
        return point


async def counts(source: Source, rights: Rights) -> Mapping[str, int | None]:
    """How many objects the caller may list, by resource; None where that is not to be known, by them or now."""
    found: dict[str, int | None] = {}
    for resource in source.resources:
        try:
            scope = await rights.list_scope(resource)
            found[resource.name] = source.get(resource).count(scope.namespaces)
        except AnswerError:  # forbidden, not ready, not to be decided now
            found[resource.name] = None
    return found


def _count(kind: _Kind, name: str, total: float) -> float:
    """How much a counter of a worker grew since the last look; a worker that started anew counts from nothing."""
    before = kind.seen.get(name, total)
    kind.seen[name] = total
    grown = total - before if total >= before else total
    kind.counted[name] += grown
    return grown


def _described(resource: Resource) -> dict[str, Any]:
    """What the page needs to ask for a kind."""
    return {
        "resource": resource.name,
        "kind": resource.kind,
        "listField": resource.list_field,
        "singleField": resource.single_field,
        "namespaced": resource.namespaced,
        "relations": [
            {"name": relation.name, "target": relation.target.name, "isSingle": relation.is_single}
            for relation in RELATIONS[resource.plural].values()
        ],
    }


def _resident_bytes() -> int | None:
    """Memory of this process."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (read once a second)
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))
