"""Delay samples: written with their events, never in their way, taken until they are settled."""

from __future__ import annotations

import pytest

from krm.errors import CorruptData, Fenced
from krm.store import delays
from krm.store.delays import Sample, SampleReader
from krm.store.reading import TableStore
from krm.store.writing import EventWriter
from tests.integration.store.samples import PREFIX, Admin, event, gap

DELAYS = f"{PREFIX}delays"


def sample(name: str) -> Sample:
    return Sample(
        event="ADDED", basis="creation", delay_s=0.5, skew_s=-0.1, version="1", namespace="n", name=name, uid="u"
    )


@pytest.fixture
async def reader(table: TableStore) -> SampleReader:
    """A collector that holds its fence."""
    found = SampleReader(table.store, table)
    assert await found.acquire() == 0
    return found


async def write(streamer: EventWriter, *names: str, start: bool = True) -> int:
    entries = [*([gap("1")] if start else []), event("1"), *(delays.entry(sample(name)) for name in names)]
    return await streamer.append("", "e", "1", "1", 1_000, entries)


async def names(reader: SampleReader, most: int = 100) -> list[str]:
    return [found.name if found is not None else "-" for _, found in await reader.take(most)]


async def test_samples_come_as_they_were_written_each_at_a_time_of_its_own(
    streamer: EventWriter, reader: SampleReader, admin: Admin
) -> None:
    assert await write(streamer, *(f"p{number}" for number in range(250))) == 0
    assert admin.xlen(f"{PREFIX}events") == 2
    taken = await reader.take(1_000)
    found = [one for _, one in taken if one is not None]
    assert [one.name for one in found] == [f"p{number}" for number in range(250)]
    assert [one.id for one in found] == [identifier for identifier, _ in taken]
    assert len({one.at_ns for one in found}) == 250
    first_ms, last_ms = (int(one.id.split("-")[0]) for one in (found[0], found[-1]))
    assert found[0].at_ns == first_ms * 1_000_000 + int(found[0].id.split("-")[1])
    assert first_ms * 1_000_000 <= found[0].at_ns < found[-1].at_ns < (last_ms + 1) * 1_000_000
    assert (found[0].delay_s, found[0].skew_s) == (0.5, -0.1)


async def test_what_is_not_settled_is_given_again(
    streamer: EventWriter, table: TableStore, reader: SampleReader
) -> None:
    await write(streamer, "a", "b", "c")
    first = await reader.take(2)
    assert await names(reader, 2) == ["a", "b"]
    await reader.release()
    other = SampleReader(table.store, table)
    assert await other.acquire() == 0
    assert await names(other, 2) == ["a", "b"]
    assert await other.settle([identifier for identifier, _ in first]) == 1
    assert await names(other) == ["c"]
    assert await names(other) == ["c"]


async def test_nothing_is_taken_of_an_empty_stream(reader: SampleReader) -> None:
    assert await reader.take(10) == []
    assert await reader.settle([]) == 0


async def test_samples_push_out_the_oldest_and_are_counted(
    streamer: EventWriter, reader: SampleReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays, "KEPT", 100)
    assert await write(streamer, *(f"p{number}" for number in range(100))) == 0
    assert await names(reader, 3) == ["p0", "p1", "p2"]
    assert await write(streamer, "new", start=False) == 2
    assert await names(reader, 3) == ["-", "-", "p2"]  # pushed out while it was taken


async def test_a_lost_stream_is_begun_anew(streamer: EventWriter, reader: SampleReader, admin: Admin) -> None:
    await write(streamer, "a")
    assert await names(reader) == ["a"]
    admin.delete(DELAYS)
    assert await names(reader) == []
    await write(streamer, "b", start=False)
    assert await names(reader) == ["b"]


async def test_samples_that_cannot_be_taken_never_fail_the_events(streamer: EventWriter, admin: Admin) -> None:
    admin.set(DELAYS, "not ours")
    assert await write(streamer, "a", "b") == 2
    assert admin.xlen(f"{PREFIX}events") == 2
    assert admin.hget(f"{PREFIX}position", "end:") == b"1"


async def test_a_damaged_sample_is_told_apart(streamer: EventWriter, reader: SampleReader, admin: Admin) -> None:
    await write(streamer, "a")
    admin.xadd(DELAYS, {"d": b"\x80not ours"})
    admin.xadd(DELAYS, {"x": b"other"})
    await write(streamer, "b", start=False)
    assert await names(reader) == ["a", "-", "-", "b"]
    with pytest.raises(CorruptData, match="does not decode"):
        delays.decode(b"1-0", [b"d"])


async def test_only_the_holder_takes_and_settles(table: TableStore, reader: SampleReader) -> None:
    other = SampleReader(table.store, table)
    with pytest.raises(Fenced):
        await other.take(1)
    with pytest.raises(Fenced):
        await other.settle(["1-0"])
