"""What installing a list makes of the books, whatever happens while it is read."""

from __future__ import annotations

import json
from collections import deque

from krm.merge import Event, State
from krm.resources import PODS
from krm.store import chunks
from krm.store.chunks import ListedRow
from krm.store.head import ListHead
from krm.store.rows import DIGEST_MODULUS, Codec, digest, schema
from krm.store.writing import Operation
from krm.workers.installing import Installer
from krm.workers.ledger import Ledger
from tests.unit.workers.aggregation import EPOCH, SCOPE

STAYS, GHOST = ("n", "stays"), ("n", "ghost")


class Chunks:
    """A writer that gives the chunk it has."""

    def __init__(self, chunk: bytes) -> None:
        self._chunk = chunk

    async def chunk(self, listing: str, number: int) -> bytes:
        assert (listing, number) == ("two", 0)
        return self._chunk


def record(codec: Codec, name: str, uid: str, version: str) -> bytes:
    metadata = {"name": name, "namespace": "n", "uid": uid, "resourceVersion": version}
    return codec.encode(json.dumps({"metadata": metadata}).encode()).record


async def test_events_that_are_folded_by_what_was_read_by_itself_are_held_against_the_list() -> None:
    """The list is told by what differs, and says nothing of an object that came and went since the one before."""
    codec, ledger = Codec(PODS), Ledger(events_max=4)
    book, told = ledger.book(SCOPE), deque[Operation]()
    book.epoch = EPOCH
    before = {STAYS: State("s", "5")}
    ledger.install(SCOPE, before, "10", EPOCH, listing="one", listed_digest=digest("s", "5"))
    ledger.reconcile(SCOPE, iter([STAYS]), {STAYS: record(codec, "stays", "s", "5")}, None, 9)
    ledger.event(SCOPE, GHOST, Event("g", "11", False), record(codec, "ghost", "g", "11"))
    for version in ("12", "13"):
        ledger.event(SCOPE, STAYS, Event("s", version, False), record(codec, "stays", "s", version))

    rows = [ListedRow(*STAYS, "s", "14", b"", newer=record(codec, "stays", "s", "25"))]
    head = ListHead(
        listing="two",
        scope=SCOPE,
        epoch=EPOCH,
        listed_at="20",
        started_ms=1,
        took_s=0.0,
        rows=1,
        chunks=1,
        digest=str(digest("s", "14") % DIGEST_MODULUS),
        since="one",
        base="one",
    )
    writer = Chunks(chunks.pack(rows, codec.compressor, schema(PODS)))
    installer = Installer(ledger, writer, codec, {})  # type: ignore[arg-type]

    async def keep_up() -> None:
        """Nothing comes."""

    install = await installer.prepare(head, lambda: 0, keep_up, told.extend)

    assert book.merged.folded_to == "12"  # by the fourth event
    assert install is not None
    ledger.reconcile(SCOPE, iter(install.keys), install.records, install.prediction, 9)
    assert book.published == {STAYS: State("s", "25")}
