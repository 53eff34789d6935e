"""Headers and names: what writers say, and what damaged headers become."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from krm.errors import CorruptData
from krm.resources import DEPLOYMENTS, PODS
from krm.store import head as heads
from krm.store.head import Head, ListHead, Missed, ScopeHead, WorkerStatus
from krm.store.keys import NAMES, Keys
from krm.store.reading import Change, entries


def scope(name: str, listed_at: str, *, end: str = "", contiguous: bool = True, at_ms: int = 5) -> ScopeHead:
    return ScopeHead(
        scope=name,
        epoch="e",
        listing="l",
        listed_at=listed_at,
        verified_at_ms=at_ms,
        took_s=float(at_ms),
        window_start="1",
        window_end=end,
        contiguous=contiguous,
    )


def head(*scopes: ScopeHead) -> Head:
    return Head(
        run="r",
        seq=3,
        change="7-1",
        state="ready",
        rows=2,
        digest=2**63 + 1,
        epoch="e",
        scopes=scopes,
        missed=Missed(deleted=1),
        at_ms=9,
        cursor="5-0",
        last_event_ms=8,
    )


def stored(one: Head) -> dict[bytes, bytes]:
    """The hash in Redis."""
    fields: dict[str, Any] = {**heads.head_fields(one), "run": one.run, "seq": one.seq, "change": one.change}
    fields["at"] = one.at_ms
    return {name.encode(): value if isinstance(value, bytes) else str(value).encode() for name, value in fields.items()}


@pytest.mark.parametrize(
    ("scopes", "complete", "verified"),
    [
        pytest.param([scope("", "10", end="12")], "12", "10", id="contiguous"),
        pytest.param([scope("", "10", end="9")], "10", "10", id="stream-behind-the-list"),
        pytest.param([scope("", "10", end="12", contiguous=False)], "10", "10", id="gap"),
        pytest.param([scope("a", "100", end="120"), scope("b", "99", end="99")], "99", "99", id="worst-counts"),
        pytest.param([], "", "", id="none"),
    ],
)
def test_versions_of_the_table(scopes: list[ScopeHead], complete: str, verified: str) -> None:
    one = head(*scopes)
    assert (one.resource_version, one.verified_resource_version) == (complete, verified)
    assert one.contiguous == all(s.contiguous for s in scopes)


def test_oldest_verification_and_slowest_list_count() -> None:
    one = head(scope("a", "1", at_ms=7), scope("b", "1", at_ms=5))
    assert (one.verified_at_ms, one.took_s) == (5, 7.0)
    assert (head().verified_at_ms, head().took_s) == (0, 0.0)


def test_head_is_read_back() -> None:
    one = head(scope("", "10", end="12"))
    assert heads.table_head(stored(one)) == one
    assert heads.table_head({}) is None


def test_head_without_an_event_says_so() -> None:
    found = heads.table_head(stored(msgspec.structs.replace(head(scope("", "10")), last_event_ms=None)))
    assert found is not None
    assert found.last_event_ms is None


def test_table_that_is_being_built_has_no_rows_to_show() -> None:
    found = heads.table_head({b"run": b"r", b"seq": b"0", b"state": b"building", b"at": b"5"})
    assert found is not None
    assert (found.state, found.rows, found.scopes, found.at_ms, found.change) == ("building", 0, (), 5, "0-0")


@pytest.mark.parametrize(
    "name", ["run", "seq", "rows", "digest", "epoch", "scopes", "missed", "at", "cursor", "last_event"]
)
@pytest.mark.parametrize("damage", [None, b"\xff", b""], ids=["missing", "junk", "empty"])
def test_damaged_head_is_corrupt(name: str, damage: bytes | None) -> None:
    fields = stored(head(scope("", "10")))
    if damage is None:
        del fields[name.encode()]
    else:
        fields[name.encode()] = damage
    if damage == b"" and name == "run":
        return  # a text, as far as a header can tell
    with pytest.raises(CorruptData):
        heads.table_head(fields)


@pytest.mark.parametrize("place", range(0, 400, 3))
def test_flipped_bit_in_what_the_writer_says_is_corrupt(place: int) -> None:
    fields = stored(head(scope("", "10", at_ms=1_700_000_000_000)))
    text = bytearray(fields[b"scopes"])
    text[place % len(text)] ^= 1 << place % 8
    with pytest.raises(CorruptData):
        heads.table_head({**fields, b"scopes": bytes(text)})
    text = bytearray(heads.encode_list_head(LIST))
    text[place % len(text)] ^= 1 << place % 8
    with pytest.raises(CorruptData):
        heads.list_head(bytes(text))


LIST = ListHead(
    listing="l", scope="", epoch="e", listed_at="5", started_ms=1, took_s=0.5, rows=1, chunks=1, digest="7", since=""
)


def test_other_headers_are_read_back() -> None:
    assert heads.list_head(heads.encode_list_head(LIST)) == LIST
    status = WorkerStatus(role="verifier", state="running", interval_s=30.0)
    assert heads.worker_status(heads.encode(status), b"9").at_ms == 9
    line = heads.DriftLine(kind="GHOST", namespace="n", name="x", uid="u", version="1", at_ms=3, lived_s=None)
    assert heads.drift_line("5-0", heads.encode(line)).id == "5-0"


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'{"role":5}', b"\xff", b'{"kind":"\xff"}'], ids=repr)
def test_other_damaged_headers_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptData):
        heads.list_head(data)
    with pytest.raises(CorruptData):
        heads.drift_line("1-0", data)
    with pytest.raises(CorruptData):
        heads.worker_status(data, 0)


def test_heartbeat_at_no_time_is_corrupt() -> None:
    with pytest.raises(CorruptData):
        heads.worker_status(heads.encode(WorkerStatus(role="verifier")), b"soon")


# Names of the keys.


def test_keys_follow_the_contract() -> None:
    pods = Keys.of("prod", PODS)
    assert pods.events == "krm:1:{prod/core/v1/pods#0}:events"
    assert pods.chunk("abc", 3) == "krm:1:{prod/core/v1/pods#0}:verified:abc:3"
    assert Keys.of("prod", DEPLOYMENTS, 2).table == "krm:1:{prod/apps/v1/deployments#2}:table"


def test_every_key_of_a_resource_has_its_own_name_in_one_slot() -> None:
    pods = Keys.of("c", PODS)
    names = [getattr(pods, name) for name in NAMES]
    assert len(set(names)) == len(NAMES)
    assert {name[name.index("{") : name.index("}")] for name in names} == {"{c/core/v1/pods#0"}


def test_key_that_is_none_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = Keys.of("c", PODS).nonsense


# Answers to XREAD.

ENTRY = (b"1-0", {b"f": b"v"})


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (None, []),
        ([], []),
        ({}, []),
        ([[b"k", [ENTRY]]], [ENTRY]),
        ([[b"other", [ENTRY]]], []),
        ({b"k": [ENTRY]}, [ENTRY]),
        ({b"k": [[ENTRY]]}, [ENTRY]),
        ({b"other": [ENTRY]}, []),
    ],
)
def test_entries_of_a_stream_by_either_protocol(answer: object, found: list[object]) -> None:
    assert entries(answer, "k") == found


def test_change_has_the_time_of_its_id() -> None:
    change = Change("1700000000123-4", 1, "ADDED", "u", "1", b"", b"", False)
    assert change.at_ms == 1_700_000_000_123
