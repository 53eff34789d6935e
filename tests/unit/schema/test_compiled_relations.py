"""Relations compiled answer as relations executed plainly, byte by byte, for whatever is asked by whomever."""

from __future__ import annotations

import os
import random
from typing import Final

import orjson
import pytest

from krm.auth.rights import AllRights, Named
from krm.errors import AnswerError, Code
from krm.query.lists import Scope
from krm.resources import RESOURCES, Resource
from krm.schema import joined
from krm.schema.context import Context
from krm.schema.engine import Answer, Engine, Request
from krm.schema.relations import RELATIONS
from krm.table.freshness import State
from tests.sources import FilledSource
from tests.unit.schema.asking import engine
from tests.unit.schema.test_relations_against_oracle import NAMESPACES, cluster

CLUSTERS: Final = max(4, int(os.environ.get("KRM_TEST_CASES", "80")) // 20)
QUESTIONS: Final = 20
PLAIN: Final = (
    "metadata { name }",
    "kind apiVersion",
    "object",
    "__typename",
    "labels: metadata { labels }",
    "metadata { namespace uid }",
)
ARGUMENTS: Final = (
    "",
    "(first: 1)",
    "(first: $most)",
    '(labelSelector: "app=x")',
    '(labelSelector: "app in (x,y)", first: 2)',
    '(where: {path: "metadata.name", startsWith: "p"})',
    "(where: $filter)",
    '(where: {or: [{path: "metadata.namespace", eq: "a"}, {not: {path: "kind", eq: "Pod"}}]}, first: 3)',
    '(labelSelector: "app in (")',
    '(where: {path: "no.such"})',
    "(first: -1)",
)
PLURALS: Final = tuple(RELATIONS)
VARIABLES: Final = {"$most": "$most: Int = 2", "$filter": "$filter: Filter", "$yes": "$yes: Boolean! = true"}


class Some(AllRights):
    """Sees some namespaces of some kinds, and nothing of the others."""

    def __init__(self, rng: random.Random) -> None:
        self._seen = {
            plural: rng.choice((None, None, frozenset(rng.sample(NAMESPACES, 2)), frozenset[str]()))
            for plural in RESOURCES
        }

    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        seen = self._seen[resource.plural]
        if seen is not None and not seen:
            raise AnswerError(Code.FORBIDDEN, "not for you")
        return Scope(namespaces=seen if resource.namespaced else None)


def selection(rng: random.Random, plural: str, depth: int) -> str:
    """A random selection of a kind with relations between its other fields."""
    parts = rng.sample(PLAIN, rng.randint(1, 3))
    relations = RELATIONS[plural]
    for relation in rng.sample(list(relations.values()), rng.randint(1, min(2, len(relations))) if depth else 0):
        arguments = "" if relation.is_single else rng.choice(ARGUMENTS[:8] * 4 + ARGUMENTS)
        alias = rng.choice(("", "", "other: "))
        condition = rng.choice(("", "", "", " @include(if: $yes)", " @skip(if: $yes)"))
        inner = selection(rng, relation.target.plural, depth - 1)
        parts.append(f"{alias}{relation.name}{arguments}{condition} {{ {inner} }}")
    if plural == "pods" and rng.random() < 0.1:
        parts.append("owners { name }")
    rng.shuffle(parts)
    return " ".join(parts)


def question(rng: random.Random) -> str:
    plural = rng.choice(PLURALS)
    inner = selection(rng, plural, rng.randint(1, 3))
    rows = rng.choice((f"nodes {{ {inner} }}", f"edges {{ cursor node {{ {inner} }} }}", "nodes { ...F }"))
    fragment = f" fragment F on {RESOURCES[plural].kind} {{ {inner} }}" if "...F" in rows else ""
    uses = "u: freshness { state @include(if: $yes) }" if rng.random() < 0.5 else ""
    given = [text for name, text in VARIABLES.items() if name in f"{rows} {uses} {fragment}"]
    head = f"query Q({', '.join(given)}) " if given else ""
    return f"{head}{{ {RESOURCES[plural].list_field} {{ {rows} totalCount }} {uses} }}{fragment}"


def shown(answer: Answer) -> object:
    """Without the traces, which differ by design."""
    body = orjson.loads(answer.body)
    for error in body.get("errors", ()):
        if error["extensions"].pop("trace", None):
            error["message"] = "masked"
    return (answer.status, body) if "errors" in body else (answer.status, answer.body)


async def check(by: Engine, source: FilledSource, query: str, rights: AllRights) -> int:
    """How many lists of the answer were ready made."""
    variables = {"filter": {"path": "metadata.name", "startsWith": "q"}}
    asked = Request(query=query, variables=variables)
    plain = await by.answer(asked, Context(source=source, rights=rights))
    ready = 0
    for _ in range(2):
        context = Context(source=source, rights=rights, is_compiled=True)
        assert shown(await by.answer(asked, context)) == shown(plain), query
        ready = len(context.embedded)
    return ready


@pytest.mark.parametrize("seed", range(CLUSTERS))
async def test_compiled_relations_equal_plain_ones(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(joined, "ROWS_A_TURN", rng.choice((2, 256)))
    source = FilledSource(cluster(rng, rng.randint(2, 6)))
    if rng.random() < 0.2:
        source.states[rng.choice(PLURALS)] = State.NOT_READY
    by = engine()
    ready = 0
    for _ in range(QUESTIONS):
        ready += await check(by, source, question(rng), Some(rng) if rng.random() < 0.5 else AllRights())
    assert ready >= 4  # the comparison is not of plain with plain


async def test_an_answer_that_relations_blow_up_is_refused_before_it_is_whole() -> None:
    source = FilledSource(cluster(random.Random(1), 6))
    inner = "metadata { name labels }"
    for relation in ("pods", "node", "pods", "node", "pods"):
        inner = f"metadata {{ name }} {relation} {{ {inner} }}"
    context = Context(source=source, is_compiled=True, max_response=3_000)
    answer = await engine().answer(Request(query=f"{{ nodes {{ nodes {{ {inner} }} }} }}"), context)
    assert answer.codes == (Code.BAD_ARGUMENT,)
    assert b"KRM_MAX_RESPONSE" in answer.body
