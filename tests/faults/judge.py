"""Holds every answer of the API against the true history of the cluster, all the time, while things break.

Each promise of an answer is checked as it was given: every row is a true state of its object at the version that the
answer names or later; nothing that was written before ``verifiedAt`` is missing; an answer that says SYNCED is not
older than SYNCED allows; no client sees a version go back; and there is no empty answer without an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import aiohttp

from krm.merge import Key, State
from krm.simulator import EventType, Simulation
from tests.faults.figures import Figures

QUERY: Final = """{ pods { resourceVersion nodes { metadata { namespace name uid resourceVersion } }
 freshness { state contiguous verifiedAt verifiedResourceVersion epoch reason } } }"""
CLOCK_MS: Final = 50
"""By how much the clocks of two processes that read the same one may seem to differ."""
FORGETS: Final = 100
"""After so many looks what lies before the last list is forgotten."""
SLACK_S: Final = 1.5
"""Beyond two intervals and the list's duration: to look, and to answer."""


class Truth:
    """What every pod was, when."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._pods = simulation.store.kind_named("pods")
        commit = simulation.store._commit

        def recorded(kind: Any, type_: EventType, version: Any, before: Any) -> Any:
            done = commit(kind, type_, version, before)
            if kind is self._pods:
                state = None if type_ is EventType.DELETED else State(version.uid, str(version.rv))
                self._note((version.namespace, version.name), version.rv, state)
            return done

        simulation.store._commit = recorded  # type: ignore[method-assign]
        self.reset()

    def reset(self) -> None:
        """History begins anew: with the first state, and after a restore."""
        self.since_ms = time.time() * 1000
        self.states: dict[Key, tuple[list[int], list[State | None]]] = {}
        self._times: list[float] = []
        self._versions: list[int] = []
        for key, state in self.now().items():
            self.states[key] = ([0], [state])

    def _note(self, key: Key, version: int, state: State | None) -> None:
        versions, states = self.states.setdefault(key, ([0], [None]))
        versions.append(version)
        states.append(state)
        self._times.append(time.time() * 1000)
        self._versions.append(version)

    def now(self) -> dict[Key, State]:
        """Every pod."""
        found: dict[Key, State] = {}
        for version in self._simulation.store.all(self._pods):
            found[version.namespace, version.name] = State(version.uid, str(version.rv))
        return found

    def written_before(self, at_ms: float) -> int:
        """The newest version that was written before a moment."""
        place = bisect_right(self._times, at_ms)
        return self._versions[place - 1] if place else 0

    def fits(self, key: Key, state: State | None, since: int) -> bool:
        """Whether ``key`` was ``state`` at version ``since`` or later."""
        versions, states = self.states.get(key, ([0], [None]))
        return state in states[max(0, bisect_right(versions, since) - 1) :]

    def forget(self, before: int) -> None:
        """Forget what was before a version that no answer may be older than: a look must not cost more each time."""
        for key, (versions, states) in list(self.states.items()):
            place = max(0, bisect_right(versions, before) - 1)
            del versions[:place], states[:place]
            if states == [None]:
                del self.states[key]


@dataclass
class Judge:
    """Asks one API again and again."""

    url: str
    truth: Truth
    figures: Figures
    interval_s: float
    is_lossless: bool = True
    """Whether the API server tells everything that it should; where events are dropped silently, only lists prove."""
    looks: int = 0
    state: str = ""
    codes: set[str] = field(default_factory=set)
    rows: dict[Key, State] = field(default_factory=dict)
    contiguous: bool = False
    reason: str = ""
    slowest_s: float = 0.0
    pause_s: float = 0.03
    longest_list_s: float = 0.0
    """SYNCED allows for the duration of the list, which only the store tells: the lab keeps this up to date."""
    broken: list[str] = field(default_factory=list)
    _last: tuple[str, int] = ("", 0)

    async def look_for_ever(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    await self._look(session)
                await asyncio.sleep(self.pause_s)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        asked = time.time()
        async with session.post(f"{self.url}/graphql", json={"query": QUERY}) as answer:
            body = await answer.json()
        self.slowest_s = max(self.slowest_s, time.time() - asked)
        self.looks += 1
        pods = (body.get("data") or {}).get("pods")
        if pods is None:
            self.codes |= {one.get("extensions", {}).get("code", "?") for one in body.get("errors", [])}
            self.state, self.rows = "", {}
            if not body.get("errors"):
                self._break("false_empty", "neither rows nor an error")
            return
        self._judge(pods, asked * 1000)

    def _judge(self, pods: dict[str, Any], asked_ms: float) -> None:
        fresh = pods["freshness"]
        rows = {
            (m["namespace"], m["name"]): State(m["uid"], m["resourceVersion"])
            for m in (node["metadata"] for node in pods["nodes"])
        }
        self.rows, self.state, self.contiguous = rows, fresh["state"], fresh["contiguous"]
        self.reason = fresh["reason"] or ""
        if not rows:
            self._break("false_empty", "no rows")
        verified_ms = datetime.fromisoformat(fresh["verifiedAt"]).timestamp() * 1000
        if verified_ms < self.truth.since_ms:  # of the history before
            if fresh["state"] == "SYNCED" and asked_ms - self.truth.since_ms > self._allowed_ms():
                self._break("unflagged_stale", "of a history that is over")
            return
        version = int(pods["resourceVersion"])
        epoch, before = self._last
        if fresh["epoch"] == epoch and version < before:
            self._break("unflagged_stale", f"went back from {before} to {version}")
        self._last = (fresh["epoch"], version)
        if self.looks % FORGETS == 0:
            self.truth.forget(int(fresh["verifiedResourceVersion"]))
        exact = version if fresh["contiguous"] and self.is_lossless else int(fresh["verifiedResourceVersion"])
        exact = max(exact, self.truth.written_before(verified_ms - CLOCK_MS))
        fresh_enough = self.truth.written_before(asked_ms - self._allowed_ms()) if fresh["state"] == "SYNCED" else 0
        for key in rows.keys() | self.truth.states.keys():
            if not self.truth.fits(key, rows.get(key), exact):
                self._break("lost" if key not in rows else "ghosts", f"{key} is {rows.get(key)} at {exact}: {fresh}")
            elif not self.truth.fits(key, rows.get(key), fresh_enough):
                self._break("unflagged_stale", f"{key} is {rows.get(key)}, since {fresh_enough} it is not: {fresh}")

    def _allowed_ms(self) -> float:
        return (2 * self.interval_s + self.longest_list_s + SLACK_S) * 1000

    def _break(self, promise: str, what: str) -> None:
        setattr(self.figures, promise, getattr(self.figures, promise) + 1)
        if len(self.broken) < 20:
            self.broken.append(f"{promise}: {what}")
            print(self.broken[-1])  # a test that fails for another reason shows it, too

    def is_whole(self) -> bool:
        """Whether the newest answer is the cluster as it is, and says that it is in step."""
        return self.state == "SYNCED" and self.rows == self.truth.now()

    def differences(self) -> tuple[int, int]:
        """(objects that the newest answer lacks or has otherwise, rows of objects that are not there)."""
        now = self.truth.now()
        lost = sum(self.rows.get(key) != state for key, state in now.items())
        return lost, len(self.rows.keys() - now.keys())
