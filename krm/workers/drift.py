"""What verification corrected, as lines that are stored and counters that are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from krm.store import head as heads
from krm.store.head import DriftLine, Missed
from krm.store.writing import Operation
from krm.workers.ledger import Drift, DriftKind

_COUNTERS: Final = {
    DriftKind.MISSED_ADDED: "added",
    DriftKind.MISSED_MODIFIED: "modified",
    DriftKind.MISSED_DELETED: "deleted",
    DriftKind.GHOST: "ghosts",
}


def counted(missed: Missed, found: Iterable[Drift]) -> Missed:
    """``missed`` with ``found`` added."""
    counts = msgspec.structs.asdict(missed)
    for drift in found:
        counts[_COUNTERS[drift.kind]] += 1
    return Missed(**counts)


def summary(found: Sequence[Drift], most: int = 5) -> dict[str, object]:
    """For the log: how many of each kind, and the first keys."""
    kinds = {kind.value.lower(): number for kind in DriftKind if (number := sum(one.kind is kind for one in found))}
    return {**kinds, "keys": " ".join("/".join(one.key) for one in found[:most]) + (" ..." if found[most:] else "")}


def line(drift: Drift, *, at_ms: int, since_ms: int | None) -> Operation:
    """The stored line: when it was found, and for how long at most the table had been wrong about it."""
    found = DriftLine(
        kind=drift.kind.value,
        namespace=drift.key[0],
        name=drift.key[1],
        uid=drift.uid,
        version=drift.version,
        at_ms=at_ms,
        lived_s=(at_ms - since_ms) / 1000 if since_ms else None,
    )
    return Operation("DRIFT", record=heads.encode(found))
