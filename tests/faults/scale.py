"""How often each fault happens: enough to see it heal, or with FAULTS_SCALE=full as often as the promise is made of."""

from __future__ import annotations

import os
from typing import Final

FULL: Final = os.environ.get("FAULTS_SCALE", "") == "full"


def scaled(usual: int, full: int) -> int:
    """How often."""
    return full if FULL else usual
