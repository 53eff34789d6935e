"""``--where`` and ``--sort-by``: short forms that people type, read into the API's ``Filter`` and ``Order``.

``PATH OP VALUE`` with ``= != < <= > >= ~ *=``, ``PATH`` (exists), ``!PATH`` (does not), or a Filter as JSON. Whether a
kind has the path is for the API to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from krm.errors import ConfigError

Filter = dict[str, Any]

_OPERATORS: Final = ("!=", "<=", ">=", "*=", "==", "=", "<", ">", "~")
_MEMBERS: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "~": "matches", "*=": "contains"}


def where(conditions: Sequence[str]) -> Filter | None:
    """One Filter that holds where all conditions do; None for none. Raises ``ConfigError``."""
    filters = [_condition(text) for text in conditions]
    if not filters:
        return None
    return filters[0] if len(filters) == 1 else {"and": filters}


def order(paths: Sequence[str]) -> list[dict[str, str]] | None:
    """``PATH``, or ``-PATH`` for the greatest first; also kubectl's ``.metadata.name`` and ``{.metadata.name}``."""
    orders = []
    for text in paths:
        descending = text.startswith("-")
        path = text.removeprefix("-").removeprefix("{").removesuffix("}").removeprefix(".").strip()
        if not path:
            raise ConfigError(f"--sort-by {text!r}: give a path, e.g. metadata.creationTimestamp")
        orders.append({"path": path, "direction": "DESC" if descending else "ASC"})
    return orders or None


def _condition(text: str) -> Filter:
    stripped = text.strip()
    if stripped.startswith("{"):
        return _filter_of_json(stripped)
    path, operator, value = _parted(stripped)
    if not operator:
        exists = not path.startswith("!")
        path = path.removeprefix("!").strip()
        if not path:
            raise _wrong(text)
        return {"path": path, "exists": exists}
    if not path or path.startswith("!"):
        raise _wrong(text)
    if operator in _MEMBERS:
        if not value:
            raise _wrong(text)
        return {"path": path, _MEMBERS[operator]: value}
    return _equality(path, value, is_negated=operator == "!=")


def _wrong(text: str) -> ConfigError:
    return ConfigError(
        f"--where {text!r}: give PATH OP VALUE with one of = != < <= > >= ~ *=, PATH, !PATH, or a Filter as JSON;"
        " e.g. --where 'status.phase!=Running'"
    )


def _filter_of_json(text: str) -> Filter:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--where {text!r}: not the JSON of a Filter: {error}") from error
    assert isinstance(found, dict)  # it begins with a brace
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _parted(text: str) -> tuple[str, str, str]:
    """Path, operator and value; operators inside of brackets (``labels['a=b']``) belong to the path."""
    depth, quote = 0, ""
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif depth and character in "'\"":
            quote = character
        elif character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
        elif not depth:
            for operator in _OPERATORS:
                if text.startswith(operator, index):
                    return text[:index].strip(), operator, text[index + len(operator) :].strip()
    return text, "", ""


def _equality(path: str, value: str, *, is_negated: bool) -> Filter:
    """``1`` is both the number and the text: a label holds the text, a count the number."""
    try:
        parsed = json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError):
        parsed = value
    if isinstance(parsed, str | list | dict):
        return {"path": path, "ne" if is_negated else "eq": parsed}
    return {"path": path, "notIn" if is_negated else "in": [parsed, value]}
