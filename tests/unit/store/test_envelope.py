"""Damaged bytes are never decoded: whatever is flipped or cut, the answer is an error, never a wrong row."""

from __future__ import annotations

import os
import random
import struct

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from krm.errors import CorruptData, UnknownFormat
from krm.resources import PODS
from krm.store import chunks, compression, envelope
from krm.store.chunks import ListedRow
from krm.store.compression import Compressor, MissingDictionary
from krm.store.envelope import Compression, Envelope
from krm.store.rows import Codec

CASES = int(os.environ.get("KRM_TEST_CASES", "4000"))
POD = (
    b'{"metadata":{"namespace":"n","name":"p","uid":"u","resourceVersion":"5","labels":{"app":"web"},'
    b'"creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"nodeName":"node-1","containers":[{"name":"c","image":"i:1",'
    b'"resources":{"requests":{"cpu":"100m"}}}]},"status":{"phase":"Running"}}'
)
parts = st.builds(
    Envelope,
    st.sampled_from(Compression),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=40),
    st.binary(max_size=200),
    st.integers(0, envelope.MAX_BODY),
)


@given(parts)
def test_what_was_sealed_is_unsealed(sealed: Envelope) -> None:
    data = envelope.seal(sealed)
    assert envelope.unseal(data) == sealed
    assert envelope.dictionary(data) == sealed.dictionary


def test_plain_bytes_are_sealed_as_they_are() -> None:
    opened = envelope.unseal(envelope.seal_plain(b"text"))
    assert (opened.compression, opened.body, opened.body_size) == (Compression.NONE, b"text", 4)


def damaged(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        return data + rng.randbytes(rng.randint(1, 9))
    place = rng.randrange(len(data))
    if kind == 2:
        return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    start = rng.randrange(len(data))
    noise = rng.randbytes(rng.randint(1, 16))
    return data[:start] + noise + data[start + len(noise) :]


def test_no_damage_ever_gives_a_wrong_row() -> None:
    codec = Codec(PODS)
    record = codec.encode(POD).record
    rng = random.Random(1)
    for _ in range(CASES):
        broken = damaged(record, rng)
        if broken == record:
            continue
        with pytest.raises((CorruptData, UnknownFormat)):
            codec.decode(broken)
        with pytest.raises((CorruptData, UnknownFormat)):
            codec.body(broken)


def test_no_damage_ever_gives_a_wrong_list() -> None:
    compressor = Compressor()
    packed = [
        chunks.pack([ListedRow("n", str(i), f"u{i}", "5", b"record" if full else b"") for i in range(9)], compressor, 1)
        for full in (True, False)
    ]
    rng = random.Random(2)
    for _ in range(CASES):
        chunk = rng.choice(packed)
        broken = damaged(chunk, rng)
        if broken == chunk:
            continue
        with pytest.raises((CorruptData, UnknownFormat)):
            chunks.unpack(broken, compressor)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises((CorruptData, UnknownFormat)):
        envelope.unseal(data)
    with pytest.raises((CorruptData, UnknownFormat)):
        Codec(PODS).decode(data)


def resealed(data: bytes, **changes: int) -> bytes:
    """With a header that is changed, and the checksum that fits it."""
    fields = dict(zip(("magic", "version", "how", "schema", "dictionary", "head", "body"), _unpack(data), strict=True))
    header = struct.pack("<2sBBHIII", *(fields | changes).values())
    rest = data[envelope.OVERHEAD :]
    return header + envelope._checksum(header, rest, b"") + rest


def _unpack(data: bytes) -> tuple[object, ...]:
    return struct.unpack("<2sBBHIII", data[:18])


def test_value_of_a_newer_krm_is_an_unknown_format() -> None:
    data = envelope.seal_plain(b"x")
    with pytest.raises(UnknownFormat, match="format 2"):
        envelope.unseal(resealed(data, version=2))
    with pytest.raises(UnknownFormat, match="compression 9"):
        envelope.unseal(resealed(data, how=9))


def test_size_that_is_too_large_is_refused_before_anything_is_decompressed() -> None:
    with pytest.raises(CorruptData, match="at most"):
        envelope.unseal(resealed(envelope.seal_plain(b"x"), body=envelope.MAX_BODY + 1))


def test_cut_value_is_said_to_be_cut() -> None:
    with pytest.raises(CorruptData, match="cut short"):
        envelope.unseal(envelope.seal(Envelope(Compression.NONE, 0, 0, b"head", b"", 0))[:-1])


# Compression.


def test_body_that_claims_more_than_its_header_is_not_decompressed() -> None:
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 100_000_000)
    with pytest.raises(CorruptData, match="does not say"):
        Compressor().decompress(Compression.ZSTD, 0, bomb, 10)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        pytest.param(b"", 0, id="empty"),
        pytest.param(b"no frame", 8, id="no-frame"),
        pytest.param(zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 50), 50, id="no-size"),
        pytest.param(zstandard.ZstdCompressor().compress(b"x" * 50)[:-1], 50, id="cut"),
        pytest.param(zstandard.ZstdCompressor().compress(b"x" * 50), 49, id="other-size"),
        pytest.param(zstandard.ZstdCompressor().compress(b"x" * 50), 2**40, id="absurd-size"),
    ],
)
def test_body_that_does_not_decompress_to_its_size_is_corrupt(body: bytes, size: int) -> None:
    with pytest.raises(CorruptData):
        Compressor().decompress(Compression.ZSTD, 0, body, size)


def test_uncompressed_body_is_itself() -> None:
    assert Compressor().decompress(Compression.NONE, 0, b"text", 4) == b"text"


@pytest.fixture(scope="module")
def dictionary() -> bytes:
    made = compression.train([POD.replace(b"p", str(number).encode()) for number in range(200)])
    assert made is not None
    return made


def test_dictionary_makes_small_bodies_smaller_and_is_named_by_them(dictionary: bytes) -> None:
    compressor = Compressor()
    _, none, plain = compressor.compress(POD)
    identifier = compressor.add(dictionary, use=True)
    how, named, small = compressor.compress(POD)
    assert (none, named, how, compressor.current) == (0, identifier, Compression.ZSTD_DICTIONARY, identifier)
    assert len(small) < len(plain)
    assert compressor.decompress(how, named, small, len(POD)) == POD
    assert compressor.dictionaries == {identifier: dictionary}


def test_dictionary_that_is_only_known_is_not_used_for_what_is_new(dictionary: bytes) -> None:
    writer, reader = Compressor(), Compressor()
    writer.add(dictionary, use=True)
    writer.add(dictionary, use=True)
    reader.add(dictionary, use=False)
    how, named, body = writer.compress(POD)
    assert reader.current == 0
    assert reader.decompress(how, named, body, len(POD)) == POD


def test_missing_dictionary_is_named(dictionary: bytes) -> None:
    writer = Compressor()
    identifier = writer.add(dictionary, use=True)
    how, named, body = writer.compress(POD)
    with pytest.raises(MissingDictionary, match=str(identifier)) as caught:
        Compressor().decompress(how, named, body, len(POD))
    assert caught.value.identifier == identifier


@pytest.mark.parametrize("samples", [[], [POD] * 63, [b""] * 100], ids=["none", "too-few", "too-uniform"])
def test_nothing_is_trained_of_too_little(samples: list[bytes]) -> None:
    assert compression.train(samples) is None


# Chunks.

words = st.text(max_size=9)
listed = st.lists(st.builds(ListedRow, words, words, words, words, st.binary()), max_size=20)


@given(listed)
def test_rows_of_a_list_are_unpacked_as_packed(rows: list[ListedRow]) -> None:
    compressor = Compressor()
    assert chunks.unpack(chunks.pack(rows, compressor, 7), compressor) == rows


def test_chunk_that_holds_something_else_is_corrupt() -> None:
    data = envelope.seal_plain(msgspec.msgpack.encode({"no": "rows"}))
    with pytest.raises(CorruptData, match="chunk"):
        chunks.unpack(data, Compressor())
