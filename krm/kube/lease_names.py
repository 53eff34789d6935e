"""Names of the Leases by which equal workers agree who works. Light: the manifests give rights on exactly these."""

from __future__ import annotations

from krm.resources import Resource


def lease_name(role: str, resource: Resource) -> str:
    """The Lease of the workers of one role and kind."""
    return f"krm-{role}-{resource.qualified}"
