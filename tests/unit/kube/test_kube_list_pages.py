from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krm import errors
from krm.kube import listing, managed_fields
from krm.objects.redact import Cleaner
from krm.resources import PODS


def page(**members: Any) -> bytes:
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "5"}, "items": [], **members}
    return json.dumps({k: v for k, v in body.items() if v is not ...}, ensure_ascii=False).encode()


def parse(body: bytes) -> tuple[listing.Page, str]:
    return listing.parse(body, "list /api/v1/pods")


def test_items_stay_the_bytes_that_came() -> None:
    item = b'{ "metadata": {"name":"\xc3\xa9"}, "n": 1.50}'
    body = (
        b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5","continue":"c","remainingItemCount":3},'
    )
    found, following = parse(body + b'"items":[' + item + b", " + item + b"]}\n")
    assert found.items == [item, item]
    assert (found.version, found.remaining, found.is_last, following) == ("5", 3, False, "c")
    assert (found.kind, found.api_version) == ("PodList", "v1")


@pytest.mark.parametrize("items", [[], None])
def test_an_empty_list_is_a_list(items: list[object] | None) -> None:
    found, following = parse(page(items=items))
    assert (found.items, found.is_last, following) == ([], True, "")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(page(items=...), "not a list", id="no items at all"),
        pytest.param(page(metadata=...), "not a list", id="no metadata"),
        pytest.param(page(metadata={}), "no resourceVersion", id="no version"),
        pytest.param(page(items=[1]), "not an object", id="item is a number"),
        pytest.param(page(items=[None]), "not an object", id="item is null"),
        pytest.param(page(items={}), "not a list", id="items is an object"),
        pytest.param(page(kind="Table", rows=[], items=...), "Table", id="table"),
        pytest.param(page(kind="Table"), "Table", id="table with items"),
        pytest.param(page(kind="Status", status="Success", items=...), "Status", id="status"),
        pytest.param(page(kind="Pod"), "Pod", id="one object"),
        pytest.param(page(kind=...), "not a list", id="no kind"),
        pytest.param(
            page(metadata={"resourceVersion": "5", "remainingItemCount": 7}), "7 objects follow", id="no token"
        ),
        pytest.param(page()[:-1], 'begins \'{"kind"', id="cut"),
        pytest.param(b"", "not whole", id="nothing"),
        pytest.param(b"<html><body>sign in</body></html>", "<html>", id="a web page"),
        pytest.param(page().replace(b"v1", b"v\xff"), "", id="not UTF-8"),
        pytest.param(page(items=[{"a": "x"}]).replace(b'"x"', b'"\xff"'), "utf-8", id="not UTF-8 in an item"),
        pytest.param(page(items=[{"a": "x"}]).replace(b'"x"', b"[" * 100_000 + b"]" * 100_000), "", id="too deep"),
    ],
)
def test_what_is_not_a_list_of_objects_is_bad_data(body: bytes, says: str) -> None:
    with pytest.raises(errors.BadData) as caught:
        parse(body)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(page(items=[{}]), "not a list", id="no metadata in an item"),
        pytest.param(page(items=[{"metadata": {"uid": 5}}]), "not a list", id="uid is a number"),
        pytest.param(page(), "PodList, not a PartialObjectMetadataList", id="whole objects"),
        pytest.param(page(kind="PartialObjectMetadataList", metadata={}), "no resourceVersion", id="no version"),
        pytest.param(page(kind="PartialObjectMetadataList").replace(b"v1", b"v\xff"), "utf-8", id="not UTF-8"),
        pytest.param(page(kind="PartialObjectMetadataList")[:-1], "begins", id="cut"),
    ],
)
def test_what_is_not_a_list_of_metadata_is_bad_data(body: bytes, says: str) -> None:
    with pytest.raises(errors.BadData, match=says):
        listing.parse_identities(body, "list /api/v1/pods")


def test_identities_are_read_past_everything_else() -> None:
    items = [
        {"metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"uid": "x"}}},
        {"kind": "PartialObjectMetadata", "metadata": {}},
    ]
    meta = {"resourceVersion": "5", "continue": "c", "remainingItemCount": 3}
    body = page(kind="PartialObjectMetadataList", items=items, metadata=meta)
    found, following = listing.parse_identities(body, "list /api/v1/pods")
    assert found.identities == [
        listing.Identity(name="a", namespace="n", uid="u", version="7"),
        listing.Identity(),
    ]
    assert (found.version, found.is_last, following) == ("5", False, "c")


PAGE = page(
    metadata={"resourceVersion": "123", "continue": "abc", "remainingItemCount": 2},
    items=[{"metadata": {"name": "é", "resourceVersion": "7"}, "spec": {"n": [1, 2.5, None, True]}}] * 2,
)


@settings(deadline=None)  # a loaded machine is slow, not wrong
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
)
def test_flipped_bytes_give_a_page_or_bad_data_and_nothing_else(flips: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(PAGE)
    for place, mask in flips:
        damaged[place % len(damaged)] ^= mask
    try:
        found, _ = parse(bytes(damaged[: len(damaged) - cut]))
    except errors.BadData:
        return
    assert all(isinstance(json.loads(item), dict) for item in found.items)


_TEXTS = st.sampled_from(["}]}", '"managedFields":[{', "]", "}]", '"', "\\", "x", "é"])
_ENTRIES: st.SearchStrategy[Any] = st.lists(
    st.dictionaries(_TEXTS, _TEXTS | st.just([{}]) | st.just({"f:x": {}}), max_size=2), max_size=2
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": _TEXTS, "uid": st.text(max_size=3)},
            optional={"labels": st.dictionaries(_TEXTS, _TEXTS), "managedFields": _ENTRIES | _TEXTS, "x": _ENTRIES},
        ),
        max_size=4,
    ),
    st.integers(0, 3),
)
def test_identities_are_the_same_whether_managed_fields_are_looked_through_or_not(
    metadata: list[dict[str, Any]], cut: int
) -> None:
    whole = {"kind": "L", "metadata": {"resourceVersion": "5"}, "items": [{"metadata": one} for one in metadata]}
    body = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    body = body[: len(body) - cut]
    try:
        expected: Any = listing._PARTIAL_LIST.decode(body)
    except msgspec.MsgspecError:
        expected = None
    try:
        found: Any = managed_fields.decoded(
            body, managed_fields.cut(body, templates=False), listing._PARTIAL_LIST.decode
        )
    except msgspec.MsgspecError:
        found = None
    assert found == expected


def test_managed_fields_of_identities_are_not_looked_through() -> None:
    managed = b'"managedFields":[{"manager":"a","fieldsV1":{"f:x":NOT JSON}}]'
    body = b'{"kind":"L","metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"n",%s}}]}' % managed
    less = managed_fields.cut(body, templates=False)
    found = managed_fields.decoded(body, less, listing._PARTIAL_LIST.decode).items
    assert found is not None
    assert [one.metadata.name for one in found] == ["n"]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"metadata": st.fixed_dictionaries({"name": _TEXTS}, optional={"managedFields": _ENTRIES | _TEXTS})},
            optional={
                "spec": st.fixed_dictionaries(
                    {"metadata": st.fixed_dictionaries({"x": _TEXTS}, optional={"managedFields": _ENTRIES})}
                )
                | _ENTRIES
            },
        ),
        max_size=4,
    )
)
def test_whole_objects_lose_their_own_managed_fields_or_nothing(items: list[dict[str, Any]]) -> None:
    whole = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "5"}, "items": items}
    body = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    expected, _ = parse(body)
    found, _ = listing.parse(body, "list /api/v1/pods", managed=False)
    cleaner = Cleaner(PODS)
    assert list(map(cleaner.clean, found.items)) == list(map(cleaner.clean, expected.items))


def test_whole_objects_come_without_managed_fields_where_these_are_not_wanted() -> None:
    items = [{"metadata": {"name": n, "managedFields": [{"manager": "m"}]}, "spec": {}} for n in "ab"]
    body = page(items=items).replace(b" ", b"")
    found, _ = listing.parse(body, "list /api/v1/pods", managed=False)
    assert found.items == [b'{"metadata":{"name":"%s"},"spec":{}}' % n for n in (b"a", b"b")]
