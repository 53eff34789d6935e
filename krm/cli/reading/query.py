"""``krm query``: one GraphQL query, its answer as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from krm.cli import output
from krm.cli.reading import asking
from krm.errors import ConfigError

_LARGEST: Final = 16 * 2**20
"""Far above what a server takes; it only keeps a wrong file from filling the memory."""


def run(source: str | None, variables: Sequence[str], *, url: str | None, timeout: str) -> int:
    """Ask and print ``{"data": ..., "errors": [...]}``; 1 when there are errors."""
    given = parse_variables(variables)
    text = _read(source)
    with asking.asker(url, timeout) as asker:
        answered = asker.ask(text, given)
    answer: dict[str, Any] = {"data": answered.data}
    if answered.errors:
        answer["errors"] = list(answered.errors)
    output.write(json.dumps(answer, indent=2, ensure_ascii=sys.stdout.isatty()) + "\n")
    output.finish()
    for complaint in answered.complaints:
        output.say(complaint)
    return 1 if answered.errors else 0


def parse_variables(pairs: Sequence[str]) -> Mapping[str, Any]:
    """``name=value``: the value is JSON where it parses, else text. Raises ``ConfigError``."""
    variables: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--var {pair!r}: give name=value, e.g. --var namespace=default")
        if name in variables:
            raise ConfigError(f"--var {name}: given twice")
        try:
            variables[name] = json.loads(value, parse_constant=_refuse)
        except (ValueError, RecursionError):
            variables[name] = value
    return variables


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _read(source: str | None) -> str:
    if source is not None and "{" in source:
        return source  # no file is called so: it is the query itself
    if source in (None, "-"):
        if source is None and (sys.stdin is None or sys.stdin.isatty()):
            raise ConfigError("give a file with a GraphQL query, or - to read it from standard input")
        raw = sys.stdin.buffer.read(_LARGEST + 1)
    else:
        try:
            with Path(str(source)).open("rb") as file:
                raw = file.read(_LARGEST + 1)
        except OSError as error:
            raise ConfigError(f"{source}: {error.strerror}; give a file with a GraphQL query, or -") from error
    if len(raw) > _LARGEST:
        raise ConfigError(f"{source or '-'}: longer than {_LARGEST >> 20} MiB; that is not a query")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source or '-'}: not UTF-8 text (byte {error.start})") from error
    if not text.strip():
        raise ConfigError(f"{source or '-'}: empty; give a GraphQL query, e.g. {{ pods {{ totalCount }} }}")
    return text
