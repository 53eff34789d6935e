"""Where the server is and who we are, from arguments over environment over defaults.

Reads the environment only when asked to (`ClientSettings.of`), and a token's file whenever the file has
changed. Sends nothing; `Credentials.header_for` decides whether the token may go along.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from krm_client.errors import KrmConnectError, KrmUsageError

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where ``krm demo`` and ``krm serve`` listen unless told otherwise."""

SERVICE_ACCOUNT_TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 (a path)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Scheme, host and port: what a token belongs to."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_private_channel(self) -> bool:
        """Whether a token can be sent there without others on the way reading it."""
        return self.scheme == "https" or self.is_loopback


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The token, and whether somebody chose it or it was merely found (the pod's service account)."""

    token: str | None = field(default=None, repr=False)
    file: Path | None = None
    is_explicit: bool = False

    def header_for(self, origin: Origin) -> str | None:
        """The Authorization header for a request to the configured origin; None: go without.

        A token that was merely found is never sent over a channel that others can read.
        Raises `KrmUsageError` if the token's file was named and cannot be read.
        """
        if not self.is_explicit and not origin.is_private_channel:
            return None
        token = self.token or self._from_file()
        return f"Bearer {token}" if token else None

    def is_withheld_from(self, origin: Origin) -> bool:
        """Whether there is a token that is not sent there."""
        is_found = self.file is not None and not self.is_explicit and self.file.is_file()
        return is_found and not origin.is_private_channel

    def _from_file(self) -> str | None:
        if self.file is None:
            return None
        try:
            return _files.text_of(self.file)
        except OSError as error:
            if not self.is_explicit:
                return None
            raise KrmUsageError(f"KRM_TOKEN_FILE: {self.file}: {error.strerror}") from error


class _TokenFiles:
    """Texts of token files, read again when a file's identity, size or time changes (the kubelet rotates them)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def text_of(self, path: Path) -> str:
        stat = path.stat()
        mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        with self._lock:
            known = self._known.get(path)
            if known is None or known[0] != mark:
                known = (mark, path.read_text().strip())
                self._known[path] = known
            return known[1]


_files = _TokenFiles()


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """All that a client needs to know before it connects."""

    url: str
    """The GraphQL address, with ``/graphql``."""
    origin: Origin
    credentials: Credentials
    ca_file: str | None = None
    timeout_s: float = 10.0
    """For connecting, and for each wait for bytes. Ten seconds: a full list of a large cluster begins long before."""
    cluster: str | None = None
    partial: bool = False
    falls_back: bool = False
    """Whether `krm_client.kubernetes` may read from the API server where KRM cannot answer."""
    retries: int = 3
    """Further attempts after a connection that failed or a server that asks to wait; all within the timeout."""

    @property
    def hint_when_unknown(self) -> str:
        """What to say when the server does not know who asks."""
        if self.credentials.is_withheld_from(self.origin):
            return (
                f"the token of {self.credentials.file} is not sent over plain http; name it in KRM_TOKEN_FILE to do so"
            )
        return ""

    @classmethod
    def of(
        cls,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float | None = 10.0,
        cluster: str | None = None,
        partial: bool = False,
        env: Mapping[str, str] | None = None,
        service_account_token_file: str = SERVICE_ACCOUNT_TOKEN_FILE,
    ) -> ClientSettings:
        """Read the settings. Raises `KrmUsageError`, or `KrmConnectError` for an address that cannot be one."""
        env = os.environ if env is None else env
        named = "url" if url is not None else "KRM_URL"
        address = url if url is not None else env.get("KRM_URL") or DEFAULT_URL
        parts = _split(named, address)
        ca_file = env.get("KRM_CA_FILE") or None
        if ca_file and not Path(ca_file).is_file():
            raise KrmUsageError(f"KRM_CA_FILE: {ca_file}: no such file")
        if timeout is None or not timeout > 0:
            raise KrmUsageError(f"timeout: {timeout!r} is not a number of seconds above 0")
        return cls(
            url=_graphql_address(parts),
            origin=_origin(parts),
            credentials=_credentials(token, env, service_account_token_file),
            ca_file=ca_file,
            timeout_s=float(timeout),
            cluster=cluster,
            partial=partial,
            falls_back=_falls_back(env),
        )


def _falls_back(env: Mapping[str, str]) -> bool:
    chosen = env.get("KRM_FALLBACK") or "none"
    if chosen not in ("none", "direct"):
        raise KrmUsageError(f"KRM_FALLBACK: {chosen!r} is neither 'none' nor 'direct'")
    return chosen == "direct"


def _split(named: str, address: str) -> SplitResult:
    try:
        parts = urlsplit(address.strip())
        _ = parts.port
    except ValueError as error:
        raise KrmConnectError(f"{named}: {address!r} is not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise KrmConnectError(f"{named}: {address!r} is not an address like http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None:
        raise KrmUsageError(f"{named}: user and password in the address are not used; give a token instead")
    return parts


def _origin(parts: SplitResult) -> Origin:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Origin(scheme=parts.scheme, host=(parts.hostname or "").lower(), port=port)


def _graphql_address(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    if not path.endswith("/graphql"):
        path += "/graphql"
    return parts._replace(path=path, query="", fragment="").geturl()


def _credentials(token: str | None, env: Mapping[str, str], service_account: str) -> Credentials:
    if token is not None:
        return Credentials(token=_checked("token", token), is_explicit=True)
    if env.get("KRM_TOKEN"):
        return Credentials(token=_checked("KRM_TOKEN", env["KRM_TOKEN"]), is_explicit=True)
    if env.get("KRM_TOKEN_FILE"):
        return Credentials(file=Path(env["KRM_TOKEN_FILE"]), is_explicit=True)
    return Credentials(file=Path(service_account))


def _checked(named: str, token: str) -> str:
    stripped = token.strip()
    if not stripped.isascii() or not stripped.isprintable():
        raise KrmUsageError(f"{named}: a token is printable ASCII on one line")
    return stripped
