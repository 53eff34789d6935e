"""What a list is taken in as: the same in whichever portions it comes, whatever was known before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.kube.listing import Identity
from krm.merge import State
from krm.resources import PODS
from krm.store import chunks
from krm.store.chunks import ListedRow
from krm.store.rows import DIGEST_MODULUS, Codec, digest
from krm.workers import taking
from krm.workers.installing import Reading
from krm.workers.taking import Known, Taking


class Kept:
    """A writer that keeps the rows of the chunks."""

    def __init__(self, codec: Codec) -> None:
        self.rows: list[ListedRow] = []
        self._codec = codec

    async def put_chunk(self, listing: str, number: int, chunk: bytes) -> None:
        self.rows += chunks.unpack(chunk, self._codec.compressor)


IDENTITIES = st.lists(
    st.builds(
        Identity,
        name=st.sampled_from(["", "a", "b", "c"]),
        namespace=st.sampled_from(["", "n"]),
        uid=st.sampled_from(["", "1", "2", "3", "4"]),
        version=st.sampled_from(["", "5", "6", "x"]),
    ),
    max_size=6,
)


async def known_of(identities: list[Identity], codec: Codec) -> Known:
    """What a list leaves behind for the next one."""
    taken = Taking(Kept(codec), codec, Known())  # type: ignore[arg-type]
    await taken.take_identities(identities)
    await taken.complete(taken.lacking)
    await taken.finish()
    return taken.result()


def total(known: Known) -> int:
    return sum(digest(uid, row.version) for uid, row in known.rows.items()) % DIGEST_MODULUS


@given(IDENTITIES, IDENTITIES)
async def test_identities_are_taken_alike_together_and_one_by_one(
    before: list[Identity], identities: list[Identity]
) -> None:
    found: list[Any] = []
    for together in (True, False):
        codec = Codec(PODS)
        writer, known = Kept(codec), await known_of(before, codec)
        taken = Taking(writer, codec, known)  # type: ignore[arg-type]
        await taken.take_identities(identities) if together else await taken._take_each(identities)
        lacking = list(taken.lacking)
        await taken.complete(lacking)
        await taken.finish()
        result = taken.result()
        assert taken.rows == len(result.rows) == len(writer.rows)
        assert result.digest == total(result)
        found.append((writer.rows, lacking, result.rows, result.digest, codec.malformed))
    assert found[0] == found[1]


@given(IDENTITIES, IDENTITIES, st.integers(0, 3))
async def test_what_differs_makes_the_list_out_of_the_one_before(
    before: list[Identity], identities: list[Identity], at: int
) -> None:
    codec = Codec(PODS)
    known = await known_of(before, codec)
    whole, part = Kept(codec), Kept(codec)
    results = []
    for writer, differs in ((whole, False), (part, True)):
        taken = Taking(writer, codec, known, differs=differs)  # type: ignore[arg-type]
        for some in (identities[:at], identities[at:]):  # page by page
            await taken.take_identities(some)
        await taken.complete(taken.lacking)
        await taken.finish()
        results.append(taken.result())
    assert results[0].rows == results[1].rows
    assert results[0].digest == results[1].digest
    listed = {(row.namespace, row.name): State(row.uid, row.version) for row in known.rows.values()}
    reading = Reading(listed, known.digest)
    if len(listed) == len(known.rows) and len({(r.namespace, r.name) for r in whole.rows}) == len(whole.rows):
        for row in part.rows:
            reading.take([row], {})
        assert reading.listed == {(r.namespace, r.name): State(r.uid, r.version) for r in whole.rows}
        assert reading.digest == results[0].digest
    assert not {row.uid for row in part.rows if not row.gone} - {row.uid for row in whole.rows}


@given(st.lists(IDENTITIES, min_size=1, max_size=5))
async def test_lists_that_are_told_by_each_other_are_the_last_of_them(lists: list[list[Identity]]) -> None:
    codec = Codec(PODS)
    stored: dict[tuple[str, int], list[ListedRow]] = {}

    class Writer:
        async def put_chunk(self, listing: str, number: int, chunk: bytes) -> None:
            stored[listing, number] = chunks.unpack(chunk, codec.compressor)

    known = Known()
    for identities in lists:
        taken = Taking(Writer(), codec, known, differs=known.is_base)  # type: ignore[arg-type]
        await taken.take_identities(identities)
        await taken.complete(taken.lacking)
        await taken.finish()
        known = taken.result()
        reading = Reading()
        for name, count in known.parts:
            for number in range(count):
                reading.take(stored[name, number], {})
        if len({(row.namespace, row.name) for row in known.rows.values()}) == len(known.rows):
            assert set(reading.listed.values()) == {State(uid, row.version) for uid, row in known.rows.items()}
            assert reading.digest == known.digest


async def test_a_list_of_all_rows_follows_where_those_below_hold_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(PODS)
    writer = Kept(codec)

    async def follows(known: Known, version: str) -> Known:
        taken = Taking(writer, codec, known, differs=known.is_base)  # type: ignore[arg-type]
        await taken.take_identities([Identity("a", "n", "u", version), Identity("b", "n", "v", "5")])
        await taken.complete(taken.lacking)
        await taken.finish()
        return taken.result()

    monkeypatch.setattr(taking, "SPARE_ROWS", 3)
    known = Known()
    lengths = []
    for version in "56789":
        known = await follows(known, version)
        lengths.append((len(known.parts), known.spare))
    assert lengths == [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]
    assert not known.is_base
    assert len((await follows(known, "10")).parts) == 1
    monkeypatch.setattr(taking, "MAX_PARTS", 1)
    assert not (await follows(Known(), "5")).is_base


def test_records_of_a_list_below_are_those_of_its_own_rows_alone() -> None:
    reading = Reading()
    reading.take([ListedRow("n", "a", "u", "5", b"five"), ListedRow("n", "b", "v", "5", b"five")], {})
    reading.take([ListedRow("n", "a", "u", "6", b""), ListedRow("n", "b", "v", "5", b"", gone=True)], {})
    assert (reading.listed, reading.records) == ({("n", "a"): State("u", "6")}, {})


async def test_of_a_list_that_is_as_the_one_before_nothing_is_stored() -> None:
    codec = Codec(PODS)
    same = [Identity(name, "n", f"uid-{name}", "5") for name in "abc"]
    known, writer = await known_of(same, codec), Kept(codec)
    taken = Taking(writer, codec, known, differs=True)  # type: ignore[arg-type]
    await taken.take_identities([Identity(name, "n", f"uid-{name}", "5") for name in "abc"])
    await taken.finish()
    assert (taken.chunks, writer.rows, taken.lacking) == (0, [], [])
    assert taken.result().rows is known.rows


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {}},
        {"name": "a", "generateName": "a-", "namespace": "n", "uid": "u", "resourceVersion": "7"},
        {"name": "a", "uid": "u", "resourceVersion": "7"},
        {"name": 'a"', "namespace": "n\\", "uid": "é", "resourceVersion": "7"},
        {"uid": "u", "resourceVersion": "7", "name": "a", "namespace": "n"},
        {"name": "a", "namespace": "n", "uid": "u"},
        {},
    ],
)
@pytest.mark.parametrize("start", [{}, {"kind": "Pod", "apiVersion": "v1"}])
def test_an_objects_identity_is_that_of_its_metadata(metadata: dict[str, str], start: dict[str, str]) -> None:
    expected = Identity(*(metadata.get(key, "") for key in ("name", "namespace", "uid", "resourceVersion")))
    for separators in (None, (",", ":")):
        raw = json.dumps({**start, "metadata": metadata, "spec": {}}, separators=separators).encode()
        assert taking._identity(raw) == expected


@pytest.mark.parametrize("raw", [b"1", b"{}", b'{"metadata":1}', b"\xff"])
def test_what_has_no_identity_is_no_error(raw: bytes) -> None:
    assert taking._identity(raw).uid == ""


def test_the_beginning_of_an_object_may_do() -> None:
    raw = b'{"metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7","more":'
    assert taking._identity(raw) == Identity("a", "n", "u", "7")
