"""Paths into an object: ``spec.containers[*].image``, ``spec.containers[0].name``, ``metadata.labels['a.b/c']``.

The grammar only, shared by filters, order, frames and redaction; what a path means to each of them is theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

MAX_LENGTH: Final = 1_024
MAX_STEPS: Final = 64


class Any_(Enum):  # noqa: N801 - `Any` is typing's
    """The step ``[*]``: every element of a list (or value of a map)."""

    ELEMENT = "[*]"


ANY: Final = Any_.ELEMENT
Step = str | int | Any_

_STEP = re.compile(
    r"""\.?(?P<name>[A-Za-z_$][\w$-]*)|\[(?P<index>\d{1,9})\]|\[(?P<any>\*)\]|\['(?P<key>(?:[^'\\]|\\['\\])*)'\]""",
    re.ASCII,
)


class PathError(ValueError):
    """A path that does not follow the grammar; ``position`` counts from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path: names and keys are ``str``, indexes ``int``, ``[*]`` is ``ANY``."""

    text: str
    steps: tuple[Step, ...]


def parse(text: str) -> Path:
    """Parse ``text``. Raises ``PathError``."""
    if len(text) > MAX_LENGTH:
        raise PathError(f"a path has at most {MAX_LENGTH} characters", MAX_LENGTH)
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None or (found["name"] is not None and (text[position] == ".") == (position == 0)):
            raise PathError(f"unexpected {text[position : position + 12]!r} at position {position}", position)
        steps.append(_step(found))
        position = found.end()
    if not steps or not isinstance(steps[0], str):
        raise PathError("a path begins with a field name", 0)
    if len(steps) > MAX_STEPS:
        raise PathError(f"a path has at most {MAX_STEPS} steps", len(text))
    return Path(text, tuple(steps))


def _step(found: re.Match[str]) -> Step:
    if found["name"] is not None:
        return found["name"]
    if found["index"] is not None:
        return int(found["index"])
    if found["key"] is not None:
        return re.sub(r"\\(.)", r"\1", found["key"])
    return ANY
