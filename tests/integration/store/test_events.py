"""The log of events: the position moves only together with it, and whatever goes too early shows as a gap."""

from __future__ import annotations

import msgspec
import pytest

from krm.errors import OutOfStep
from krm.store.head import ScopeHead
from krm.store.reading import TableStore
from krm.store.writing import Entry, EventWriter, Position, TableWriter
from tests.integration.store.samples import PREFIX, Admin, bookmark, event, gap, scope_head, table_head

END_OF_TIME = "99999999999999-0"


async def follow(aggregator: TableWriter, cursor: str = "0-0") -> list[Entry]:
    entries, _ = await aggregator.follow(cursor, "0-0", block_ms=1, count=10_000)
    return entries


def told(entries: list[Entry]) -> list[str]:
    return [entry.type + entry.scope + entry.version for entry in entries]


async def logged(streamer: EventWriter, *versions: str, scope: str = "", epoch: str = "e", most: int = 1_000) -> None:
    """A stream that starts behind version 10 and sees ``versions``."""
    await streamer.append(scope, epoch, "", "10", most, [gap("10")])
    before = "10"
    for version in versions:
        await streamer.append(scope, epoch, before, version, most, [event(version)])
        before = version


async def test_events_and_position_are_written_together(streamer: EventWriter, aggregator: TableWriter) -> None:
    await streamer.append("n", "e", "", "10", 100, [gap("10")])
    await streamer.append("n", "e", "10", "13", 100, [event("11", "A"), event("12", "D"), bookmark("13")])
    entries = await follow(aggregator)
    assert told(entries) == ["Gn10", "An11", "Dn12", "Bn13"]
    assert (entries[1].epoch, entries[1].received_ms, entries[1].record) == ("e", 1, b"record")
    assert await streamer.positions() == {"n": Position("10", "13", "e")}


async def test_reader_goes_on_behind_its_cursor(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "11", "12")
    entries = await follow(aggregator)
    assert told(await follow(aggregator, entries[1].id)) == ["M12"]
    assert await aggregator.oldest_event() == entries[0].id


async def test_empty_log_has_no_oldest_event(aggregator: TableWriter) -> None:
    assert await aggregator.oldest_event() is None
    assert await follow(aggregator) == []


@pytest.mark.parametrize("expected", ["9", "11", ""])
async def test_events_from_another_place_are_refused(expected: str, admin: Admin, streamer: EventWriter) -> None:
    await logged(streamer)
    with pytest.raises(OutOfStep):
        await streamer.append("", "e", expected, "12", 100, [event("12")])
    assert admin.xlen(f"{PREFIX}events") == 1
    assert (await streamer.positions())[""].end == "10"


async def test_scopes_have_their_own_places(streamer: EventWriter) -> None:
    await logged(streamer, "11", scope="a")
    await logged(streamer, "12", scope="b")
    assert await streamer.positions() == {"a": Position("10", "11", "e"), "b": Position("10", "12", "e")}


async def test_lost_log_makes_the_stream_start_anew(admin: Admin, streamer: EventWriter) -> None:
    await logged(streamer, "11")
    admin.delete(f"{PREFIX}events")
    with pytest.raises(OutOfStep):
        await streamer.append("", "e", "11", "12", 100, [event("12")])
    assert await streamer.positions() == {}


async def test_log_at_its_bound_drops_the_oldest_and_tells_the_gap(
    admin: Admin, streamer: EventWriter, aggregator: TableWriter
) -> None:
    await logged(streamer, *map(str, range(11, 131)), most=100)
    entries = await follow(aggregator)
    # 121 entries: at each excess the log is cut to 99, and one entry tells.
    assert len(entries) <= 101
    gaps = [entry for entry in entries if entry.type == "G"]
    kept = [int(entry.version) for entry in entries if entry.type == "M"]
    assert gaps
    lost_up_to = int(gaps[-1].version)
    assert kept == list(range(lost_up_to + 1, 131))
    assert await streamer.positions() == {"": Position(str(lost_up_to), "130", "e")}


async def test_bound_tells_the_gap_of_each_scope_that_lost(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "11", scope="a", most=100)
    await logged(streamer, *map(str, range(11, 140)), scope="b", most=100)
    positions = await streamer.positions()
    assert positions["a"].start == "11"
    assert int(positions["b"].start) > 11
    assert {entry.scope for entry in await follow(aggregator) if entry.type == "G"} == {"a", "b"}


async def test_loss_of_events_of_an_older_history_is_no_gap_of_this_one(streamer: EventWriter) -> None:
    await logged(streamer, *map(str, range(900, 950)), epoch="e0", most=100)
    await logged(streamer, *map(str, range(11, 80)), epoch="e1", most=100)
    assert await streamer.positions() == {"": Position("10", "79", "e1")}


# Trimming.


async def trimmed(
    streamer: EventWriter, aggregator: TableWriter, cursor: str = END_OF_TIME, *scopes: ScopeHead
) -> tuple[int, list[str]]:
    dropped = await streamer.trim(table_head("r", cursor=cursor, scopes=scopes))
    return dropped, told(await follow(aggregator))


async def test_trim_drops_what_the_list_has_seen_and_nothing_else(
    streamer: EventWriter, aggregator: TableWriter
) -> None:
    await logged(streamer, "11", "12", "13")
    assert await trimmed(streamer, aggregator, END_OF_TIME, scope_head(listed_at="12")) == (3, ["M13"])


async def test_trim_may_drop_everything_and_the_log_goes_on(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "11")
    assert await trimmed(streamer, aggregator, END_OF_TIME, scope_head(listed_at="20")) == (2, [])
    await streamer.append("", "e", "11", "21", 100, [event("21")])
    assert told(await follow(aggregator)) == ["M21"]


async def test_trim_never_passes_the_cursor_of_the_reader(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "11", "12")
    cursor = (await follow(aggregator))[1].id
    assert await trimmed(streamer, aggregator, cursor, scope_head(listed_at="20")) == (2, ["M12"])


async def test_trim_never_passes_an_unspent_event_of_any_scope(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "30", scope="a")
    await logged(streamer, "11", scope="b")
    scopes = [scope_head("a", "20"), scope_head("b", "20")]
    assert await trimmed(streamer, aggregator, END_OF_TIME, *scopes) == (1, ["Ma30", "Gb10", "Mb11"])


async def test_trim_compares_versions_as_integers(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "99", "100")
    assert await trimmed(streamer, aggregator, END_OF_TIME, scope_head(listed_at="99")) == (2, ["M100"])


async def test_trim_takes_at_most_what_it_is_told(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "11", "12")
    head = table_head("r", cursor=END_OF_TIME, scopes=[scope_head(listed_at="20")])
    assert await streamer.trim(head, most=2) == 2
    assert told(await follow(aggregator)) == ["M12"]


async def test_trim_drops_an_older_history(streamer: EventWriter, aggregator: TableWriter) -> None:
    await logged(streamer, "900", epoch="e0")
    await logged(streamer, "11", epoch="e1")
    head = scope_head(listed_at="10", epoch="e1")
    assert await trimmed(streamer, aggregator, END_OF_TIME, head) == (3, ["M11"])


async def test_trim_keeps_the_history_that_the_table_comes_to_next(
    streamer: EventWriter, aggregator: TableWriter
) -> None:
    await logged(streamer, "11", epoch="e1")
    await logged(streamer, "5", epoch="e2")
    head = scope_head(listed_at="20", epoch="e1")
    assert await trimmed(streamer, aggregator, END_OF_TIME, head) == (2, ["G10", "M5"])


async def test_scope_that_the_table_lacks_does_not_hold_up_the_trim_and_gets_a_gap(
    streamer: EventWriter, aggregator: TableWriter
) -> None:
    await logged(streamer, "30", scope="other")
    await logged(streamer, "11")
    dropped, left = await trimmed(streamer, aggregator, END_OF_TIME, scope_head(listed_at="20"))
    assert (dropped, left) == (4, ["Gother30"])
    assert (await streamer.positions())["other"].start == "30"
    assert await trimmed(streamer, aggregator, END_OF_TIME, scope_head(listed_at="20")) == (1, [])


async def test_trim_of_an_empty_log_drops_nothing(streamer: EventWriter, table: TableStore) -> None:
    assert await streamer.trim(table_head("r")) == 0


# What a streamer did not write.

FOREIGN: list[dict[str, str]] = [
    {"hello": "world"},
    {"t": "M", "s": "", "e": "e", "v": "many", "a": "1", "r": ""},
    {"t": "Z", "s": "", "e": "e", "v": "12", "a": "1", "r": ""},
    {"t": "M", "s": "", "e": "e", "v": "12", "a": "soon", "r": ""},
    {"t": "M", "e": "e", "s": "", "v": "12", "a": "1"},
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=["other", "version", "type", "time", "short"])
async def test_entry_of_somebody_else_is_handed_over_as_unreadable(
    foreign: dict[str, str], admin: Admin, streamer: EventWriter, aggregator: TableWriter
) -> None:
    await logged(streamer, "11")
    admin.xadd(f"{PREFIX}events", foreign)
    await streamer.append("", "e", "11", "13", 100, [event("13")])
    assert told(await follow(aggregator)) == ["G10", "M11", "?", "M13"]


@pytest.mark.parametrize("foreign", FOREIGN[:2], ids=["other", "version"])
async def test_unreadable_entry_is_trimmed_once_every_list_began_after_it(
    foreign: dict[str, str], admin: Admin, streamer: EventWriter, aggregator: TableWriter
) -> None:
    await logged(streamer, "11")
    admin.xadd(f"{PREFIX}events", foreign)
    await streamer.append("", "e", "11", "12", 100, [event("12")])
    early = msgspec.structs.replace(scope_head(listed_at="20"), verified_at_ms=1)
    assert await trimmed(streamer, aggregator, END_OF_TIME, early) == (2, ["?", "M12"])
    late = msgspec.structs.replace(scope_head(listed_at="20"), verified_at_ms=2**50)
    assert await trimmed(streamer, aggregator, END_OF_TIME, late) == (2, [])


async def test_unreadable_entries_do_not_stop_a_full_log(admin: Admin, streamer: EventWriter) -> None:
    for _ in range(30):
        admin.xadd(f"{PREFIX}events", {"hello": "world"})
    await logged(streamer, *map(str, range(11, 120)), most=50)
    assert admin.xlen(f"{PREFIX}events") <= 51
    assert int((await streamer.positions())[""].start) > 50
