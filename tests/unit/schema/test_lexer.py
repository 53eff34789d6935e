"""What is counted without a parse is what graphql-core's lexer and parser count."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Final

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Lexer,
    OperationDefinitionNode,
    SelectionSetNode,
    Source,
    TokenKind,
    Visitor,
    parse,
    visit,
)

from krm.errors import AnswerError, Code
from krm.schema import build, lexer, limits
from krm.schema.documents import Documents, Invalid
from krm.schema.limits import Limits
from tests.unit.schema import hostile

_ROOMY: Final = 1_000_000
ROOMY: Final = Limits(
    **dict.fromkeys(("tokens", "aliases", "fields", "equal_fields", "directives", "introspections"), _ROOMY), depth=200
)
PIECES: Final = (
    *('"', '""', '"""', "\\", '\\"', '\\"""', "\\\\", "\\u00e4", "\\x", "#", "\n", "\r", "\r\n", " "),
    *(",", "\t", "\ufeff"),
    *("{", "}", "(", ")", "[", "]", ":", "!", "$", "@", "=", "|", "&", ".", "..", "...", "?", ";", "%", "\x00", "\x0b"),
    *("a", "_b9", "on", "é", "\U0001f600", "\u2028", "\x7f", "\xa0", "٣"),
    *("0", "00", "-0", "-", "--1", "1.", "1.5", "1.5.5", "1e9", "1E+9", "1e", "1e+", "9a", "0x1", "1-1", "+1", ".5"),
)  # fmt: skip
STRINGS: Final = (
    *('"}"', '"{ a: b @c"', '"\\""', '"\\\\"', '"#"', '""', '""""""', '"""}"""', '"""\\"""{"""', '"""\\\\""" @a """'),
    *('"""\\"" x"""', '"""#\n# "\n"""', '"é"'),
)  # fmt: skip


def theirs(text: str) -> tuple[list[str], str]:
    """graphql-core's tokens of ``text``, comments too; and what it could not read, if anything."""
    reading = Lexer(Source(text))
    found: list[str] = []
    at = reading.token
    try:
        while at.kind is not TokenKind.EOF:
            reading.advance()
            while at.next is not None:
                at = at.next
                if at.kind is not TokenKind.EOF:
                    found.append(text[at.start : at.end])
    except GraphQLSyntaxError:
        while at.next is not None:  # comments before what is wrong
            at = at.next
            found.append(text[at.start : at.end])
        rest = text[at.end :].lstrip(" \t\r\n,\ufeff")
        return found, rest
    return found, ""


def check_tokens(text: str) -> bool:
    """Whether ``text`` is tokens throughout."""
    ours, (expected, rest) = list(lexer.tokens(text)), theirs(text)
    assert ours[: len(expected)] == expected, text
    # The parser knows wrong escapes and such inside a string; neither goes past other things that are no token.
    past = [token for token in ours[len(expected) :] if token[0] != "#"]
    assert not past or past[0][0] == '"', text
    return not rest


def test_tokens_are_those_of_the_parser() -> None:
    rng = random.Random(11)
    whole = 0
    for _ in range(5_000):
        pieces = rng.choices(PIECES, k=rng.randint(1, 9))
        whole += check_tokens(rng.choice(("", " ")).join(pieces))
    assert whole
    for number in range(400):
        check_tokens(hostile.request(number)[0][:20_000])


def document(rng: random.Random) -> str:
    """A document that parses, with all that can be written in one, and fragments that do not contain themselves."""
    count = rng.randint(0, 4)

    def directives() -> str:
        return "".join(f" @d{rng.choice(('', f'(x: {value(1)})'))}" for _ in range(rng.choice((0, 0, 0, 1, 2))))

    def value(depth: int) -> str:
        inner = [value(depth - 1) for _ in range(rng.randint(0, 2))] if depth else []
        plain = rng.choice((*STRINGS, "1", "-0.5e+3", "$v", "ENUM", "null", "true", "__x"))
        return rng.choice((plain, f"[{' '.join(inner)}]", "{" + ",".join(f"k: {v}" for v in inner) + "}"))

    def selections(depth: int, first: int) -> str:
        return "{" + " ".join(selection(depth, first) for _ in range(rng.randint(1, 4))) + "}"

    def selection(depth: int, first: int) -> str:
        roll = rng.random()
        if roll < 0.15 and first < count:
            return f"...F{rng.randrange(first, count)}{directives()}"
        if roll < 0.25 and depth:
            return f"...{rng.choice(('', ' on T', ' on on'))}{directives()} {selections(depth - 1, first)}"
        alias = rng.choice(("", "", "x: ", "fragment :"))
        arguments = rng.choice(("", "", f"(a: {value(2)}, b: {value(1)})"))
        inner = selections(depth - 1, first) if depth and rng.random() < 0.5 else ""
        comment = rng.choice(("", "", "", '# } @d """\n'))
        return f"{alias}{rng.choice('abc')}{arguments}{directives()}{comment}{inner}"

    def described(text: str) -> str:
        return rng.choice(("", "", f"{rng.choice(STRINGS)} ")) + text

    variables = rng.choice(("", '($v: [Int!]! = [1] @d, "said" $w: T = {k: "}"})'))
    operation = rng.choice(
        (
            selections(3, 0),
            described(f"query fragment{variables}{directives()} {selections(3, 0)}"),
            described(f"subscription {variables}{selections(3, 0)}"),
        )
    )
    fragments = [described(f"fragment F{n} on T{directives()} {selections(2, n + 1)}") for n in range(count)]
    parts = [operation, *fragments]
    rng.shuffle(parts)
    return "\n".join(parts)


@dataclass
class Counts(Visitor):
    """What the parsed document has."""

    aliases: int = 0
    fields: int = 0
    directives: int = 0
    spreads: int = 0
    nested: int = 0
    _open: int = field(default=0)

    def __post_init__(self) -> None:
        super().__init__()

    def enter_field(self, node: FieldNode, *_: object) -> None:
        self.fields += 1
        self.aliases += node.alias is not None

    def enter_directive(self, *_: object) -> None:
        self.directives += 1

    def enter_fragment_spread(self, *_: object) -> None:
        self.spreads += 1

    def enter_selection_set(self, *_: object) -> None:
        self._open += 1
        self.nested = max(self.nested, self._open)

    def leave_selection_set(self, *_: object) -> None:
        self._open -= 1


def expanded(tree: DocumentNode) -> tuple[int, int]:
    """How deep the document is, and how often one response name is in one place, by plain expansion."""
    fragments = {d.name.value: d for d in tree.definitions if isinstance(d, FragmentDefinitionNode)}

    def flat(of: SelectionSetNode) -> list[FieldNode]:
        fields: list[FieldNode] = []
        for one in of.selections:
            if isinstance(one, FieldNode):
                fields.append(one)
            elif isinstance(one, InlineFragmentNode):
                fields += flat(one.selection_set)
            else:
                assert isinstance(one, FragmentSpreadNode)
                fields += flat(fragments[one.name.value].selection_set)
        return fields

    def measure(merged: list[SelectionSetNode]) -> tuple[int, int]:
        named: dict[str, list[FieldNode]] = {}
        for one in merged:
            for at in flat(one):
                named.setdefault((at.alias or at.name).value, []).append(at)
        below = [[f.selection_set for f in fields if f.selection_set] for fields in named.values()]
        measured = [measure(inner) for inner in below if inner]
        most = max(len(fields) for fields in named.values())
        return 1 + max((d for d, _ in measured), default=0), max([most, *(e for _, e in measured)])

    definitions = [d for d in tree.definitions if isinstance(d, OperationDefinitionNode | FragmentDefinitionNode)]
    each = [measure([d.selection_set]) for d in definitions]
    return max(d for d, _ in each), max(e for _, e in each)


def refused(text: str, bounds: Limits) -> bool:
    try:
        limits.check(text, bounds)
    except AnswerError as error:
        code = error.code
    else:
        return False
    assert code == Code.QUERY_TOO_COMPLEX, text
    return True


def test_counts_are_those_of_the_parsed_document() -> None:
    rng = random.Random(12)
    for _ in range(120):
        text = document(rng)
        tree = parse(text)
        counts = Counts()
        visit(tree, counts)
        depth, equal = expanded(tree)
        exact = {
            "tokens": len(theirs(text)[0]),
            "aliases": counts.aliases,
            "directives": counts.directives,
            "equal_fields": equal,
            "depth": depth,
        }
        if not counts.spreads:
            exact["fields"] = counts.fields
        parse(text, max_tokens=exact["tokens"])
        with pytest.raises(GraphQLSyntaxError, match="more than"):
            parse(text, max_tokens=exact["tokens"] - 1)
        # Inline fragments are no depth, but have a bound of three times as much.
        allowed = exact | {"depth": max(depth, -(-counts.nested // 3))}
        assert not refused(text, replace(ROOMY, **allowed)), text
        for name, most in exact.items():
            if most:
                assert refused(text, replace(ROOMY, **{name: most - 1})), (name, most, text)


DOUBLED: Final = "".join(f"fragment f{n} on Pod {{ ...f{n + 1} ...f{n + 1} }} " for n in range(40))
DOUBLED_IN_FULL: Final = f"{{ pods {{ nodes {{ ...f0 }} }} }} {DOUBLED} fragment f40 on Pod {{ kind }}"


@pytest.mark.parametrize(
    "text",
    [
        'query Q { pods(name: """\\\\""" x """) { totalCount } } ' + DOUBLED + "fragment f40 on Pod { kind } # ",
        DOUBLED_IN_FULL.replace("fragment", '"said" fragment'),
        DOUBLED_IN_FULL.replace("fragment", '"""said""" fragment'),
    ],
    ids=["block string that ends in a backslash", "described fragments", "fragments described at length"],
)
def test_nothing_hides_what_a_document_costs(text: str) -> None:
    parse(text)
    assert refused(text, Limits())


@pytest.mark.parametrize(
    "text",
    [
        "type A { a: [Int] } { nope ...nope }",
        "{ kind } extend type A { a: Int }",
        '"""said""" directive @a on FIELD',
        "schema",
        "scalar A " * 4_900,
    ],
)
def test_definitions_of_types_are_refused_before_they_are_parsed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = Documents(build.default()._schema, Limits())
    monkeypatch.setattr(documents, "_made", None)
    with pytest.raises(AnswerError, match="not executable") as refused:
        documents.get(text)
    assert refused.value.code == Code.GRAPHQL_VALIDATION


def test_names_may_be_words_of_type_definitions() -> None:
    limits.check(
        "query type { enum: pods { totalCount } ...input } fragment input on Query { schema { scalar } }", Limits()
    )


def test_what_is_no_token_is_the_parsers_to_name() -> None:
    documents = Documents(build.default()._schema, Limits())
    for text in ("{ pods { totalCount } } ;" + "a " * 20_000, '{ pods(name: "x\n") { totalCount } }', "{ a(b: 01) }"):
        with pytest.raises(Invalid, match="Syntax Error"):
            documents.get(text)
