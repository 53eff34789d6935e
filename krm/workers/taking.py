"""A list that is being read: its rows go into chunks that nobody sees, page by page, and are never all held at once.

What is held of all of them is uid and version, to tell the next list's changes, and rows that were given twice.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from krm.kube.listing import Identity
from krm.objects.versions import is_valid
from krm.store import chunks, rows
from krm.store.chunks import ListedRow
from krm.store.rows import Codec
from krm.store.writing import ListWriter

CHUNK_ROWS: Final = 1_000
ITEMS_A_TURN: Final = 50
"""Whole objects that are looked at before the event loop may run something else ..."""
IDENTITIES_A_TURN: Final = 500
"""... and identities: a millisecond or two of either."""


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
    """uid -> version of the list before, and the digest of them; nothing where every record must be sent anew."""

    def __init__(self, name: str = "", versions: Mapping[str, str] | None = None, digest: int = 0) -> None:
        self.name = name
        self.versions = versions or {}
        self.digest = digest


class Taking:
    """Takes one list in."""

    def __init__(self, writer: ListWriter, codec: Codec, known: Known) -> None:
        self.name = secrets.token_hex(8)
        self.versions: dict[str, str] = {}
        """uid -> version of every row"""
        self.lacking: list[ListedRow] = []
        """Rows of which only the identity is known, and not from the list before."""
        self.chunks = 0
        self._writer = writer
        self._codec = codec
        self._schema = rows.schema(codec.resource)
        self._known = known
        self._unchanged = 0
        self._digest = 0
        """Of the rows that are not as they were in the list before."""
        self._nameless: set[str] = set()
        """Namespaces of which a row without a name is among them."""
        self._pending: list[ListedRow] = []
        self._pending_bytes = 0

    @property
    def digest(self) -> int:
        """Of all rows: that of the list before, less what has gone or changed since, and what has come or changed."""
        known = self._known.versions
        total = self._digest
        if self._unchanged:
            other = known.items() - self.versions.items() if self._unchanged < len(known) else ()
            total += self._known.digest - sum(rows.digest(uid, version) for uid, version in other)
        return total % rows.DIGEST_MODULUS

    async def take(self, items: Sequence[bytes]) -> None:
        """Whole objects; the record of each that the list before did not have at this version goes along."""
        for number, item in enumerate(items):
            found = _identity(item)
            if found.uid and found.version and self._known.versions.get(found.uid) == found.version:
                await self._add(ListedRow(found.namespace, found.name, found.uid, found.version, b""))
            else:
                row = self._codec.encode(item)
                await self._add(ListedRow(row.namespace, row.name, row.uid, row.version, row.record))
            if number % ITEMS_A_TURN == ITEMS_A_TURN - 1:
                await asyncio.sleep(0)

    async def take_identities(self, identities: Sequence[Identity]) -> None:
        """Identities alone; those that the list before did not have are ``lacking``, to be taken with ``complete``."""
        for start in range(0, len(identities), IDENTITIES_A_TURN):
            part = identities[start : start + IDENTITIES_A_TURN]
            versions = {found.uid: found.version for found in part}
            if self._are_known(part, versions):
                self.versions.update(versions)
                self._unchanged += len(part)
                self._pending += [ListedRow(one.namespace, one.name, one.uid, one.version, b"") for one in part]
                if len(self._pending) >= CHUNK_ROWS:
                    await self._flush()
            else:
                await self._take_each(part)
            await asyncio.sleep(0)

    def _are_known(self, identities: Sequence[Identity], versions: Mapping[str, str]) -> bool:
        """Whether all are as the list before had them, and none was given before."""
        return (
            len(versions) == len(identities)
            and versions.items() <= self._known.versions.items()
            and versions.keys().isdisjoint(self.versions)
            and "" not in versions
            and all(one.version and one.name for one in identities)
        )

    async def _take_each(self, identities: Sequence[Identity]) -> None:
        known = self._known.versions
        for found in identities:
            uid, version = found.uid, found.version
            if uid and version and known.get(uid) == version:
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
        """Store the last chunk."""
        await self._flush()

    async def _add(self, row: ListedRow) -> None:
        if row.uid in self.versions or (not row.name and row.namespace in self._nameless):
            # No server gives two objects one identity; a table that held both could never be proven.
            self._codec.malformed += 1
            return
        if not row.name:
            self._nameless.add(row.namespace)
        self.versions[row.uid] = row.version
        if self._known.versions.get(row.uid) == row.version:
            self._unchanged += 1
        else:
            self._digest += rows.digest(row.uid, row.version)
        self._pending.append(row)
        self._pending_bytes += len(row.record) + len(row.newer)
        if len(self._pending) >= CHUNK_ROWS or self._pending_bytes >= chunks.TARGET_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        if self._pending:
            packed = chunks.pack(self._pending, self._codec.compressor, self._schema)
            await self._writer.put_chunk(self.name, self.chunks, packed)
            self.chunks += 1
            self._pending, self._pending_bytes = [], 0
