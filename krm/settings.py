"""What KRM can be told: flags over environment over defaults, read once, checked before anything is connected.

A wrong value is a ``ConfigError`` that names the variable, the value and what is allowed. Nothing here connects.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from krm import resources
from krm.errors import ConfigError
from krm.resources import Resource

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_DURATION_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)(Ki|Mi|Gi|Ti)?", re.ASCII)
_SIZE_UNITS: Final = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_N = TypeVar("_N", int, float)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


class Secret:
    """A text that neither ``repr`` nor ``str`` shows; ``reveal`` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the library that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def duration(text: str) -> float:
    """Seconds of ``250ms``, ``30s``, ``5m``, ``1h``, ``1m30s``. Raises ``ValueError``."""
    stripped = text.strip()
    parts = _DURATION.findall(stripped) if len(stripped) <= 32 else []
    if not parts or "".join(number + unit for number, unit in parts) != stripped:
        raise ValueError("a duration such as 250ms, 30s or 5m")
    return sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)


def size(text: str) -> int:
    """Bytes of ``262144``, ``256Ki``, ``64Mi``, ``1Gi``. Raises ``ValueError``."""
    found = _SIZE.fullmatch(text.strip()) if len(text) <= 24 else None
    if found is None:
        raise ValueError("a size such as 65536, 256Ki or 64Mi")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def _ranged(parse: Callable[[str], _N], low: _N, high: _N, shown: str) -> Callable[[str], _N]:
    def read(text: str) -> _N:
        try:
            value = parse(text)
        except ValueError as error:
            raise ValueError(f"{error.args[0] if parse in (duration, size) else 'a whole number'}, {shown}") from None
        if not low <= value <= high:
            raise ValueError(shown)
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    return _ranged(_strict_int, low, high, f"from {low} to {high}")


def _strict_int(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
        raise ValueError("a whole number")
    return int(text)


def _duration(low: str, high: str) -> Callable[[str], float]:
    return _ranged(duration, duration(low), duration(high), f"from {low} to {high}")


def _size(low: str, high: str) -> Callable[[str], int]:
    return _ranged(size, size(low), size(high), f"from {low} to {high}")


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.strip().lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.strip().lower()

    return read


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word in ("true", "on", "yes", "1"):
        return True
    if word in ("false", "off", "no", "0"):
        return False
    raise ValueError("true or false (also on, off, yes, no, 1, 0)")


def _cluster_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name of at most 63 lower-case letters, digits and '-'")
    return text


def _namespaces(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"namespaces by name, separated by commas ({_shorten(name)!r} is none); leave it unset for all"
            )
    return names


def _resources(text: str) -> tuple[Resource, ...]:
    chosen: list[Resource] = []
    for word in text.split(","):
        try:
            found = resources.find(word)
        except ConfigError as error:
            raise ValueError(f"plurals separated by commas: {error}") from None
        if found in chosen:
            raise ValueError(f"each resource once ({found.plural} is named twice)")
        chosen.append(found)
    return tuple(chosen)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _secret(text: str) -> Secret:
    return Secret(text.strip())


def _text(text: str) -> str:
    return text.strip()


def _redis_url(text: str) -> Secret:
    url = text.strip()
    schemes = ("redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://")
    if not url.startswith(schemes):
        # The value may hold a password: it is not repeated.
        raise ValueError(f"a URL that starts with {' '.join(schemes)}")
    return Secret(url)


def _influx_url(text: str) -> str:
    url = text.strip()
    parts = urlsplit(url)
    is_plain = url.isprintable() and len(url) <= 2_000 and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not is_plain:
        # The value may hold a password: it is not repeated.
        raise ValueError("a URL that starts with http:// https://, without user and password")
    return url.rstrip("/")


def _option(variable: str, read: Callable[[str], Any], default: Any, meaning: str) -> Any:
    metadata = {"variable": variable, "read": read, "meaning": meaning}
    return field(default=default, metadata=metadata)


_ALL: Final = tuple(resources.RESOURCES.values())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of the server side, with its variable, default and meaning (seconds and bytes once read)."""

    redis_url: Secret | None = _option("KRM_REDIS_URL", _redis_url, None, "where Redis is")
    cluster: str = _option("KRM_CLUSTER", _cluster_name, "default", "name of this cluster in keys, answers, metrics")
    resources: tuple[Resource, ...] = _option("KRM_RESOURCES", _resources, _ALL, "the kinds to cache, by plural")
    namespaces: tuple[str, ...] | None = _option("KRM_NAMESPACES", _namespaces, None, "restrict to these namespaces")
    verify_interval_s: float = _option(
        "KRM_VERIFY_INTERVAL", _duration("1s", "24h"), 30.0, "from one verifying list to the next"
    )
    verify_mode: str = _option(
        "KRM_VERIFY_MODE", _choice("metadata", "full"), "metadata", "what verifying lists ask for"
    )
    list_page_size: int = _option("KRM_LIST_PAGE_SIZE", _whole(1, 10_000), 500, "objects in a page of a list")
    events_max: int = _option("KRM_EVENTS_MAX", _whole(1_000, 100_000_000), 200_000, "events kept for a resource")
    changes_retention_s: float = _option(
        "KRM_CHANGES_RETENTION", _duration("10s", "24h"), 900.0, "how long changes are kept"
    )
    shards: int = _option("KRM_SHARDS", _whole(1, 64), 1, "over how many hash slots the rows of a resource are spread")
    redact: tuple[str, ...] = _option("KRM_REDACT", _words, (), "further paths that are never stored")
    keep_managed_fields: bool = _option("KRM_KEEP_MANAGED_FIELDS", _switch, False, "store metadata.managedFields too")
    host: str = _option("KRM_HOST", _text, "127.0.0.1", "address that the API listens on")
    port: int = _option("KRM_PORT", _whole(0, 65_535), 8000, "port that the API listens on; 0 takes a free one")
    workers: int = _option("KRM_WORKERS", _whole(1, 64), 1, "processes of the API")
    tls_cert_file: Path | None = _option("KRM_TLS_CERT_FILE", Path, None, "certificate of the API")
    tls_key_file: Path | None = _option("KRM_TLS_KEY_FILE", Path, None, "its key")
    auth: str | None = _option("KRM_AUTH", _choice("none", "kubernetes"), None, "who may ask")
    token_audience: str | None = _option("KRM_TOKEN_AUDIENCE", _text, None, "audience of the callers' tokens")
    graphiql: bool = _option("KRM_GRAPHIQL", _switch, True, "serve the GraphiQL page")
    introspection: bool = _option("KRM_INTROSPECTION", _switch, True, "answer introspection queries")
    max_body: int = _option("KRM_MAX_BODY", _size("1Ki", "64Mi"), 2**18, "bytes of a request")
    max_tokens: int = _option("KRM_MAX_TOKENS", _whole(10, 1_000_000), 10_000, "tokens of a query document")
    max_depth: int = _option("KRM_MAX_DEPTH", _whole(2, 200), 20, "depth of a query document")
    max_aliases: int = _option("KRM_MAX_ALIASES", _whole(0, 100_000), 100, "aliases of a query document")
    max_fields: int = _option("KRM_MAX_FIELDS", _whole(10, 1_000_000), 4_000, "fields after expanding fragments")
    max_equal_fields: int = _option(
        "KRM_MAX_EQUAL_FIELDS", _whole(1, 10_000), 50, "fields of one response name in one selection set"
    )
    max_rows: int = _option("KRM_MAX_ROWS", _whole(1, 100_000_000), 200_000, "rows of an answer")
    max_response: int = _option("KRM_MAX_RESPONSE", _size("64Ki", "64Gi"), 2**30, "bytes of an answer")
    query_timeout_s: float = _option("KRM_QUERY_TIMEOUT", _duration("100ms", "10m"), 30.0, "time for an answer")
    max_in_flight: int = _option("KRM_MAX_IN_FLIGHT", _whole(1, 100_000), 20, "questions at once from one caller")
    influx_url: str | None = _option("KRM_INFLUX_URL", _influx_url, None, "where InfluxDB is")
    influx_token: Secret | None = _option("KRM_INFLUX_TOKEN", _secret, None, "its token")
    influx_org: str = _option("KRM_INFLUX_ORG", _text, "krm", "its organisation")
    influx_bucket: str = _option("KRM_INFLUX_BUCKET", _text, "krm", "its bucket")
    collect_interval_s: float = _option(
        "KRM_COLLECT_INTERVAL", _duration("1s", "1h"), 10.0, "from one write to the next"
    )
    log_format: str | None = _option("KRM_LOG_FORMAT", _choice("text", "json"), None, "text, or json lines")
    log_level: str = _option(
        "KRM_LOG_LEVEL", _choice("debug", "info", "warning", "error"), "info", "the least that is logged"
    )
    insecure_no_auth: bool = False
    """Only a flag: serve without authentication beyond loopback."""

    @classmethod
    def load(cls, flags: Mapping[str, object], env: Mapping[str, str]) -> Settings:
        """Settings out of flags (by attribute name; None counts as not given; texts are parsed) and the environment.

        Raises ``ConfigError``. An empty variable counts as not set, except ``KRM_NAMESPACES`` and ``KRM_RESOURCES``,
        where emptiness would silently mean "everything".
        """
        values: dict[str, Any] = {}
        for option in fields(cls):
            given = flags.get(option.name)
            variable = option.metadata.get("variable")
            if isinstance(given, str) and variable:
                values[option.name] = _read(option.metadata, given, _flag_name(option.name))
            elif given is not None:
                values[option.name] = given
            elif variable and (env.get(variable, "") or (variable in env and variable in _NEVER_EMPTY)):
                values[option.name] = _read(option.metadata, env[variable], variable)
        if env.get("KUBERNETES_SERVICE_HOST") and not values.get("insecure_no_auth"):
            values.setdefault("auth", "kubernetes")  # others in the cluster reach it, whatever it listens on
        return cls(**values)

    def require_redis(self) -> Secret:
        """The Redis URL, or a ``ConfigError`` that says how to give one."""
        if self.redis_url is None:
            raise ConfigError("KRM_REDIS_URL is not set: give it, or --redis-url, e.g. redis://127.0.0.1:6379/0")
        return self.redis_url

    def check_api(self) -> None:
        """Refuse an API that would answer anybody: ``ConfigError`` for no authentication beyond loopback."""
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ConfigError("KRM_TLS_CERT_FILE and KRM_TLS_KEY_FILE go together: set both or neither")
        if self.auth in (None, "none") and not self.insecure_no_auth and not is_loopback(self.host):
            raise ConfigError(
                f"KRM_HOST={self.host} is not a loopback address, and KRM_AUTH=none would show the cluster to anybody"
                " who reaches it: set KRM_AUTH=kubernetes, or accept that with --insecure-no-auth"
            )


_NEVER_EMPTY: Final = frozenset({"KRM_NAMESPACES", "KRM_RESOURCES"})


def _flag_name(attribute: str) -> str:
    return "--" + attribute.removesuffix("_s").replace("_", "-")


def _read(metadata: Mapping[str, Any], text: str, source: str) -> Any:
    try:
        return metadata["read"](text)
    except ValueError as error:
        shown = "" if metadata["read"] in (_redis_url, _influx_url, _secret) else f"={_shorten(text)!r}"
        raise ConfigError(f"{source}{shown} is not valid; allowed: {error}") from None


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def variables() -> dict[str, str]:
    """Every variable with its meaning, for the documentation and for unknown-name hints."""
    return {f.metadata["variable"]: f.metadata["meaning"] for f in fields(Settings) if f.metadata}


CLIENT_VARIABLES: Final = frozenset({"KRM_URL", "KRM_TOKEN", "KRM_TOKEN_FILE", "KRM_CA_FILE", "KRM_FALLBACK"})


def unknown(env: Mapping[str, str]) -> list[str]:
    """A line for each ``KRM_...`` variable of the environment that KRM does not read, with the nearest known one."""
    known = sorted(set(variables()) | CLIENT_VARIABLES)
    lines = []
    for name in sorted(env):
        if name.startswith("KRM_") and name not in known and not name.startswith("KRM_TEST_"):
            near = difflib.get_close_matches(name, known, n=1)
            lines.append(f"{name} is not a setting of KRM" + (f"; did you mean {near[0]}?" if near else ""))
    return lines
