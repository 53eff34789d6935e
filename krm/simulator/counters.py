"""Who asked what how often: counts of the requests that the simulated server has answered."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Count:
    """Requests of one verb, resource and status, and the bytes of their answers (before chunking, as sent)."""

    requests: int = 0
    bytes: int = 0


@dataclass(kw_only=True)
class Requests:
    """Counts by (verb, resource, status); a watch counts when it begins, its bytes as they leave."""

    by_key: dict[tuple[str, str, int], Count] = field(default_factory=dict)
    open_watches: dict[str, int] = field(default_factory=dict)

    def count(self, verb: str, resource: str, status: int) -> Count:
        """Count one request; the answer takes its bytes."""
        found = self.by_key.setdefault((verb, resource, status), Count())
        found.requests += 1
        return found

    def total(self, verb: str | None = None, resource: str | None = None, status: int | None = None) -> int:
        """How many requests fit; None fits all."""
        return sum(count.requests for key, count in self.by_key.items() if _fits(key, verb, resource, status))

    def total_bytes(self, verb: str | None = None, resource: str | None = None, status: int | None = None) -> int:
        """How many bytes were answered to the requests that fit."""
        return sum(count.bytes for key, count in self.by_key.items() if _fits(key, verb, resource, status))

    def clear(self) -> None:
        """Begin to count anew (open watches are not forgotten)."""
        self.by_key.clear()

    def as_list(self) -> list[dict[str, object]]:
        """For the control interface, in the order of the keys."""
        return [
            {"verb": verb, "resource": resource, "status": code, "requests": count.requests, "bytes": count.bytes}
            for (verb, resource, code), count in sorted(self.by_key.items())
        ]


def _fits(key: tuple[str, str, int], verb: str | None, resource: str | None, status: int | None) -> bool:
    return all(wanted is None or wanted == found for wanted, found in zip((verb, resource, status), key, strict=True))
