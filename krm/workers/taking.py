"""A list that is being read: its rows go into chunks that nobody sees, page by page, and are never all held at once.

What is held of all of them is which objects they are, at which version: to tell what the next list changes, and rows
that were given twice. Where the list before is what the table stands for, only what differs from it goes into chunks:
most lists are as the one before, and cost neither Redis nor the aggregator anything then.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from sys import intern
from typing import Final

import msgspec

from krm.kube.listing import Identity
from krm.objects.versions import is_valid
from krm.store import chunks, rows
from krm.store.chunks import ListedRow
from krm.store.rows import Codec
from krm.store.writing import ListWriter

CHUNK_ROWS: Final = 1_000
MAX_PARTS: Final = 32
"""A list is told by what differs from so many others at most, ..."""
SPARE_ROWS: Final = 1_000
SPARE_PART: Final = 4
"""... and by so many rows more than it has, or by this part of them."""
ITEMS_A_TURN: Final = 250
"""Whole objects of which the beginning is looked at before the event loop may run something else ..."""
IDENTITIES_A_TURN: Final = 500
"""... and identities: a millisecond of either; ..."""
RECORDS_A_TURN: Final = 50
"""... and of which records are made: some milliseconds."""


class _Item(msgspec.Struct):
    metadata: Identity


_item = msgspec.json.Decoder(_Item)


_BEGINNING: Final = re.compile(
    rb'(?:{"kind":"[^"\\]+","apiVersion":"[^"\\]+",|{)"metadata":{"name":"([^"\\]+)",(?:"generateName":"[^"\\]*",)?'
    rb'(?:"namespace":"([^"\\]+)",)?"uid":"([^"\\]+)","resourceVersion":"([^"\\]+)"[,}]'
)
"""How API servers begin an object."""


def _identity(item: bytes) -> Identity:
    """Which object it is; of one as API servers write it without looking through the rest of it."""
    found = _BEGINNING.match(item)
    if found is not None:
        name, namespace, uid, version = found.groups(b"")
        return Identity(name.decode(), namespace.decode(), uid.decode(), version.decode())
    try:
        return _item.decode(item).metadata
    except msgspec.DecodeError:
        return Identity()


class Known:
    """The list before: which objects it had, and their digest; nothing where every record must be sent anew."""

    def __init__(
        self,
        name: str = "",
        rows: Mapping[str, Identity] | None = None,
        digest: int = 0,
        *,
        is_plain: bool = True,
        parts: tuple[tuple[str, int], ...] = (),
        spare: int = 0,
    ) -> None:
        self.name = name
        self.rows = rows or {}
        """By uid."""
        self.digest = digest
        self.is_plain = is_plain
        """Whether each has a name, a uid of its own and a version that can be compared."""
        self.parts = parts
        """(name, number of chunks) of the lists in whose chunks its rows are, oldest first."""
        self.spare = spare
        """Rows in those chunks that a list of all rows would not have, or not with their records."""

    @property
    def is_base(self) -> bool:
        """Whether the next list may be told by what differs: this one's chunks stay in Redis as long as it is."""
        few = max(SPARE_ROWS, len(self.rows) // SPARE_PART)
        return bool(self.rows) and len(self.parts) < MAX_PARTS and self.spare <= few


class Taking:
    """Takes one list in; where it ``differs``, only what is not as in the list before goes into its chunks."""

    def __init__(self, writer: ListWriter, codec: Codec, known: Known, *, differs: bool = False) -> None:
        self.name = secrets.token_hex(8)
        self.lacking: list[ListedRow] = []
        """Rows of which only the identity is known, and not from the list before."""
        self.chunks = 0
        self._writer = writer
        self._codec = codec
        self._schema = rows.schema(codec.resource)
        self._known = known
        self._differs = differs
        self._seen: set[str] = set()
        """uid of every row"""
        self._changed: dict[str, Identity] = {}
        """By uid the rows that are not as they were in the list before."""
        self._is_plain = known.is_plain
        self._nameless: set[str] = set()
        """Namespaces of which a row without a name is among them."""
        self._pending: list[ListedRow] = []
        self._pending_bytes = 0
        self._spare = known.spare if differs else 0

    @property
    def has_known(self) -> bool:
        """Whether there is a list before, which it is held against."""
        return bool(self._known.rows)

    @property
    def below(self) -> tuple[tuple[str, int], ...]:
        """The parts of the list before, where this one is told by what differs from it."""
        return self._known.parts if self._differs else ()

    @property
    def rows(self) -> int:
        """How many have been taken."""
        return len(self._seen)

    def result(self) -> Known:
        """What the next list is held against."""
        known, gone = self._known.rows, self._gone()
        total = self._known.digest + sum(rows.digest(uid, row.version) for uid, row in self._changed.items())
        for uid in (*gone, *(self._changed.keys() & known.keys())):
            total -= rows.digest(uid, known[uid].version)
        found = known
        if gone or self._changed:
            found = dict(known)
            for uid in gone:
                del found[uid]
            found.update(self._changed)
        return Known(
            self.name,
            found,
            total % rows.DIGEST_MODULUS,
            is_plain=self._is_plain,
            parts=(*self.below, *([(self.name, self.chunks)] if self.chunks else [])),
            spare=self._spare,
        )

    def _gone(self) -> set[str]:
        known = self._known.rows
        is_all_there = len(self._seen) - len(self._changed.keys() - known.keys()) == len(known)
        return set() if is_all_there else known.keys() - self._seen

    async def take(self, items: Sequence[bytes]) -> None:
        """Whole objects; the record of each that the list before did not have at this version goes along."""
        for start in range(0, len(items), ITEMS_A_TURN):
            part = items[start : start + ITEMS_A_TURN]
            identities = [*map(_identity, part)]
            if not await self._take_unchanged(identities):
                for number, (found, item) in enumerate(zip(identities, part, strict=True), 1):
                    if number % RECORDS_A_TURN == 0:
                        await asyncio.sleep(0)
                    if self._is_known(found):
                        await self._add(ListedRow(found.namespace, found.name, found.uid, found.version, b""))
                    else:
                        row = self._codec.encode(item)
                        await self._add(ListedRow(row.namespace, row.name, row.uid, row.version, row.record))
            await asyncio.sleep(0)

    async def take_identities(self, identities: Sequence[Identity]) -> None:
        """Identities alone; those that the list before did not have are ``lacking``, to be taken with ``complete``."""
        for start in range(0, len(identities), IDENTITIES_A_TURN):
            part = identities[start : start + IDENTITIES_A_TURN]
            if not await self._take_unchanged(part):
                await self._take_each(part)
            await asyncio.sleep(0)

    async def _take_unchanged(self, identities: Sequence[Identity]) -> bool:
        """Take rows that all are as the list before had them, and were not given before; whether they were that."""
        uids = [one.uid for one in identities]
        if not self._is_plain or [*map(self._known.rows.get, uids)] != identities or not self._seen.isdisjoint(uids):
            return False
        before = len(self._seen)
        self._seen.update(uids)
        if len(self._seen) != before + len(uids):  # one twice among them
            self._seen.difference_update(uids)
            return False
        if not self._differs:
            self._pending += [ListedRow(one.namespace, one.name, one.uid, one.version, b"") for one in identities]
            if len(self._pending) >= CHUNK_ROWS:
                await self._flush()
        return True

    def _is_known(self, found: Identity) -> bool:
        return bool(found.uid and found.version) and self._known.rows.get(found.uid) == found

    async def _take_each(self, identities: Sequence[Identity]) -> None:
        for found in identities:
            uid, version = found.uid, found.version
            if self._is_known(found):
                await self._add(ListedRow(found.namespace, found.name, uid, version, b""))
            else:
                uid = uid or f"{found.namespace}/{found.name}"
                version = version if is_valid(version) else ""
                self.lacking.append(ListedRow(found.namespace, found.name, uid, version, b""))

    async def complete(self, found: Iterable[ListedRow]) -> None:
        """What was ``lacking``, as far as it was found."""
        for row in found:
            await self._add(row)

    async def finish(self) -> None:
        """Say what has gone, and store the last chunk."""
        if self._differs:
            known = self._known.rows
            moved = [uid for uid, row in self._changed.items() if uid in known and _key(row) != _key(known[uid])]
            for uid in (*self._gone(), *moved):
                await self._put(ListedRow(*_key(known[uid]), uid, known[uid].version, b"", gone=True))
        await self._flush()

    async def _add(self, row: ListedRow) -> None:
        if row.uid in self._seen or (not row.name and row.namespace in self._nameless):
            # No server gives two objects one identity; a table that held both could never be proven.
            self._codec.malformed += 1
            return
        if not row.name:
            self._nameless.add(row.namespace)
        self._is_plain = self._is_plain and bool(row.name and row.version)
        self._seen.add(row.uid)
        found = Identity(row.name, intern(row.namespace), row.uid, row.version)
        is_changed = self._known.rows.get(row.uid) != found
        if is_changed:
            self._changed[row.uid] = found
        if is_changed or row.record or row.newer or not self._differs:
            await self._put(row)

    async def _put(self, row: ListedRow) -> None:
        self._pending.append(row)
        self._pending_bytes += len(row.record) + len(row.newer)
        self._spare += self._differs or bool(row.record or row.newer)
        if len(self._pending) >= CHUNK_ROWS or self._pending_bytes >= chunks.TARGET_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        if self._pending:
            packed = chunks.pack(self._pending, self._codec.compressor, self._schema)
            await self._writer.put_chunk(self.name, self.chunks, packed)
            self.chunks += 1
            self._pending, self._pending_bytes = [], 0


def _key(row: Identity) -> tuple[str, str]:
    return row.namespace, row.name
