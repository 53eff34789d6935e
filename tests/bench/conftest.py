"""One report for all benchmarks of a run; ``make bench`` has it written into ``docs/``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.bench.report import Report, write


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Where benchmarks put what they measured."""
    made = Report()
    yield made
    if os.environ.get("KRM_BENCH_DOCS") and made.lines:
        write(made.lines)
