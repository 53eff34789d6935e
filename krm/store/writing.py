"""What workers write: each role its own keys, under its own fence, by one script per step.

A writer that finds its fence taken (``Fenced``) or the store not as it left it (``OutOfStep``) has written nothing; its
worker starts its pass again from what is stored.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from krm.errors import CorruptData, Fenced, StoreRefused
from krm.objects.versions import is_valid
from krm.store import envelope, scripts
from krm.store import head as heads
from krm.store.compression import Compressor
from krm.store.connect import Store, translated
from krm.store.head import Head, ListHead, WorkerStatus
from krm.store.reading import TableStore, entries
from krm.store.shards import Shards

Role = Literal["streamer", "verifier", "aggregator", "collector"]

LEASE_MS: Final = 5_000
"""How long a writer that has gone silent keeps its right; renewed with every heartbeat."""
CHUNK_LIFE_S: Final = 600
"""Chunks of a list that never got whole vanish after this."""
OLD_CHUNK_LIFE_S: Final = 60
"""Chunks of the list before stay this long for who still reads them."""
REQUESTS_MAX: Final = 64
DRIFT_MAX: Final = 10_000
OWN_KEYS: Final[Mapping[Role, Mapping[str, str]]] = {
    "streamer": {"events": "stream", "position": "hash", "delays": "stream"},
    "verifier": {"verified": "hash", "lists": "stream", "requests": "stream", "dictionary": "hash"},
    "aggregator": {"table": "hash", "objects": "hash", "changes": "stream", "drift": "stream"},
    "collector": {"delays": "stream"},
}
"""The keys that each role looks after, with their types."""
OF_OBJECTS: Final = ("events", "position", "verified", "lists", "objects", "table", "changes", "dictionary")
"""The keys that hold anything of objects."""
OTHER_RULES: Final = "workers with other rules of what is never stored (KRM_REDACT) still write"
UNREADABLE: Final = "?"
"""Type of an entry of the log that is not as a streamer writes it: whatever event it may have been is not known."""
BATCH: Final = 256
"""Operations in one script call: few enough that it holds up nobody."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands in a scope: (W0, W] of an epoch."""

    start: str
    end: str
    epoch: str


class Entry(NamedTuple):
    """One entry of the log of events: type A(dded) M(odified) D(eleted) B(ookmark) G(ap), or ``UNREADABLE``."""

    id: str
    type: str
    scope: str
    epoch: str
    version: str
    received_ms: int
    record: bytes


class Writer(TableStore):
    """The part that all writers share: the fence, the heartbeat, asking for a list."""

    role: Role

    def __init__(self, store: Store, table: TableStore) -> None:
        super().__init__(store, table.cluster, table.resource)
        self.owner = secrets.token_hex(8)
        self.rules: str | None = None
        """By what rules it leaves out what is never stored; None for who stores no objects."""
        self.waits_for = "waiting"
        """Why the right was not given, when it was asked for last."""
        self._holder = ""

    async def _run(self, script: str, keys: Sequence[str], args: Iterable[Any]) -> Any:
        return await self.store.run(script, keys, list(args))

    async def acquire(self, token: str = "") -> float:
        """Take the right to write; 0 when taken, else the seconds for which another instance still holds it.

        ``token``: of a Lease that is ours; who holds the right by a lower one loses it.
        """
        types = {"fence": "hash", "status": "hash", **OWN_KEYS[self.role]}
        keys = [*(getattr(self.keys, name) for name in types), *await self._of_other_rules()]
        rules = "*" if self.rules is None else self.rules
        given, left_ms, *other = await self._run(
            scripts.ACQUIRE, keys, [self.role, self.owner, LEASE_MS, token, rules, *types.values()]
        )
        if not given:
            self.waits_for = OTHER_RULES if any(other) else "waiting"
            return max(float(left_ms) / 1000, 0.05)
        self._holder = f"{self.owner}:{given.decode()}"
        return 0.0

    async def _of_other_rules(self) -> list[str]:
        """Every key that holds anything of objects, where they were stored by other rules than this writer's."""
        if self.rules is None:
            return []
        with translated():
            kind = await self._redis.type(self.keys.fence)
            known = await self._redis.hget(self.keys.fence, "rules") if kind == b"hash" else None
        if (known or b"").decode("utf-8", "replace") == self.rules:
            return []
        try:
            lists = await self.list_heads()
        except (CorruptData, StoreRefused):
            lists = {}  # their chunks are no longer to be found, by anybody
        chunks = [self.keys.chunk(*piece) for head in lists.values() for piece in head.pieces]
        return [*(getattr(self.keys, name) for name in OF_OBJECTS), *chunks]

    async def beat(self, status: WorkerStatus) -> int:
        """Say how this worker is and keep the fence; Redis' time in ms. Raises ``Fenced`` when another has it."""
        standing, now = await self._run(
            scripts.BEAT,
            [self.keys.fence, self.keys.status],
            [self.role, self._holder, LEASE_MS, heads.encode(status)],
        )
        if not standing:
            self._holder = ""
            raise Fenced(f"another {self.role} writes {self.resource.plural} now")
        return int(now)

    async def release(self) -> None:
        """Give the right to write back, so that the next instance need not wait."""
        if self._holder:
            await self._run(scripts.RELEASE, [self.keys.fence], [self.role, self._holder])
            self._holder = ""

    async def ask_for_list(self, *, full: bool, reason: str) -> None:
        """Ask the verifier for a list now; ``full``: with every object's record."""
        fields = {"full": "1" if full else "0", "by": self.role, "reason": reason}
        with translated():
            await self._redis.xadd(self.keys.requests, fields, maxlen=REQUESTS_MAX)

    async def positions(self) -> Mapping[str, Position]:
        """Positions of the stream by scope; what is damaged is no position."""
        with translated():
            data = await self._redis.hgetall(self.keys.position)
        known = {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in data.items()}
        found: dict[str, Position] = {}
        for name, end in known.items():
            what, _, scope = name.partition(":")
            start = known.get(f"start:{scope}", "")
            if what == "end" and is_valid(start) and is_valid(end):
                found[scope] = Position(start, end, known.get(f"epoch:{scope}", ""))
        return found


class EventWriter(Writer):
    """The streamer's: the log of events and the stream's position."""

    role = "streamer"

    async def append(
        self, scope: str, epoch: str, before: str, after: str, most: int, batch: Sequence[tuple[str, str, int, bytes]]
    ) -> int:
        """Append (type, version, received ms, record)s and move the position from ``before`` to ``after``.

        Delay samples go along as ``delays.entry`` makes them; returns how many of them were lost.
        """
        flat: list[Any] = [self._holder, scope, epoch, before, after, most]
        for entry in batch:
            flat.extend(entry)
        keys = [self.keys.fence, self.keys.events, self.keys.position, self.keys.delays]
        return int(await self._run(scripts.APPEND, keys, flat))

    async def trim(self, head: Head, *, most: int = 100) -> int:
        """Drop leading entries that the installed lists have seen; how many went. So few at once hold up nobody."""
        scopes = [part for s in head.scopes for part in (s.scope, s.epoch, s.listed_at)]
        keys = [self.keys.fence, self.keys.events, self.keys.position]
        dropped = await self._run(scripts.TRIM, keys, [self._holder, most, head.cursor, head.verified_at_ms, *scopes])
        return int(dropped)


class ListWriter(Writer):
    """The verifier's: lists in chunks, then one flip."""

    role = "verifier"

    async def put_chunk(self, listing: str, number: int, chunk: bytes) -> None:
        """Store a chunk of a list that is being read; it vanishes by itself if the list never gets whole."""
        with translated():
            await self._redis.set(self.keys.chunk(listing, number), chunk, ex=CHUNK_LIFE_S)

    async def flip(self, head: ListHead) -> None:
        """Make a whole list the installed one of its scope. Raises ``OutOfStep``: a newer one is, a chunk is gone."""
        chunks = [self.keys.chunk(*piece) for piece in head.pieces]
        try:
            before = (await self.list_heads()).get(head.scope)
        except CorruptData:
            before = None  # what it named cannot be told any more
        old = before if before is not None and before.listing != head.listing else None
        replaced = [self.keys.chunk(*piece) for piece in old.pieces] if old else []
        old_chunks = set(replaced).difference(chunks)
        await self._run(
            scripts.FLIP,
            [self.keys.fence, self.keys.verified, self.keys.lists, *chunks, *old_chunks],
            [
                *(self._holder, head.scope, head.epoch, head.listed_at, heads.encode_list_head(head), len(chunks)),
                *(old.listing if old else "", OLD_CHUNK_LIFE_S),
            ],
        )

    async def put_dictionary(self, identifier: int, dictionary: bytes) -> None:
        """Store a compression dictionary and make it the current one."""
        sealed = envelope.seal_plain(dictionary)
        with translated():
            await self._redis.hset(self.keys.dictionary, mapping={str(identifier): sealed, "current": identifier})

    async def restore_dictionaries(self, compressor: Compressor) -> int:
        """Store again what ``compressor`` knows and Redis has lost; how many. Records cannot be read without theirs."""
        stored, _ = await self.dictionaries()
        lost = [identifier for identifier in compressor.dictionaries if identifier not in stored]
        for identifier in sorted(lost, key=lambda one: one == compressor.current):
            await self.put_dictionary(identifier, compressor.dictionaries[identifier])
        return len(lost)

    async def last_request(self) -> str:
        """Id of the newest request, "0-0" for none."""
        with translated():
            newest = await self._redis.xrevrange(self.keys.requests, count=1)
        return newest[0][0].decode() if newest else "0-0"

    async def requests(self, after: str, *, block_ms: int) -> tuple[str, bool, list[str]]:
        """(newest id, whether with every record, who asks and why), of requests behind ``after``."""
        with translated():
            found = await self._redis.xread({self.keys.requests: after}, count=REQUESTS_MAX, block=block_ms)
        asked = entries(found, self.keys.requests)
        reasons = [f"{fields[b'by'].decode()}: {fields[b'reason'].decode()}" for _, fields in asked]
        full = any(fields[b"full"] == b"1" for _, fields in asked)
        return (asked[-1][0].decode() if asked else after), full, reasons


class Operation(NamedTuple):
    """One step of a table: ADDED, MODIFIED, DELETED (a change), PUT (a row of a new table) or DRIFT (a line of it)."""

    kind: str
    uid: str = ""
    version: str = ""
    record: bytes = b""
    rows: int = 0
    """What it adds to the number of rows ..."""
    digest: int = 0
    """... and to their digest."""


class TableWriter(Writer):
    """The aggregator's: rows, changes and head of the table, always in step with each other."""

    role = "aggregator"

    def __init__(
        self, store: Store, table: TableStore, *, events_max: int, retention_s: float, shards: int = 1
    ) -> None:
        super().__init__(store, table)
        self._shards = Shards(self, shards)
        self._events_max = events_max
        self._retention_ms = int(retention_s * 1000)

    async def begin(self) -> str:
        """Withdraw whatever table there is and begin a new life of it; its run."""
        run = secrets.token_hex(8)
        try:
            head = await self.head()
        except CorruptData:
            head = None
        await self._run(
            scripts.BEGIN,
            [self.keys.fence, self.keys.table, self.keys.objects, self.keys.changes],
            [self._holder, run, self._shards.count, self.rules or ""],
        )
        await self._shards.clear(run, before=head.shards if head is not None else 1)
        self.shards = self._shards.count
        return run

    async def resume(self, head: Head) -> bool:
        """Go on with the stored table; False where it cannot be gone on with as it is."""
        if head.shards != self._shards.count or head.rules != (self.rules or ""):
            return False
        return head.shards == 1 or await self._shards.finish(head)

    async def apply(self, head: Head, operations: Sequence[Operation]) -> tuple[int, str, int]:
        """Apply ``operations`` and store ``head`` in one step; (seq, id of the newest change or "", Redis' ms).

        ``head.run`` and ``head.seq`` are those that this writer left. Raises ``Fenced``, ``OutOfStep``.
        """
        fields = [part for pair in heads.head_fields(head).items() for part in pair]
        flat: list[Any] = [self._holder, head.run, head.seq, self._events_max, self._retention_ms, DRIFT_MAX]
        flat += [len(fields), *fields]
        keys = self.keys
        if self._shards.count > 1:
            before = await self._shards.before(operations)
            for operation, record in zip(operations, before, strict=True):
                flat += (operation.kind, operation.uid, operation.version, operation.record, record)
            seq, change, now = await self._run(scripts.LOG, [keys.fence, keys.table, keys.changes, keys.drift], flat)
            await self._shards.place(head.run, head.seq, int(seq), operations)
            return int(seq), change.decode(), int(now)
        for operation in operations:
            flat += (operation.kind, operation.uid, operation.version, operation.record)
        seq, change, now = await self._run(
            scripts.APPLY, [keys.fence, keys.table, keys.objects, keys.changes, keys.drift], flat
        )
        return int(seq), change.decode(), int(now)

    async def follow(self, cursor: str, lists: str, *, block_ms: int, count: int) -> tuple[list[Entry], str]:
        """(events behind ``cursor``, newest id of the stream ``lists``); waits at most ``block_ms`` for either."""
        with translated():
            found = await self._redis.xread(
                {self.keys.events: cursor, self.keys.lists: lists}, count=count, block=block_ms or None
            )
        installed = entries(found, self.keys.lists)
        return [_entry(*e) for e in entries(found, self.keys.events)], installed[-1][0].decode() if installed else lists

    async def oldest_event(self) -> str | None:
        """Id of the oldest event that is kept."""
        with translated():
            oldest = await self._redis.xrange(self.keys.events, count=1)
        return oldest[0][0].decode() if oldest else None


def _entry(identifier: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    try:
        entry = Entry(
            id=identifier.decode(),
            type=fields[b"t"].decode(),
            scope=fields[b"s"].decode(),
            epoch=fields[b"e"].decode(),
            version=fields[b"v"].decode(),
            received_ms=int(fields[b"a"]),
            record=fields[b"r"],
        )
    except (KeyError, ValueError):
        entry = None
    if entry is None or entry.type not in ("A", "M", "D", "B", "G") or not is_valid(entry.version):
        return Entry(identifier.decode(), UNREADABLE, "", "", "", 0, b"")
    return entry
