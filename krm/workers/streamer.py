"""The streamer: follows the watch of one resource and logs each event in Redis, once, with the stream's position.

It starts behind the installed list and moves its position only by what was delivered, in the same step as the log.
When the API server no longer has its place (410) it records a gap and asks for a list; nothing is skipped in silence.
It knows nothing of what the others make of its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from krm import errors
from krm.kube import clock, watching
from krm.kube.backoff import Backoff
from krm.kube.clock import Skew
from krm.kube.connect import Cluster
from krm.kube.watching import WatchEvent
from krm.objects.versions import is_valid, newer
from krm.resources import Resource
from krm.settings import Settings
from krm.store import delays
from krm.store.delays import Sample
from krm.store.head import ListHead
from krm.store.reading import TableStore
from krm.store.writing import BATCH, EventWriter, Position
from krm.workers import identity, lists, measuring
from krm.workers.measuring import Measurer
from krm.workers.runner import Worker, first_of

logger = logging.getLogger(__name__)

WATCH_TIMEOUT_S: Final = 290.0
"""The server ends a watch after about this: below the five minutes after which common proxies cut idle connections."""
SILENCE_S: Final = 90.0
"""A watch that brings nothing for this long, not even the bookmark that is due each minute, is dead."""
QUIET_S: Final = 3.0
"""A watch that is this quiet while a newer list is there is opened anew from its place: it may be dead."""
GAP_CEILING_S: Final = 10.0
"""Each lost place costs a whole list: a server that refuses every place is asked for a dozen a minute at most."""
TRIM_S: Final = 2.0
TYPES: Final = {"ADDED": "A", "MODIFIED": "M", "DELETED": "D", "BOOKMARK": "B"}
BAD_TRIES: Final = 3
"""A place behind which only unusable bytes come is given up, as a gap, after this many tries."""
_RESUMABLE = (errors.ClusterUnreachable, errors.BadData, errors.ServerFailed, errors.Throttled)


@dataclass
class Stream:
    """Where the watch of one scope stands."""

    scope: str
    epoch: str
    start: str
    end: str
    heard_at: float
    """Monotonic time of the last bytes."""
    bad_tries: int = 0
    """How often in a row unusable bytes came behind ``end``."""
    is_answered: bool = False
    """Whether the API server has answered the watch that is open."""
    doubted: str = ""
    """Digest of the list for which the watch was opened anew last."""


class Streamer(Worker):
    """Streams one resource, in each of its scopes."""

    writer: EventWriter

    def __init__(self, resource: Resource, settings: Settings, table: TableStore, cluster: Cluster) -> None:
        super().__init__(resource, EventWriter(table.store, table))
        self._settings = settings
        self._cluster = cluster
        self._codec = lists.codec(resource, settings)
        self.writer.rules = lists.rules(settings)
        self._table = table
        self._uid = ""
        """Of the cluster that is streamed, where it may be known."""
        self._connected: dict[str, bool] = {}
        self._measurer = Measurer()

    async def work(self) -> None:
        """Follow every scope, and what is installed, until one of them fails."""
        self._uid = await identity.uid(self._cluster)
        await lists.learn_dictionaries(self._codec, self._table)
        positions = await self.writer.positions()
        installed = lists.InstalledLists(self._table)
        self._connected = dict.fromkeys(lists.scopes(self._settings, self.resource), False)
        streams = [self._follow(scope, positions.get(scope), installed) for scope in self._connected]
        await first_of(installed.follow(), self._trim(), clock.keep_sharp(self._cluster), *streams)

    async def _follow(self, scope: str, position: Position | None, installed: lists.InstalledLists) -> None:
        listing = await installed.first(scope)
        self._check_cluster(listing)
        stream = self._resumed(scope, position, listing) or await self._start(scope, listing)
        backoff, gaps = Backoff(), Backoff(first_s=1.0, ceiling_s=GAP_CEILING_S)
        while True:
            try:
                await first_of(self._watch(stream, backoff, gaps), self._doubt(stream, installed))
            except errors.Gone as error:
                stream = await self._gap(stream, installed, str(error))
                delay_s = gaps.failed(error)
                if gaps.failures > 1:  # one lost place is no storm: the list behind which it goes on is a new one
                    await asyncio.sleep(delay_s)
            except _RESUMABLE as error:
                self.say(restarts=self.status.restarts + 1)
                self._log(logging.WARNING, "the watch broke; resumes from its place", str(error))
                self._hear(scope, connected=False)
                await asyncio.sleep(backoff.failed(error))
                stream.bad_tries = stream.bad_tries + 1 if isinstance(error, errors.BadData) else 0
                if stream.bad_tries >= BAD_TRIES:
                    stream = await self._gap(stream, installed, str(error))
            listing = await installed.first(scope)
            if listing.epoch != stream.epoch:
                stream = await self._start(scope, listing)

    def _check_cluster(self, listing: ListHead) -> None:
        """A list of another cluster under the same name: nothing of this one may be merged with it."""
        if not identity.same(self._uid, listing.epoch):
            raise errors.ConfigError(
                f"the list that is stored as KRM_CLUSTER={self._settings.cluster} is of another cluster than this:"
                " streamer and verifier need the kubeconfig of one cluster, and each cluster a KRM_CLUSTER of its own"
            )

    def _resumed(self, scope: str, position: Position | None, listing: ListHead) -> Stream | None:
        if position is None or position.epoch != listing.epoch or not is_valid(position.end):
            return None
        return Stream(scope, position.epoch, position.start, position.end, time.monotonic())

    async def _start(self, scope: str, listing: ListHead) -> Stream:
        """Begin behind a list; what happened before it is not this stream's to tell."""
        self._check_cluster(listing)
        at = listing.listed_at
        await self._append(scope, listing.epoch, "", at, [("G", at, self.now_ms(), b"")])
        logger.info("starts behind the list", extra={**self._names(), "scope": scope, "version": at})
        return Stream(scope, listing.epoch, at, at, time.monotonic())

    async def _gap(self, stream: Stream, installed: lists.InstalledLists, reason: str) -> Stream:
        """The place is gone: nothing is known from it on, until a list that is newer; then begin behind that."""
        self._hear(stream.scope, connected=False)
        self.say(restarts=self.status.restarts + 1)
        logger.warning(
            "lost its place; waits for a list", extra={**self._names(), "scope": stream.scope, "reason": reason}
        )
        before = await installed.first(stream.scope)
        await self.writer.ask_for_list(full=False, reason="the watch lost its place")

        def beyond(head: ListHead) -> bool:
            # A new list of the same version is one too: nothing may have happened since.
            is_behind = newer(stream.end, head.listed_at) or head.listing == before.listing
            return head.epoch != stream.epoch or newer(head.listed_at, stream.end) or not is_behind

        return await self._start(stream.scope, await installed.first(stream.scope, beyond))

    async def _watch(self, stream: Stream, backoff: Backoff, gaps: Backoff) -> None:
        """One watch from the stream's place on, to its timeout at the server."""
        stream.heard_at, stream.is_answered = time.monotonic(), False
        events = watching.watch(
            self._cluster,
            self.resource.path(stream.scope),
            stream.end,
            timeout_s=WATCH_TIMEOUT_S * random.uniform(0.8, 1.0),  # noqa: S311 - spreads the reconnects
            silence_s=SILENCE_S,
            on_open=functools.partial(self._answered, stream),
            see=self._codec.cleaner.see,
            rest=functools.partial(self._table.store.pace.led, f"{self.resource.plural} {stream.scope}"),
        )
        async with contextlib.aclosing(events):
            async for batch in events:
                skew = self._cluster.clock.skew()  # at once: our clock may be set before the last of them is logged
                stream.heard_at = time.monotonic()
                backoff.succeeded()
                gaps.succeeded()
                before = stream.end
                for start in range(0, len(batch), BATCH):
                    await self._take(stream, batch[start : start + BATCH], skew)
                if stream.end != before:
                    backoff.progressed()

    def _answered(self, stream: Stream) -> None:
        stream.is_answered = True
        self._hear(stream.scope, connected=True)

    async def _doubt(self, stream: Stream, installed: lists.InstalledLists) -> None:
        """Return when the watch must be opened anew: for another history, or silence while lists show new versions.

        Once for all lists of the same rows: where nothing happens to this resource, the new watch is as quiet.
        """
        seen: set[str] = set()

        def disturbs(head: ListHead) -> bool:
            fresh = newer(head.listed_at, stream.end) and head.listing not in seen
            return head.epoch != stream.epoch or fresh

        while True:
            head = await installed.first(stream.scope, disturbs)
            if head.epoch != stream.epoch:
                return
            seen = {head.listing}
            await asyncio.sleep(QUIET_S)
            is_quiet = newer(head.listed_at, stream.end) and time.monotonic() - stream.heard_at >= QUIET_S
            if is_quiet and not (stream.is_answered and head.digest == stream.doubted):
                stream.doubted = head.digest
                return

    async def _take(self, stream: Stream, events: Sequence[WatchEvent], skew: Skew | None) -> None:
        """Log events and how late they came, and move the position, in one step."""
        entries: list[tuple[str, str, int, bytes]] = []
        samples: list[Sample] = []
        end = stream.end
        for event in events:
            received_ms = int(event.received_s * 1000) + self.clock_offset_ms
            if event.type == "BOOKMARK":
                version, record = event.version, b""
            else:
                row = self._codec.encode(event.raw, time_streamed=event.received_s, seen=event.seen)
                version, record = row.version, row.record
                if is_valid(version) and newer(version, end):
                    samples += measuring.samples(event, row, skew)
            if not is_valid(version):
                raise errors.BadData(f"a {event.type} event of {self.resource.plural} has no resourceVersion")
            end = version if newer(version, end) else end
            entries.append((TYPES[event.type], version, received_ms, record))
        entries += map(delays.entry, samples)
        lost = await self._append(stream.scope, stream.epoch, stream.end, end, entries)
        stream.end, stream.bad_tries = end, 0
        self._measurer.count(samples, time.time())
        self.say(
            events=self.status.events + len(events),
            malformed=self._codec.malformed,
            samples_lost=self.status.samples_lost + lost,
            requests=self._cluster.requests,
            bytes=self._cluster.bytes_received,
        )
        self._tell_delays()

    async def _append(
        self, scope: str, epoch: str, before: str, after: str, entries: list[tuple[str, str, int, bytes]]
    ) -> int:
        return await self.writer.append(scope, epoch, before, after, self._settings.events_max, entries)

    def _tell_delays(self) -> None:
        skew = self._cluster.clock.skew()
        self.say(
            lag_s=self._measurer.lag_s(time.time()),
            delays=self._measurer.sums(),
            skew_s=None if skew is None else round(skew.seconds, 3),
            skew_uncertainty_s=None if skew is None else round(skew.uncertainty_s, 3),
        )

    def _hear(self, scope: str, *, connected: bool) -> None:
        self._connected[scope] = connected
        self.say(
            connected=all(self._connected.values()),
            requests=self._cluster.requests,
            bytes=self._cluster.bytes_received,
            reason=None if connected else self.status.reason,
        )

    async def _trim(self) -> None:
        """Drop events that the installed lists have seen."""
        trimmed = ""
        while True:
            await asyncio.sleep(TRIM_S)
            self._tell_delays()
            head = await self._table.head()
            if head is None or head.state != "ready":
                continue
            mark = " ".join(scope.listing for scope in head.scopes)
            if mark != trimmed:
                while await self.writer.trim(head):
                    pass
                trimmed = mark
