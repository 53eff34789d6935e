"""Resource versions: text outside, compared as integers of any size inside one resource.

Kubernetes promises that order for one resource only (stable since 1.35), and versions may be as large as 128 bits;
so never a float, never int64, never across resources.
"""

from __future__ import annotations

from typing import Final

_MOST_DIGITS: Final = 39


def is_valid(version: str) -> bool:
    """Whether ``version`` is one that an API server gives: decimal digits, no leading zero, not "0", at most 39."""
    return version.isascii() and version.isdecimal() and version[0] != "0" and len(version) <= _MOST_DIGITS


def parse(version: str) -> int:
    """``version`` as an integer. Raises ``ValueError`` if it is not valid."""
    if not is_valid(version):
        raise ValueError(f"{version[:50]!r} is not a resource version: decimal digits without leading zero, at most 39")
    return int(version)


def order(version: str) -> tuple[int, str]:
    """What valid versions sort by: the same order as their integers, without making them. Empty sorts first."""
    return (len(version), version)


def newer(one: str, other: str) -> bool:
    """Whether ``one`` is a later version than ``other``; the empty version is older than every other."""
    return (len(one), one) > (len(other), other)


def latest(one: str, other: str) -> str:
    """The later of two versions."""
    return one if newer(one, other) else other
