"""Every error that crosses a module edge in KRM, so that each edge can say what went wrong and what to do.

Errors of libraries are translated where the library is called (``raise X(...) from error``); no library is known here.

    KrmError
    ├── ConfigError            a setting, flag or file is wrong (exit status 2)
    ├── ClusterError           the API server
    │   ├── ClusterUnreachable    no connection, or no answer in time
    │   ├── Unauthorized          401
    │   ├── Forbidden             403
    │   ├── NotFound              404
    │   ├── Gone                  410: the version is compacted away
    │   ├── Throttled             429, with the time to wait
    │   ├── ServerFailed          5xx
    │   └── BadData               bytes that are not what the API promises
    ├── StoreError             Redis
    │   ├── StoreUnreachable      no connection, or no answer in time
    │   ├── StoreRefused          rights, password, out of memory, wrong type at a key
    │   ├── Fenced                another writer has taken over
    │   ├── OutOfStep             the store is not in the state that this writer left
    │   ├── CorruptData           bytes that fail their checksum
    │   └── UnknownFormat         written by a newer KRM
    ├── DelayStoreError        InfluxDB
    │   ├── DelayStoreUnreachable no connection, or no answer in time
    │   ├── DelayStoreThrottled   429, with the time to wait
    │   ├── DelayStoreRefused     rights, no such bucket
    │   └── PointsRefused         some of the points, or all
    └── AnswerError            a question that cannot be answered, with a stable code
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The stable ``extensions.code`` of an error in an answer."""

    BAD_REQUEST = "BAD_REQUEST"
    GRAPHQL_VALIDATION = "GRAPHQL_VALIDATION"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    RATE_LIMITED = "RATE_LIMITED"
    BAD_ARGUMENT = "BAD_ARGUMENT"
    SELECTOR_INVALID = "SELECTOR_INVALID"
    PATH_INVALID = "PATH_INVALID"
    CURSOR_INVALID = "CURSOR_INVALID"
    RV_INVALID = "RV_INVALID"
    KIND_UNKNOWN = "KIND_UNKNOWN"
    FORBIDDEN = "FORBIDDEN"
    NOT_READY = "NOT_READY"
    TOO_STALE = "TOO_STALE"
    STALE_REPLICA = "STALE_REPLICA"
    TIMEOUT = "TIMEOUT"
    INTERNAL = "INTERNAL"


class KrmError(Exception):
    """Base of all. Its text is one line that says what is wrong and, where there is something to do, what."""

    exit_status = 1


class ConfigError(KrmError):
    """A setting, flag or file is wrong; found before any connection is made."""

    exit_status = 2


class ClusterError(KrmError):
    """The API server could not be asked, or refused."""

    status: int | None = None


class ClusterUnreachable(ClusterError):
    """No connection to the API server, or no answer in time."""


class Unauthorized(ClusterError):
    """The API server does not accept our credentials."""

    status = 401


class Forbidden(ClusterError):
    """Our credentials are valid but lack the right."""

    status = 403


class NotFound(ClusterError):
    """The API server does not serve that path: the kind or the object is not there."""

    status = 404


class Gone(ClusterError):
    """The asked version is compacted away: only a new list helps."""

    status = 410


class Throttled(ClusterError):
    """The API server asks for patience."""

    status = 429

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServerFailed(ClusterError):
    """The API server answered 5xx, or another status that it should not."""

    def __init__(self, message: str, *, status: int = 500, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class BadData(ClusterError):
    """Bytes from the API server that are not what its protocol promises."""


class StoreError(KrmError):
    """Redis could not be asked, or refused."""


class StoreUnreachable(StoreError):
    """No connection to Redis, or no answer in time."""


class StoreRefused(StoreError):
    """Redis answered with a refusal: rights, password, memory, or a key of another type."""


class Fenced(StoreError):
    """Another writer of this role has taken over; this one must stop writing."""


class OutOfStep(StoreError):
    """The store is not in the state that this writer left: it was emptied, or went back to an older copy."""


class CorruptData(StoreError):
    """Stored bytes that fail their checksum or their bounds; they are never decoded."""


class UnknownFormat(StoreError):
    """Stored bytes of a format that this version does not read."""


class DelayStoreError(KrmError):
    """InfluxDB could not be asked, or refused."""


class DelayStoreUnreachable(DelayStoreError):
    """No connection to InfluxDB, or no answer in time; what was sent may have been written."""


class DelayStoreThrottled(DelayStoreError):
    """InfluxDB asks for patience."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DelayStoreRefused(DelayStoreError):
    """InfluxDB takes nothing from us: a wrong token, no such bucket."""


class PointsRefused(DelayStoreError):
    """InfluxDB refuses points of a write for what they are; others of it may have been written.

    ``dropped``: how many, where it says so and has written all others.
    """

    def __init__(self, message: str, *, dropped: int | None = None) -> None:
        super().__init__(message)
        self.dropped = dropped


class AnswerError(KrmError):
    """A question that cannot be answered; ``code`` is stable, the text is for people."""

    def __init__(self, code: Code, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
