"""Where benchmarks put what they measured, and what is made of it: a table of ratios and a plot, in ``docs/``.

A line is one comparison of two times that were taken in one run on one machine, or one figure with its bound.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
PAGE: Final = DOCS / "benchmarks.md"
PLOT: Final = DOCS / "images" / "benchmarks.svg"
_LIBRARIES: Final = (
    "kubernetes", "strawberry-graphql", "graphql-core", "fastapi", "uvicorn", "orjson", "msgspec", "zstandard", "redis",
    "pandas", "numpy",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Line:
    """``ratio`` is what ``must`` speaks of: times faster than, or times as long as, the other side."""

    group: str
    what: str
    size: int
    """Objects of the cluster."""
    ours: str
    number: float
    """The same as a number: seconds, or in the unit of the figure."""
    other: str = ""
    """What it was held against."""
    theirs: str = ""
    ratio: float | None = None
    must: str = ""
    is_met: bool | None = None
    is_speedup: bool = False
    at: str = ""
    """When it was measured."""


@dataclass
class Report:
    """The lines of one run, in order."""

    lines: list[Line] = field(default_factory=list)

    def faster(
        self, group: str, what: str, size: int, ours_s: float, other: str, theirs_s: float, must: float | None = None
    ) -> None:
        """``ours_s`` against the longer ``theirs_s``: at least ``must`` times as fast."""
        ratio = theirs_s / ours_s
        self._add(
            Line(
                group=group,
                what=what,
                size=size,
                ours=seconds(ours_s),
                number=ours_s,
                other=other,
                theirs=seconds(theirs_s),
                ratio=ratio,
                must="" if must is None else f"≥ {must:g}x",
                is_met=None if must is None else ratio >= must,
                is_speedup=True,
            )
        )

    def within(
        self, group: str, what: str, size: int, ours_s: float, other: str, limit_s: float, must: float | None = None
    ) -> None:
        """``ours_s`` against the limit ``limit_s``: at most ``must`` times as long."""
        ratio = ours_s / limit_s
        self._add(
            Line(
                group=group,
                what=what,
                size=size,
                ours=seconds(ours_s),
                number=ours_s,
                other=other,
                theirs=seconds(limit_s),
                ratio=ratio,
                must="" if must is None else f"≤ {must:g}x",
                is_met=None if must is None else ratio <= must,
            )
        )

    def figure(
        self, group: str, what: str, size: int, value: float, unit: str, *, most: float | None = None,
        least: float | None = None,
    ) -> None:  # fmt: skip
        """One value with its bound."""
        must, is_met = "", None
        if most is not None:
            must, is_met = f"≤ {most:g} {unit}", value <= most
        elif least is not None:
            must, is_met = f"≥ {least:g} {unit}", value >= least
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        self._add(
            Line(group=group, what=what, size=size, ours=f"{shown} {unit}", number=value, must=must, is_met=is_met)
        )

    def _add(self, line: Line) -> None:
        line = replace(line, at=_now())
        self.lines.append(line)
        print(f"\n{line.group}: {' | '.join(_cells(line))}", flush=True)


def seconds(value: float) -> str:
    """A time with a unit in which it can be read."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def _cells(line: Line) -> tuple[str, ...]:
    ratio = "" if line.ratio is None else f"{line.ratio:.3g}x"
    met = {None: "", True: "yes", False: "**no**"}[line.is_met]
    return (line.what, f"{line.size:,}", line.ours, line.other, line.theirs, ratio, line.must, met)


def page(lines: Sequence[Line]) -> str:
    """The Markdown page."""
    out = [
        "# Benchmarks",
        "",
        "Written by `make bench`; equal answers are asserted before anything is timed. Both sides of a line were",
        "measured in the same run, on the same machine: the ratios are what can be relied on, not the times.",
        "",
        *(f"- {fact}" for fact in surroundings()),
        "",
        "![How many times faster than the other side](images/benchmarks.svg)",
    ]
    for group in dict.fromkeys(line.group for line in lines):
        times = sorted({line.at for line in lines if line.group == group and line.at})
        out += ["", f"## {group}", ""]
        out += [f"Measured {' to '.join(dict.fromkeys((times[0], times[-1])))}.", ""] if times else []
        out += [
            "| what | objects | KRM | against | its time | ratio | must | met |",
            "|---|---:|---:|---|---:|---:|---|---|",
        ]
        out += [f"| {' | '.join(_cells(line))} |" for line in lines if line.group == group]
    return "\n".join([*out, *_growth(lines)]) + "\n"


def _growth(lines: Sequence[Line]) -> list[str]:
    """What was measured at several sizes, for each object."""
    found: dict[tuple[str, str], dict[int, Line]] = {}
    for line in lines:
        found.setdefault((line.group, line.what), {}).setdefault(line.size, line)
    sizes = sorted({size for each in found.values() if len(each) > 1 for size in each})
    if not sizes:
        return []
    out = ["", "## Growth", "", "What KRM takes for each object, at several sizes: it must stay flat.", ""]
    out += [f"| what | {' | '.join(f'{size:,}' for size in sizes)} |", "|---|" + "---:|" * len(sizes)]
    for (group, what), each in found.items():
        if len(each) > 1:
            shown = (_for_each(each[size]) if size in each else "" for size in sizes)
            out.append(f"| {group}: {what} | {' | '.join(shown)} |")
    return out


def _for_each(line: Line) -> str:
    if line.theirs:
        return seconds(line.number / line.size)
    unit = line.ours.partition(" ")[2]
    return f"{line.number * 1024 / line.size:.3g} KiB" if unit == "MiB" else line.ours


def _now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"


def surroundings() -> list[str]:
    """Date, machine and versions."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    processor = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    return [
        f"Date: {_now()}",
        f"Machine: {os.cpu_count()} cores, {processor}, Linux {platform.release()}; load {load:.1f} at the end",
        f"Python {platform.python_version()}, {versions}",
    ]


def plot(lines: Sequence[Line], path: Path) -> None:
    """Every comparison that is a speed-up, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "krm"
    from matplotlib import pyplot

    shown = [line for line in lines if line.is_speedup]
    ratios = [line.ratio or 0.0 for line in shown]
    figure, axes = pyplot.subplots(figsize=(10, 1.2 + 0.28 * len(shown)))
    names = [f"{line.what}, {line.size:,}" for line in shown]
    places = range(len(shown))
    axes.barh(places, ratios, color="#2f6f9f")
    for place, line, ratio in zip(places, shown, ratios, strict=True):
        axes.text(ratio, place, f" {ratio:.3g}x", va="center", fontsize=8)
        if line.must:
            axes.plot([float(line.must[2:-1])] * 2, [place - 0.4, place + 0.4], color="#c0392b", linewidth=2)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times faster (red: what it must be at least)")
    axes.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def write(lines: Sequence[Line]) -> None:
    """Page and plot, in place of those that are there."""
    PAGE.write_text(page(lines), encoding="utf-8")
    if any(line.is_speedup for line in lines):
        plot(lines, PLOT)
