"""Rows of one table over several hash slots of a Redis Cluster, for a resource that outgrows one.

A script cannot write to two slots, so the log in shard 0 goes first: one step there checks the fence and writes the
changes and the head, and says up to which change the rows were in their shards before (``applied``). Then the rows
follow, each shard in one step of its own that takes it from the change where it stood to the newest: run and number
fit, or it refuses. So no shard is ever ahead of the log, none skips a change, and what a writer left half done the
next one finishes out of the log. A reader applies the changes from ``applied`` on to whatever rows it read meanwhile,
and believes the result only when it has the digest of the head, as with one shard.

No fence is needed where the rows go: what a late writer might still put there is what the log says, or is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from krm.errors import OutOfStep
from krm.store import scripts
from krm.store.connect import translated
from krm.store.head import Head
from krm.store.keys import Keys
from krm.store.reading import Change, TableStore, shard_of, spread

if TYPE_CHECKING:
    from krm.store.writing import Operation

FINISHED_MOST: Final = 1_024
"""Changes that a shard may lack (a step holds 256): one that lacks more lost its data, and the table is built anew."""


class Shards:
    """Writes the rows of a table that lies in ``count`` shards."""

    def __init__(self, table: TableStore, count: int) -> None:
        self.count = count
        self._table = table

    def _keys(self, number: int) -> list[str]:
        keys: Keys = self._table.shard(number)
        return [keys.applied, keys.objects]

    async def clear(self, run: str, *, before: int) -> None:
        """Empty every shard for a new life of the table; ``before``: how many there were until now."""
        several = self.count if self.count > 1 else 0
        await _all(self._table.store.run(scripts.CLEAR, self._keys(n), [run]) for n in range(several))
        for number in range(several, before if before > 1 else 0):
            with translated():
                await self._table.store.client.unlink(*self._keys(number))

    async def before(self, operations: Sequence[Operation]) -> list[bytes]:
        """The record that each of ``operations`` finds; empty for none."""
        changed = {o.uid for o in operations if o.kind in ("ADDED", "MODIFIED", "DELETED")}
        parts = list(spread(changed, self.count).items())
        read = await _all(self._read(number, uids) for number, uids in parts)
        records = {uid: record or b"" for found in read for uid, record in found}
        found = []
        for operation in operations:
            found.append(records.get(operation.uid, b""))
            if operation.uid in records:
                records[operation.uid] = b"" if operation.kind == "DELETED" else operation.record
        return found

    async def _read(self, number: int, uids: list[str]) -> list[tuple[str, bytes | None]]:
        with translated():
            records = await self._table.store.client.hmget(self._table.shard(number).objects, uids)
        return list(zip(uids, records, strict=True))

    async def place(self, run: str, before: int, after: int, operations: Iterable[Operation]) -> None:
        """Bring the rows of every shard from change ``before`` to ``after``. Raises ``OutOfStep``."""
        steps: list[list[Any]] = [[] for _ in range(self.count)]
        for operation in operations:
            if operation.kind != "DRIFT":
                is_gone = operation.kind == "DELETED"
                steps[shard_of(operation.uid, self.count)] += [operation.uid, b"" if is_gone else operation.record]
        await _all(self._place(number, run, before, after, steps[number]) for number in range(self.count))

    async def _place(self, number: int, run: str, before: int, after: int, rows: list[Any]) -> None:
        await self._table.store.run(scripts.PLACE, self._keys(number), [run, before, after, *rows])

    async def finish(self, head: Head) -> bool:
        """Do what the writer before left undone; False where the shards are not those of ``head``."""
        stand = await _all(self._table.store.run(scripts.STAND, self._keys(n), []) for n in range(self.count))
        at = [int(seq) if run.decode() == head.run and seq.isdigit() else -1 for run, seq in stand]
        if min(at) < max(0, head.seq - FINISHED_MOST) or max(at) > head.seq:
            return False
        changes = await self._newest(head, head.seq - min(at))
        if changes is None:
            return False
        try:
            for number, seq in enumerate(at):
                mine = [c for c in changes if c.seq > seq and shard_of(c.uid, self.count) == number]
                rows = [part for c in mine for part in (c.uid, b"" if c.type == "DELETED" else c.record)]
                await self._place(number, head.run, seq, head.seq, rows)
        except OutOfStep:
            return False
        return True

    async def _newest(self, head: Head, count: int) -> list[Change] | None:
        """The last ``count`` changes, oldest first; None where they are not all there."""
        changes = await self._table.newest_changes(count)
        expected = list(range(head.seq - count + 1, head.seq + 1))
        return changes if [change.seq for change in changes] == expected else None


async def _all(steps: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All side by side; none goes on when another's error is raised."""
    done = await asyncio.gather(*steps, return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return done
