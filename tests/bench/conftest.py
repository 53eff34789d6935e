"""One report for all benchmarks of a run; ``make bench`` has it written into ``docs/``.

``KRM_BENCH_DOCS=more`` adds to what runs before have measured, for benchmarks that are run one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.bench.report import Line, Report, write

KEPT: Final = Path(__file__).resolve().parents[2] / ".cache" / "benchmarks.json"


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Where benchmarks put what they measured."""
    made = Report()
    yield made
    how = os.environ.get("KRM_BENCH_DOCS")
    if not how or not made.lines:
        return
    before = msgspec.json.decode(KEPT.read_bytes(), type=list[Line]) if how == "more" and KEPT.exists() else []
    lines = {(line.group, line.what, line.size, line.other): line for line in (*before, *made.lines)}
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_bytes(msgspec.json.encode(list(lines.values())))
    write(list(lines.values()))
