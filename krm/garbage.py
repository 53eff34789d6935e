"""How Python's collector of garbage is set in processes that hold many objects for long."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (5_000, 20, 100)
"""Young objects are looked at a few thousand at a time, a millisecond or two: 50,000 at once were a pause of 100 ms."""


def settle() -> None:
    """What is here now lives long: it is never looked at again, and full collections of the rest become rare."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
