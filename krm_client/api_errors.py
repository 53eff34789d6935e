"""The errors that are the official client's ``ApiException`` too; see `krm_client.errors` for the tree.

Apart from `errors` because this module loads the official client, and `import krm_client` must stay light.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernetes.client import exceptions

from krm_client.errors import KrmError

if TYPE_CHECKING:
    from kubernetes.client.exceptions import (
        BadRequestException,
        ForbiddenException,
        NotFoundException,
        ServiceException,
        UnauthorizedException,
    )
else:
    # Older clients lack some of the narrower classes.
    ServiceException = getattr(exceptions, "ServiceException", exceptions.ApiException)
    UnauthorizedException = getattr(exceptions, "UnauthorizedException", exceptions.ApiException)
    ForbiddenException = getattr(exceptions, "ForbiddenException", exceptions.ApiException)
    NotFoundException = getattr(exceptions, "NotFoundException", exceptions.ApiException)
    BadRequestException = getattr(exceptions, "BadRequestException", exceptions.ApiException)


class _ApiError(KrmError):
    """Shared by all here: fills what an ``ApiException`` carries."""

    default_status = 500
    default_reason = "InternalError"

    status: int
    reason: str
    body: str | None
    data: Any
    headers: Mapping[str, str] | None

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        status: int | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.status = status or self.default_status
        self.reason = self.default_reason
        self.body = _status_body(message, self.reason, self.status, details or {})
        self.data = None
        self.headers = headers

    def __reduce__(self) -> Any:
        return _restored, (type(self), self.message, dict(vars(self)))


def _restored(cls: type[_ApiError], message: str, state: dict[str, Any]) -> _ApiError:
    error = cls(message)
    vars(error).update(state)
    return error


def _status_body(message: str, reason: str, status: int, details: Mapping[str, Any]) -> str:
    """The ``Status`` object that an API server would send, which programs read ``message`` and ``reason`` from."""
    return json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": dict(details),
            "code": status,
        }
    )


class KrmTimeout(_ApiError, ServiceException):
    """No answer in time, or the server asked to come back later than the time allows (status 429 then)."""

    default_status = 504
    default_reason = "Timeout"


class KrmAuthError(_ApiError, UnauthorizedException):
    """The server does not accept the token, or none was sent."""

    default_status = 401
    default_reason = "Unauthorized"


class KrmForbidden(_ApiError, ForbiddenException):
    """The caller lacks the right in Kubernetes."""

    default_status = 403
    default_reason = "Forbidden"


class KrmNotFound(_ApiError, NotFoundException):
    """The object does not exist."""

    default_status = 404
    default_reason = "NotFound"


class KrmNotReady(_ApiError, ServiceException):
    """KRM has no list of this resource yet."""

    default_status = 503
    default_reason = "ServiceUnavailable"


class KrmStale(_ApiError, ServiceException):
    """KRM cannot answer as freshly as was asked (``maxStaleness``, ``minResourceVersion``)."""

    default_status = 504
    default_reason = "Timeout"


class KrmQueryError(_ApiError, BadRequestException):
    """The server refuses the question or a part of it.

    ``errors`` are the server's errors as it sent them; ``partial`` is the data of the parts that were answered.
    """

    default_status = 400
    default_reason = "BadRequest"

    def __init__(
        self,
        message: str = "",
        *,
        errors: list[dict[str, Any]] | None = None,
        partial: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message, **more)
        self.errors = errors or []
        self.partial = partial


class KrmProtocolError(_ApiError, ServiceException):
    """What came is no answer of KRM, or says that the server failed."""

    default_status = 500
    default_reason = "InternalError"


class KrmSchemaMismatch(KrmProtocolError):
    """The server's schema lacks ``field``, or answers it in a form that this client does not know."""

    def __init__(self, message: str = "", *, field: str | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.field = field
