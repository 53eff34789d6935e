"""A list on its way into the table: what has been read of it, and what is left to be brought in. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern

from krm.merge import Key, Prediction, State
from krm.store import rows
from krm.store.chunks import ListedRow
from krm.store.head import ListHead
from krm.workers.ledger import Drift


@dataclass
class Reading:
    """A list, as far as it has been read."""

    listed: Mapping[Key, State] = field(default_factory=dict)
    digest: int = 0
    """Of ``listed``."""
    is_partial: bool = False
    """Whether ``listed`` begins as the list before, of which the chunks tell what differs."""
    records: dict[Key, bytes] = field(default_factory=dict)
    newer: list[bytes] = field(default_factory=list)
    """Records of objects that were read by themselves, behind the list."""
    differing: list[Key] = field(default_factory=list)
    """Keys of which the table had another state; of a partial list all that it names."""
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
                self.differing.append(key)
                continue
            state = published.get(key)
            if state is None or state.version != row.version or state.uid != row.uid:
                self.differing.append(key)
                state = State(row.uid, row.version)
            elif self.is_partial:
                self.differing.append(key)
            listed[key] = state
            total += rows.digest(*state)
            if row.record:
                self.records[key] = row.record
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
    ghosts: Sequence[Drift]
    """Rows that no history explains: the list is of another history, and does not know them."""
