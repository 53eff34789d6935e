"""Checks of plain arguments that come from outside: names, text, numbers. Each refusal says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from krm.errors import AnswerError, Code
from krm.objects import versions
from krm.settings import duration

MAX_TEXT: Final = 65_536
MAX_NESTING: Final = 64
MAX_DURATION_S: Final = 7 * 86_400.0

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# NUL, what is not text at all (lone surrogates), and what makes text read other than it is (bidirectional controls).
_HOSTILE: Final = re.compile("[\x00\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def bad(argument: str, problem: str) -> AnswerError:
    """The error for an argument with a wrong value."""
    return AnswerError(Code.BAD_ARGUMENT, f"{argument}: {problem}")


def text(argument: str, value: str) -> str:
    """``value`` if it is harmless text. Raises ``AnswerError`` (ARGUMENT_INVALID)."""
    if len(value) > MAX_TEXT:
        raise bad(argument, f"ARGUMENT_INVALID, at most {MAX_TEXT} characters are allowed")
    found = _HOSTILE.search(value)
    if found is not None:
        raise bad(argument, f"ARGUMENT_INVALID, the character U+{ord(found[0]):04X} is not allowed")
    return value


def json(argument: str, value: Any, depth: int = MAX_NESTING) -> Any:
    """``value`` if it is JSON of harmless text and bounded depth. Raises ``AnswerError``."""
    if isinstance(value, str):
        return text(argument, value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise bad(argument, "ARGUMENT_INVALID, a number must be finite")
        return value
    if depth == 0:
        raise bad(argument, f"ARGUMENT_INVALID, at most {MAX_NESTING} levels are allowed")
    if isinstance(value, list | tuple):
        return [json(argument, element, depth - 1) for element in value]
    if isinstance(value, dict):
        return {text(argument, str(key)): json(argument, element, depth - 1) for key, element in value.items()}
    raise bad(argument, "ARGUMENT_INVALID, it is not JSON")


def namespace(argument: str, value: str) -> str:
    """``value`` if a namespace can have that name (a DNS-1123 label). Raises ``AnswerError`` (NAME_INVALID)."""
    if len(value) > 63 or not _LABEL.fullmatch(value):
        raise bad(
            argument,
            "NAME_INVALID, a namespace has at most 63 lower-case letters, digits and '-',"
            " and begins and ends with a letter or digit (DNS-1123 label)",
        )
    return value


def name(argument: str, value: str) -> str:
    """``value`` if an object can have that name (a DNS-1123 subdomain). Raises ``AnswerError`` (NAME_INVALID)."""
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        raise bad(
            argument,
            "NAME_INVALID, a name has at most 253 lower-case letters, digits, '-' and '.',"
            " and begins and ends with a letter or digit (DNS-1123 subdomain)",
        )
    return value


def namespaces(one: str | None, several: Iterable[str] | None) -> frozenset[str] | None:
    """The namespaces that ``namespace`` and ``namespaces`` ask for together (both given: what both allow)."""
    chosen = None if several is None else frozenset(namespace("namespaces", each) for each in several)
    if one is None:
        return chosen
    single = frozenset((namespace("namespace", one),))
    return single if chosen is None else chosen & single


def count(argument: str, value: Any, *, most: int) -> int | None:
    """``value`` if it is a number from 1 to ``most``. Raises ``AnswerError`` with that range."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise bad(argument, f"allowed is a whole number from 1 to {most}")
    return value


def seconds(argument: str, value: str | None) -> float | None:
    """The seconds of a duration such as ``5s``. Raises ``AnswerError`` (DURATION_INVALID)."""
    if value is None:
        return None
    try:
        found = duration(value)
    except ValueError as error:
        raise bad(argument, f"DURATION_INVALID, allowed is {error}") from error
    if not 0 <= found <= MAX_DURATION_S:
        raise bad(argument, "DURATION_INVALID, allowed is from 0s to 168h")
    return found


def version(argument: str, value: str | None) -> str | None:
    """``value`` if it is a resource version. Raises ``AnswerError`` (RV_INVALID)."""
    if value is None or versions.is_valid(value):
        return value
    raise AnswerError(
        Code.RV_INVALID, f"{argument}: allowed are decimal digits without a leading zero, at most 39, and not 0"
    )
