"""What a replica is held against: that it is the table at a step, whole, and no older than what was answered."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from krm.store.head import Head
from krm.store.rows import DIGEST_MODULUS, Row, digest
from krm.table.replica import Replica

REMEMBERED: Final = 4_096
"""Steps whose digest is remembered: a head that was read may be this far behind the replica."""


class LostError(Exception):
    """The replica can no longer be proven to be the table."""


class NotYetError(LostError):
    """There is no table; nothing was lost, and there is nothing to back off from."""


class Floor(NamedTuple):
    """What was answered: never show what is older."""

    epoch: str = ""
    version: str = ""
    at_ms: int = 0
    """When that was published, by the clock of Redis."""


class Proofs:
    """Digest and row count at the last steps, to hold heads against."""

    def __init__(self) -> None:
        self._at: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def note(self, replica: Replica) -> None:
        """Remember the step at which the replica is."""
        self._at[replica.seq] = (replica.digest, len(replica))
        if len(self._at) > REMEMBERED:
            self._at.popitem(last=False)

    def at(self, seq: int) -> tuple[int, int] | None:
        """(digest, rows) at a step; None for one that is not remembered."""
        return self._at.get(seq)


class Pile:
    """Rows that are being read, and their digest; in no order, without indexes."""

    def __init__(self) -> None:
        self.by_uid: dict[str, Row] = {}
        self.total = 0
        """Sum of their digests."""

    def put(self, uid: str, row: Row) -> None:
        """Lay a row on the pile, in place of the one with its uid."""
        self.drop(uid)
        self.by_uid[uid] = row
        self.total += digest(row.uid, row.version)

    def drop(self, uid: str) -> None:
        """Take the row with that uid away, if it is there."""
        row = self.by_uid.pop(uid, None)
        if row is not None:
            self.total -= digest(row.uid, row.version)

    def prove(self, head: Head) -> None:
        """Raises ``LostError`` unless these are the rows that ``head`` tells of."""
        if len(self.by_uid) != head.rows or self.total % DIGEST_MODULUS != head.digest:
            raise LostError(
                f"what was read is not the table at change {head.seq}: {len(self.by_uid)} rows, not {head.rows}"
            )
