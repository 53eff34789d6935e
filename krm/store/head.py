"""Headers: what the writers say of their data, and readers check before they believe it.

Those that say how true the rows are (of a list, of the table) carry a checksum of what their writer put into them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from krm.errors import CorruptData
from krm.objects import versions

MAX_SHARDS: Final = 64


class ListHead(msgspec.Struct, frozen=True, kw_only=True):
    """Header of one whole, consistent list of a scope."""

    listing: str
    """Random name of this list; part of the names of its chunks."""
    scope: str
    epoch: str
    listed_at: str
    """L: the version that all its pages have."""
    started_ms: int
    """Redis time before the first page was asked for: every write acknowledged before is in it."""
    took_s: float
    rows: int
    chunks: int
    digest: str
    """Sum of the rows' digests modulo 2**64, as decimal digits."""
    since: str
    """Name of the list before, whose rows' records are not repeated here; empty when every record is here."""
    base: str = ""
    """Name of the list before, where the chunks hold only what differs from it; empty when every row is here."""
    below: tuple[tuple[str, int], ...] = ()
    """(name, number of chunks) of the lists that ``base`` is told by, oldest first, but for those without."""
    sum: str = ""
    """Of all the others; set where it is stored."""

    @property
    def pieces(self) -> list[tuple[str, int]]:
        """(name of a list, number of a chunk) of all that tell every row, in the order in which they are to be read."""
        below = [(name, number) for name, count in self.below for number in range(count)]
        return [*below, *self.own_pieces]

    @property
    def own_pieces(self) -> list[tuple[str, int]]:
        """Those that tell what differs from ``base``, or every row where there is none."""
        return [(self.listing, number) for number in range(self.chunks)]


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """What the stream had not told, found by verification since the table's run began."""

    added: int = 0
    modified: int = 0
    deleted: int = 0
    ghosts: int = 0


class ScopeHead(msgspec.Struct, frozen=True, kw_only=True):
    """Where one scope of the table stands."""

    scope: str
    epoch: str
    listing: str
    listed_at: str
    """L"""
    verified_at_ms: int
    took_s: float
    window_start: str
    """W0"""
    window_end: str
    """W"""
    contiguous: bool
    complete_to: str = ""
    """C when list and stream met last: a gap takes nothing back of what was in the table before it."""

    @property
    def complete_at(self) -> str:
        """C: every change up to this version is in the rows; some of them may be newer already."""
        return versions.latest(self.window_end if self.contiguous else self.complete_to, self.listed_at)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Header of the aggregated table."""

    run: str
    """Random name of this life of the table."""
    seq: int
    change: str
    """Id of the newest entry of ``changes``; "0-0" before the first."""
    state: Literal["building", "ready"]
    rows: int
    digest: int
    epoch: str
    scopes: tuple[ScopeHead, ...]
    missed: Missed
    at_ms: int
    cursor: str = "0-0"
    """Id of the newest entry of ``events`` that is in the table."""
    last_event_ms: int | None
    """When the newest event or bookmark was received (Redis' clock), of the scope that heard nothing for longest; None
    before each has heard something."""
    rules: str = ""
    """By what rules its rows lack what is never stored: a path of ``KRM_REDACT`` a line."""
    shards: int = 1
    """Over how many shards the rows are spread."""
    applied_seq: int | None = None
    """Of a table over several shards: up to this change the rows are in theirs, ..."""
    applied_change: str | None = None
    """... and its id; rows of one shard are always in step."""

    @property
    def applied(self) -> tuple[int, str]:
        """(seq, id) of the change from which on changes are to be applied to rows that are read from now on."""
        if self.applied_seq is None or self.applied_change is None:
            return self.seq, self.change
        return self.applied_seq, self.applied_change

    @property
    def contiguous(self) -> bool:
        """Whether list and stream meet without a gap, in every scope."""
        return all(scope.contiguous for scope in self.scopes)

    @property
    def resource_version(self) -> str:
        """C of the worst scope."""
        return min((scope.complete_at for scope in self.scopes), key=versions.order, default="")

    @property
    def verified_resource_version(self) -> str:
        """L of the worst scope."""
        return min((scope.listed_at for scope in self.scopes), key=versions.order, default="")

    @property
    def verified_at_ms(self) -> int:
        """When the scope that was verified longest ago was."""
        return min((scope.verified_at_ms for scope in self.scopes), default=0)

    @property
    def took_s(self) -> float:
        """How long the slowest list took."""
        return max((scope.took_s for scope in self.scopes), default=0.0)


class DelaySum(msgspec.Struct, frozen=True, kw_only=True):
    """Delay samples of one sort since the streamer's start, as a histogram."""

    event: str
    basis: str
    count: int
    negative: int
    """Of these, how many came out below zero: a sign that a clock is off by more than is known."""
    sum_s: float
    buckets: tuple[int, ...]
    """How many lie in each of ``krm.store.delays.BUCKETS_S`` and beyond; empty where the basis tells no time."""


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker says of itself; ``at_ms`` is set by Redis when it is written."""

    role: str
    at_ms: int = 0
    state: str = "starting"
    """starting, running, waiting (another instance writes), failing, forbidden, gone, stopped"""
    reason: str | None = None
    connected: bool = False
    """Streamer: a watch is open and alive in every scope."""
    lag_s: float | None = None
    """Streamer: the newest delay of an honest basis, corrected by the skew; None when none came for a while."""
    interval_s: float | None = None
    """Verifier: from one list to the next."""
    requests: int = 0
    """Requests made of the API server since its start."""
    bytes: int = 0
    """Bytes received from the API server since its start."""
    events: int = 0
    restarts: int = 0
    """Streamer: how often a watch had to be opened again for another reason than the server's timeout."""
    malformed: int = 0
    skew_s: float | None = None
    """Streamer: the API server's clock less this machine's, ..."""
    skew_uncertainty_s: float | None = None
    """... and how far off that may be, either way."""
    delays: tuple[DelaySum, ...] = ()
    """Streamer: its delay samples."""
    samples_lost: int = 0
    """Streamer: samples that were pushed out before they were collected."""
    written: int = 0
    """Collector: samples that the delay store has taken, ..."""
    rejected: int = 0
    """... and those that it refused for good."""
    waiting: int = 0
    """Collector: samples in Redis."""


class DriftLine(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a list corrected."""

    id: str = ""
    kind: str
    """MISSED_ADDED, MISSED_MODIFIED, MISSED_DELETED, GHOST"""
    namespace: str
    name: str
    uid: str
    version: str
    at_ms: int
    lived_s: float | None
    """For how long at most the table had been wrong about it."""


_drift_line = msgspec.json.Decoder(DriftLine)
_list_head = msgspec.json.Decoder(ListHead)
_scopes = msgspec.json.Decoder(tuple[ScopeHead, ...])
_missed = msgspec.json.Decoder(Missed)
_status = msgspec.json.Decoder(WorkerStatus)
encode = msgspec.json.Encoder().encode


def list_head(data: bytes) -> ListHead:
    """Decode. Raises ``CorruptData``."""
    try:
        found = _list_head.decode(data)
    except ValueError as error:
        raise CorruptData(f"the header of a verified list does not decode: {error}") from error
    # Of the text as it is: a damaged name of a field would be passed over.
    if found.sum != _sum([data.replace(b'"sum":"%s"' % found.sum.encode(), b'"sum":""')]):
        raise CorruptData("the header of a verified list does not fit its checksum")
    return msgspec.structs.replace(found, sum="")


def encode_list_head(head: ListHead) -> bytes:
    """As it is stored, with its checksum."""
    return encode(msgspec.structs.replace(head, sum=_sum([encode(head)])))


def _sum(parts: Iterable[bytes]) -> str:
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).hexdigest()


def drift_line(identifier: str, data: bytes) -> DriftLine:
    """Decode. Raises ``CorruptData``."""
    try:
        return msgspec.structs.replace(_drift_line.decode(data), id=identifier)
    except ValueError as error:
        raise CorruptData(f"a line of drift does not decode: {error}") from error


def table_head(data: Mapping[bytes, bytes]) -> Head | None:
    """The head out of its hash; None where there is none. Raises ``CorruptData``."""
    if not data:
        return None
    try:
        if data.get(b"state") != b"ready":
            return _building(data)
        if data[b"sum"].decode() != _sum(data[name.encode()] for name in _SUMMED):
            raise CorruptData("the head of the table does not fit its checksum")
        return Head(
            run=data[b"run"].decode(),
            seq=int(data[b"seq"]),
            change=data.get(b"change", b"0-0").decode(),
            state="ready",
            rows=int(data[b"rows"]),
            digest=int(data[b"digest"]),
            epoch=data[b"epoch"].decode(),
            scopes=_scopes.decode(data[b"scopes"]),
            missed=_missed.decode(data[b"missed"]),
            at_ms=int(data[b"at"]),
            cursor=data[b"cursor"].decode(),
            last_event_ms=int(data[b"last_event"]) or None,
            rules=data.get(b"rules", b"").decode(),
            shards=_shards(data),
            applied_seq=int(data[b"applied_seq"]) if b"applied_seq" in data else None,
            applied_change=data[b"applied_change"].decode() if b"applied_change" in data else None,
        )
    except (KeyError, ValueError) as error:
        raise CorruptData(f"the head of the table does not decode: {error!r}") from error


def _building(data: Mapping[bytes, bytes]) -> Head:
    return Head(
        run=data[b"run"].decode(),
        seq=int(data[b"seq"]),
        change=data.get(b"change", b"0-0").decode(),
        state="building",
        rows=0,
        digest=0,
        epoch="",
        scopes=(),
        missed=Missed(),
        at_ms=int(data.get(b"at", 0)),
        last_event_ms=None,
        shards=_shards(data),
    )


def _shards(data: Mapping[bytes, bytes]) -> int:
    count = int(data.get(b"shards", 1))
    if not 1 <= count <= MAX_SHARDS:
        raise CorruptData(f"a table over {count} shards")
    return count


_SUMMED = ("state", "rows", "digest", "epoch", "scopes", "missed", "cursor", "last_event")


def head_fields(head: Head) -> dict[str, bytes]:
    """What a writer stores of ``head``; run, seq, change and time are the script's."""
    fields: dict[str, bytes] = {
        "state": head.state.encode(),
        "rows": b"%d" % head.rows,
        "digest": b"%d" % head.digest,
        "epoch": head.epoch.encode(),
        "scopes": encode(head.scopes),
        "missed": encode(head.missed),
        "cursor": head.cursor.encode(),
        "last_event": b"%d" % (head.last_event_ms or 0),
    }
    return {**fields, "sum": _sum(fields[name] for name in _SUMMED).encode()}


def worker_status(data: bytes, at_ms: bytes | int) -> WorkerStatus:
    """Decode. Raises ``CorruptData``."""
    try:
        return msgspec.structs.replace(_status.decode(data), at_ms=int(at_ms))
    except ValueError as error:
        raise CorruptData(f"a worker's status does not decode: {error}") from error
