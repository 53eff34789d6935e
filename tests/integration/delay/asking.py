"""The dashboard's queries as Chronograf sends them."""

from __future__ import annotations

import re
import time
from typing import Final

INTERVAL_S: Final = 600


def chosen(query: str, *, cluster: str = "c", resource: str = ".*", interval_s: int = INTERVAL_S) -> str:
    """The query as Chronograf sends it: bare values in regular expressions, else as their sort wants them."""
    now = time.time_ns()
    words = {
        ":upperDashboardTime:": f"{now + 10**9}",
        ":dashboardTime:": f"{now - 6 * 3600 * 10**9}",
        ":interval:": f"{interval_s}s",
        ":cluster:": cluster,
        ":resource:": resource,
    }
    for name, value in words.items():
        query = query.replace(name, value)
    assert not re.search(r":[a-zA-Z]+:", query), query
    return query
