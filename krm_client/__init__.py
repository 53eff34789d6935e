"""The Python client of KRM: official ``kubernetes`` objects, GraphQL and freshness out of its cache.

    from krm_client import KrmClient
    krm = KrmClient("http://127.0.0.1:8000")
    krm.core_v1.list_namespaced_pod("default", label_selector="app=web")

Importing this package loads neither gql nor kubernetes; what needs them loads them when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from krm_client.client import AsyncKrmClient, Explanation, KrmClient
    from krm_client.errors import (
        KrmAuthError,
        KrmConnectError,
        KrmError,
        KrmForbidden,
        KrmNotFound,
        KrmNotReady,
        KrmProtocolError,
        KrmQueryError,
        KrmSchemaMismatch,
        KrmStale,
        KrmTimeout,
        KrmTlsError,
        KrmUsageError,
    )
    from krm_client.freshness import Freshness, Missed, State
    from krm_client.rehydration import fields_of, rehydrate

_HOMES = {
    "krm_client.client": ("AsyncKrmClient", "Explanation", "KrmClient"),
    "krm_client.errors": (
        "KrmAuthError",
        "KrmConnectError",
        "KrmError",
        "KrmForbidden",
        "KrmNotFound",
        "KrmNotReady",
        "KrmProtocolError",
        "KrmQueryError",
        "KrmSchemaMismatch",
        "KrmStale",
        "KrmTimeout",
        "KrmTlsError",
        "KrmUsageError",
    ),
    "krm_client.freshness": ("Freshness", "Missed", "State"),
    "krm_client.rehydration": ("fields_of", "rehydrate"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncKrmClient",
    "Explanation",
    "Freshness",
    "KrmAuthError",
    "KrmClient",
    "KrmConnectError",
    "KrmError",
    "KrmForbidden",
    "KrmNotFound",
    "KrmNotReady",
    "KrmProtocolError",
    "KrmQueryError",
    "KrmSchemaMismatch",
    "KrmStale",
    "KrmTimeout",
    "KrmTlsError",
    "KrmUsageError",
    "Missed",
    "State",
    "fields_of",
    "rehydrate",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
