"""Row records: what is kept of an object, whatever the object is like."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from krm.errors import BadData, CorruptData, UnknownFormat
from krm.objects.redact import Cleaner
from krm.resources import DEPLOYMENTS, PODS, Column
from krm.store import compression, envelope, rows
from krm.store.compression import Compressor, MissingDictionary
from krm.store.envelope import Envelope
from krm.store.rows import Codec, Row


def raw(**metadata: Any) -> bytes:
    given = {"namespace": "n", "name": "p", "uid": "u", "resourceVersion": "7", **metadata}
    return json.dumps({"metadata": given}, ensure_ascii=False).encode()


def plain(row: Row) -> dict[str, Any]:
    """With lists as lists, whether encoded or decoded."""
    columns = [list(value) if isinstance(value, tuple) else value for value in row.columns]
    return row._asdict() | {"columns": columns}


def test_row_says_what_the_object_says() -> None:
    codec = Codec(PODS)
    sent = json.dumps(
        {
            "metadata": {
                "namespace": "n",
                "name": "p",
                "uid": "u",
                "resourceVersion": "12345678901234567890",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"app": "web"},
                "ownerReferences": [{"uid": "o1"}, {"uid": "o2"}, {"kind": "x"}],
            },
            "spec": {"nodeName": "node", "containers": [{"resources": {"requests": {"cpu": "0.5"}}}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        }
    ).encode()
    row = codec.encode(sent, time_streamed=1.5)
    assert (row.namespace, row.name, row.uid, row.version) == ("n", "p", "u", "12345678901234567890")
    assert (row.key, row.created, row.labels) == (("n", "p"), "2026-01-02T03:04:05Z", {"app": "web"})
    assert (row.owners, row.time_streamed) == (("o1", "o2", ""), 1.5)
    assert row.columns == ("node", "Running", "500m", None, None, None, "10.0.0.1", None, None, [])
    assert json.loads(codec.body(row.record)) == {"kind": "Pod", "apiVersion": "v1", **json.loads(sent)}
    assert plain(codec.decode(row.record)) == plain(row)
    assert codec.malformed == 0


def test_claim_that_two_volumes_mount_is_named_once() -> None:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": "data"}} for name in "ab"]
    row = Codec(PODS).encode(json.dumps({"metadata": {"name": "p"}, "spec": {"volumes": volumes}}).encode())
    assert list(row.columns[-1]) == ["data"]


@pytest.mark.parametrize(
    ("sent", "uid", "version"),
    [
        pytest.param(b"{}", "/", "", id="empty"),
        pytest.param(b'{"metadata":null}', "/", "", id="null-metadata"),
        pytest.param(b'{"metadata":[1]}', "/", "", id="odd-metadata"),
        pytest.param(raw(uid=None), "n/p", "7", id="no-uid"),
        pytest.param(raw(uid=5), "n/p", "7", id="odd-uid"),
        pytest.param(raw(resourceVersion=None), "u", "", id="no-version"),
        pytest.param(raw(resourceVersion="007"), "u", "", id="malformed-version"),
        pytest.param(raw(name=""), "u", "7", id="no-name"),
    ],
)
def test_object_that_lacks_what_every_object_has_is_kept_and_counted(sent: bytes, uid: str, version: str) -> None:
    codec = Codec(PODS)
    row = codec.encode(sent)
    assert (row.uid, row.version, codec.malformed) == (uid, version, 1)
    assert plain(codec.decode(row.record)) == plain(row)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(raw(labels=None), ({}, (), None), id="null-labels"),
        pytest.param(raw(labels={"a": 1, "b": "c"}), ({"b": "c"}, (), None), id="odd-labels"),
        pytest.param(raw(ownerReferences={"uid": "x"}), ({}, (), None), id="odd-owners"),
        pytest.param(raw(ownerReferences=["x", {"uid": 5}]), ({}, ("",), None), id="odd-owner"),
        pytest.param(raw(creationTimestamp="yesterday"), ({}, (), "yesterday"), id="time-without-zone"),
        pytest.param(raw(name="x" * 253, annotations={"a": "b" * 1_500_000}), ({}, (), None), id="huge"),
    ],
)
def test_odd_parts_leave_gaps(sent: bytes, expected: tuple[Any, ...]) -> None:
    codec = Codec(PODS)
    row = codec.encode(sent)
    assert (row.labels, row.owners, row.created) == expected
    assert plain(codec.decode(row.record)) == plain(row)
    assert json.loads(codec.body(row.record))["metadata"] == json.loads(sent)["metadata"]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, -(10**50), 10**400], ids=lambda n: str(n)[:24])
def test_integer_of_any_size_is_kept_in_the_object(number: int) -> None:
    codec = Codec(DEPLOYMENTS)
    text = f'{{"metadata":{{"name":"d","uid":"u","resourceVersion":"1"}},"spec":{{"replicas":{number},"x":{number}}}}}'
    row = codec.encode(text.encode())
    assert f'"x":{number}'.encode() in codec.body(row.record)
    assert codec.decode(row.record).uid == "u"


def test_what_a_head_cannot_hold_leaves_a_gap() -> None:
    codec = Codec(DEPLOYMENTS)
    # 1e999 sends the reader of numbers to the one that keeps integers of any size.
    sent = b'{"metadata":{"name":"d","uid":"u","resourceVersion":"1"},"spec":{"replicas":%d,"x":1e999}}' % 2**70
    row = codec.encode(sent)
    assert (row.columns, codec.malformed) == ((None, None), 1)
    assert plain(codec.decode(row.record)) == plain(row)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a\ud800b", "a?b"),
        (2**64, None),
        (-(2**63), -(2**63)),
        ({"k\udfff": ["\ud800", (1, 2**70)]}, {"k?": ["?", [1, None]]}),
        (1.5, 1.5),
        (None, None),
    ],
)
def test_what_heads_cannot_hold_is_replaced(value: object, stored: object) -> None:
    assert rows._storable(value) == stored


@pytest.mark.parametrize("sent", [b"", b"null", b"[]", b'{"a":', b'{"a":1e999'], ids=repr)
def test_what_is_no_json_object_is_bad_data(sent: bytes) -> None:
    with pytest.raises(BadData):
        Codec(PODS).encode(sent)


@pytest.mark.parametrize("text", [b"[1e999]", b"{", b"1"])
def test_cleaned_text_that_is_no_object_is_bad_data(text: bytes) -> None:
    with pytest.raises(BadData):
        rows._loads(text)


def test_redacted_parts_reach_neither_head_nor_body() -> None:
    codec = Codec(PODS, Cleaner(PODS, redact=["metadata.labels", "spec.nodeName"]))
    sent = json.dumps(
        {"metadata": {"name": "p", "uid": "u", "labels": {"a": "canary"}}, "spec": {"nodeName": "canary"}}
    ).encode()
    row = codec.encode(sent)
    assert b"canary" not in row.record + codec.body(row.record)
    assert (row.labels, row.columns[0]) == ({}, None)


def test_row_of_other_columns_is_an_unknown_format() -> None:
    record = Codec(PODS).encode(raw()).record
    other = replace(PODS, columns=(Column(name="x", path="spec.x"),))
    assert rows.schema(other) != rows.schema(PODS)
    for read in (Codec(other).decode, Codec(other).identity):
        with pytest.raises(UnknownFormat, match="one version"):
            read(record)


def test_head_that_does_not_decode_is_corrupt() -> None:
    data = envelope.seal(Envelope(envelope.Compression.NONE, rows.schema(PODS), 0, b"\x01", b"", 0))
    for read in (Codec(PODS).decode, Codec(PODS).identity):
        with pytest.raises(CorruptData, match="head"):
            read(data)


def test_identity_is_what_the_whole_row_says_and_is_checked_like_it() -> None:
    row = Codec(PODS).encode(raw(labels={"a": "b"}))
    found = Codec(PODS).identity(row.record)
    assert (found.key, found.uid, found.version) == (row.key, row.uid, row.version)
    for place in range(len(row.record)):
        damaged = bytearray(row.record)
        damaged[place] ^= 1
        with pytest.raises((CorruptData, UnknownFormat)):
            Codec(PODS).identity(bytes(damaged))


def test_body_is_read_by_whoever_knows_the_dictionary() -> None:
    dictionary = compression.train([raw(name=f"p{number}", annotations={"k": "v" * 99}) for number in range(200)])
    assert dictionary is not None
    writer, reader = Codec(PODS), Codec(PODS)
    writer.compressor.add(dictionary, use=True)
    record = writer.encode(raw()).record
    assert reader.decode(record).uid == "u"
    with pytest.raises(CorruptData):
        reader.body(record)
    reader.compressor.add(dictionary, use=False)
    assert json.loads(reader.body(record))["metadata"]["uid"] == "u"
    assert isinstance(reader.compressor, Compressor)


def test_rows_share_what_they_have_in_common_and_no_more_is_kept_for_that_than_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "_MAX_SHARED", 2)
    reader = Codec(PODS)
    read: list[Row] = []
    for number in (1, 1, 2, 3, 1):
        owner = [{"uid": f"o{number}"}]
        sent = raw(uid=f"u{len(read)}", labels={"app": f"web-{number}"}, ownerReferences=owner)
        read.append(reader.decode(Codec(PODS).encode(sent).record))
        assert (read[-1].labels, read[-1].owners) == ({"app": f"web-{number}"}, (f"o{number}",))
    assert read[0].labels is read[1].labels
    assert read[0].owners is read[1].owners
    assert read[4].labels is not read[0].labels


def test_what_gone_rows_had_in_common_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_SPARE_SHARED", 1)
    reader = Codec(PODS)
    of_two = [Codec(PODS).encode(raw(uid=f"u{number}", labels={"app": f"{number}"})).record for number in range(6)]
    kept = reader.decode(of_two[0])
    for record in of_two[1:5]:
        reader.decode(record)
    reader.forget_unshared(2)
    assert reader.decode(of_two[0]).labels is kept.labels, "as many as two rows and their successors may have"
    reader.decode(of_two[5])
    reader.forget_unshared(2)
    assert reader.decode(of_two[0]).labels is not kept.labels


def test_texts_in_lists_of_a_row_are_shared_too() -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data-0"}}]
    sent = json.dumps({"metadata": {"name": "p", "uid": "u", "resourceVersion": "7"}, "spec": {"volumes": volumes}})
    one, other = (Codec(PODS).decode(Codec(PODS).encode(sent.encode()).record).columns[-1] for _ in range(2))
    assert one == other == ("data-0",)
    assert one[0] is other[0]


def trained(seed: str) -> bytes:
    made = compression.train([raw(name=f"{seed}{number}", annotations={"k": seed * 99}) for number in range(200)])
    assert made is not None
    return made


def test_many_bodies_are_those_that_each_has() -> None:
    writer, reader = Codec(PODS), Codec(PODS)
    records = [writer.encode(raw(name="plain")).record]
    for seed in "ab":
        reader.compressor.add(writer.compressor.dictionaries[writer.compressor.add(trained(seed), use=True)], use=False)
        records += [writer.encode(raw(name=f"{seed}-{number}")).record for number in range(5)]
    for some in (records, records[2:4], []):
        read = [reader.decode(record) for record in some]
        assert [bytes(each) for each in reader.bodies(read)] == [reader.body(record) for record in some]
        assert reader.sizes(read) == [len(reader.body(record)) for record in some]
    with pytest.raises(MissingDictionary):
        Codec(PODS).sizes([Codec(PODS).decode(record) for record in records])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"body": b"no frame"}, id="no-frame"),
        pytest.param({"body_size": 10}, id="more-than-told"),
        pytest.param({"body_size": 10_000}, id="less-than-told"),
        pytest.param({"dictionary": 7}, id="unknown-dictionary"),
        pytest.param({"body_size": compression.MAX_AT_ONCE}, id="too-much-at-once"),
    ],
)
def test_one_damaged_body_of_many_is_corrupt(change: dict[str, Any]) -> None:
    codec = Codec(PODS)
    codec.compressor.add(trained("a"), use=True)
    records = [codec.encode(raw(name=f"p-{number}")).record for number in range(6)]
    records[3] = envelope.seal(envelope.unseal(records[3])._replace(**change))
    read = [codec.decode(record) for record in records]
    with pytest.raises(CorruptData):
        codec.bodies(read)


def test_digest_tells_rows_apart_and_adds_up() -> None:
    assert rows.digest("a", "1") != rows.digest("a", "2")
    assert rows.digest("a", "11") != rows.digest("a1", "1")
    assert 0 <= rows.digest("a", "1") < rows.DIGEST_MODULUS
