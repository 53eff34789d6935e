"""The verifier: lists one resource, consistently and whole, each interval and whenever one of the others asks.

A list is read page by page into chunks that nobody sees, and becomes the installed one in a single step once it is
whole and believable. The first is of whole objects; later ones ask for metadata alone, and for the few objects of which
list and table differ. It decides nothing about rows: it says what the API server had at one version.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from krm import errors
from krm.kube import listing
from krm.kube.connect import Cluster
from krm.objects.versions import is_valid, newer
from krm.resources import Resource
from krm.settings import Settings
from krm.store import compression
from krm.store.head import ListHead
from krm.store.reading import TableStore
from krm.store.writing import ListWriter
from krm.workers import identity, lists
from krm.workers.bodies import Bodies, TooManyError
from krm.workers.runner import Worker
from krm.workers.taking import Known, Taking

logger = logging.getLogger(__name__)

LIST_TIMEOUT_S: Final = 300.0
PAGE_TIMEOUT_S: Final = 30.0
METADATA_PAGES: Final = 4
"""How many times as many objects are in a page of metadata: these are smaller, and cheaper to make."""
WHOLE_S: Final = 300.0
"""How long lists are of whole objects where metadata could not be listed, before it is tried again."""
REST_S: Final = 0.1
"""The longest rest between two pages of a list."""
HELD_LOOK_S: Final = 0.05
HELD_LOOKS: Final = 40
"""How often, ``HELD_LOOK_S`` apart, it is looked whether the table stands for the list before."""
NOT_ACCEPTABLE: Final = 406
SUSPICIOUS_ROWS: Final = 100
"""A list that lost more than this many rows, and more than half, or all, is read once more before it is believed."""


class _NotOfferedError(Exception):
    """The API server does not list metadata alone."""


class _Rest:
    """Leaves half of the time to others where a table stands already: answers wait for events, not for this list."""

    def __init__(self, *, is_slow: bool) -> None:
        self._is_slow = is_slow
        self._worked_s = time.process_time()

    async def take(self) -> None:
        """Rest as long as there was work since the last time."""
        if self._is_slow:
            await asyncio.sleep(min(time.process_time() - self._worked_s, REST_S))
            self._worked_s = time.process_time()


class Verifier(Worker):
    """Verifies one resource, in each of its scopes."""

    writer: ListWriter

    def __init__(self, resource: Resource, settings: Settings, table: TableStore, cluster: Cluster) -> None:
        super().__init__(resource, ListWriter(table.store, table))
        self._settings = settings
        self._cluster = cluster
        self._table = table
        self._codec = lists.codec(resource, settings)
        self.writer.rules = lists.rules(settings)
        self._bodies = Bodies(resource, table, cluster, self._codec)
        self._known: dict[str, Known] = {}
        """Of each scope what the last list that was installed by this process had."""
        self._whole_until = 0.0 if settings.verify_mode == "metadata" else math.inf
        """Monotonic time until which lists are of whole objects."""
        self._stream_end = ""
        """Where the stream stood before the newest list was asked for."""

    async def work(self) -> None:
        """List each scope, then wait for the interval's end or a request, for ever."""
        self.say(interval_s=self._settings.verify_interval_s)
        await lists.learn_dictionaries(self._codec, self._table)
        cursor = await self.writer.last_request()
        full = False
        while True:
            started = time.monotonic()
            await self.writer.restore_dictionaries(self._codec.compressor)
            for scope in lists.scopes(self._settings, self.resource):
                await self._verify(scope, full=full)
            self.say(state="running", reason=None)
            left_s = self._settings.verify_interval_s - (time.monotonic() - started)
            cursor, full = await self._wait(cursor, left_s)

    async def _wait(self, cursor: str, seconds: float) -> tuple[str, bool]:
        """Until the next list is due or asked for; (cursor of the requests, whether with every record)."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            block_ms = max(1, min(1_000, int(left_s * 1000)))
            cursor, full, reasons = await self.writer.requests(cursor, block_ms=block_ms)
            if reasons:
                logger.info("a list is asked for", extra={**self._names(), "reason": "; ".join(reasons)})
                return cursor, full
        return cursor, False

    async def _verify(self, scope: str, *, full: bool) -> None:
        """Read and install one list; once more where it is hard to believe, or where history went back."""
        heads = await self._heads()
        before = heads.get(scope)
        epoch = await self._epoch(newest_history(heads.values()))
        same_history = before is not None and before.epoch == epoch
        known = await self._installed(scope, before) if same_history and not full else Known()
        rows_before = before.rows if before is not None else None
        head, taken = await self._read_believable(scope, epoch, known, rows_before)
        if before is not None and same_history and self._rewound(head, before):
            epoch = _next_generation(epoch)
            logger.warning(
                "history went back: begins another epoch",
                extra={**self._names(), "scope": scope, "version": head.listed_at, "before": before.listed_at},
            )
            head, taken = await self._read_believable(scope, epoch, Known(), rows_before)
        self._known.pop(scope, None)  # where a chunk below this one has gone, the next list has all rows
        await self.writer.flip(head)
        self._known[scope] = taken
        logger.debug("installed a list", extra={**self._names(), "rows": head.rows, "version": head.listed_at})

    async def _read_believable(
        self, scope: str, epoch: str, known: Known, rows_before: int | None
    ) -> tuple[ListHead, Known]:
        """A list; where it lost most of its rows, or all there may have been, the one that is read to confirm it."""
        head, taken = await self._read(scope, epoch, known)
        if not _implausible(rows_before, head.rows):
            return head, taken
        logger.log(
            logging.INFO if rows_before is None else logging.WARNING,  # a kind of which there is nothing is no trouble
            "the list has lost its rows, or has none; reads it once more before believing it",
            extra={**self._names(), "scope": scope, "rows": head.rows, "rows_before": rows_before},
        )
        return await self._read(scope, epoch, known)

    def _rewound(self, head: ListHead, before: ListHead) -> bool:
        """Whether a consistent list is older than what had been seen before it was asked for: history was reset."""
        return newer(before.listed_at, head.listed_at) or newer(self._stream_end, head.listed_at)

    async def _installed(self, scope: str, before: ListHead | None) -> Known:
        """The last list, if the table holds every record of it; else nothing: all are sent then.

        A list that was installed just now is waited for: whoever asks for one list after the other asks for what
        differs, not for all there is.
        """
        known = self._known.get(scope)
        if before is None or known is None or before.listing != known.name:
            return Known()
        for _ in range(HELD_LOOKS):
            table = await self._table.head()
            if table is None or table.state != "ready":
                break
            if any(s.scope == scope and s.listing == known.name for s in table.scopes):
                return known
            await asyncio.sleep(HELD_LOOK_S)
        return Known()

    async def _heads(self) -> Mapping[str, ListHead]:
        """Headers of the installed lists; none where they cannot be read: new ones replace them."""
        try:
            return await self._table.list_heads()
        except errors.CorruptData as error:
            self._log(logging.WARNING, "the headers of the lists do not decode; lists anew", str(error))
            return {}

    async def _epoch(self, before: ListHead | None) -> str:
        """Identity of the history: uid of the kube-system namespace, where it may be read, and a generation."""
        uid = await identity.uid(self._cluster)
        if before is None:
            return f"{uid}/0"
        known_uid, _, generation = before.epoch.rpartition("/")
        if uid and known_uid and uid != known_uid:
            logger.warning("this is another cluster than before", extra=self._names())
            return f"{uid}/{int(generation) + 1}"
        return f"{known_uid or uid}/{generation}"

    async def _read(self, scope: str, epoch: str, known: Known) -> tuple[ListHead, Known]:
        """Read a whole list into chunks, of metadata where that may do. The stream's position is read first."""
        if known.rows and time.monotonic() >= self._whole_until:
            try:
                return await self._read_once(scope, epoch, known, self._take_metadata)
            except TooManyError as error:
                logger.info("lists whole objects", extra={**self._names(), "scope": scope, "reason": str(error)})
            except (errors.BadData, errors.Forbidden, _NotOfferedError) as error:
                self._whole_until = time.monotonic() + WHOLE_S
                self._log(logging.WARNING, "cannot verify by metadata; lists whole objects", str(error))
        return await self._read_once(scope, epoch, known, self._take_whole)

    async def _read_once(
        self,
        scope: str,
        epoch: str,
        known: Known,
        take: Callable[[Taking, str, str], Awaitable[str]],
    ) -> tuple[ListHead, Known]:
        position = (await self.writer.positions()).get(scope)
        self._stream_end = position.end if position and position.epoch == epoch else ""
        started_ms, started = await self._table.now_ms(), time.monotonic()
        taking = Taking(self.writer, self._codec, known, differs=known.is_base)
        version = await take(taking, scope, epoch)
        await taking.finish()
        taken = taking.result()
        if not is_valid(version):  # nothing could be compared with it
            raise errors.BadData(f"the list of {self.resource.plural} has no resourceVersion that can be compared")
        self._count()
        head = ListHead(
            listing=taken.name,
            scope=scope,
            epoch=epoch,
            listed_at=version,
            started_ms=started_ms,
            took_s=round(time.monotonic() - started, 3),
            rows=len(taken.rows),
            chunks=taking.chunks,
            digest=str(taken.digest),
            since=known.name if known.rows else "",
            base=known.name if known.is_base else "",
            below=taking.below,
        )
        return head, taken

    async def _take_whole(self, taken: Taking, scope: str, epoch: str) -> str:  # noqa: ARG002
        """A list of whole objects; its version."""
        version = ""
        untrained: list[bytes] | None = [] if self._codec.compressor.current == 0 else None
        pages = listing.pages(
            self._cluster,
            self.resource.path(scope),
            limit=self._settings.list_page_size,
            timeout_s=LIST_TIMEOUT_S,
            page_timeout_s=PAGE_TIMEOUT_S,
            managed=self._settings.keep_managed_fields,
            ahead=not taken.has_known,
        )
        rest = _Rest(is_slow=taken.has_known)
        async with contextlib.aclosing(pages):
            async for page in pages:
                version = page.version
                if untrained is not None:
                    untrained += page.items
                    if len(untrained) < compression.MAX_SAMPLES and not page.is_last:
                        continue
                    await self._train(untrained)
                    items, untrained = untrained, None
                else:
                    items = list(page.items)
                await taken.take(items)
                self._count()
                await rest.take()
        return version

    async def _take_metadata(self, taken: Taking, scope: str, epoch: str) -> str:
        """A list of metadata, and the bodies that it lacks; its version. Raises ``TooManyError``."""
        version = ""
        pages = listing.identities(
            self._cluster,
            self.resource.path(scope),
            limit=self._settings.list_page_size * METADATA_PAGES,
            timeout_s=LIST_TIMEOUT_S,
            page_timeout_s=PAGE_TIMEOUT_S,
            ahead=False,
        )
        rest = _Rest(is_slow=True)
        try:
            async with contextlib.aclosing(pages):
                async for page in pages:
                    version = page.version
                    await taken.take_identities(page.identities)
                    self._count()
                    await rest.take()
        except errors.ServerFailed as error:
            if error.status == NOT_ACCEPTABLE:
                raise _NotOfferedError(str(error)) from error
            raise
        listed = taken.rows + len(taken.lacking)
        await taken.complete(await self._bodies.found(scope, epoch, version, taken.lacking, rows=listed))
        return version

    def _count(self) -> None:
        cluster = self._cluster
        self.say(requests=cluster.requests, bytes=cluster.bytes_received, malformed=self._codec.malformed)

    async def _train(self, items: list[bytes]) -> None:
        """Make a compression dictionary of the first objects, where they are enough."""
        samples = [self._codec.cleaner.clean(item) for item in items[: compression.MAX_SAMPLES]]
        dictionary = await asyncio.to_thread(compression.train, samples)
        if dictionary is not None:
            identifier = self._codec.compressor.add(dictionary, use=True)
            await self.writer.put_dictionary(identifier, dictionary)


def newest_history(heads: Iterable[ListHead]) -> ListHead | None:
    """The list of the newest history: what one scope has found out holds for all, who may be none the wiser."""
    return max(heads, key=lambda head: int(head.epoch.rpartition("/")[2]), default=None)


def _implausible(before: int | None, now: int) -> bool:
    """Whether a list may be wrong of which the list before, if one is known, had so many rows."""
    if before is None or now == 0:  # Redis may have lost the list before, and nobody knows what it had
        return now == 0 and before != 0
    return before - now > SUSPICIOUS_ROWS and now * 2 < before


def _next_generation(epoch: str) -> str:
    uid, _, generation = epoch.rpartition("/")
    return f"{uid}/{int(generation) + 1}"
