"""What list queries mean, spelled out plainly after the contract's text: the oracle of the query tests.

Slow and simple on purpose, over decoded objects; nothing of it is shared with the code under test.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache, cmp_to_key
from typing import Any

import re2

Object = Mapping[str, Any]
_STEP = re.compile(r"\.?([A-Za-z_$][A-Za-z0-9_$-]*)|\[(\d+)\]|(\[\*\])|\['((?:[^'\\]|\\.)*)'\]")
_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DERIVED = ("requests.", "persistentVolumeClaims")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


# -- paths -----------------------------------------------------------------------------------------------------


def elements(path: str, obj: Object) -> list[Any]:
    """What the path reaches: one value (None for missing), or one for each element of ``[*]``; never nothing."""
    found: list[Any] = [with_derived(obj) if path.startswith(_DERIVED) else obj]
    for match in _STEP.finditer(path):
        name, index, every, key = match.groups()
        if every:
            found = [inner for each in found for inner in _inside(each)]
        elif index is not None:
            at = int(index)
            found = [each[at] if isinstance(each, list) and at < len(each) else None for each in found]
        else:
            wanted = name if name is not None else re.sub(r"\\(.)", r"\1", key)
            found = [each.get(wanted) if isinstance(each, dict) else None for each in found]
    return found or [None]


def _inside(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else []


def with_derived(obj: Object) -> dict[str, Any]:
    """The pod with its derived columns beside its fields."""
    spec = obj.get("spec") or {}
    requests: dict[str, Any] = {}
    for resource in ("cpu", "memory"):
        asked = [
            container["resources"]["requests"][resource]
            for container in spec.get("containers") or []
            if resource in ((container.get("resources") or {}).get("requests") or {})
        ]
        if resource in (spec.get("overhead") or {}):
            asked.append(spec["overhead"][resource])
        if asked:
            total = sum(filter(None, map(amount, asked)), Fraction(0))
            requests[resource] = _Amount(total)
    claims = [
        {"name": volume["persistentVolumeClaim"]["claimName"]}
        for volume in spec.get("volumes") or []
        if "persistentVolumeClaim" in volume
    ]
    return {**obj, "requests": requests, "persistentVolumeClaims": claims}


class _Amount(str):
    """A computed quantity, whose notation the oracle does not tell; only its value."""

    value: Fraction

    def __new__(cls, value: Fraction) -> _Amount:
        made = super().__new__(cls, f"{value.numerator}/{value.denominator}")
        made.value = value
        return made


# -- values ----------------------------------------------------------------------------------------------------


def amount(value: Any) -> Fraction | None:
    """The number that a value is or spells."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, _Amount):
        return value.value
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, float):
        return Fraction(repr(value))
    return _amount_of_text(value) if isinstance(value, str) else None


@cache
def _amount_of_text(value: str) -> Fraction | None:
    exponent = re.fullmatch(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))[eE]([+-]?[0-9]+)", value)
    if exponent:
        return Fraction(exponent[1]) * _power(10, int(exponent[2]))
    plain = re.fullmatch(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([KMGTPE]i|[numkMGTPE]?)", value)
    if not plain:
        return None
    if plain[2] in _BINARY:
        return Fraction(plain[1]) * _power(1024, _BINARY[plain[2]])
    return Fraction(plain[1]) * _power(10, _SUFFIXES[plain[2]])


def _power(base: int, exponent: int) -> Fraction:
    return Fraction(base**exponent) if exponent >= 0 else 1 / Fraction(base**-exponent)


def time(value: Any) -> datetime.datetime | None:
    """The moment that a text names."""
    if not isinstance(value, str) or not re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value
    ):
        return None
    return datetime.datetime.fromisoformat(value)


def compared(one: Any, other: Any) -> int | None:
    """The sign of one against the other, by value; None if they are not of one sort."""
    reads: tuple[Callable[[Any], Any], ...] = (amount, time, lambda each: each if isinstance(each, str) else None)
    for read in reads:
        a, b = read(one), read(other)
        if a is not None and b is not None:
            return int(a > b) - int(a < b)
    return None


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: by their text, but for the spelling of numbers."""
    return json.dumps(_numbers(one), sort_keys=True) == json.dumps(_numbers(other), sort_keys=True)


def _numbers(value: Any) -> Any:
    if isinstance(value, float) and value == int(value):
        return int(value)
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    return {key: _numbers(each) for key, each in value.items()} if isinstance(value, dict) else value


# -- filters ---------------------------------------------------------------------------------------------------

_ANY: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": same,
    "in": lambda value, options: any(same(value, option) for option in options),
    "lt": lambda value, operand: compared(value, operand) == -1,
    "lte": lambda value, operand: compared(value, operand) in (-1, 0),
    "gt": lambda value, operand: compared(value, operand) == 1,
    "gte": lambda value, operand: compared(value, operand) in (0, 1),
    "contains": lambda value, operand: isinstance(value, str) and operand in value,
    "startsWith": lambda value, operand: isinstance(value, str) and value[: len(operand)] == operand,
    "matches": lambda value, operand: isinstance(value, str) and bool(re2.search(operand, value)),
}


def passes(spec: Mapping[str, Any], obj: Object) -> bool:
    """Whether an object passes a Filter: all its members."""
    return all(_member(spec, name, operand, obj) for name, operand in spec.items() if name != "path")


def _member(spec: Mapping[str, Any], name: str, operand: Any, obj: Object) -> bool:
    if name == "and":
        return all(passes(each, obj) for each in operand)
    if name == "or":
        return any(passes(each, obj) for each in operand)
    if name == "not":
        return not passes(operand, obj)
    values = elements(spec["path"], obj)
    if name == "exists":
        return bool(any(value is not None for value in values) == operand)
    if name in ("ne", "notIn"):
        opposite = {"ne": "eq", "notIn": "in"}[name]
        return not any(_ANY[opposite](value, operand) for value in values)
    return any(_ANY[name](value, operand) for value in values)


# -- selectors: (key, operator, values) and (path, operator, value) ----------------------------------------------


def labelled(requirements: Iterable[tuple[str, str, Sequence[str]]], obj: Object) -> bool:
    """Whether an object's labels meet all requirements."""
    labels = (obj["metadata"].get("labels")) or {}
    meets: dict[str, Callable[[str, Sequence[str]], bool]] = {
        "=": lambda key, values: labels.get(key) == values[0],
        "!=": lambda key, values: labels.get(key) != values[0],
        "in": lambda key, values: labels.get(key) in values,
        "notin": lambda key, values: key not in labels or labels[key] not in values,
        "exists": lambda key, values: key in labels,
        "!": lambda key, values: key not in labels,
    }
    return all(meets[operator](key, values) for key, operator, values in requirements)


def fielded(requirements: Iterable[tuple[str, str, str]], obj: Object, booleans: Iterable[str] = ()) -> bool:
    """Whether an object's fields have these texts; a missing one is empty, a missing boolean false."""
    for path, operator, wanted in requirements:
        texts = []
        for value in elements(path, obj):
            if value is None:
                texts.append("false" if path in booleans else "")
            else:
                texts.append(str(value).lower() if isinstance(value, bool) else str(value))
        if (wanted in texts) != (operator == "="):
            return False
    return True


# -- order -----------------------------------------------------------------------------------------------------


def key(obj: Object) -> tuple[str, str]:
    """(namespace, name)"""
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def ordered(objects: Iterable[Object], orders: Sequence[tuple[str, str]]) -> list[Object]:
    """Objects by (path, direction)s, missing last, ties by namespace and name."""

    def before(one: Object, other: Object) -> int:
        for path, direction in orders:
            a, b = _ordering_value(one, path, direction), _ordering_value(other, path, direction)
            if a is None or b is None:
                if (a is None) != (b is None):
                    return 1 if a is None else -1
                continue
            sign = _sign(a, b)
            if sign:
                return sign if direction == "ASC" else -sign
        return (key(one) > key(other)) - (key(one) < key(other))

    return sorted(objects, key=cmp_to_key(before))


def _ordering_value(obj: Object, path: str, direction: str) -> Any:
    there = [value for value in elements(path, obj) if value is not None]
    if not there:
        return None
    ranked = sorted(there, key=cmp_to_key(_sign))
    return ranked[0] if direction == "ASC" else ranked[-1]


def _sort(value: Any) -> int:
    """Numbers and quantities, times, text, booleans."""
    if isinstance(value, bool):
        return 3
    if amount(value) is not None:
        return 0
    return 1 if time(value) is not None else 2


def _sign(one: Any, other: Any) -> int:
    sorts = _sort(one), _sort(other)
    if sorts[0] != sorts[1]:
        return -1 if sorts[0] < sorts[1] else 1
    if sorts[0] in (2, 3):
        return int(one > other) - int(one < other)
    return compared(one, other) or 0


# -- groups ----------------------------------------------------------------------------------------------------


def grouped(objects: Iterable[Object], paths: Sequence[str]) -> dict[str, list[Object]]:
    """Objects by the JSON text of their values; of ``[*]`` by each different element."""
    groups: dict[str, list[Object]] = {}
    for obj in objects:
        combinations: list[list[Any]] = [[]]
        for path in paths:
            combinations = [[*before, value] for before in combinations for value in elements(path, obj)]
        texts = {json.dumps(_numbers(combination), sort_keys=True) for combination in combinations}
        for text in texts:
            groups.setdefault(text, []).append(obj)
    return groups


def summed(objects: Iterable[Object], path: str) -> Fraction:
    """The sum of all values, which are numbers or quantities."""
    values = [value for obj in objects for value in elements(path, obj) if value is not None]
    amounts = [each for each in map(amount, values) if each is not None]
    assert len(amounts) == len(values)
    return sum(amounts, Fraction(0))
