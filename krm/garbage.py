"""How Python's collector of garbage is set in processes that hold many objects for long."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (5_000, 20, 100)
"""Young objects are looked at a few thousand at a time, a millisecond or two: 50,000 at once were a pause of 100 ms."""

_fillings: set[object] = set()
"""What is being filled at the moment."""


def settle() -> None:
    """What is here now lives long: it is never looked at again, and full collections of the rest become rare."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


@contextmanager
def filling(*, lasts: bool = False) -> Iterator[None]:
    """While objects only become more nothing is collected, which would look at each of them over and over.

    ``lasts``: what is there at the end lives long, and is never looked at. Garbage of that moment stays for ever, so it
    is said of the first filling of a table, not of those that follow.
    """
    if not _fillings and not gc.isenabled():  # somebody else has a reason
        yield
        return
    this = object()
    _fillings.add(this)
    gc.disable()
    try:
        yield
        if lasts:
            gc.freeze()
    finally:
        _fillings.discard(this)
        if not _fillings:
            gc.enable()
