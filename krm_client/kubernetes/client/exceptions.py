"""``kubernetes.client.exceptions``, as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kubernetes.client.exceptions as _official

if TYPE_CHECKING:
    from kubernetes.client.exceptions import *  # noqa: F403 (the official names)


def __getattr__(name: str) -> Any:
    return getattr(_official, name)
