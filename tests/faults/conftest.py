"""The table of faults, printed when all have been."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.figures import PROPERTY, Figures, added_up, encoded, table


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Iterator[Figures]:
    """What the fault of this test costs: its row of the table."""
    row = Figures()
    yield row
    if row.id:
        record_property(PROPERTY, encoded(row))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, from whatever processes the tests ran in."""
    recorded = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == PROPERTY and getattr(report, "when", "") == "teardown"
    ]
    if rows := added_up(recorded):
        terminalreporter.write_line("")
        terminalreporter.write_line(table(rows))
