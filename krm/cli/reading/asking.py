"""The connection of the reading commands, and what they say about how true an answer is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from krm.cli import output
from krm.cli.printing import ages
from krm.errors import ConfigError, KrmError

_NO_LIMIT_S: Final = 86_400.0
"""What ``--timeout 0`` means: longer than anybody waits, yet a bound."""
_ASIDE_S: Final = 2.0
"""For what an answer can do without."""

FRESHNESS: Final = (
    "cluster resource state resourceVersion verifiedResourceVersion verifiedAt verifiedAgeSeconds lastEventAt"
    " streamLagSeconds contiguous epoch missed { added modified deleted ghosts } reason"
)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The data of an answer, and its errors as the server gave them."""

    data: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def complaints(self) -> list[str]:
        """A line for each error."""
        return [_complaint(error) for error in self.errors]


def _complaint(error: Mapping[str, Any]) -> str:
    code = (error.get("extensions") or {}).get("code")
    path = ".".join(str(part) for part in error.get("path") or ())
    return f"{path}: " * bool(path) + f"{error.get('message')}" + (f" ({code})" if code else "")


class Asker:
    """Asks one KRM."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def ask(self, text: str, variables: Mapping[str, Any] | None = None) -> Answered:
        """Data, and errors where only some of it failed. Raises the client's errors when there is no data at all."""
        from krm_client.errors import KrmQueryError

        try:
            return Answered(data=self._client.query(text, variables))
        except KrmQueryError as error:
            if not error.partial:
                raise
            return Answered(data=error.partial, errors=tuple(error.errors))

    def metrics(self) -> str | None:
        """What KRM tells Prometheus; None where that is not to be had: few may read it, and no answer depends on it."""
        from krm_client.calls import Call, Policy, Timeouts, exchange
        from krm_client.documents import RouteQuery
        from krm_client.errors import KrmError as ClientError
        from krm_client.operations import Operation

        query = RouteQuery(path="/metrics", accept="text/plain", text="GET /metrics")
        policy = Policy(timeouts=Timeouts(connect_s=_ASIDE_S, read_s=_ASIDE_S), retries=0)

        def start() -> Call[str | None]:
            answer = yield from exchange(query, policy)
            return answer.content.decode(errors="replace") if answer.status == 200 else None

        try:
            text: str | None = self._client.run(Operation(document=query, start=start))
        except ClientError:
            return None
        return text

    def watch(self, plural: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        """The client's events, until nobody wants more. Raises the client's errors."""
        with self._client.watch(plural, **arguments) as events:
            yield from events


@contextmanager
def asker(url: str | None, timeout: str) -> Iterator[Asker]:
    """A connection to ``url`` (else ``KRM_URL``, else this machine). Raises ``ConfigError`` for what cannot be one."""
    from krm_client import KrmClient
    from krm_client.errors import KrmConnectError, KrmTlsError

    timeout_s = seconds(timeout)
    _warn_of_readable_token(os.environ)
    try:
        client = KrmClient(url, timeout=timeout_s)
    except KrmConnectError as error:
        raise ConfigError(str(error).replace("url:", "--url:", 1) if url is not None else str(error)) from error
    with client:
        try:
            yield Asker(client)
        except KrmTlsError:
            raise
        except KrmConnectError as error:
            raise KrmError(
                f"{error}. Is KRM running there? `krm demo` or `krm run` start it; --url or KRM_URL say where it is"
            ) from error


def _warn_of_readable_token(env: Mapping[str, str]) -> None:
    path = env.get("KRM_TOKEN_FILE")
    try:
        if path and Path(path).stat().st_mode & 0o004:
            output.say(f"warning: anybody on this machine can read KRM_TOKEN_FILE={path}: chmod 600 it")
    except OSError:
        return  # the client says what is wrong with it


def seconds(text: str) -> float:
    """``10``, ``500ms``, ``1m``; 0 is no limit. Raises ``ConfigError``."""
    from krm import settings

    plain = text.strip()
    try:
        number = float(plain) if re.fullmatch(r"\d{1,6}(\.\d+)?", plain) else settings.duration(plain)
    except ValueError as error:
        raise ConfigError(f"--timeout={text!r} is not valid; allowed: {error}, or 0 for no limit") from None
    return number or _NO_LIMIT_S


_WORDS: Final = {
    "SYNCED": "current",
    "CATCHING_UP": "true as of the last list; a gap in the stream is being closed",
    "STALE": "old: neither watched nor verified in time",
    "NOT_READY": "not listed yet",
    "FORBIDDEN": "KRM has no right to list it",
    "GONE": "the cluster does not serve it",
    "HISTORY_RESET": "the cluster's history began anew; it is being listed again",
}


def in_words(freshness: Mapping[str, Any]) -> str:
    """What the state means, with the reason where the server gives one."""
    words = _WORDS.get(str(freshness.get("state")), "")
    reason = freshness.get("reason")
    return f"{words} ({reason})" if words and reason else words or str(reason or "")


def verified_ago(freshness: Mapping[str, Any]) -> str:
    """``12s ago``, or ``never``."""
    age_s = freshness.get("verifiedAgeSeconds")
    return f"{ages.human(age_s)} ago" if isinstance(age_s, int | float) else "never"


def warn_unless_synced(freshness: Mapping[str, Any]) -> None:
    """Say on standard error how old an answer is that is not current."""
    if freshness.get("state") != "SYNCED":
        output.say(
            f"warning: {freshness.get('resource')} is {freshness.get('state')}, verified {verified_ago(freshness)}:"
            f" {in_words(freshness)}"
        )
