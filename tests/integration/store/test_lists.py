"""Verified lists: many chunks that nobody sees, then one step."""

from __future__ import annotations

import pytest

from krm.errors import CorruptData, OutOfStep
from krm.store import writing
from krm.store.reading import TableStore
from krm.store.writing import ListWriter, TableWriter
from tests.integration.store.samples import PREFIX, Admin, list_head


async def install(verifier: ListWriter, listing: str, listed_at: str, *, chunks: int = 2, epoch: str = "e") -> None:
    for number in range(chunks):
        await verifier.put_chunk(listing, number, f"{listing}{number}".encode())
    await verifier.flip(list_head(listing, listed_at, chunks=chunks, epoch=epoch))


async def test_list_is_seen_whole_or_not_at_all(admin: Admin, table: TableStore, verifier: ListWriter) -> None:
    await verifier.put_chunk("l1", 0, b"0")
    assert await table.list_heads() == {}
    assert 0 < admin.ttl(f"{PREFIX}verified:l1:0") <= writing.CHUNK_LIFE_S
    await verifier.flip(list_head("l1", "10"))
    assert (await table.list_heads())[""].listed_at == "10"
    assert await table.chunk("l1", 0) == b"0"
    assert admin.ttl(f"{PREFIX}verified:l1:0") == -1


@pytest.mark.parametrize("missing", [0, 1, 2])
async def test_list_without_one_of_its_chunks_is_refused_and_keeps_none_of_them(
    missing: int, admin: Admin, table: TableStore, verifier: ListWriter
) -> None:
    for number in {0, 1, 2} - {missing}:
        await verifier.put_chunk("l1", number, b"x")
    with pytest.raises(OutOfStep, match="chunk"):
        await verifier.flip(list_head("l1", "10", chunks=3))
    assert await table.list_heads() == {}
    assert all(admin.ttl(key) > 0 for key in admin.keys(f"{PREFIX}verified:*"))


async def test_older_list_of_the_same_history_is_refused(table: TableStore, verifier: ListWriter) -> None:
    await install(verifier, "l1", "100")
    with pytest.raises(OutOfStep, match="newer"):
        await install(verifier, "l2", "99")
    assert (await table.list_heads())[""].listing == "l1"


@pytest.mark.parametrize(("listed_at", "epoch"), [("100", "e"), ("101", "e"), ("5", "e1")])
async def test_list_that_is_as_new_or_of_another_history_is_installed(
    listed_at: str, epoch: str, table: TableStore, verifier: ListWriter
) -> None:
    await install(verifier, "l1", "100")
    await install(verifier, "l2", listed_at, epoch=epoch)
    assert (await table.list_heads())[""].listing == "l2"


async def test_chunks_of_the_list_before_stay_a_while(admin: Admin, table: TableStore, verifier: ListWriter) -> None:
    await install(verifier, "l1", "10", chunks=3)
    await install(verifier, "l2", "11", chunks=1)
    for number in range(3):
        assert 0 < admin.ttl(f"{PREFIX}verified:l1:{number}") <= writing.OLD_CHUNK_LIFE_S
    assert admin.ttl(f"{PREFIX}verified:l2:0") == -1


async def test_chunks_that_a_list_is_told_by_stay_with_it(admin: Admin, verifier: ListWriter) -> None:
    await install(verifier, "l1", "10", chunks=2)
    for listing, below in (("l2", (("l1", 2),)), ("l3", (("l1", 2), ("l2", 1)))):
        await verifier.put_chunk(listing, 0, b"x")
        await verifier.flip(list_head(listing, "11", below=below))
    told = ["l1:0", "l1:1", "l2:0", "l3:0"]
    assert [admin.ttl(f"{PREFIX}verified:{piece}") for piece in told] == [-1] * 4
    await install(verifier, "l4", "12", chunks=1)
    assert all(0 < admin.ttl(f"{PREFIX}verified:{piece}") <= writing.OLD_CHUNK_LIFE_S for piece in told)


async def test_list_is_refused_where_one_that_it_is_told_by_has_gone(admin: Admin, verifier: ListWriter) -> None:
    await install(verifier, "l1", "10", chunks=2)
    await verifier.put_chunk("l2", 0, b"x")
    admin.delete(f"{PREFIX}verified:l1:1")
    with pytest.raises(OutOfStep, match="chunk"):
        await verifier.flip(list_head("l2", "11", below=(("l1", 2),)))


async def test_flip_that_is_repeated_keeps_its_chunks(admin: Admin, verifier: ListWriter) -> None:
    await install(verifier, "l1", "10")
    await verifier.flip(list_head("l1", "10", chunks=2))
    assert admin.ttl(f"{PREFIX}verified:l1:0") == -1


@pytest.mark.parametrize("junk", [b"", b"{", b"null", b"[1]", b'{"listing": 5}', b'{"listed_at": 7, "epoch": "e"}'])
async def test_header_that_does_not_decode_is_replaced_by_the_next_list(
    junk: bytes, admin: Admin, table: TableStore, verifier: ListWriter
) -> None:
    admin.hset(f"{PREFIX}verified", "", junk)
    with pytest.raises(CorruptData):
        await table.list_heads()
    await install(verifier, "l1", "10")
    assert (await table.list_heads())[""].listing == "l1"


async def test_installed_lists_are_told_to_who_waits(
    table: TableStore, verifier: ListWriter, aggregator: TableWriter
) -> None:
    assert await table.last_list() == "0-0"
    assert await table.next_list("0-0", block_ms=1) == "0-0"
    await install(verifier, "l1", "10")
    first = await table.next_list("0-0", block_ms=1)
    assert first == await table.last_list() != "0-0"
    entries, seen = await aggregator.follow("0-0", "0-0", block_ms=1, count=10)
    assert (entries, seen) == ([], first)
    assert await aggregator.follow("0-0", first, block_ms=1, count=10) == ([], first)


async def test_chunk_that_is_gone_is_corrupt_data(table: TableStore) -> None:
    with pytest.raises(CorruptData, match="gone"):
        await table.chunk("l1", 0)


async def test_requests_for_lists(verifier: ListWriter, aggregator: TableWriter) -> None:
    assert await verifier.last_request() == "0-0"
    assert await verifier.requests("0-0", block_ms=1) == ("0-0", False, [])
    await aggregator.ask_for_list(full=False, reason="one")
    await aggregator.ask_for_list(full=True, reason="two")
    cursor, full, reasons = await verifier.requests("0-0", block_ms=1)
    assert (full, reasons) == (True, ["aggregator: one", "aggregator: two"])
    assert cursor == await verifier.last_request()
    assert await verifier.requests(cursor, block_ms=1) == (cursor, False, [])
    await aggregator.ask_for_list(full=False, reason="three")
    assert not (await verifier.requests(cursor, block_ms=1))[1]


async def test_dictionaries_are_kept_by_id_and_one_is_current(table: TableStore, verifier: ListWriter) -> None:
    assert await table.dictionaries() == ({}, 0)
    await verifier.put_dictionary(5, b"five")
    await verifier.put_dictionary(7, b"seven")
    assert await table.dictionaries() == ({5: b"five", 7: b"seven"}, 7)
