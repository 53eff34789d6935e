"""Answers that are not objects: the Status bodies of the API, as one exception that carries one.

The texts are those of the real server. Nothing here decides when an error is due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from krm.simulator.kinds import Json, Kind


class StatusError(Exception):
    """A request is answered with a Status of failure."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(metadata or {}),
            "status": "Failure",
            "message": message,
        }
        if reason:
            self.body["reason"] = reason
        if details is not None:
            self.body["details"] = dict(details)
        self.body["code"] = code


def success(kind: Kind, name: str, uid: str) -> Json:
    """The Status that answers a deletion."""
    details: Json = {"name": name}
    if kind.group:
        details["group"] = kind.group
    details |= {"kind": kind.plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _details(kind: Kind, name: str) -> Json:
    details: Json = {}
    if name:
        details["name"] = name
    if kind.group:
        details["group"] = kind.group
    details["kind"] = kind.plural
    return details


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    """401: the same text for every reason."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(kind: Kind, name: str, message: str) -> StatusError:
    """403 for an object or a collection."""
    subject = f'{kind.qualified} "{name}"' if name else kind.qualified
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {message}", details=_details(kind, name))


def forbidden_path(message: str) -> StatusError:
    """403 for a path that is no resource."""
    return StatusError(403, "Forbidden", f"forbidden: {message}", details={})


def not_found(kind: Kind, name: str) -> StatusError:
    """404 for an object."""
    return StatusError(404, "NotFound", f'{kind.qualified} "{name}" not found', details=_details(kind, name))


def no_such_path() -> StatusError:
    """404 for a path that is not served."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", details={})


def method_not_allowed() -> StatusError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, details={})


def not_acceptable() -> StatusError:
    """406: none of the asked encodings is offered."""
    return StatusError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )


def unsupported_media_type(supported: Sequence[str]) -> StatusError:
    """415."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(supported)
    return StatusError(415, "UnsupportedMediaType", message)


def already_exists(kind: Kind, name: str) -> StatusError:
    """409 on creation."""
    message = f'{kind.qualified} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details=_details(kind, name))


def conflict(kind: Kind, name: str, message: str) -> StatusError:
    """409 on a write over another version."""
    text = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {message}'
    return StatusError(409, "Conflict", text, details=_details(kind, name))


def expired(message: str, *, continue_token: str | None = None) -> StatusError:
    """410."""
    metadata = {"continue": continue_token} if continue_token is not None else None
    return StatusError(410, "Expired", message, metadata=metadata)


def too_large_version(asked: int, current: int) -> StatusError:
    """504: the server has not seen that version yet."""
    return StatusError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
        retry_after_s=1,
    )


def invalid(group: str, kind: str, name: str, problems: Sequence[tuple[str, str, str]]) -> StatusError:
    """422: (field, reason of the cause, text) for each problem."""
    texts = [f"{field}: {text}" for field, _, text in problems]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    qualified = f"{kind}.{group}" if group else kind
    details: Json = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind
    details["causes"] = [{"reason": reason, "message": text, "field": field} for field, reason, text in problems]
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {joined}', details=details)


_REASONS = {
    400: ("BadRequest", "the server rejected our request for an unknown reason"),
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden"),
    404: ("NotFound", "the server could not find the requested resource"),
    410: ("Expired", "The resourceVersion for the provided list is too old."),
    429: ("TooManyRequests", "Too many requests, please try again later."),
    500: ("InternalError", "Internal error occurred: simulated"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}


def from_code(code: int, message: str = "", retry_after_s: int | None = None) -> StatusError:
    """A failure that a fault asks for."""
    reason, text = _REASONS.get(code, ("", "simulated failure"))
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s is not None else None
    return StatusError(code, reason, message or text, details=details, retry_after_s=retry_after_s)
