"""``kubernetes.client.rest``, as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kubernetes.client.rest as _official

if TYPE_CHECKING:
    from kubernetes.client.rest import *  # noqa: F403 (the official names)


def __getattr__(name: str) -> Any:
    return getattr(_official, name)
