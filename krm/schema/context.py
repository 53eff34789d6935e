"""What resolvers are given with a question: the tables, the caller's rights, the bounds of an answer."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from krm.auth.rights import AllRights, Rights
from krm.errors import AnswerError, Code
from krm.query.lists import MAX_ROWS, Scope
from krm.resources import Resource
from krm.schema.facts import AllFacts
from krm.schema.keeping import Keeper
from krm.schema.matched import Memory
from krm.schema.meeting import Meeting
from krm.schema.parts import Part
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
    @property
    def namespaces(self) -> frozenset[str] | None: ...


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

    def rows(self, resource: Resource, namespaces: Set[str] | None = None) -> int:
        """How many objects the table has, in all namespaces or in some; 0 while there is none."""
        ...


@dataclass(kw_only=True)
class Context:
    """One question's surroundings."""

    source: Source
    rights: Rights = field(default_factory=AllRights)
    max_rows: int = MAX_ROWS
    max_response: int = 2**30
    is_compiled: bool = False
    """Whether lists may be answered as ready-made JSON, which only whoever writes the bytes can put in its place."""
    is_streamed: bool = False
    """Whether long lists of whole objects may be put together while they are sent, when errors cannot be told."""
    plans: dict[Any, Any] = field(default_factory=dict)
    """What compiled execution worked out for the document."""
    keeper: Keeper = field(default_factory=Keeper)
    facts: AllFacts = field(default_factory=AllFacts)
    memory: Memory = field(default_factory=Memory)
    """What subscriptions of the process remember together."""
    meeting: Meeting = field(default_factory=Meeting)
    """Of the fields of the question that read rows."""
    filters: dict[Any, Any] = field(default_factory=dict)
    """What the arguments of relations mean, which are the same for every row."""
    reached: frozenset[str] | None = None
    """Plurals of the kinds that the question can reach over relations; None: any. For those alone rights are asked."""
    _scopes: Mapping[str, Scope] | None = None
    _related: Related | None = None
    fallbacks: int = 0
    """Lists that had to be executed plainly because a row was not as its type says."""
    odd: int = 0
    """Values that are not of the sort that their type says, answered as null."""
    embedded: list[Sequence[Part]] = field(default_factory=list)
    _mark: str = ""

    def expect(self, reached: frozenset[str]) -> None:
        """The next question can reach these kinds and no others."""
        self.reached, self._scopes, self._related = reached, None, None
        self.meeting = Meeting()

    def relations(self) -> Related | Awaitable[Related]:
        """How kinds are related, within the caller's rights; these are asked for once a question."""
        return self._related if self._related is not None else self._relate()

    @property
    def known_relations(self) -> Related | None:
        """The same, if it was asked for before."""
        return self._related

    async def related(self) -> Related:
        """The same, awaited."""
        return self._related or await self._relate()

    async def _relate(self) -> Related:
        if self._scopes is None:
            self._scopes = await self.related_scopes()
        self._related = Related(self.source.get, self.facts, self._scopes)
        return self._related

    async def related_scopes(self) -> Mapping[str, Scope]:
        """Where the caller may list each kind that the question can reach, as of now."""
        scopes = {}
        for resource in self.source.resources:
            if self.reached is not None and resource.plural not in self.reached:
                continue
            try:
                scopes[resource.plural] = await self.rights.list_scope(resource)
            except AnswerError as error:
                if error.code != Code.FORBIDDEN:
                    raise
                scopes[resource.plural] = NOTHING
        return scopes

    async def relate_anew(self) -> bool:
        """Ask for the rights again, for whoever goes on telling; whether they are others now."""
        before, self._scopes = self._scopes, await self.related_scopes()
        self._related = Related(self.source.get, self.facts, self._scopes)
        return before is not None and before != self._scopes

    @property
    def mark(self) -> str:
        """What stand-ins begin with."""
        if not self._mark:
            self._mark = secrets.token_hex(16)
        return self._mark

    def embed(self, parts: Sequence[Part]) -> orjson.Fragment:
        """A stand-in for ready-made JSON: a text that nobody can guess; ``filled`` puts ``parts`` in its place."""
        self.embedded.append(parts)
        return orjson.Fragment(f'"{self.mark}{len(self.embedded) - 1:0{_DIGITS}d}"'.encode())

    def filled(self, body: bytes) -> list[Part]:
        """``body`` in parts, with what was embedded in its place."""
        if not self.embedded:
            return [body]
        first, *rest = body.split(b'"' + self.mark.encode())
        out: list[Part] = [first]
        for piece in rest:
            out += self.embedded[int(piece[:_DIGITS])]
            out.append(piece[_DIGITS + 1 :])
        return out
