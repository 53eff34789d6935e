"""What a fault cost: counted by the tests of a row, added up over processes, printed as one table at the end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Final

PROPERTY: Final = "fault"
COLUMNS: Final = ("", "fault", "times", "lost", "ghosts", "false-empty", "unflagged-stale", "p50", "p99", "also")


@dataclass(kw_only=True)
class Figures:
    """One row of the table."""

    id: str = ""
    fault: str = ""
    times: int = 0
    lost: int = 0
    """Objects that the cluster had and the table had not, or another version of them, after it had to have healed."""
    ghosts: int = 0
    """Rows of objects that the cluster had not, then."""
    false_empty: int = 0
    """Answers without objects, and without an error, while there were some."""
    unflagged_stale: int = 0
    """Answers that said they were in step and were not, or that lacked what they promised to have."""
    seconds: list[float] = field(default_factory=list)
    """From the end of each fault until the table was the cluster's, row by row."""
    notes: dict[str, float] = field(default_factory=dict)
    """Further figures, the largest of each."""

    def name(self, identifier: str, fault: str) -> None:
        """Say which row this is."""
        self.id, self.fault = identifier, fault

    def note(self, **figures: float) -> None:
        """Keep the largest of further figures."""
        for name, value in figures.items():
            self.notes[name] = round(max(value, self.notes.get(name, value)), 3)

    @property
    def broken(self) -> int:
        """How many promises were broken."""
        return self.lost + self.ghosts + self.false_empty + self.unflagged_stale

    def cells(self) -> list[str]:
        """The row as text."""
        also = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in self.notes.items())
        counted = (self.times, self.lost, self.ghosts, self.false_empty, self.unflagged_stale)
        times = [f"{quantile(self.seconds, share):.2f} s" if self.seconds else "-" for share in (0.5, 0.99)]
        return [self.id, self.fault, *(f"{number:,}" for number in counted), *times, also]


def quantile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def added_up(recorded: Iterable[str]) -> list[Figures]:
    """The rows of all tests, those of one fault as one, in the order of their numbers."""
    rows: dict[str, Figures] = {}
    for text in recorded:
        one = Figures(**json.loads(text))
        row = rows.setdefault(one.id, Figures(id=one.id, fault=one.fault))
        for counter in ("times", "lost", "ghosts", "false_empty", "unflagged_stale"):
            setattr(row, counter, getattr(row, counter) + getattr(one, counter))
        row.seconds += one.seconds
        row.note(**one.notes)
    return sorted(rows.values(), key=lambda row: _order(row.id))


def encoded(figures: Figures) -> str:
    """As text, to cross from one process to another."""
    return json.dumps(asdict(figures))


def table(rows: Iterable[Figures]) -> str:
    """As Markdown."""
    lines = [list(COLUMNS), *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS) - 1)]
    lines.insert(1, ["-" * width for width in widths] + ["---"])
    return "\n".join(
        "| " + " | ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[-1]]) + " |"
        for line in lines
    )


def _order(identifier: str) -> tuple[int, int, str]:
    found = re.fullmatch(r"F(\d+)", identifier)
    return (0, int(found[1]), "") if found else (1, 0, identifier)
