"""``kubernetes.client`` with KRM behind the reads of ``CoreV1Api``, ``AppsV1Api`` and ``NetworkingV1Api``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kubernetes.client as _official

from krm_client.dropin import apis as _apis

if TYPE_CHECKING:
    from kubernetes.client import *  # noqa: F403 (the official names)


def __getattr__(name: str) -> Any:
    found = _apis.subclass(name) if name in _apis.CLASSES else getattr(_official, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_official)})
