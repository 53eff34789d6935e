"""The rights of a subscription, which outlive a question: asked for again and again, and what their change means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from krm.auth.rights import Named
from krm.errors import AnswerError, Code
from krm.query.lists import Scope
from krm.resources import Resource
from krm.schema import scopes
from krm.schema.context import Context

IDLE_S: Final = 15.0
"""How long a feed is waited for before the replica is looked at again."""
OUTAGE_S: Final = 60.0
"""How long a subscription waits, silent, for an API server that cannot be asked about rights."""
RETRY_S: Final = 1.0
_T = TypeVar("_T")


class Watch:
    """Where a subscriber may watch, as of the last asking."""

    def __init__(
        self,
        scope: Scope,
        named: Named,
        renewed_s: float | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scope = scope
        self._named = named
        self._renewed_s = renewed_s
        self._monotonic = monotonic
        self._asked_at_s = monotonic()
        self._opened: dict[str, int] = {}

    @property
    def patience_s(self) -> float:
        """How long a feed may be waited for."""
        return IDLE_S if self._renewed_s is None else min(IDLE_S, self._renewed_s)

    @property
    def is_due(self) -> bool:
        """Whether nothing may be told before the rights were asked for again."""
        return self._renewed_s is not None and self._monotonic() - self._asked_at_s >= self._renewed_s

    @property
    def mark(self) -> str:
        """What the scope is, for tokens: who comes back with another one cannot go on from there."""
        return scopes.mark(self.scope)

    async def renew(self, context: Context, resource: Resource) -> frozenset[str] | None:
        """Ask again. The namespaces that came to the scope; None if something is not to be seen any more.

        Raises ``AnswerError`` FORBIDDEN where nothing is, NOT_READY where it cannot be told.
        """
        asked_at_s = self._monotonic()
        now = await scopes.watched(context, resource, self._named)
        before = self.scope.namespaces
        if before is not None and now.namespaces is not None:
            now = await self._with_the_empty(context, resource, now.namespaces, before)
        self._asked_at_s = asked_at_s
        self.scope = now
        if now.namespaces == before:
            return frozenset()
        if before is None or now.namespaces is None or before - now.namespaces:
            return None
        return now.namespaces - before

    async def patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """What ``ask`` says, however long the API server cannot be asked, within reason; nothing is told meanwhile.

        Raises ``AnswerError``.
        """
        deadline_s = self._monotonic() + OUTAGE_S
        while True:
            try:
                return await ask()
            except AnswerError as error:
                if error.code != Code.NOT_READY or self._monotonic() >= deadline_s:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _with_the_empty(
        self, context: Context, resource: Resource, now: frozenset[str], before: frozenset[str]
    ) -> Scope:
        """Namespaces without rows are not asked for by themselves: the right to watch them may be there still."""
        for namespace in sorted(before - now):
            try:
                await scopes.watched(context, resource, frozenset((namespace,)))
            except AnswerError as error:
                if error.code != Code.FORBIDDEN:
                    raise
            else:
                now |= {namespace}
        return Scope(namespaces=now)

    def open(self, namespaces: frozenset[str], number: int) -> None:
        """The rows of these namespaces are told as of a change."""
        self._opened |= dict.fromkeys(namespaces, number)

    def was_told(self, namespace: str, number: int) -> bool:
        """Whether a change is part of what was told when its namespace was opened."""
        return bool(self._opened) and number <= self._opened.get(namespace, -1)
