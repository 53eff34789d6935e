"""Selectors: the grammar of Kubernetes, its errors with positions, and what matches."""

from __future__ import annotations

import dataclasses
import random

import pytest

from krm.objects import selectors
from krm.objects.selectors import FieldRequirement, Operator, SelectorError, parse_fields, parse_labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \t\n", []),
        ("app", [("app", "exists", ())]),
        ("!app", [("app", "!", ())]),
        (" ! app ", [("app", "!", ())]),
        ("app=web", [("app", "=", ("web",))]),
        ("app == web", [("app", "=", ("web",))]),
        ("app!=web", [("app", "!=", ("web",))]),
        ("app=", [("app", "=", ("",))]),
        ("app=,b", [("app", "=", ("",)), ("b", "exists", ())]),
        ("app in (b,a, b)", [("app", "in", ("a", "b"))]),
        ("app in(a)", [("app", "in", ("a",))]),
        ("app notin (a,)", [("app", "notin", ("", "a"))]),
        ("app in (,)", [("app", "in", ("",))]),
        ("app in (a,,b)", [("app", "in", ("", "a", "b"))]),
        ("in in (in,notin)", [("in", "in", ("in", "notin"))]),
        ("notin", [("notin", "exists", ())]),
        ("in=in", [("in", "=", ("in",))]),
        ("a.b/c-d_e=F.1,x>5,y<-3", [("a.b/c-d_e", "=", ("F.1",)), ("x", "gt", ("5",))]),
    ],
)
def test_label_selectors_parse_as_kubernetes_reads_them(
    text: str, expected: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    if "<" in text:
        # a dash cannot begin a label value, so a negative bound is refused like in Kubernetes
        with pytest.raises(SelectorError):
            parse_labels(text)
        text = text.rsplit(",", 1)[0]
    found = [(r.key, str(r.operator), r.values) for r in parse_labels(text).requirements]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("app===", "unable to parse requirement: found '=', expected: identifier", 5),
        ("a==b,,c", "unable to parse requirement: found ',', expected: identifier after ','", 5),
        ("a=b,", "unable to parse requirement: found '', expected: identifier after ','", 4),
        (",a", "unable to parse requirement: found ',', expected: !, identifier, or 'end of string'", 0),
        ("!", "unable to parse requirement: found '', expected: identifier", 1),
        ("!!a", "unable to parse requirement: found '!', expected: identifier", 1),
        ("!a=b", "unable to parse requirement: found '=', expected: ',' or 'end of string'", 2),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt", 2),
        ("a in b", "unable to parse requirement: found 'b' expected: '('", 5),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'", 7),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'", 8),
        ("a in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier", 6),
        ("a=b c", "unable to parse requirement: found 'c', expected: ',' or 'end of string'", 4),
        ("a in (b),(", "unable to parse requirement: found '(', expected: identifier after ','", 9),
    ],
)
def test_syntax_errors_carry_the_text_of_kubernetes_and_the_position(text: str, message: str, position: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_labels(text)
    assert (caught.value.message, caught.value.position) == (message, position)
    assert str(caught.value) == f"{message} (at position {position})"


@pytest.mark.parametrize(
    ("text", "part", "position"),
    [
        ("a in ()", "values set can't be empty", 2),
        ("-a=b", "name part must consist of", 0),
        ("a/b/c", "a qualified name must consist of", 0),
        ("/a", "prefix part must be non-empty", 0),
        ("a/", "name part must be non-empty", 0),
        ("A.b/c", "prefix part a lowercase RFC 1123 subdomain", 0),
        ("x" * 64, "name part must be no more than 63", 0),
        ("y" * 254 + "/a", "prefix part must be no more than 253", 0),
        ("x=" + "v" * 64, "must be no more than 63", 2),
        ("x=-v", "a valid label must be an empty string or", 2),
        ("x in (a, v-)", "a valid label must be", 9),
        ("x>a", "the value must be an integer", 2),
        ("x>99999999999999999999", "the value must be an integer", 2),
        ("ä=b", "name part must consist of", 0),
    ],
)
def test_keys_and_values_are_checked_as_kubernetes_checks_them(text: str, part: str, position: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_labels(text)
    assert part in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=1", {"a": "1"}, True),
        ("a=1", {"a": "2"}, False),
        ("a=1", {}, False),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=1", {"a": "2"}, True),
        ("a!=1", {}, True),
        ("a!=1", {"a": "1"}, False),
        ("a in (1,2)", {"a": "2"}, True),
        ("a in (1,2)", {}, False),
        ("a notin (1,2)", {"a": "2"}, False),
        ("a notin (1,2)", {"a": "3"}, True),
        ("a notin (1,2)", {}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {"a": ""}, False),
        ("!a", {}, True),
        ("a>5", {"a": "6"}, True),
        ("a>5", {"a": "5"}, False),
        ("a>5", {"a": "x"}, False),
        ("a>5", {}, False),
        ("a<5", {"a": "4"}, True),
        ("a=1,b=2", {"a": "1", "b": "2"}, True),
        ("a=1,b=2", {"a": "1"}, False),
    ],
)
def test_matching_follows_kubernetes_for_absent_labels_too(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_labels(text).matches(labels) is expected


def test_too_long_a_selector_is_refused_whatever_it_holds() -> None:
    for text in ("a" * 10_000, "(" * 10_000, "a," * 5_000, "\\" * 10_000):
        with pytest.raises(SelectorError, match="longer than"):
            parse_labels(text)
        with pytest.raises(SelectorError, match="longer than"):
            parse_fields(text)


def test_a_selector_of_the_greatest_length_still_parses() -> None:
    values = [f"v{index}" for index in range(1000)]
    selector = parse_labels(f"a in ({','.join(values)})")
    assert set(selector.requirements[0].values) == set(values)


def test_any_text_is_either_read_or_refused_with_a_position_inside_it() -> None:
    source = random.Random(7)
    for _ in range(20_000):
        text = "".join(source.choices("a!=(),<> in\tn.-/\\ü", k=source.randrange(12)))
        for parse in (parse_labels, parse_fields):
            position = 0
            try:
                parse(text)
            except SelectorError as error:
                position = error.position
            assert 0 <= position <= len(text)


def test_selectors_are_values() -> None:
    assert parse_labels("a=1") == parse_labels("a==1")
    assert hash(parse_labels("a in (1,2)")) == hash(parse_labels("a in (2,1)"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_labels("a").requirements[0].key = "b"  # type: ignore[misc]
    assert parse_labels("a").requirements[0].operator is Operator.EXISTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (",", []),
        ("a=b", [("a", "=", "b")]),
        ("a==b", [("a", "=", "b")]),
        ("a!=b,c=", [("a", "!=", "b"), ("c", "=", "")]),
        (r"a=x\,y\=z\\", [("a", "=", "x,y=z\\")]),
        ("spec.containers[*].image=x", [("spec.containers[*].image", "=", "x")]),
        ("metadata.labels['a.b/c']!=x", [("metadata.labels['a.b/c']", "!=", "x")]),
    ],
)
def test_field_selectors_parse_with_their_escapes(text: str, expected: list[tuple[str, str, str]]) -> None:
    found = [(r.path, str(r.operator), r.value) for r in parse_fields(text).requirements]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'", 0),
        ("a=b,nope", "invalid selector: 'a=b,nope'; can't understand 'nope'", 4),
        ("=b", "invalid selector: '=b'; a field is missing before '='", 0),
        ("a=b=c", "invalid field selector: unescaped character in value: =", 3),
        ("a===b", "invalid field selector: unescaped character in value: =", 3),
        (r"a=\b", "invalid field selector: invalid escape sequence: \\b", 2),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\", 3),
    ],
)
def test_field_selector_errors_carry_a_position(text: str, message: str, position: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_fields(text)
    assert (caught.value.message, caught.value.position) == (message, position)


def test_field_requirement_is_a_value() -> None:
    assert parse_fields("a=b").requirements == (
        FieldRequirement(path="a", operator=selectors.FieldOperator.EQUALS, value="b"),
    )
