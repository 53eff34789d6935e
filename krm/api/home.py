"""The page for people at ``/``: how fresh each resource is, and where to go. Plain HTML, no script."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Final

from krm.resources import Resource
from krm.schema import scopes
from krm.schema.context import NOTHING, Context, Freshness, Source

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8884; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.state { font-weight: 600; white-space: nowrap; }
.SYNCED { color: #1a7f37; } .CATCHING_UP { color: #9a6700; }
.STALE, .NOT_READY, .FORBIDDEN, .GONE, .HISTORY_RESET { color: #cf222e; }
"""


Counts = Mapping[str, int | None]
"""How many objects the caller may list, by plural; None where that is none of their business."""


async def counts(source: Source, context: Context) -> Counts:
    """Of each resource. Raises ``AnswerError`` NOT_READY."""
    found: dict[str, int | None] = {}
    for resource in source.resources:
        scope = await scopes.listed_or_nothing(context, resource)
        found[resource.plural] = None if scope == NOTHING else source.rows(resource, scope.namespaces)
    return found


def page(source: Source, objects: Counts) -> str:
    """The page with the state of each resource as of now."""
    rows = "\n".join(_row(source, resource, objects[resource.plural]) for resource in source.resources)
    return _page(source.cluster, _TABLE.format(rows=rows), '<meta http-equiv="refresh" content="5">')


def empty(cluster: str) -> str:
    """The page for somebody who has not said who they are."""
    return _page(cluster, "<p>What it knows it shows to callers with a token only.</p>")


_TABLE: Final = """<table>
<thead><tr><th>Resource</th><th class="number">Objects</th><th>State</th><th class="number">Verified</th>
<th class="number">Stream lag</th><th class="number">Missed by the stream</th><th>Reason</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _page(cluster: str, content: str, head: str = "") -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{head}
<title>KRM {html.escape(cluster)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<h1>Kubernetes Resource Monitor</h1>
<p>Cluster <strong>{html.escape(cluster)}</strong>. <a href="graphql">GraphiQL</a> ·
<a href="metrics">metrics</a> · <a href="readyz">readiness</a></p>
{content}
</body>
</html>
"""


def _row(source: Source, resource: Resource, objects: int | None) -> str:
    name = resource.name
    fresh = source.freshness(resource)
    missed = fresh.missed.added + fresh.missed.modified + fresh.missed.deleted + fresh.missed.ghosts
    shown_rows = "" if str(fresh.state) == "NOT_READY" or objects is None else str(objects)
    cells = [
        f"<th>{html.escape(name)}</th>",
        f'<td class="number">{shown_rows}</td>',
        f'<td class="state {html.escape(str(fresh.state))}">{html.escape(str(fresh.state))}</td>',
        f'<td class="number">{_ago(fresh)}</td>',
        f'<td class="number">{_seconds(fresh.stream_lag_s)}</td>',
        f'<td class="number">{missed}</td>',
        f"<td>{html.escape(fresh.reason or '')}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _ago(fresh: Freshness) -> str:
    return "" if fresh.verified_age_s is None else f"{_seconds(fresh.verified_age_s)} ago"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
