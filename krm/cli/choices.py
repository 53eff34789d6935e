"""What options may be: closed sets and the words that a shell completes. Light, since every start imports it."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """``krm get -o``"""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    CSV = "csv"


class StatusForm(StrEnum):
    """``krm status -o``"""

    TABLE = "table"
    JSON = "json"


class ProfileChoice(StrEnum):
    """``krm manifests --profile``"""

    BASE = "base"
    SMALL = "small"
    HA = "ha"
    MONITORING = "monitoring"


class LogLevel(StrEnum):
    """``--log-level``"""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def complete_kinds(incomplete: str) -> list[str]:
    """The kinds that begin so, also behind a comma."""
    from krm import resources

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in resources.RESOURCES if name.startswith(last)]
