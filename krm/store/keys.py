"""Names of the keys. All keys of one resource share a hash tag, so that one script may touch them on Redis Cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from krm.resources import Resource

FORMAT: Final = 1
"""Format of what is stored; two may live side by side during an upgrade."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of one resource of one cluster: ``krm:<format>:{<cluster>/<group>/<version>/<plural>#<shard>}:<name>``."""

    prefix: str

    @classmethod
    def of(cls, cluster: str, resource: Resource, shard: int = 0) -> Keys:
        """The keys of ``resource`` in ``cluster``."""
        return cls(f"krm:{FORMAT}:{{{cluster}/{resource.key_part}#{shard}}}:")

    def shard(self, number: int) -> Keys:
        """The keys of another shard of the same resource, in the same format."""
        return Keys(f"{self.prefix.rpartition('#')[0]}#{number}}}:")

    def __getattr__(self, name: str) -> str:
        if name not in NAMES:
            raise AttributeError(name)
        return self.prefix + name

    def chunk(self, listing: str, number: int) -> str:
        """A chunk of the list ``listing``."""
        return f"{self.prefix}verified:{listing}:{number}"


NAMES: Final = frozenset(
    {
        *("events", "position", "verified", "lists", "objects", "table", "changes"),
        *("drift", "delays", "status", "fence", "dictionary", "requests", "applied"),
    }
)
"""events, position, lists, ...: docs/DESIGN.md says who writes each and what it holds."""
