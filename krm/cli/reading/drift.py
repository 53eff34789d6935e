"""``krm drift``: what the stream had missed and verification found, newest first."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from krm.cli import output
from krm.cli.choices import StatusForm
from krm.cli.printing import ages
from krm.cli.reading import asking
from krm.resources import Resource

_PAGE: Final = 500
_QUERY: Final = (
    "query ($resource: String, $first: Int, $after: String) { drift(resource: $resource, first: $first, after: $after)"
    " { nodes { at resource kind namespace name uid resourceVersion livedSeconds } totalCount"
    " pageInfo { hasNextPage endCursor } scope { complete namespaces } } }"
)


def run(resource: Resource | None, form: StatusForm, *, limit: int, url: str | None, timeout: str) -> int:
    """Print at most ``limit`` lines of drift, of one kind or of all."""
    nodes: list[Mapping[str, Any]] = []
    total, after = 0, None
    with asking.asker(url, timeout) as asker:
        while len(nodes) < limit:
            variables = {
                "resource": resource and resource.name,
                "first": min(_PAGE, limit - len(nodes)),
                "after": after,
            }
            answered = asker.ask(_QUERY, variables)
            connection = answered.data.get("drift")
            if connection is None:
                for complaint in answered.complaints:
                    output.say(complaint)
                return 1
            nodes += connection["nodes"]
            total = connection["totalCount"]
            after = connection["pageInfo"]["endCursor"]
            if not connection["pageInfo"]["hasNextPage"]:
                break
    if form is StatusForm.JSON:
        output.write(json.dumps(nodes, indent=2, ensure_ascii=sys.stdout.isatty()) + "\n")
    elif nodes:
        headings = ["AGE", "RESOURCE", "KIND", "NAMESPACE", "NAME", "VERSION", "LIVED"]
        output.write(output.table([headings, *(_row(node) for node in nodes)]))
    output.finish()
    if not nodes:
        output.say("No drift: verification has found nothing that the stream had missed.")
    elif total > len(nodes):
        output.say(f"the newest {len(nodes)} of {total}; --limit shows more")
    return 0


def _row(node: Mapping[str, Any]) -> list[str]:
    lived_s = node.get("livedSeconds")
    return [
        ages.age(node.get("at"), datetime.datetime.now(datetime.UTC)),
        str(node.get("resource")),
        str(node.get("kind")),
        str(node.get("namespace") or ""),
        str(node.get("name")),
        str(node.get("resourceVersion") or "-"),
        ages.human(lived_s) if isinstance(lived_s, int | float) else "-",
    ]
