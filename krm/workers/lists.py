"""What the workers share about lists: the scopes that are listed, and which lists are installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from krm.objects.redact import Cleaner
from krm.resources import Resource
from krm.settings import Settings
from krm.store.connect import BLOCK_MS
from krm.store.head import ListHead
from krm.store.reading import TableStore
from krm.store.rows import Codec

EVERYWHERE: Final = ""


def scopes(settings: Settings, resource: Resource) -> tuple[str, ...]:
    """What one list and one watch each cover: the namespaces of ``KRM_NAMESPACES``, or everything at once."""
    return settings.namespaces if settings.namespaces and resource.namespaced else (EVERYWHERE,)


def codec(resource: Resource, settings: Settings) -> Codec:
    """The row codec of the workers, which leaves out what is never stored. Raises ``ConfigError``."""
    cleaner = Cleaner(resource, keep_managed_fields=settings.keep_managed_fields, redact=settings.redact)
    return Codec(resource, cleaner)


def rules(settings: Settings) -> str:
    """What decides what is never stored, as it is stored itself: what other rules let through is not gone on with."""
    kept = ("*metadata.managedFields",) if settings.keep_managed_fields else ()
    return "\n".join([*sorted(settings.redact), *kept])


async def learn_dictionaries(rows: Codec, table: TableStore) -> None:
    """Teach ``rows`` the compression dictionaries that are stored."""
    known, current = await table.dictionaries()
    for identifier, dictionary in known.items():
        rows.compressor.add(dictionary, use=identifier == current)


class InstalledLists:
    """The newest installed list of each scope, as seen in Redis."""

    def __init__(self, table: TableStore) -> None:
        self._table = table
        self._heads: dict[str, ListHead] = {}
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        """Keep up with what is installed, until an error."""
        cursor = await self._table.last_list()
        while True:
            heads = await self._table.list_heads()
            async with self._changed:
                self._heads = dict(heads)
                self._changed.notify_all()
            cursor = await self._table.next_list(cursor, block_ms=BLOCK_MS)

    async def first(self, scope: str, wanted: Callable[[ListHead], bool] = lambda head: True) -> ListHead:  # noqa: ARG005
        """The list of ``scope``, once there is one that is ``wanted``."""
        async with self._changed:
            await self._changed.wait_for(lambda: scope in self._heads and wanted(self._heads[scope]))
            return self._heads[scope]
