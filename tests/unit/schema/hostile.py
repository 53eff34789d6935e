"""Documents made to cost much or to break something: a generator, the same for the same number."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

GOOD: Final = (
    '{ pods(where: { path: "spec.nodeName", eq: "n" }, orderBy: [{ path: "kind" }]) { totalCount nodes { kind } } }',
    "query Q($n: Int = 1, $w: Filter) { pods(first: $n, where: $w) { edges { cursor node { metadata { labels } } } } }",
    "{ nodes { nodes { pods(first: 2) { owners { object } services { ingresses { kind } } } } } drift { totalCount } }",
    '{ pods { groupBy(paths: ["spec.nodeName"]) { values count sum(path: "requests.cpu") } freshness { state } } }',
    '{ __schema { types { name fields { name type { name ofType { name } } } } } __type(name: "Pod") { kind } }',
    'subscription { pods(labelSelector: "a=b") { type object { metadata { name } } resumeToken } }',
    "fragment F on Pod { kind spec { ...G } } fragment G on PodSpec { nodeName } { pods { nodes { ...F } } }",
)
_WORDS: Final = (
    *("{", "}", "(", ")", "[", "]", ":", "!", "$", "@", "=", "|", "&", "...", "on", "query", "fragment", "Pod"),
    *("pods", "nodes", "kind", "first", "where", "null", "true", "-1", "1e999", '"', '"""', "\\", "#", ",", "\ufeff"),
    *("__schema", "__typename", "__type", "@skip(if: $x)", "@include(if: true)", "subscription", "{a:1}"),
    *("\n", "\x00", "\u202e", "é", "$n"),
)
Make = Callable[[random.Random], str]


def _soup(rng: random.Random) -> str:
    return "{" * rng.randrange(2) + " ".join(rng.choices(_WORDS, k=rng.randint(1, 600)))


def _mutated(rng: random.Random) -> str:
    text = list(rng.choice(GOOD))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(text) + 1)
        roll = rng.random()
        if roll < 0.4:
            text[at:at] = f" {rng.choice(_WORDS)} "
        elif roll < 0.7:
            del text[at : at + rng.randint(1, 9)]
        else:
            end = at + rng.randint(1, 40)
            text[at:at] = text[at:end] * rng.choice((1, 2, 50))
    return "".join(text)


def _doubled_fragments(rng: random.Random) -> str:
    count, width = rng.randint(1, 60), rng.randint(1, 3)
    wrap = rng.choice(("%s", "metadata { %s }", "... { %s }", "... on Pod { %s }", "owners { object } %s"))
    chain = "".join(f"fragment f{n} on Pod {{ {wrap % (f'...f{n + 1} ' * width)} }} " for n in range(count))
    end = rng.choice((f"fragment f{count} on Pod {{ kind }}", f"fragment f{count} on Pod {{ ...f0 }}", ""))
    return f"{{ pods {{ nodes {{ ...f0 }} }} }} {chain}{end}"


def _deep(rng: random.Random) -> str:
    depth = rng.choice((5, 19, 20, 21, 60, 1_000, 30_000))
    inner = rng.choice(
        ("pods { nodes { %s } }", "... { %s }", "... on Query { %s }", "a { %s }", "... @include(if: true) { %s }")
    )
    before, after = inner.split("%s")
    text = before * depth + "kind" + after * (depth if rng.random() < 0.8 else depth // 2)
    return "{ " + text + " }"


def _flood(rng: random.Random) -> str:
    count = rng.choice((3, 49, 60, 101, 1_000, 5_000))
    item: Callable[[int], str] = rng.choice(
        (
            lambda n: f"a{n}: pods {{ totalCount }} ",
            lambda n: "pods { totalCount } ",
            lambda n: f"a{n}: __schema {{ types {{ fields {{ type {{ fields {{ name }} }} }} }} }} ",
            lambda n: f'a{n}: __type(name: "Pod") {{ fields {{ type {{ fields {{ name }} }} }} }} ',
            lambda n: f"pods @include(if: true) {'@skip(if: false) ' * (n % 9)} {{ totalCount }} ",
            lambda n: f"...f{n} ",
            lambda n: f'x{n}: pods(where: {{ path: "metadata.name", eq: {n} }}) {{ totalCount }} ',
            lambda n: f"unknown{n} ",
        )
    )
    return "{ " + "".join(item(n) for n in range(count)) + "}"


def _values(rng: random.Random) -> str:
    size = rng.choice((10, 63, 66, 900, 9_000))
    value = rng.choice(
        (
            "[" * size + "]" * size,
            "{and: [" * size + "]}" * size,
            "{not: " * size + "{}" + "}" * size,
            "{or: [" + "{path: \"kind\", eq: 1} " * size + "]}",
            '{path: "metadata' + ".a" * size + '", eq: 1}',
            '{path: "metadata.name", matches: "' + "(a+)+" * size + '"}',
            '{path: "metadata.name", matches: "' + "x{1000}" * min(size, 100) + '"}',
            '{path: "metadata.name", in: [' + "1 " * size + "]}",
            '{relation: "nodes", some: ' * size + "{}" + "}" * size,
            '"""' + '\\"""' * size + '"""',
        )
    )  # fmt: skip
    return f"{{ pods(where: {value}) {{ totalCount }} }}"


def _texts(rng: random.Random) -> str:
    size = rng.choice((10, 1_000, 60_000))
    text = rng.choice(
        ("a=b,", "a in (b),", "!", "(", "\\u0000", "\\ud800", "..", "[*]", "[0]", "ä", "9" * 20, "-", "{")
    )
    argument = rng.choice(
        ("labelSelector", "fieldSelector", "after", "name", "namespace", "maxStaleness", "minResourceVersion")
    )
    field = rng.choice(("pods", "nodes", "services", "deployments"))
    return f'{{ {field}({argument}: "{(text * size)[:60_000]}") {{ totalCount }} }}'


def _operations(rng: random.Random) -> str:
    count = rng.choice((2, 50, 199, 201, 2_000))
    variables = " ".join(
        f"$v{n}: {rng.choice(('Int', 'Filter', '[[Int]]', 'Nope', 'JSON!'))} = {n}"
        for n in range(rng.choice((0, 3, 300)))
    )
    body = rng.choice(("{ ...F }", "{ pods { totalCount } }", "{ a }", "{ pods { ...F } }"))
    kind = rng.choice(("query", "subscription", "mutation"))
    operations = "".join(f"{kind} Q{n}{f'({variables})' if variables else ''} {body} " for n in range(count))
    return operations[:200_000] + " fragment F on Query { nodes { totalCount } }"


MAKERS: Final[tuple[Make, ...]] = (
    *(_soup, _soup, _mutated, _mutated, _mutated),
    *(_doubled_fragments, _deep, _flood, _values, _texts, _operations),
)
VARIABLES: Final[tuple[Any, ...]] = (
    *(None, {}, {"n": 1}, {"n": 2**40}, {"n": "x"}, {"x": True}),
    *({"w": {"path": "kind", "eq": 1}}, {"w": {"and": [{}] * 2_000}}),
)


def request(number: int) -> tuple[str, Any]:
    """Document and variables of a number."""
    rng = random.Random(number)
    return MAKERS[number % len(MAKERS)](rng), rng.choice(VARIABLES)
