"""``python -m tests.integration.delay.picture``: draws docs/images/delay.png from the dashboard's own queries.

The data is that of a ``krm demo --with-delay`` that is left alone for a while.
"""

from __future__ import annotations

import datetime
import json
import re
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from krm.manifests import dashboards
from tests import servers
from tests.integration.delay.asking import chosen
from tests.waiting import block_until

PICTURE: Final = Path(__file__).resolve().parents[3] / "docs" / "images" / "delay.png"
SECONDS: Final = 90
INTERVAL_S: Final = 5
SHOWN: Final = (
    ("Delay of additions and deletions", ("p50", "p90", "p99", "max"), "seconds"),
    ("Delay by resource and event: p99", ("p99",), "seconds"),
    ("Samples in each interval", ("samples",), "samples in 5 s"),
    ("Cache age", ("age", "verified"), "seconds"),
)
Lines = dict[str, list[tuple[datetime.datetime, float]]]


def asked(url: str, query: str) -> list[dict[str, Any]]:
    """The series of an answer."""
    params = urllib.parse.urlencode({"db": dashboards.DATABASE, "q": query})
    with urllib.request.urlopen(f"{url}/query?{params}", timeout=30) as answer:
        (result,) = json.loads(answer.read())["results"]
    return list(result.get("series", ()))


def lines(series: list[dict[str, Any]], columns: tuple[str, ...]) -> Lines:
    """A line a column and combination of tags."""
    found: Lines = defaultdict(list)
    for one in series:
        for values in one["values"]:
            row = dict(zip(one["columns"], values, strict=True))
            for column in columns:
                if row[column] is not None:
                    name = " ".join([*one.get("tags", {}).values(), *([column] if len(columns) > 1 else [])])
                    found[name].append((datetime.datetime.fromisoformat(row["time"]), row[column]))
    return found


def draw(panels: list[tuple[str, str, Lines]]) -> None:
    """One picture of all, as long as there are delays; deletions and verifications are dashed."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import dates, pyplot

    measured = [at for points in panels[0][2].values() for at, _ in points]
    whole = sorted(set(measured))[:-1]  # the last interval has only begun
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 8), sharex=True)
    for each, (title, unit, shown) in zip(axes.flat, panels, strict=True):
        colours: dict[str, str] = {}
        for name, points in sorted(shown.items()):
            stem = re.sub(r"^(ADDED|DELETED) | (age|verified)$", "", name)
            colour = colours.setdefault(stem, f"C{len(colours)}")
            style = "--" if re.search(r"^DELETED| verified$", name) else "-"
            xs, ys = [at for at, _ in points], [value for _, value in points]
            each.plot(xs, ys, style, color=colour, marker=".", linewidth=1, label=name)
        each.set_title(title, fontsize=10)
        each.set_ylabel(unit, fontsize=8)
        each.set_xlim(whole[0], whole[-1])
        each.set_ylim(bottom=0)
        each.tick_params(labelsize=7)
        each.set_ylim(top=each.get_ylim()[1] * 1.3)  # room for the legend
        each.legend(fontsize=6, ncols=3, loc="upper right")
        each.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=90)


def main() -> None:
    """Run the demo, ask, draw."""
    with servers.start_demo("--with-delay", "--pods", "200", "--churn", "60") as demo:

        def told() -> str | None:
            found = re.search(r"delays +(http://\S+)", demo.log.read_text())
            return found[1] if found else None

        url = block_until(told, 60, "the demo says where InfluxDB is") or ""
        time.sleep(SECONDS)
        panels = []
        for name, columns, unit in SHOWN:
            (cell,) = [one for one in dashboards.CELLS if one.name.startswith(name)]
            series = asked(url, chosen(cell.query, cluster="default", interval_s=INTERVAL_S))
            panels.append((cell.name, unit, lines(series, columns)))
    draw(panels)


if __name__ == "__main__":
    main()
