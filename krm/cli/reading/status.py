"""``krm status``: how true answers are at this moment, resource by resource, in words."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from krm.cli import output
from krm.cli.choices import StatusForm
from krm.cli.printing import ages
from krm.cli.reading import asking, lateness
from krm.resources import Resource


def run(wanted: Sequence[Resource], form: StatusForm, *, url: str | None, timeout: str) -> int:
    """Print the freshness of ``wanted``, all for none."""
    names = [resource.name for resource in wanted] or None
    with asking.asker(url, timeout) as asker:
        answered = asker.ask(
            f"query ($resources: [String!]) {{ freshness(resources: $resources) {{ {asking.FRESHNESS} }} }}",
            {"resources": names},
        )
        delays = lateness.read(asker.metrics() or "")
    every = [
        {**freshness, "streamDelay": lateness.as_json(delays.get(str(freshness.get("resource"))))}
        for freshness in answered.data.get("freshness") or []
    ]
    if form is StatusForm.JSON:
        output.write(json.dumps(every, indent=2, ensure_ascii=sys.stdout.isatty()) + "\n")
    else:
        headings = [
            "RESOURCE",
            "STATE",
            "VERSION",
            "VERIFIED",
            "LAST EVENT",
            "LAG",
            "~P50/P90/P99",
            "SAMPLES",
            "MISSED",
            "MEANING",
        ]
        output.write(output.table([headings, *(_row(freshness) for freshness in every)]))
    output.finish()
    for complaint in answered.complaints:
        output.say(complaint)
    return 1 if answered.errors else 0


def _row(freshness: Mapping[str, Any]) -> list[str]:
    lag_s = freshness.get("streamLagSeconds")
    return [
        str(freshness.get("resource")),
        str(freshness.get("state")),
        str(freshness.get("resourceVersion") or "-"),
        asking.verified_ago(freshness),
        _ago(freshness.get("lastEventAt")),
        f"{lag_s:.2f}s" if isinstance(lag_s, int | float) else "-",
        *_delay(freshness.get("streamDelay")),
        _missed(freshness.get("missed") or {}),
        asking.in_words(freshness),
    ]


def _delay(delay: Mapping[str, Any] | None) -> tuple[str, str]:
    if delay is None:
        return "-", "-"
    shown = "/".join(f"{delay[name]:.2f}" for name in ("p50Seconds", "p90Seconds", "p99Seconds"))
    return f"{shown}s", str(delay["samples"])


def _ago(moment: object) -> str:
    if not isinstance(moment, str):
        return "-"
    return f"{ages.age(moment, datetime.datetime.now(datetime.UTC))} ago"


def _missed(missed: Mapping[str, int]) -> str:
    parts = [f"{count} {name}" for name, count in missed.items() if count]
    return ", ".join(parts) or "none"
