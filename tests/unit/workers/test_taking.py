"""What a list is taken in as: the same in whichever portions it comes, whatever was known before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.kube.listing import Identity
from krm.resources import PODS
from krm.store import chunks
from krm.store.chunks import ListedRow
from krm.store.rows import DIGEST_MODULUS, Codec, digest
from krm.workers import taking
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


@given(IDENTITIES, st.dictionaries(st.sampled_from(["1", "2", "3", "4"]), st.sampled_from(["5", "6"])))
async def test_identities_are_taken_alike_together_and_one_by_one(
    identities: list[Identity], versions: dict[str, str]
) -> None:
    found: list[Any] = []
    for together in (True, False):
        codec = Codec(PODS)
        writer = Kept(codec)
        known = Known("l", versions, sum(digest(*one) for one in versions.items()) % DIGEST_MODULUS)
        taken = Taking(writer, codec, known)  # type: ignore[arg-type]
        await taken.take_identities(identities) if together else await taken._take_each(identities)
        lacking = list(taken.lacking)
        await taken.complete(lacking)
        await taken.finish()
        found.append((writer.rows, lacking, taken.versions, taken.digest, codec.malformed))
        assert taken.digest == sum(digest(*one) for one in taken.versions.items()) % DIGEST_MODULUS
    assert found[0] == found[1]


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
