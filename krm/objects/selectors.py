"""Label and field selectors in the grammar of Kubernetes (apimachinery's `labels` and `fields`).

One parser for everything that takes a selector from outside: the API, the workers, the simulated API
server. The texts of the errors are those of Kubernetes, so that the simulated server can pass them on.
A selector is read in one pass over its characters (no regular expressions, so no backtracking) and is
bounded in length.
Evaluating the path of a field requirement is left to the caller, who knows what an object looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_LENGTH = 8192
"""Characters of one selector. Request lines are limited to about this much by most servers and proxies."""

_NAME_MAX = 63
_PREFIX_MAX = 253
_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME_INNER = _ALPHANUMERIC | frozenset("-_.")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_WHITESPACE = frozenset(" \t\r\n")
_SPECIAL = frozenset("=!(),><")
_NAME_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_PREFIX_TEXT = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
    "'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
    "regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
    "regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


class SelectorError(ValueError):
    """A selector that Kubernetes would refuse: `message` is its text, `position` counts characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at position {position})")
        self.message = message
        self.position = position


class Operator(StrEnum):
    """What a label requirement asks; `==` is the same as `=` and is read as that."""

    EQUALS = "="
    NOT_EQUALS = "!="
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"
    GREATER = "gt"
    LESS = "lt"


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One condition on one label; `values` is sorted and has no duplicates (empty for exists and `!`)."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether these labels meet it; `!=` and `notin` are met by an absent label."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.EQUALS | Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_EQUALS | Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case _:  # greater or less
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        number = None if value is None else _int64(value)
        bound = _int64(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator is Operator.GREATER else number < bound


@dataclass(frozen=True, kw_only=True)
class LabelSelector:
    """All requirements must hold; none at all selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)


class FieldOperator(StrEnum):
    """What a field requirement asks; `==` is read as `=`."""

    EQUALS = "="
    NOT_EQUALS = "!="


@dataclass(frozen=True, kw_only=True)
class FieldRequirement:
    """One condition on one field; `value` has its escapes resolved."""

    path: str
    operator: FieldOperator
    value: str


@dataclass(frozen=True, kw_only=True)
class FieldSelector:
    """All requirements must hold, in the order they were written; none at all selects everything."""

    requirements: tuple[FieldRequirement, ...] = ()


def parse_labels(text: str) -> LabelSelector:
    """Read a label selector such as `app=web,tier in (a, b),!old`; raises SelectorError."""
    _check_length(text)
    return LabelSelector(requirements=tuple(_LabelParser(text).parse()))


def parse_fields(text: str) -> FieldSelector:
    """Read a field selector such as `spec.nodeName=n1,status.phase!=Running`; raises SelectorError.

    A backslash takes the special meaning from `,`, `=` and itself in a value.
    """
    _check_length(text)
    requirements: list[FieldRequirement] = []
    for start, term in _field_terms(text):
        if term:
            requirements.append(_field_requirement(text, start, term))
    return FieldSelector(requirements=tuple(requirements))


def key_problem(key: str) -> str | None:
    """Say what is wrong with a label key (`[prefix/]name`) in the words of Kubernetes; None if valid."""
    parts = key.split("/")
    if len(parts) > 2:
        return (
            f"a qualified name {_NAME_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    if len(parts) == 2:
        if not parts[0]:
            return "prefix part must be non-empty"
        if len(parts[0]) > _PREFIX_MAX:
            return f"prefix part must be no more than {_PREFIX_MAX} bytes"
        if not _is_subdomain(parts[0]):
            return _PREFIX_TEXT
    name = parts[-1]
    if not name:
        return f"name part must be non-empty; name part {_NAME_TEXT}"
    if len(name) > _NAME_MAX:
        return f"name part must be no more than {_NAME_MAX} bytes"
    return None if _is_name(name) else f"name part {_NAME_TEXT}"


def value_problem(value: str) -> str | None:
    """Say what is wrong with a label value in the words of Kubernetes; None if valid."""
    if len(value) > _NAME_MAX:
        return f"must be no more than {_NAME_MAX} bytes"
    return None if not value or _is_name(value) else _VALUE_TEXT


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"selector is longer than {MAX_LENGTH} characters", MAX_LENGTH)


def _is_name(text: str) -> bool:
    return text[0] in _ALPHANUMERIC and text[-1] in _ALPHANUMERIC and _NAME_INNER.issuperset(text)


def _is_subdomain(text: str) -> bool:
    return all(
        part and part[0] in _LOWER and part[-1] in _LOWER and (_LOWER | {"-"}).issuperset(part)
        for part in text.split(".")
    )


def _int64(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not 0 < len(digits) <= 19 or not (digits.isascii() and digits.isdigit()):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


class _Kind(StrEnum):
    END = "end"
    IDENTIFIER = "identifier"
    WORD_OPERATOR = "word operator"
    SYMBOL = "symbol"


@dataclass(frozen=True, kw_only=True)
class _Token:
    kind: _Kind
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, end = 0, len(text)
    while at < end:
        start = at
        if text[at] in _WHITESPACE:
            at += 1
            continue
        if text[at] in _SPECIAL:
            at += 2 if text[at : at + 2] in ("==", "!=") else 1
            tokens.append(_Token(kind=_Kind.SYMBOL, text=text[start:at], position=start))
            continue
        while at < end and text[at] not in _SPECIAL and text[at] not in _WHITESPACE:
            at += 1
        word = text[start:at]
        kind = _Kind.WORD_OPERATOR if word in ("in", "notin") else _Kind.IDENTIFIER
        tokens.append(_Token(kind=kind, text=word, position=start))
    tokens.append(_Token(kind=_Kind.END, text="", position=end))
    return tokens


_OPERATORS: Mapping[str, Operator] = {
    "in": Operator.IN,
    "notin": Operator.NOT_IN,
    "=": Operator.EQUALS,
    "==": Operator.EQUALS,
    "!=": Operator.NOT_EQUALS,
    ">": Operator.GREATER,
    "<": Operator.LESS,
}


class _LabelParser:
    """Recursive descent over the tokens; the states and their errors are those of apimachinery's parser."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        if self._peek().kind is _Kind.END:
            return requirements
        if not self._starts_requirement(self._peek()):
            raise self._unexpected(self._peek(), "!, identifier, or 'end of string'")
        while True:
            requirements.append(self._requirement())
            token = self._next()
            if token.kind is _Kind.END:
                return requirements
            if token.text != ",":
                raise self._unexpected(token, "',' or 'end of string'")
            if not self._starts_requirement(self._peek()):
                raise self._unexpected(self._peek(), "identifier after ','")

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind is not _Kind.END:
            self._at += 1
        return token

    @staticmethod
    def _is_identifier(token: _Token) -> bool:
        # Where a name or a value is expected, `in` and `notin` are ordinary words.
        return token.kind in (_Kind.IDENTIFIER, _Kind.WORD_OPERATOR)

    def _starts_requirement(self, token: _Token) -> bool:
        return token.text == "!" or self._is_identifier(token)

    @staticmethod
    def _unexpected(token: _Token, expected: str, separator: str = ", expected: ") -> SelectorError:
        return SelectorError(f"unable to parse requirement: found '{token.text}'{separator}{expected}", token.position)

    def _requirement(self) -> Requirement:
        negated = self._peek().text == "!"
        if negated:
            self._next()
        token = self._next()
        if not self._is_identifier(token):
            raise self._unexpected(token, "identifier")
        if (problem := key_problem(token.text)) is not None:
            raise SelectorError(
                f'unable to parse requirement: <nil>: Invalid value: "{token.text}": {problem}',
                token.position,
            )
        if negated:
            return Requirement(key=token.text, operator=Operator.DOES_NOT_EXIST)
        if self._peek().kind is _Kind.END or self._peek().text == ",":
            return Requirement(key=token.text, operator=Operator.EXISTS)
        return self._comparison(token.text)

    def _comparison(self, key: str) -> Requirement:
        token = self._next()
        operator = _OPERATORS.get(token.text) if token.kind is not _Kind.IDENTIFIER else None
        if operator is None:
            raise self._unexpected(token, "in, notin, =, ==, !=, gt, lt")
        values = self._value_list() if operator in (Operator.IN, Operator.NOT_IN) else [self._exact_value()]
        if not values:
            raise SelectorError(
                "unable to parse requirement: values: Invalid value: []: "
                "for 'in', 'notin' operators, values set can't be empty",
                token.position,
            )
        if operator in (Operator.GREATER, Operator.LESS) and _int64(values[0].text) is None:
            raise SelectorError(
                f'unable to parse requirement: values[0]: Invalid value: "{values[0].text}": '
                "for 'Gt', 'Lt' operators, the value must be an integer",
                values[0].position,
            )
        for index, value in enumerate(sorted(values, key=lambda token: token.text)):
            if (problem := value_problem(value.text)) is not None:
                raise SelectorError(
                    f'unable to parse requirement: values[{index}][{key}]: Invalid value: "{value.text}": {problem}',
                    value.position,
                )
        return Requirement(key=key, operator=operator, values=tuple(sorted({value.text for value in values})))

    def _exact_value(self) -> _Token:
        token = self._peek()
        if token.kind is _Kind.END or token.text == ",":
            return _Token(kind=_Kind.IDENTIFIER, text="", position=token.position)
        self._next()
        if not self._is_identifier(token):
            raise self._unexpected(token, "identifier")
        return token

    def _value_list(self) -> list[_Token]:
        """`(a, b)`; an empty place between commas is the empty value, `()` is no value at all."""
        opening = self._next()
        if opening.text != "(":
            raise self._unexpected(opening, "'('", separator=" expected: ")
        if self._peek().text == ")":
            self._next()
            return []
        values: list[_Token] = []
        while True:
            token = self._peek()
            if self._is_identifier(token):
                values.append(self._next())
                token = self._peek()
                if token.text not in (",", ")"):
                    raise self._unexpected(token, "',' or ')'")
            elif token.text in (",", ")"):
                values.append(_Token(kind=_Kind.IDENTIFIER, text="", position=token.position))
            else:
                raise self._unexpected(token, "',', or identifier" if values else "',', ')' or identifier")
            if self._next().text == ")":
                return values


def _field_terms(text: str) -> Sequence[tuple[int, str]]:
    """Split at commas that no backslash protects: (position, term)."""
    terms: list[tuple[int, str]] = []
    start, escaped = 0, False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            terms.append((start, text[start:at]))
            start = at + 1
    terms.append((start, text[start:]))
    return terms


def _field_requirement(text: str, start: int, term: str) -> FieldRequirement:
    for at in range(len(term)):
        for symbol, operator in (
            ("!=", FieldOperator.NOT_EQUALS),
            ("==", FieldOperator.EQUALS),
            ("=", FieldOperator.EQUALS),
        ):
            if term.startswith(symbol, at):
                path = term[:at]
                if not path:
                    raise SelectorError(f"invalid selector: '{text}'; a field is missing before '{symbol}'", start)
                value = _unescape(term[at + len(symbol) :], start + at + len(symbol))
                return FieldRequirement(path=path, operator=operator, value=value)
    raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'", start)


def _unescape(value: str, start: int) -> str:
    out: list[str] = []
    escaped = False
    for at, character in enumerate(value):
        if escaped:
            if character not in "\\,=":
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{character}", start + at - 1)
            out.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {character}", start + at)
        else:
            out.append(character)
    if escaped:
        raise SelectorError("invalid field selector: invalid escape sequence: \\", start + len(value) - 1)
    return "".join(out)
