"""Every error of the client, so that a caller can tell what went wrong without reading texts.

    KrmError
    ├── KrmConnectError       no connection: address, DNS, refused, cut off
    │   └── KrmTlsError       certificate or TLS version; http spoken to an https port and the reverse
    ├── KrmTimeout            no answer in time, or asked to wait for longer than that     (ApiException 504, 429)
    ├── KrmAuthError          who are you: no token or one that is not accepted            (ApiException 401)
    ├── KrmForbidden          you may not                                                  (ApiException 403)
    ├── KrmNotFound           no such object                                               (ApiException 404)
    ├── KrmNotReady           KRM has not listed this resource yet                         (ApiException 503)
    ├── KrmStale              KRM cannot be as fresh as was asked                          (ApiException 504)
    ├── KrmQueryError         the question is wrong; ``partial`` holds what was answered   (ApiException 400)
    ├── KrmProtocolError      the answer is not one: a proxy's page, cut JSON, a failure   (ApiException 500)
    │   └── KrmSchemaMismatch the server's schema is older or newer than the client needs
    └── KrmUsageError         the client is used or configured wrongly

Those marked are also the official client's ``ApiException`` with ``status``, ``reason`` and a ``Status`` as
``body``; where the official client has a narrower class (``NotFoundException``), they are that as well. They
are loaded when they are first needed, because loading the official client takes long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from krm_client.api_errors import (
        KrmAuthError,
        KrmForbidden,
        KrmNotFound,
        KrmNotReady,
        KrmProtocolError,
        KrmQueryError,
        KrmSchemaMismatch,
        KrmStale,
        KrmTimeout,
    )

__all__ = [
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
]


class KrmError(Exception):
    """Base of all. ``str()`` is one line; ``code`` is the server's code where it gave one."""

    code: str | None = None

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        Exception.__init__(self, message)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


class KrmConnectError(KrmError):
    """No connection to KRM, or one that broke before the answer."""


class KrmTlsError(KrmConnectError):
    """TLS failed: a certificate that is not trusted, or no TLS where it was expected."""


class KrmUsageError(KrmError, ValueError):
    """An argument or a setting of the client is wrong; found before anything is sent."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        from krm_client import api_errors

        return getattr(api_errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
