"""What manifests are made for: a profile, and the settings that go into the cluster with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from krm.settings import Settings

NAMESPACE: Final = "krm"
IMAGE: Final = "kubernetes-resource-monitor:2.0.0"
REDIS_IMAGE: Final = "valkey/valkey:9.1.2-alpine"
INFLUXDB_IMAGE: Final = "influxdb:1.12.4"
CHRONOGRAF_IMAGE: Final = "chronograf:1.11.4"

PASSED: Final = (
    *("KRM_CLUSTER", "KRM_RESOURCES", "KRM_NAMESPACES", "KRM_VERIFY_INTERVAL", "KRM_LIST_PAGE_SIZE"),
    *(
        "KRM_EVENTS_MAX",
        "KRM_CHANGES_RETENTION",
        "KRM_SHARDS",
        "KRM_REDACT",
        "KRM_KEEP_MANAGED_FIELDS",
        "KRM_TOKEN_AUDIENCE",
    ),
    *("KRM_GRAPHIQL", "KRM_INTROSPECTION", "KRM_MAX_BODY", "KRM_MAX_TOKENS", "KRM_MAX_DEPTH", "KRM_MAX_ALIASES"),
    *("KRM_MAX_FIELDS", "KRM_MAX_EQUAL_FIELDS", "KRM_MAX_ROWS", "KRM_MAX_RESPONSE", "KRM_QUERY_TIMEOUT"),
    *("KRM_MAX_IN_FLIGHT", "KRM_COLLECT_INTERVAL", "KRM_LOG_LEVEL"),
)
"""Settings that are taken over from the environment of ``krm manifests``; secrets and addresses are not among them."""


class Profile(StrEnum):
    """What is set up beside KRM itself."""

    BASE = "base"
    """KRM around a Redis that you run."""
    SMALL = "small"
    """And one Redis, for clusters where a minute's gap does no harm."""
    HA = "ha"
    """Every part more than once: workers that take over, Redis with a replica and Sentinels, an autoscaled API."""
    MONITORING = "monitoring"
    """As small, and the delay store: collector, InfluxDB, Chronograf."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of one rendering."""

    profile: Profile = Profile.SMALL
    settings: Settings = field(default_factory=Settings)
    configured: Mapping[str, str] = field(default_factory=dict)
    """Variables of ``PASSED`` that are set, as they were written."""
    redis_tls: bool = False

    @classmethod
    def of(cls, profile: Profile, env: Mapping[str, str], *, redis_tls: bool = False) -> Options:
        """Options for the settings in ``env``. Raises ``ConfigError``."""
        settings = Settings.load({}, {name: env[name] for name in PASSED if name in env})
        configured = {name: env[name] for name in PASSED if env.get(name)}
        return cls(profile=profile, settings=settings, configured=configured, redis_tls=redis_tls)

    @property
    def configuration(self) -> dict[str, str]:
        """Of every container of KRM."""
        always = {
            "KRM_CLUSTER": self.settings.cluster,
            "KRM_RESOURCES": ",".join(resource.name for resource in self.settings.resources),
            "KRM_LOG_FORMAT": "json",
        }
        return dict(sorted({**always, **self.configured}.items()))

    @property
    def is_highly_available(self) -> bool:
        return self.profile is Profile.HA

    @property
    def has_redis(self) -> bool:
        return self.profile is not Profile.BASE

    @property
    def has_monitoring(self) -> bool:
        return self.profile is Profile.MONITORING


def checksum(data: Mapping[str, str]) -> str:
    """Of a configuration: in the annotations of a Pod, it makes a change of the configuration a new rollout."""
    return hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest()[:16]
