"""What is never stored is never in the output, and nothing else is lost or changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.errors import BadData, ConfigError
from krm.objects.redact import LAST_APPLIED, Cleaner
from krm.resources import DEPLOYMENTS, PODS, Resource

CANARY = "canary-5f1d"
SECRETS = Resource(plural="secrets", singular="secret", kind="Secret", list_field="secrets", single_field="secret")
PATHS = (
    "spec.containers[*].env[*].value",
    "metadata.annotations['a/b']",
    "spec.list[0].x",
    "spec.whole",
    "spec.map[*].x",
)

names = st.one_of(st.text(max_size=8), st.sampled_from(["kind", "metadata", "spec", "data", "value", "é", "a/b"]))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.text(max_size=12),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)
objects = st.dictionaries(names, values, max_size=5)


def parsed(text: bytes) -> Any:
    """With numbers as they are spelled."""
    return json.loads(text, parse_float=lambda spelled: ("float", spelled))


@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_everything_else_is_what_was_sent(rest: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    sent = {**rest, "metadata": {"name": "n", "more": rest}, "spec": rest}
    raw = json.dumps(sent, ensure_ascii=ascii_only, indent=indent).encode()
    cleaned = Cleaner(PODS, redact=PATHS[:2]).clean(raw)
    expected = parsed(raw)
    if expected.get("kind") is None and "kind" not in expected:
        expected["kind"] = "Pod"
    expected.setdefault("apiVersion", "v1")
    for one in _containers(expected["spec"]):
        one.pop("value", None)
    assert parsed(cleaned) == expected


NASTY = st.sampled_from(
    ["}]}", '}]},"spec":{', '"managedFields":[{', "[{", "]", "{", "\\", '"', "x", "\ud800", "é"]
) | st.text(max_size=4)
ENTRIES: st.SearchStrategy[Any] = st.lists(
    st.dictionaries(NASTY, NASTY | st.just({"f:x": {}}) | st.just([{}]), max_size=3) | NASTY, max_size=3
)
METADATA = st.dictionaries(
    st.sampled_from(["labels", "annotations", "managedFields", "ownerReferences", "spec", "x"]),
    st.dictionaries(NASTY | st.just(LAST_APPLIED), NASTY, max_size=2) | ENTRIES,
)
MEMBERS = st.dictionaries(
    st.sampled_from(["spec", "status", "data", "metadata", "x"]),
    NASTY | ENTRIES | st.builds(lambda inner: {"template": {"metadata": inner}}, METADATA),
    max_size=3,
)


@given(METADATA, MEMBERS, st.booleans(), st.booleans(), st.sampled_from(["", " "]))
def test_what_is_seen_in_one_look_is_what_is_cleaned_piece_by_piece(
    metadata: dict[str, Any], members: dict[str, Any], in_list: bool, keep: bool, space: str
) -> None:
    identity = {} if in_list else {"kind": "Pod", "apiVersion": "v1"}
    sent = {**identity, "metadata": {"name": "n", **metadata}, **{k: v for k, v in members.items() if k != "metadata"}}
    raw = json.dumps(sent, separators=(",", ":" + space)).encode()
    cleaner = Cleaner(PODS, keep_managed_fields=keep)
    seen = cleaner.see(raw)
    assert seen is None or seen.text == cleaner.clean(raw)


@pytest.mark.parametrize("start", ["", '"kind":"Pod","apiVersion":"v1",'])
def test_objects_as_api_servers_write_them_are_cleaned_in_one_look(start: str) -> None:
    managed = '"managedFields":[{"manager":"kubelet","fieldsV1":{"f:spec":{"k:{\\"port\\":1}":{}}}}]'
    raw = f'{{{start}"metadata":{{"name":"n","labels":{{"a":"b"}},{managed}}},"spec":{{"nodeName":"x"}}}}'.encode()
    seen = Cleaner(PODS).see(raw)
    assert seen is not None
    assert b"managedFields" not in seen.text
    assert seen.text == Cleaner(PODS).clean(raw)
    assert (seen.look.metadata.name, seen.look.metadata.labels) == ("n", {"a": "b"})
    kept = Cleaner(PODS, keep_managed_fields=True).see(raw)
    assert kept is not None
    assert parsed(kept.text) == {"kind": "Pod", "apiVersion": "v1", **parsed(raw)}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"metadata":{"name":"n"},"spec":{"template":{"metadata":{"x":1,"managedFields":[{"manager":"a"}]}}}}',
        b'{"metadata":{"name":"n","annotations":{"%s":"%s"}}}' % (LAST_APPLIED.encode(), CANARY.encode()),
        b'{"metadata":{"managedFields":[{"manager":"a"}],"name":"n"}}',
        b'{"metadata":{"name":"n","managedFields":[{"manager":"a]"}]}}',
        b'{"metadata":{"name":"n","managedFields":[{"a":[{}]},{"b":1}]}}',
        b'{"metadata":{"name":"n"}} ',
        b'{"metadata":{"namespace":"n"}}',
        b'{"metadata":{"name":"n"},"kind":"Pod"}',
        b'{"metadata":{"name":"n"},"apiVersion":null}',
    ],
)
def test_other_objects_are_looked_at_closer(raw: bytes) -> None:
    assert Cleaner(PODS).see(raw) is None


def test_what_must_be_taken_out_is_not_passed_over_in_one_look() -> None:
    raw = json.dumps({"metadata": {"name": "n"}, "data": {"a": CANARY}}, separators=(",", ":")).encode()
    assert Cleaner(SECRETS).see(raw) is None
    assert Cleaner(PODS, redact=["data"]).see(raw) is None


def _containers(spec: Any) -> list[dict[str, Any]]:
    found = spec.get("containers") if isinstance(spec, dict) else None
    listed = found.values() if isinstance(found, dict) else found if isinstance(found, list) else []
    return [env for one in listed if isinstance(one, dict) for env in one.get("env", []) if isinstance(env, dict)]


def secret_places(canary: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "managedFields": [{"manager": canary}],
            "annotations": {LAST_APPLIED: canary, "a/b": canary, "kept": "yes"},
        },
        "spec": {
            "containers": [{"name": "c", "env": [{"name": "E", "value": canary}, {"name": "F", "value": canary}]}],
            "list": [{"x": canary, "y": 1}, {"x": "kept"}],
            "whole": {"deep": [canary]},
            "map": {"one": {"x": canary}, "two": {"x": canary, "z": 1.50}},
        },
    }


def test_planted_canaries_are_never_in_the_output() -> None:
    raw = json.dumps(secret_places(CANARY)).encode()
    cleaned = Cleaner(PODS, redact=PATHS).clean(raw)
    assert CANARY.encode() not in cleaned
    assert json.loads(cleaned) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p", "annotations": {"kept": "yes"}},
        "spec": {
            "containers": [{"name": "c", "env": [{"name": "E"}, {"name": "F"}]}],
            "list": [{"y": 1}, {"x": "kept"}],
            "map": {"one": {}, "two": {"z": 1.5}},
        },
    }


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param('{"metadata" :\n\t {"managedFields" : ["%s"] } }', id="white-space"),
        pytest.param('{"metadata":{"managed\\u0046ields":["%s"]}}', id="escaped-name"),
        pytest.param('{"met\\u0061data":{"managedFields":["%s"]}}', id="escaped-parent"),
        pytest.param('{"metadata":{"managedFields":["%s"]},"metadata":{"managedFields":["%s"]}}', id="twice"),
        pytest.param('{"metadata":{"managedFields":"%s","managedFields":"%s"}}', id="member-twice"),
        pytest.param(
            '{"metadata":{"name":"a","annotations":{"' + LAST_APPLIED + '":"%s"}},"metadata":{"name":"a"}}',
            id="last-applied-first",
        ),
        pytest.param(
            '{"metadata":{"annotations": {"kubectl.kubernetes.io\\/last-applied-configuration":"%s"}}}', id="slash"
        ),
    ],
)
def test_no_spelling_hides_what_is_never_stored(raw: str) -> None:
    sent = raw.replace("%s", CANARY).encode()
    assert CANARY.encode() not in Cleaner(PODS).clean(sent)
    assert CANARY.encode() not in Cleaner(PODS).look_at(sent)[0]


@pytest.mark.parametrize("path", ["spec.a", "spec['a']", "spec[*]", "spec.list[*].a", "spec.list[1]", "a-b"])
def test_redacted_path_is_absent_and_not_masked(path: str) -> None:
    obj = {
        "kind": "Pod",
        "apiVersion": "v1",
        "a-b": CANARY,
        "spec": {"a": CANARY, "list": [{"a": 1}, CANARY, {"a": 2}]},
    }
    cleaned = json.loads(Cleaner(PODS, redact=[path]).clean(json.dumps(obj).encode()))
    assert cleaned != obj
    assert "***" not in json.dumps(cleaned)


def test_managed_fields_are_kept_where_asked_for() -> None:
    raw = b'{"kind":"Pod","apiVersion":"v1","metadata":{"managedFields":[{"manager":"m"}]}}'
    assert Cleaner(PODS, keep_managed_fields=True).clean(raw) == raw


def test_secrets_lose_their_data() -> None:
    raw = json.dumps({"kind": "Secret", "data": {"k": CANARY}, "stringData": {"k": CANARY}, "type": "Opaque"}).encode()
    assert json.loads(Cleaner(SECRETS).clean(raw)) == {"kind": "Secret", "apiVersion": "v1", "type": "Opaque"}


def test_data_of_other_kinds_stays() -> None:
    raw = b'{"kind":"Pod","apiVersion":"v1","data":{"k":"v"}}'
    assert Cleaner(PODS).clean(raw) == raw


def test_items_of_lists_get_the_kind_that_they_lack() -> None:
    assert json.loads(Cleaner(DEPLOYMENTS).clean(b"{}")) == {"kind": "Deployment", "apiVersion": "apps/v1"}


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"Pod","apiVersion":"v1","n":123456789012345678901234567890,"f":1.10,"e":1E400,"z":-0.0}',
        '{"kind":"Pod","apiVersion":"v1","s":"a\\u0000\\/\\"\\ud83d\\ude00","u":"\U0001f600é"}',
        '{"kind":"Pod","apiVersion":"v1","spec":{"other":[1.0, 2 ,{"k" : null}]}}',
    ],
)
def test_bytes_that_lose_nothing_pass_unparsed(text: str) -> None:
    assert Cleaner(PODS, redact=["spec.whole"]).clean(text.encode()) == text.encode()


@pytest.mark.parametrize("metadata", ["null", "5", '"text"', "[]", '{"annotations":null}', '{"annotations":[1]}', "{}"])
def test_odd_metadata_is_kept(metadata: str) -> None:
    cleaned = json.loads(Cleaner(PODS).clean(f'{{"metadata":{metadata}}}'.encode()))
    assert cleaned["metadata"] == json.loads(metadata)


@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"",
            b"null",
            b"[]",
            b"5",
            b'{"a":',
            b'{"a":1}x',
            b"{'a':1}",
            b'{"a":"\xff"}',
            b'{"a":"\\ud800"}',
            b'{"metadata":{"a":"\xff"}}',
        ),
        b'{"metadata":{"\xff":1}}',
        b'{"x":' + b"[" * 100_000,
        b'{"metadata":{"annotations":{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}}}",
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_is_no_json_object_is_bad_data(raw: bytes) -> None:
    with pytest.raises(BadData):
        Cleaner(PODS).clean(raw)


def test_path_that_is_none_is_told_with_its_variable() -> None:
    with pytest.raises(ConfigError, match=r"KRM_REDACT='a\.\.b'"):
        Cleaner(PODS, redact=["a..b"])
