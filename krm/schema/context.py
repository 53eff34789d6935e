"""What resolvers are given with a question: the tables, the caller's rights, the bounds of an answer."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from krm.errors import AnswerError, Code
from krm.query.lists import EVERYTHING, MAX_ROWS, Scope
from krm.resources import Resource
from krm.schema.facts import AllFacts
from krm.schema.plans import Keeper
from krm.schema.relations import Related
from krm.store.head import DriftLine
from krm.store.reading import Change
from krm.table.feeds import Feed
from krm.table.replica import Replica

_DIGITS: Final = 8
NOTHING: Final = Scope(namespaces=frozenset())


class Missed(Protocol):
    """What verification found that the stream had not told."""

    @property
    def added(self) -> int: ...
    @property
    def modified(self) -> int: ...
    @property
    def deleted(self) -> int: ...
    @property
    def ghosts(self) -> int: ...


class Freshness(Protocol):
    """How far a replica may be relied on; times are Redis' clock."""

    @property
    def state(self) -> object: ...
    @property
    def resource_version(self) -> str | None: ...
    @property
    def verified_resource_version(self) -> str | None: ...
    @property
    def verified_at_ms(self) -> int | None: ...
    @property
    def verified_age_s(self) -> float | None: ...
    @property
    def last_event_ms(self) -> int | None: ...
    @property
    def stream_lag_s(self) -> float | None: ...
    @property
    def contiguous(self) -> bool: ...
    @property
    def epoch(self) -> str: ...
    @property
    def missed(self) -> Missed: ...
    @property
    def reason(self) -> str | None: ...


class Source(Protocol):
    """The replicas of an API process, as the schema needs them."""

    @property
    def cluster(self) -> str: ...

    @property
    def resources(self) -> Sequence[Resource]:
        """The configured kinds."""
        ...

    def get(self, resource: Resource) -> Replica:
        """Raises ``AnswerError`` NOT_READY, KIND_UNKNOWN."""
        ...

    async def wait(
        self, resource: Resource, max_staleness_s: float | None = None, min_version: str | None = None
    ) -> Replica:
        """The replica once it is as fresh as asked. Raises ``AnswerError`` TOO_STALE, STALE_REPLICA, NOT_READY."""
        ...

    def freshness(self, resource: Resource) -> Freshness: ...

    def feed(self, resource: Resource) -> AbstractContextManager[Feed]:
        """What changes from now on."""
        ...

    def position(self, resource: Resource) -> tuple[str, int, str] | None:
        """Run, number and id of the last change that the replica has; None while it is not ready."""
        ...

    async def changes(self, resource: Resource, after: str, count: int) -> Sequence[Change]:
        """The kept changes after an id, oldest first."""
        ...

    async def oldest_change(self, resource: Resource) -> str | None:
        """Id of the oldest change that is kept."""
        ...

    def now_ms(self, resource: Resource) -> int:
        """The clock that changes are told by (Redis')."""
        ...

    async def drift(self, resource: Resource, before: str, count: int) -> Sequence[DriftLine]:
        """What verification corrected, newest first, from the id ``before`` on ("+": from the newest on)."""
        ...

    async def drift_count(self, resource: Resource) -> int:
        """How many lines of drift are kept."""
        ...

    def rows(self, resource: Resource) -> int:
        """How many objects the table has; 0 while there is none."""
        ...


class Rights(Protocol):
    """What the caller may see."""

    async def list_scope(self, resource: Resource) -> Scope:
        """Where the caller may list. Raises ``AnswerError`` FORBIDDEN where nowhere."""
        ...

    async def get_scope(self, resource: Resource) -> Scope:
        """Where the caller may get one object by its name, or list. Raises ``AnswerError`` FORBIDDEN where nowhere."""
        ...

    async def watch_scope(self, resource: Resource) -> Scope:
        """Where the caller may watch. Raises ``AnswerError`` FORBIDDEN where nowhere."""
        ...


class AllRights:
    """A caller that may see everything: ``KRM_AUTH=none``."""

    async def list_scope(self, resource: Resource) -> Scope:  # noqa: ARG002  (the rights are the same for each)
        """Everything."""
        return EVERYTHING

    async def get_scope(self, resource: Resource) -> Scope:  # noqa: ARG002
        """Everything."""
        return EVERYTHING

    async def watch_scope(self, resource: Resource) -> Scope:  # noqa: ARG002
        """Everything."""
        return EVERYTHING


@dataclass(kw_only=True)
class Context:
    """One question's surroundings."""

    source: Source
    rights: Rights = field(default_factory=AllRights)
    max_rows: int = MAX_ROWS
    max_response: int = 2**30
    is_compiled: bool = False
    """Whether lists may be answered as ready-made JSON, which only whoever writes the bytes can put in its place."""
    plans: dict[Any, Any] = field(default_factory=dict)
    """What compiled execution worked out for the document."""
    keeper: Keeper = field(default_factory=Keeper)
    facts: AllFacts = field(default_factory=AllFacts)
    filters: dict[Any, Any] = field(default_factory=dict)
    """What the arguments of relations mean, which are the same for every row."""
    _related: Related | None = None
    fallbacks: int = 0
    """Lists that had to be executed plainly because a row was not as its type says."""
    odd: int = 0
    """Values that are not of the sort that their type says, answered as null."""
    embedded: list[list[bytes]] = field(default_factory=list)
    _mark: str = ""

    def relations(self) -> Related | Awaitable[Related]:
        """How kinds are related, within the caller's rights; these are asked for once a question."""
        return self._related if self._related is not None else self._relate()

    async def related(self) -> Related:
        """The same, awaited."""
        return self._related or await self._relate()

    async def _relate(self) -> Related:
        scopes = {}
        for resource in self.source.resources:
            try:
                scopes[resource.plural] = await self.rights.list_scope(resource)
            except AnswerError as error:
                if error.code != Code.FORBIDDEN:
                    raise
                scopes[resource.plural] = NOTHING
        self._related = Related(self.source.get, self.facts, scopes)
        return self._related

    @property
    def mark(self) -> str:
        """What stand-ins begin with."""
        if not self._mark:
            self._mark = secrets.token_hex(16)
        return self._mark

    def embed(self, parts: list[bytes]) -> orjson.Fragment:
        """A stand-in for ready-made JSON: a text that nobody can guess; ``filled`` puts ``parts`` in its place."""
        self.embedded.append(parts)
        return orjson.Fragment(f'"{self.mark}{len(self.embedded) - 1:0{_DIGITS}d}"'.encode())

    def filled(self, body: bytes) -> list[bytes]:
        """``body`` in parts, with what was embedded in its place."""
        if not self.embedded:
            return [body]
        first, *rest = body.split(b'"' + self.mark.encode())
        out = [first]
        for piece in rest:
            out += self.embedded[int(piece[:_DIGITS])]
            out.append(piece[_DIGITS + 1 :])
        return out
