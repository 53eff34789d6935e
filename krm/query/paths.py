"""What a path means for one kind: whether its objects can have it, and what it yields for a row.

The grammar is ``krm.objects.paths``. Much is known of a row without reading its object: key, labels, derived columns.
A path without ``[*]`` yields a JSON value or None; one with ``[*]`` yields a tuple of them, one for each element that
is reached, with None where an element lacks the rest of the path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from krm.errors import AnswerError, Code
from krm.objects import shapes
from krm.objects.paths import ANY, Path, PathError, Step
from krm.objects.paths import parse as parse_text
from krm.objects.shapes import FieldShape
from krm.resources import Resource

_NEAREST: Final = 5
_DERIVED_LISTS: Final = {"persistentVolumeClaims": "name"}
"""Derived columns that are lists of texts, and under which field an element's text is found."""
_RESOLVED: Final = {"pods": ("deployment.name",)}
"""Derived paths whose value needs other kinds: whoever asks gives it (see ``filters.Resolver``)."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A path that a kind can have."""

    text: str
    """In one spelling, whatever the caller's was."""
    steps: tuple[Step, ...]
    scalar: str | None
    """What it ends in, as ``FieldShape.scalar``; None for an object or a list."""
    is_derived: bool = False
    """Not in the object: a derived column, or resolved by the caller."""

    @property
    def is_many(self) -> bool:
        """Whether it has ``[*]``, so yields a tuple."""
        return ANY in self.steps


def parse(resource: Resource, text: str) -> FieldPath:
    """The path ``text`` for objects of ``resource``. Raises ``AnswerError`` PATH_INVALID with the nearest."""
    try:
        path = parse_text(text)
    except PathError as error:
        raise AnswerError(Code.PATH_INVALID, f"{_shown(text)} is not a path: {error}") from error
    return _checked(resource, path)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 100 else text[:97] + "...")


@lru_cache(maxsize=4096)
def _checked(resource: Resource, path: Path) -> FieldPath:
    text = canonical(path.steps)
    if text in derived(resource):
        return FieldPath(text, path.steps, derived(resource)[text], is_derived=True)
    scalar: str | None = None
    here: FieldShape | None = FieldShape(type=_root(resource), list=False, map=False, scalar=None)
    for at, step in enumerate(path.steps):
        if here is not None:
            here = _below(here, step)
            if here is None:
                raise _invalid(resource, path, at)
            free = here.scalar == "JSON" and not here.map
            scalar = None if here.list or here.map else here.scalar
            here = None if free else here
        else:
            scalar = "JSON"
    return FieldPath(text, path.steps, scalar)


def _root(resource: Resource) -> str | None:
    return resource.kind if resource.kind in shapes.all_shapes() else None


def _below(field: FieldShape, step: Step) -> FieldShape | None:
    """What ``step`` leads to from ``field``; None if it leads nowhere."""
    if field.type is None and field.scalar is None:
        return FieldShape(type=None, list=False, map=False, scalar="JSON")  # a kind whose shape is not known
    if field.list:
        if isinstance(step, str):
            return None
        return FieldShape(type=field.type, list=False, map=False, scalar=field.scalar)
    if field.map:
        return None if isinstance(step, int) else FieldShape(type=None, list=False, map=False, scalar=field.scalar)
    if field.type is not None and isinstance(step, str):
        return shapes.shape(field.type).fields.get(step)
    return None


@lru_cache(maxsize=256)
def derived(resource: Resource) -> Mapping[str, str]:
    """The derived columns of a kind as paths, with the scalar that each yields."""
    out: dict[str, str] = {}
    for column in resource.columns:
        if column.path is None:
            inner = _DERIVED_LISTS.get(column.name)
            out[column.name if inner is None else f"{column.name}[*].{inner}"] = (
                "Quantity" if inner is None else "String"
            )
    out.update(dict.fromkeys(_RESOLVED.get(resource.plural, ()), "String"))
    return out


def canonical(steps: tuple[Step, ...]) -> str:
    """``steps`` as text, in one spelling."""
    out = ""
    for step in steps:
        if step is ANY:
            out += "[*]"
        elif isinstance(step, int):
            out += f"[{step}]"
        elif isinstance(step, str) and step.isascii() and step.isidentifier():
            out += f".{step}" if out else step
        else:
            key = str(step).replace("\\", "\\\\").replace("'", "\\'")
            out += f"['{key}']"
    return out


def _invalid(resource: Resource, path: Path, at: int) -> AnswerError:
    near = nearest(resource, path)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    if not near:  # nothing is like it: what there is at all
        near = list(dict.fromkeys((*(each.split(".")[0] for each in _known_paths(resource)), *derived(resource))))
        hint = f"; it has {', '.join(near)}" if near else ""
    where = "" if at == 0 else f" (nothing follows {canonical(path.steps[:at])} that way)"
    return AnswerError(
        Code.PATH_INVALID, f"{resource.kind} has no path {_shown(path.text)}{where}{hint}", nearest=list(near)
    )


def nearest(resource: Resource, path: Path) -> list[str]:
    """Right paths near to ``path``, the nearest first."""
    last = next((step for step in reversed(path.steps) if isinstance(step, str)), "")
    wanted = canonical(tuple(step for step in path.steps if isinstance(step, str)))
    candidates = dict.fromkeys((*derived(resource), *_known_paths(resource)))
    plain = {candidate: candidate.replace("[*]", "") for candidate in candidates}
    scored = sorted(
        candidates,
        key=lambda candidate: -_likeness(wanted, last, plain[candidate]),
    )
    return [c for c in scored[:_NEAREST] if _likeness(wanted, last, plain[c]) > 0.6]


def _likeness(wanted: str, last: str, candidate: str) -> float:
    ratio = difflib.SequenceMatcher(None, wanted, candidate).quick_ratio()
    tail = candidate.rsplit(".", 1)[-1]
    return ratio + (0.5 if tail.lower() == last.lower() else 0.0)


@lru_cache(maxsize=64)
def _known_paths(resource: Resource) -> tuple[str, ...]:
    """Paths of the kind, three names deep: enough to suggest one."""
    root = _root(resource)
    return () if root is None else tuple(_walk(root, "", 3))


def _walk(type_name: str, prefix: str, depth: int) -> Iterator[str]:
    for name, field in shapes.shape(type_name).fields.items():
        text = f"{prefix}{name}" + ("[*]" if field.list else "")
        yield text
        if field.type is not None and depth > 1:
            yield from _walk(field.type, text + ".", depth - 1)


def at(obj: Any, steps: tuple[Step, ...]) -> Any:
    """What ``steps`` yield in decoded JSON: a value or None; with ``[*]`` a tuple."""
    for number, step in enumerate(steps):
        if step is ANY:
            return tuple(_elements(obj, steps, number))
        obj = _step(obj, step)
        if obj is None:
            return () if ANY in steps[number:] else None
    return obj


def _step(obj: Any, step: Step) -> Any:
    if isinstance(step, str):
        return obj.get(step) if isinstance(obj, dict) else None
    if isinstance(step, int):
        return obj[step] if isinstance(obj, list) and step < len(obj) else None
    return None


def _elements(obj: Any, steps: tuple[Step, ...], number: int) -> Iterator[Any]:
    rest = steps[number + 1 :]
    elements = obj if isinstance(obj, list) else list(obj.values()) if isinstance(obj, dict) else ()
    for element in elements:
        found = at(element, rest)
        if ANY in rest:
            yield from found
        else:
            yield found
