"""``kubernetes.watch`` with KRM behind `Watch`."""

from __future__ import annotations

from krm_client.dropin.streams import Watch

__all__ = ["Watch"]
