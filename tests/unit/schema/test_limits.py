"""Costly documents are refused before they are parsed, in time linear in their length."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from krm.errors import AnswerError, Code
from krm.schema import build, limits
from krm.schema.documents import KEPT_BYTES, Documents, Invalid
from krm.schema.limits import Limits

BOUND_S = 0.05
"""CPU for one hostile document; they take a tenth of it, so that a slow machine does not matter."""


@contextmanager
def cheap() -> Iterator[None]:
    gc.disable()  # a collection of the whole test run's heap is not the document's cost
    try:
        before = time.thread_time()
        yield
        assert time.thread_time() - before < BOUND_S
    finally:
        gc.enable()


def doubled(count: int, inner: str) -> str:
    chain = "".join(f"fragment f{i} on Pod {{ {inner % f'...f{i + 1} ...f{i + 1}'} }} " for i in range(count))
    return f"{{ pods {{ nodes {{ ...f0 }} }} }} {chain} fragment f{count} on Pod {{ kind }}"


HOSTILE = {
    "depth of 50": "{ a " * 50 + "}" * 50,
    "deeper than any stack": "{a" * 40_000,
    "inline fragments inside each other": "{" + "...{" * 3_000 + "a" + "}" * 3_001,
    "10,001 tokens": "{" + "a " * 10_000,
    "100,000 tokens": "{" + "a " * 100_000 + "}",
    "1,000 aliases": "{" + "".join(f"a{i}: pods {{ totalCount }} " for i in range(1_000)) + "}",
    "1,000 equal fields": "{" + "pods { totalCount } " * 1_000 + "}",
    "equal fields through fragments": "{" + "...F " * 60 + "} fragment F on Query { pods { totalCount } }",
    "equal fields one level down": "{" + "pods { totalCount totalCount } " * 40 + "}",
    "3,000 directives": "{ pods " + "@a " * 3_000 + "{ totalCount } }",
    "chain of 40 doubled fragments": doubled(40, "%s"),
    "chain of 40 doubled fragments, each a level deeper": doubled(40, "metadata { %s }"),
    "many fields": "{" + " ".join(f"f{i}" for i in range(4_001)) + "}",
    "values inside each other": "{ pods(where: " + "[" * 2_000,
    "many operations": "".join(f"query Q{i} {{ ...F }} " for i in range(190))
    + "fragment F on Query {"
    + " ".join(f"f{i}" for i in range(2_000))
    + "}",
    "10,001 comments": "#\n" * 10_001 + "{ a }",
    "comments without end": " #,\n" * 60_000,
    "block strings without end": '"' * 200_000,
    "1,000 levels and then no token": "{ a " * 1_000 + ";",
    "many definitions": "".join(f"query Q{i} {{ a }} " for i in range(300)),
}


DOCUMENTS = Documents(build.default()._schema, Limits())


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_refused_cheaply(text: str) -> None:
    with cheap(), pytest.raises(AnswerError) as refused:
        DOCUMENTS.get(text)
    assert refused.value.code == Code.QUERY_TOO_COMPLEX


@pytest.mark.parametrize(
    "text",
    ['{ a(b: "}}}}((((") { c } }', '{ a(b: """ "} \\""" { """) { c } }', "# {{{{\n{ a }", '{a(b:"\\\\")}'],
    ids=["string", "block string", "comment", "escaped quote"],
)
def test_what_is_no_punctuation_is_not_counted(text: str) -> None:
    limits.check(text, Limits(depth=2))


def test_fragments_that_contain_themselves_are_refused_before_validation() -> None:
    text = "{ pods { nodes { ...A } } } fragment A on Pod { ...B } fragment B on Pod { metadata { ...A } }"
    with pytest.raises(AnswerError) as refused:
        limits.check(text, Limits())
    assert refused.value.code == Code.GRAPHQL_VALIDATION


def test_the_bounds_are_those_that_are_given() -> None:
    allowed = Limits(depth=3, aliases=2, fields=6, equal_fields=2, tokens=30)
    limits.check("{ a: b { c { d } } e: f { g } }", allowed)
    for text in (
        "{ a { b { c { d } } } }",
        "{ a: b c: d e: f }",
        "{ a b c d e f g }",
        "{ a a a }",
        "{" + "a," * 29 + "}",
    ):
        with pytest.raises(AnswerError):
            limits.check(text, allowed)


def test_depth_and_fields_count_what_fragments_expand_to() -> None:
    text = "{ a { ...F } } fragment F on X { b { c } }"
    limits.check(text, Limits(depth=3))
    with pytest.raises(AnswerError, match="levels"):
        limits.check(text, Limits(depth=2))
    with pytest.raises(AnswerError, match="fields"):
        limits.check("{ a { ...F ...F ...F } } fragment F on X { b c }", Limits(fields=6))


def test_random_documents_are_judged_cheaply() -> None:
    documents = Documents(build.default()._schema, Limits())
    rng = random.Random(5)
    words = ["{", "}", "{", "}", "(", ")", "...", "on", "Pod", "pods", "nodes", "a", ":", "@", '"x', '"""', "fragment"]
    for _ in range(300):
        text = " ".join(rng.choice(words) for _ in range(rng.randint(1, 400)))
        with cheap(), pytest.raises(AnswerError) as refused:
            documents.get("{" + text)
        assert refused.value.code in (Code.GRAPHQL_VALIDATION, Code.QUERY_TOO_COMPLEX)


@pytest.mark.parametrize(
    "text",
    [
        "{ pods { totalCount } ...F } fragment F on Query { pods(first: 1) { totalCount } }",
        "{ pods { a: totalCount } pods { a: resourceVersion } }",
        '{ pods(name: "a") { totalCount } pods(name: "b") { totalCount } }',
        "{ pods { nodes { metadata { x: name } ... on Pod { metadata { x: uid } } } } }",
    ],
)
def test_fields_that_cannot_be_merged_are_invalid(text: str) -> None:
    with pytest.raises(Invalid, match="conflict"):
        Documents(build.default()._schema, Limits()).get(text)


def test_equal_fields_are_merged() -> None:
    text = '{ pods(first: 1, name: "a") { totalCount } pods(name: "a", first: 1) { totalCount nodes { kind } } }'
    Documents(build.default()._schema, Limits()).get(text)


def test_a_known_document_is_parsed_once_and_the_least_used_is_forgotten() -> None:
    documents = Documents(build.default()._schema, Limits(), most=3)
    first = documents.get("{ pods { totalCount } }")
    assert documents.get("{ pods { totalCount } }") is first
    for number in range(3):
        documents.get(f"{{ a{number}: pods {{ totalCount }} }}")
    assert documents.get("{ pods { totalCount } }") is not first


def test_long_documents_push_each_other_out() -> None:
    documents = Documents(build.default()._schema, Limits())
    long = [f"{{ a{number}: pods {{ totalCount }} }} #{'x' * (KEPT_BYTES // 3)}" for number in range(4)]
    first = documents.get(long[0])
    assert documents.get(long[0]) is first
    for text in long[1:]:
        documents.get(text)
    assert documents.get(long[0]) is not first
