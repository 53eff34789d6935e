"""What a caller may see, as the read side asks for it; and the rights of whom nobody asks for a name."""

from __future__ import annotations

from typing import Protocol

from krm.query.lists import EVERYTHING, Scope
from krm.resources import Resource

Named = frozenset[str] | None
"""The namespaces that a question names; None: it asks for all of them."""


class Rights(Protocol):
    """What the caller may see. Every scope is to be applied before anything else is made of rows."""

    @property
    def renewed_s(self) -> float | None:
        """Whoever goes on telling asks again after this time; None: the rights never change."""
        ...

    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        """Where the caller may list, among the ``named`` namespaces if there are any.

        Raises ``AnswerError`` FORBIDDEN where nowhere, or not in each that is named; NOT_READY if that cannot be told.
        """
        ...

    async def watch_scope(self, resource: Resource, named: Named = None) -> Scope:
        """The same for watching."""
        ...

    async def get_scope(self, resource: Resource, namespace: str, name: str) -> Scope:
        """The scope that one object may be read in; by the right to get or to list. Raises ``AnswerError``."""
        ...


class AllRights:
    """A caller that may see everything: ``KRM_AUTH=none``."""

    renewed_s: float | None = None

    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:  # noqa: ARG002  (the same for each)
        """Everything."""
        return EVERYTHING

    async def watch_scope(self, resource: Resource, named: Named = None) -> Scope:  # noqa: ARG002
        """Everything."""
        return EVERYTHING

    async def get_scope(self, resource: Resource, namespace: str, name: str) -> Scope:  # noqa: ARG002
        """Everything."""
        return EVERYTHING
