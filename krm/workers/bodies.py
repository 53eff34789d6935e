"""The bodies that a list of metadata lacks: found in the table, else waited for, else read one by one.

Most objects that changed since the list before are in the table already, as the stream told of them. What the stream
has not told when it has passed the list, or when patience ends, is read by itself. Such an object may have moved on
meanwhile: then its newer state goes along. Or it may be gone: then nothing does, and stream or next list decide.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from krm import errors
from krm.kube import reading
from krm.kube.connect import Cluster
from krm.objects.versions import is_valid, newer
from krm.resources import Resource
from krm.store.chunks import ListedRow
from krm.store.reading import TableStore
from krm.store.rows import Codec

PATIENCE_S: Final = 2.0
"""How long events that explain a difference may still be on their way."""
LOOK_S: Final = 0.1
LOOKED_AT_PER_S: Final = 5_000
"""Rows: where many are left, they are looked at less often."""
AT_ONCE: Final = 500
"""Rows read from Redis in one step."""
READS_AT_ONCE: Final = 8
READS_LEAST: Final = 100
READS_SHARE: Final = 0.05
"""Of a list at most this part, or ``READS_LEAST``, is read object by object: beyond it a whole list is cheaper."""


class TooManyError(Exception):
    """So many objects differ that a list of whole objects costs less."""


class Bodies:
    """Finds what lists of metadata of one resource lack."""

    def __init__(self, resource: Resource, table: TableStore, cluster: Cluster, codec: Codec) -> None:
        self._resource = resource
        self._table = table
        self._cluster = cluster
        self._codec = codec

    async def found(
        self, scope: str, epoch: str, listed_at: str, lacking: Sequence[ListedRow], *, rows: int
    ) -> list[ListedRow]:
        """``lacking`` rows of a list at ``listed_at`` of ``rows`` rows, with their records where the table needs them.

        Raises ``TooManyError``, and what a read of an object raises.
        """
        left = {row.uid: row for row in lacking}
        deadline = time.monotonic() + PATIENCE_S
        while left:
            is_last = time.monotonic() >= deadline or await self._has_passed(scope, epoch, listed_at)
            await self._strike(left, listed_at)
            if is_last:
                break
            await asyncio.sleep(LOOK_S + len(left) / LOOKED_AT_PER_S)
        if len(left) > max(READS_LEAST, int(rows * READS_SHARE)):
            raise TooManyError(f"{len(left)} of {rows} objects differ")
        wanted = list(left.values())
        for start in range(0, len(wanted), READS_AT_ONCE):
            part = map(self._read, wanted[start : start + READS_AT_ONCE])
            for read in await asyncio.gather(*part, return_exceptions=True):
                if isinstance(read, BaseException):
                    raise read
                left[read.uid] = read
        return [left.get(row.uid, row) for row in lacking]

    async def _has_passed(self, scope: str, epoch: str, listed_at: str) -> bool:
        """Whether everything that the stream had to tell up to the list is in the table."""
        head = await self._table.head()
        stands = [one for one in head.scopes if one.scope == scope and one.epoch == epoch] if head else []
        return bool(stands) and not newer(listed_at, stands[0].window_end)

    async def _strike(self, left: dict[str, ListedRow], listed_at: str) -> None:
        """Take out of ``left`` what the table has, at the listed version or at one behind the list."""
        uids = list(left)
        for start in range(0, len(uids), AT_ONCE):
            part = uids[start : start + AT_ONCE]
            for uid, record in zip(part, await self._table.records_of(part), strict=True):
                if record is None:
                    continue
                try:
                    version = self._codec.identity(record).version
                except (errors.CorruptData, errors.UnknownFormat):
                    continue
                if version == left[uid].version or (is_valid(version) and newer(version, listed_at)):
                    del left[uid]
            await asyncio.sleep(0)

    async def _read(self, row: ListedRow) -> ListedRow:
        if not {"", ".", ".."}.isdisjoint((*row.name.split("/"), row.namespace or "-")):
            return row  # no API server has such an object, and its path would lead elsewhere
        path = f"{self._resource.path(row.namespace)}/{row.name}"
        try:
            found = self._codec.encode(await reading.get(self._cluster, path))
        except errors.NotFound:
            return row
        if (found.uid, found.version) == (row.uid, row.version):
            return msgspec.structs.replace(row, record=found.record)
        return msgspec.structs.replace(row, newer=found.record) if newer(found.version, row.version) else row
