"""What the read side asks of Redis, for one resource: the head, the records, the changes, what the workers say.

Only plain read commands, so that the API's Redis user needs no right to write or to run scripts.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from krm.errors import CorruptData, UnknownFormat
from krm.resources import Resource
from krm.store import envelope
from krm.store import head as heads
from krm.store.connect import Store, translated
from krm.store.head import DriftLine, Head, ListHead, WorkerStatus
from krm.store.keys import Keys

logger = logging.getLogger(__name__)

SLICE: Final = 1_000
"""Records in one slice of a load."""
FOREIGN: Final = "?"
"""Type of an entry among the changes that no aggregator wrote. It can be passed over: changes are numbered."""
ROLES: Final = ("streamer", "verifier", "aggregator", "collector")


class Change(NamedTuple):
    """One step of a table: the record of the row after it and before it."""

    id: str
    """Id in the stream; its first part is Redis' time of it, in ms."""
    seq: int
    type: str
    """ADDED, MODIFIED, DELETED, or ``FOREIGN``."""
    uid: str
    version: str
    record: bytes
    """The row after the change; of a deletion the last known state."""
    previous: bytes
    """The row before; empty for an addition."""
    unseen: bool
    """A deletion that a list found: the final state was not seen."""

    @property
    def at_ms(self) -> int:
        """Redis' time of the change."""
        return int(self.id.split("-", 1)[0])


class TableStore:
    """One resource's data in Redis, for reading. Every call raises ``StoreError``; none waits for ever."""

    def __init__(self, store: Store, cluster: str, resource: Resource) -> None:
        self.store = store
        self.cluster = cluster
        self.resource = resource
        self.keys = Keys.of(cluster, resource)
        self.shards: int | None = None
        """Over how many shards the rows are spread, as the head said that was read last."""
        self._redis: Any = store.client

    async def head(self) -> Head | None:
        """The head of the aggregated table, None before the first."""
        with translated():
            head = heads.table_head(await self._redis.hgetall(self.keys.table))
        if head is not None:
            self.shards = head.shards
        return head

    async def _shards_known(self) -> int:
        if self.shards is None:
            await self.head()
        return self.shards or 1

    def shard(self, number: int) -> Keys:
        """The keys of a shard."""
        return self.keys.shard(number)

    async def now_ms(self) -> int:
        """Redis' clock: the one clock that ages are told by."""
        seconds, micros = await self.store.time(self.keys.table)
        return seconds * 1000 + micros // 1000

    async def statuses(self) -> Mapping[str, WorkerStatus]:
        """What each worker said last, by role."""
        with translated():
            data = await self._redis.hgetall(self.keys.status)
        return {
            role: heads.worker_status(data[role.encode()], data.get(f"{role}:at".encode(), b"0"))
            for role in ROLES
            if role.encode() in data
        }

    async def list_heads(self) -> Mapping[str, ListHead]:
        """Headers of the verified lists, by scope."""
        with translated():
            data = await self._redis.hgetall(self.keys.verified)
        return {scope.decode(): heads.list_head(text) for scope, text in data.items()}

    async def last_list(self) -> str:
        """Id of the newest entry of the stream that tells of installed lists, "0-0" for none."""
        with translated():
            newest = await self._redis.xrevrange(self.keys.lists, count=1)
        return newest[0][0].decode() if newest else "0-0"

    async def next_list(self, after: str, *, block_ms: int) -> str:
        """The id of the newest installed list, waiting at most ``block_ms`` for one behind ``after``."""
        with translated():
            found = entries(await self._redis.xread({self.keys.lists: after}, block=block_ms), self.keys.lists)
        return found[-1][0].decode() if found else after

    async def chunk(self, listing: str, number: int) -> bytes:
        """A chunk of a verified list. Raises ``CorruptData`` where it is gone."""
        with translated():
            data = await self._redis.get(self.keys.chunk(listing, number))
        if data is None:
            raise CorruptData(f"chunk {number} of list {listing} is gone")
        return bytes(data)

    async def records(self) -> AsyncIterator[list[tuple[str, bytes]]]:
        """(uid, record) of every row, in slices, while changes go on: apply the changes since to get a table."""
        cursor = 0
        while True:
            cursor, part = await self.records_from(cursor)
            yield part
            if cursor == 0:
                return

    async def records_from(self, cursor: int, *, count: int = SLICE) -> tuple[int, list[tuple[str, bytes]]]:
        """One slice of ``records`` (some ``count``), and where the next begins; 0 is the beginning, and the end."""
        shards = await self._shards_known()
        place, number = divmod(cursor, shards)
        with translated():
            following, fields = await self._redis.hscan(self.shard(number).objects, place, count=count)
        after = int(following) * shards + number if int(following) else (number + 1) % shards
        return after, [(uid.decode("utf-8", "replace"), record) for uid, record in fields.items()]

    async def records_of(self, uids: Sequence[str]) -> list[bytes | None]:
        """The records of some rows; None for each that is not there."""
        found: dict[str, bytes | None] = {}
        for number, part in spread(uids, await self._shards_known()).items():
            with translated():
                records = await self._redis.hmget(self.shard(number).objects, part)
            found.update(zip(part, records, strict=True))
        return [found[uid] for uid in uids]

    async def last_change(self) -> str:
        """Id of the newest change, "0-0" for none."""
        with translated():
            newest = await self._redis.xrevrange(self.keys.changes, count=1)
        return newest[0][0].decode() if newest else "0-0"

    async def oldest_change(self) -> str | None:
        """Id of the oldest change that is kept."""
        with translated():
            oldest = await self._redis.xrange(self.keys.changes, count=1)
        return oldest[0][0].decode() if oldest else None

    async def changes(self, after: str, *, block_ms: int = 0, count: int = SLICE) -> list[Change]:
        """Changes behind ``after``, oldest first; waits at most ``block_ms`` for one (0: does not wait)."""
        with translated():
            found = await self._redis.xread({self.keys.changes: after}, count=count, block=block_ms or None)
        return [_change(identifier, fields) for identifier, fields in entries(found, self.keys.changes)]

    async def newest_changes(self, count: int) -> list[Change]:
        """The last ``count`` changes, oldest first."""
        if not count:
            return []
        with translated():
            found = await self._redis.xrevrange(self.keys.changes, count=count)
        return [_change(identifier, fields) for identifier, fields in reversed(found)]

    async def changes_between(self, first: str, last: str, *, count: int = SLICE) -> list[Change]:
        """Changes from ``first`` to ``last``, both inclusive; "-" and "+" are the ends, "(" excludes."""
        with translated():
            found = await self._redis.xrange(self.keys.changes, first, last, count=count)
        return [_change(identifier, fields) for identifier, fields in found]

    async def drift(self, before: str = "+", *, count: int = SLICE) -> list[DriftLine]:
        """What verification corrected, newest first; ``before`` is an id ("(" in front excludes it)."""
        with translated():
            found = await self._redis.xrevrange(self.keys.drift, before, "-", count=count)
        return [heads.drift_line(identifier.decode(), fields.get(b"d", b"")) for identifier, fields in found]

    async def drift_count(self) -> int:
        """How many lines of drift are kept."""
        with translated():
            return int(await self._redis.xlen(self.keys.drift))

    async def memory(self) -> tuple[int, int | None]:
        """Bytes that Redis uses, and its bound (None for none). Raises ``StoreRefused`` where the user may not ask."""
        with translated():
            found = await self._redis.info("memory")
        return int(found["used_memory"]), int(found.get("maxmemory", 0)) or None

    async def dictionaries(self) -> tuple[Mapping[int, bytes], int]:
        """Compression dictionaries by id, and the id of the current one (0 for none); damaged ones count as lost."""
        with translated():
            data = await self._redis.hgetall(self.keys.dictionary)
        known: dict[int, bytes] = {}
        for name, sealed in data.items():
            if name != b"current":
                try:
                    known[int(name)] = envelope.unseal(sealed).body
                except (CorruptData, UnknownFormat, ValueError) as error:
                    logger.warning(
                        "a compression dictionary cannot be read",
                        extra={"resource": self.resource.plural, "dictionary": name.decode("utf-8", "replace")},
                        exc_info=error,
                    )
        current = data.get(b"current", b"0")
        return known, int(current) if current.isdigit() and int(current) in known else 0


def spread(uids: Iterable[str], shards: int) -> dict[int, list[str]]:
    """Which of ``uids`` lie in which shard."""
    found: dict[int, list[str]] = {}
    for uid in uids:
        found.setdefault(shard_of(uid, shards), []).append(uid)
    return found


def shard_of(uid: str, shards: int) -> int:
    """The shard of a row; the same in every process and release."""
    return zlib.crc32(uid.encode("utf-8", "replace")) % shards if shards > 1 else 0


def entries(answer: Any, key: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Entries of one stream in an answer to XREAD, whichever protocol it came by."""
    if not answer:
        return []
    if isinstance(answer, dict):
        groups = answer.get(key.encode(), [])
        # RESP3 nests the entries of a stream once more.
        return groups[0] if groups and isinstance(groups[0], list) else groups
    for name, found in answer:
        if name == key.encode():
            return list(found)
    return []


def _change(identifier: bytes, fields: Mapping[bytes, bytes]) -> Change:
    try:
        change = Change(
            id=identifier.decode(),
            seq=int(fields[b"n"]),
            type=fields[b"t"].decode(),
            uid=fields[b"u"].decode(),
            version=fields[b"v"].decode(),
            record=fields[b"r"],
            previous=fields[b"p"],
            unseen=fields[b"x"] == b"1",
        )
    except (KeyError, ValueError):
        change = None
    if change is None or change.type not in ("ADDED", "MODIFIED", "DELETED"):
        return Change(identifier.decode(), 0, FOREIGN, "", "", b"", b"", unseen=False)
    return change
