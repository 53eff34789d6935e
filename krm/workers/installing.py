"""A list on its way into the table: read, held against the books, and installed there; the rows follow in slices."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Final

from krm import errors
from krm.merge import Event, Key, Prediction, State
from krm.store import chunks, rows
from krm.store.chunks import ListedRow
from krm.store.compression import MissingDictionary
from krm.store.head import ListHead
from krm.store.rows import Codec
from krm.store.writing import Operation, TableWriter
from krm.workers import lists
from krm.workers.ledger import Drift, DriftKind, Ledger

logger = logging.getLogger(__name__)

EXPLAIN_MS: Final = 10_000
"""How long an event that explains a difference may still be on its way; after that the stream has missed it."""


@dataclass
class Reading:
    """A list, as far as it has been read."""

    listed: Mapping[Key, State] = field(default_factory=dict)
    """Begins as the list before where the chunks tell what differs from that."""
    digest: int = 0
    """Of ``listed``."""
    records: dict[Key, bytes] = field(default_factory=dict)
    newer: list[bytes] = field(default_factory=list)
    """Records of objects that were read by themselves, behind the list."""
    differing: list[Key] = field(default_factory=list)
    """Keys of which the table had another state, or which have gone since the list before."""
    _own: dict[Key, State] | None = None

    def take(self, found: Iterable[ListedRow], published: Mapping[Key, State]) -> None:
        """Take the rows of a chunk in. States are the table's own where they are the same: one in memory for both."""
        listed, total = self._own, self.digest
        if listed is None:  # what the books have stays as it is
            self.listed = listed = self._own = dict(self.listed)
        for row in found:
            key = (intern(row.namespace), row.name)
            before = listed.get(key)
            if row.gone and (before is None or before.uid != row.uid):
                continue  # another has come in its place
            if before is not None:
                total -= rows.digest(*before)
            if row.gone:
                del listed[key]
                self.records.pop(key, None)
                self.differing.append(key)
                continue
            state = published.get(key)
            if state is None or state.version != row.version or state.uid != row.uid:
                self.differing.append(key)
                state = State(row.uid, row.version)
            listed[key] = state
            total += rows.digest(*state)
            if row.record:
                self.records[key] = row.record
            else:
                self.records.pop(key, None)  # of a list below this one
            if row.newer:
                self.newer.append(row.newer)
        self.digest = total % rows.DIGEST_MODULUS


@dataclass
class Install:
    """A list that is being brought into the table, slice by slice."""

    head: ListHead
    keys: Sequence[Key]
    records: dict[Key, bytes]
    prediction: Prediction | None
    is_other_history: bool
    ghosts: Sequence[Drift]
    """Rows that no history explains: the list is of another one, and does not know them."""


class Installer:
    """Reads lists and installs them in the books of one resource; asks for another where one lacks something."""

    def __init__(self, ledger: Ledger, writer: TableWriter, codec: Codec, names: Mapping[str, object]) -> None:
        self._ledger = ledger
        self._writer = writer
        self._codec = codec
        self._names = names
        """Of the worker, for the log."""
        self._asked_about = ""

    async def prepare(
        self,
        head: ListHead,
        now_ms: Callable[[], int],
        keep_up: Callable[[], Awaitable[None]],
        told: Callable[[Iterable[Operation]], None],
    ) -> Install | None:
        """Read a list and install it in the books; None where it lacks what the table does not have either.

        Between two pieces of it ``keep_up`` goes on with the stream; ``told`` is given what objects that were read
        behind the list make of the table.
        """
        try:
            is_based = self._is_based(head)
            read = await self._read(head, keep_up, is_based=is_based)
            if is_based and not self._is_based(head):  # so many events came meanwhile that they were folded into it
                is_based = False
                read = await self._read(head, keep_up, is_based=is_based)
            if self._ledger.book(head.scope).epoch == head.epoch:
                told(self._behind(head.scope, read.newer))
        except errors.CorruptData as error:
            await self.ask_full(head, str(error))
            return None
        if is_based and self._is_based(head):
            keys = self._ledger.touched_since(head.scope, read.listed, read.differing)
        elif is_based:  # what was told just now had events folded: what they were of is not known any more
            keys = self._ledger.touched(head.scope, read.listed, head.epoch)
        else:
            keys = self._ledger.touched(head.scope, read.listed, head.epoch, read.differing)
        for key in keys:
            state = read.listed.get(key)
            if state is None or key in read.records:
                continue
            if self._ledger.lacks(head.scope, key, state, head.listed_at):
                await self.ask_full(head, f"the record of {key[0]}/{key[1]} is missing")
                return None
        return self._installed(head, read, keys, now_ms() + EXPLAIN_MS)

    def _is_based(self, head: ListHead) -> bool:
        """Whether the list is told by what differs from one that the books have."""
        return bool(head.base) and self._ledger.is_base(head.scope, head.base, head.epoch)

    async def _read(self, head: ListHead, keep_up: Callable[[], Awaitable[None]], *, is_based: bool) -> Reading:
        """What a list is, out of its chunks. Raises ``CorruptData`` where they are not that list.

        ``is_based``: out of what differs from the list in the books; else out of all rows, wherever they lie.
        """
        book = self._ledger.book(head.scope)
        read = Reading(book.merged.listed, book.listed_digest) if is_based else Reading()
        for turn, piece in enumerate(head.own_pieces if is_based else head.pieces):
            if turn:
                await keep_up()
            read.take(await self._unpacked(await self._writer.chunk(*piece)), book.published)
        if str(read.digest) != head.digest or len(read.listed) != head.rows:
            raise errors.CorruptData("the chunks of a list are not the list that its header describes")
        return read

    def _behind(self, scope: str, newer: Iterable[bytes]) -> Iterator[Operation]:
        """What objects make of the table that were read by themselves, behind the list."""
        for record in newer:
            row = self._codec.identity(record)
            yield from self._ledger.told(scope, row.key, Event(row.uid, row.version, False), record)

    async def _unpacked(self, chunk: bytes) -> list[ListedRow]:
        try:
            return chunks.unpack(chunk, self._codec.compressor)
        except MissingDictionary:  # trained since this pass began
            await lists.learn_dictionaries(self._codec, self._writer)
            return chunks.unpack(chunk, self._codec.compressor)

    def _installed(self, head: ListHead, read: Reading, keys: Sequence[Key], patience_until_ms: int) -> Install | None:
        book = self._ledger.book(head.scope)
        is_other_history = book.epoch != head.epoch
        is_comparable = bool(book.merged.listed_at) and not is_other_history
        ghosts = [
            Drift(DriftKind.GHOST, key, state.uid, state.version)
            for key, state in (book.published.items() if is_other_history else ())
            if key not in read.listed
        ]
        prediction = self._ledger.install(
            head.scope,
            read.listed,
            head.listed_at,
            head.epoch,
            patience_until_ms=patience_until_ms,
            listing=head.listing,
            listed_digest=read.digest,
        )
        if prediction is None:
            return None
        return Install(head, keys, read.records, prediction if is_comparable else None, is_other_history, ghosts)

    async def ask_full(self, head: ListHead, reason: str) -> None:
        """Ask for a list with every record, once for each list that lacks one."""
        if self._asked_about != head.listing:
            self._asked_about = head.listing
            logger.info("needs a full list", extra={**self._names, "scope": head.scope, "reason": reason})
            await self._writer.ask_for_list(full=True, reason=reason[:200])
