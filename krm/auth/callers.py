"""Callers as the API meets them, and those of ``KRM_AUTH=none``, who are all the same."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from krm.auth.rights import AllRights, Rights


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Somebody who asks."""

    rights: Rights
    key: Hashable = None
    """Whom requests at once are counted for; None: nobody was asked for a name, the connection counts."""
    expires_at_s: float | None = None
    """When the token that was shown expires by itself (unix seconds)."""


class Callers(Protocol):
    """Who callers are."""

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked for a name."""
        ...

    async def caller(self, authorization: Sequence[str], *, anew: bool = False) -> Caller:
        """The caller who sent these Authorization headers; ``anew``: whatever was known of the token.

        Raises ``AnswerError``: UNAUTHENTICATED, or NOT_READY where that cannot be told.
        """
        ...

    async def check_path(self, caller: Caller, path: str) -> None:
        """Raises ``AnswerError`` FORBIDDEN unless the caller may get what is no resource, such as ``/metrics``."""
        ...


class Anybody:
    """``KRM_AUTH=none``: whoever reaches the API sees everything."""

    is_open = True
    _everybody: Final = Caller(rights=AllRights())

    async def caller(self, authorization: Sequence[str], *, anew: bool = False) -> Caller:  # noqa: ARG002
        """The same for all."""
        return self._everybody

    async def check_path(self, caller: Caller, path: str) -> None:
        """Never refuses."""


ANYBODY: Final = Anybody()
