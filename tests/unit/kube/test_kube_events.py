from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from krm import errors
from krm.kube import events, failures
from krm.kube.events import EventType, WatchEvent
from krm.objects.redact import Cleaner
from krm.resources import PODS

PEER = failures.Peer(server="https://api:6443", credentials="context 'a' of f", ca="the CA file ca.crt")


def decode(line: bytes) -> WatchEvent:
    return events.decode(line, 12.5, PEER, "watch /api/v1/pods", Cleaner(PODS).see)


def line(type_: str, obj: object) -> bytes:
    return json.dumps({"type": type_, "object": obj}, ensure_ascii=False).encode()


def status(**members: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", **members}


POD = b'{"kind":"Pod", "metadata":{"name":"p\xc3\xa9","resourceVersion":"9007199254740993"},"spec":{"x":[1,2.50]}}'


def test_an_object_stays_the_bytes_that_came() -> None:
    event = decode(b'{"type":"MODIFIED","object":' + POD + b"}")
    event = msgspec.structs.replace(event, seen=None)
    assert event == WatchEvent(type=EventType.MODIFIED, raw=POD, version="9007199254740993", received_s=12.5)


def test_a_bookmark_is_its_version_and_nothing_else() -> None:
    event = decode(
        line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "7"}, "spec": {"containers": None}})
    )
    assert event == WatchEvent(type=EventType.BOOKMARK, raw=b"", version="7", received_s=12.5)


def test_the_end_of_the_initial_events_is_told() -> None:
    meta = {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}
    assert decode(line("BOOKMARK", {"kind": "Pod", "metadata": meta})).ends_initial


@pytest.mark.parametrize("obj", [{}, {"metadata": None}, {"metadata": {}}, {"kind": "Pod", "metadata": {"name": "a"}}])
def test_an_object_without_a_version_is_still_given(obj: dict[str, Any]) -> None:
    event = decode(line("ADDED", obj))
    assert (event.version, json.loads(event.raw)) == ("", obj)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"type":"ADDED","object":{"a":1}', id="cut"),
        pytest.param(b'{"type":"ADDED","object":{}}{}', id="two values"),
        pytest.param(b'{"type":"ADDED"}', id="no object"),
        pytest.param(b'{"object":{}}', id="no type"),
        pytest.param(line("CHANGED", {}), id="unknown type"),
        pytest.param(line("ADDED", None), id="null object"),
        pytest.param(line("ADDED", []), id="object is a list"),
        pytest.param(line("ADDED", {"kind": "Table", "rows": []}), id="table"),
        pytest.param(line("ADDED", status(code=500)), id="status"),
        pytest.param(b'{"type":"ADDED","object":{"a":"\xff"}}', id="not UTF-8 inside of the object"),
        pytest.param(b'{"type":"ADDED\xff","object":{}}', id="not UTF-8 in the type"),
        pytest.param(b'{"ty\xffpe":1,"type":"ADDED","object":{}}', id="not UTF-8 in a key"),
        pytest.param(b'{"type":"ADDED","object":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="too deep"),
        pytest.param(b'{"type":"ADDED","object":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", id="too deep inside"),
        pytest.param(b'{"type":"ADDED","object":{"a":NaN}}', id="NaN"),
        pytest.param(b'{"type":"ADDED","object":{"a":"\x01"}}', id="control character"),
        pytest.param(line("BOOKMARK", {"kind": "Pod", "metadata": {}}), id="bookmark without version"),
        pytest.param(
            line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": ""}}), id="bookmark empty version"
        ),
        pytest.param(line("ERROR", {"kind": "Pod"}), id="error that is no status"),
        pytest.param(line("ERROR", None), id="error null"),
    ],
)
def test_what_is_not_an_event_is_bad_data(bad: bytes) -> None:
    with pytest.raises(errors.BadData, match="watch /api/v1/pods"):
        decode(bad)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (410, errors.Gone),
        (429, errors.Throttled),
        (400, errors.ServerFailed),
        (500, errors.ServerFailed),
        (503, errors.ServerFailed),
        (504, errors.ServerFailed),
    ],
)
def test_an_error_event_means_what_its_code_means(code: int, kind: type[errors.ClusterError]) -> None:
    with pytest.raises(kind) as caught:
        decode(line("ERROR", status(code=code, message="because", details={"retryAfterSeconds": 3})))
    assert type(caught.value) is kind
    assert caught.value.status == code
    assert "because" in str(caught.value)
    if code in (429, 503):
        assert getattr(caught.value, "retry_after_s", None) == 3


def test_an_error_event_with_a_reason_only_is_understood() -> None:
    with pytest.raises(errors.Gone):
        decode(line("ERROR", status(reason="Expired", message="too old resource version: 1 (7744)")))


def test_words_of_the_server_are_cut_and_cleaned() -> None:
    with pytest.raises(errors.ServerFailed) as caught:
        decode(line("ERROR", status(code=500, message="a\x1b[31m\nb" + "x" * 5000)))
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


GOOD = [
    b'{"type":"MODIFIED","object":' + POD + b"}",
    line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "7", "annotations": {"a": "b"}}}),
    line("ERROR", status(code=410, reason="Expired", message="old", details={"retryAfterSeconds": 1})),
]


@settings(deadline=None)  # a loaded machine is slow, not wrong
@given(
    number=st.integers(0, len(GOOD) - 1),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
)
@example(number=0, flips=[(0, 1)], cut=0)
def test_flipped_bytes_give_an_event_or_bad_data_and_nothing_else(
    number: int, flips: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(GOOD[number])
    for place, mask in flips:
        damaged[place % len(damaged)] ^= mask
    try:
        event = decode(bytes(damaged[: len(damaged) - cut]))
    except errors.BadData:
        return
    except errors.ClusterError:  # an ERROR event whose code or words were hit
        assert number == 2
        return
    if event.type is not EventType.BOOKMARK:
        assert isinstance(json.loads(event.raw), dict)


@settings(deadline=None)  # a loaded machine is slow, not wrong
@given(st.binary(max_size=60))
def test_any_bytes_give_an_event_or_bad_data(data: bytes) -> None:
    with pytest.raises(errors.BadData):
        decode(data)


_MEMBERS = st.recursive(
    st.sampled_from([None, 1, "a", "}}", '{"type":']),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "type", "object"]), inner),
    max_leaves=4,
)


_METADATA: list[Any] = [
    None,
    {},
    {"resourceVersion": "7"},
    {"name": "p", "resourceVersion": "7"},
    {"name": "p", "resourceVersion": "7", "managedFields": [{"manager": "x]}"}]},
    {"name": "p", "resourceVersion": 7},
    [],
]


@given(
    st.sampled_from([*EventType, "OTHER", None]),
    st.fixed_dictionaries(
        {},
        optional={
            "kind": st.sampled_from(["Pod", "Status", "Table", 1]),
            "apiVersion": st.just("v1"),
            "metadata": st.sampled_from(_METADATA) | _MEMBERS,
            "spec": _MEMBERS,
        },
    )
    | _MEMBERS,
    st.sampled_from(["", " ", "\r"]),
    st.dictionaries(st.sampled_from(["more", "type", "object"]), _MEMBERS, max_size=1),
)
@settings(deadline=None)
def test_a_line_that_is_looked_through_once_is_the_event_that_a_closer_look_finds(
    type_: str | None, obj: Any, space: str, more: dict[str, Any]
) -> None:
    whole = json.dumps({"type": type_, "object": obj, **more}, separators=("," + space, ":" + space)).encode() + (
        space.encode()
    )
    found = _tried(whole)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(events, "_plain", lambda *_: None)
        assert found == _tried(whole)


def _tried(whole: bytes) -> Any:
    try:
        found = decode(whole)
        if found.seen is not None:
            assert found.seen.text == Cleaner(PODS).clean(found.raw)
        return msgspec.structs.replace(found, seen=None)
    except errors.ClusterError as error:
        return repr(error)
