"""The official package ``kubernetes`` with KRM behind the reads of its kinds; existing code changes one import.

    from krm_client.kubernetes import client, config, watch

Lists, reads and watches of pods, deployments, persistent volume claims, services, ingresses and nodes come from KRM
(``KRM_URL`` and the other settings of the client); everything else goes to the API server as before, and every other
name is the official one.
"""

from __future__ import annotations

from typing import Any

import kubernetes as _official

from krm_client.kubernetes import client, config, watch

__all__ = ["client", "config", "watch"]


def __getattr__(name: str) -> Any:
    return getattr(_official, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_official)})
