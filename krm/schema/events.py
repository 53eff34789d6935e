"""Subscriptions: each change of a kind once and in order, as the subscriber's filter sees it, and never a silent gap.

A subscription begins with an ADDED for each object that matches. Whoever gives the last event's ``resumeToken``, or
``endCursor`` of a list with the same arguments, gets what came since instead. Where that cannot be told (the changes
are gone, the table was built anew, the subscriber is too slow), there is one RESYNC, which means "forget what you
have", and the beginning again.

Where the filter follows relations, an object also starts or stops to match because a related one has changed; which
objects the subscriber holds is remembered then (``matched``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from krm.errors import AnswerError, Code, CorruptData, StoreError, UnknownFormat
from krm.query import arguments, lists, pages
from krm.query.cells import View
from krm.query.lists import ListQuery, Scope
from krm.query.pages import Position
from krm.resources import Resource
from krm.schema import answers, common, matched, relations, scopes
from krm.schema.answers import Node
from krm.schema.context import Context
from krm.schema.matched import Matched
from krm.schema.watch import Watch
from krm.store.reading import FOREIGN
from krm.store.rows import Row
from krm.table.feeds import RESYNC, Delta, Feed
from krm.table.replica import Replica

RETRY_S: Final = 0.25
BEHIND_TURNS: Final = 8
"""How often a replica that is behind a token is looked at again: two seconds."""
SLICE: Final = 500
MAX_REPLAYED: Final = 100_000
"""Changes that are read back for a token; beyond it the beginning is cheaper."""

Place = tuple[str, int, str]
"""Run, number and id of a change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What a subscriber gets."""

    type: common.EventType
    object: Node | None
    resume_token: str


class Lost(Exception):
    """What was told so far cannot be continued."""


class Subscription:
    """One subscriber's view of one kind."""

    def __init__(self, context: Context, resource: Resource, query: ListQuery, watch: Watch) -> None:
        self._context = context
        self._resource = resource
        self._query = query
        self._watch = watch
        self._listed = lists.question(context.source.get(resource), query)
        self._question = pages.question("watch", context.source.cluster, resource.key_part, self._listed.hex())
        self._matched = Matched(context.memory, matched.related(resource, query))
        self._as_of = self._others()
        """Where the related kinds were when what matches was last looked at."""

    async def events(self, token: str | None) -> AsyncGenerator[Event]:
        """The events, for ever. Raises ``AnswerError``."""
        try:
            async with aclosing(self._events(None if token is None else self._read(token))) as events:
                async for event in events:
                    yield event
        finally:
            self._matched.forget()

    async def _events(self, start: Place | None) -> AsyncGenerator[Event]:
        resyncs = False
        while True:
            with self._context.source.feed(self._resource) as feed:
                try:
                    if resyncs:
                        yield Event(type=common.EventType.RESYNC, object=None, resume_token=self._token(_NOWHERE))
                        await self._ready(feed)
                    if start is not None:
                        await self._reached(start, feed)
                    here = self._here()
                    if start is None:
                        async for event in self._beginning(here):
                            yield event
                    else:
                        async for event in self._since(start, here):
                            yield event
                    async for event in self._live(feed, here):
                        yield event
                except Lost:
                    start, resyncs = None, True

    # -- the three phases ----------------------------------------------------------------------------------------

    async def _beginning(self, here: Place) -> AsyncIterator[Event]:
        """An ADDED for each object that matches at ``here``; only the last one can be resumed from."""
        replica = self._context.source.get(self._resource)
        self._as_of = self._others()
        page = await lists.answer(replica, self._query, self._watch.scope, self._related())
        self._matched.are(page.rows)
        for event in self._added(replica, page.rows, here):
            await self._still()
            yield event

    def _added(self, replica: Replica, rows: Sequence[Row], here: Place) -> Iterator[Event]:
        for place, row in enumerate(rows, start=1):
            at = here if place == len(rows) else _NOWHERE
            yield Event(type=common.EventType.ADDED, object=Node(replica, row), resume_token=self._token(at))

    async def _since(self, start: Place, here: Place) -> AsyncIterator[Event]:
        """The kept changes after ``start`` up to ``here``. Raises ``Lost``."""
        run, number, identifier = start
        if run != here[0] or number > here[1] or here[1] - number > MAX_REPLAYED:
            raise Lost
        replica = self._context.source.get(self._resource)
        codec = replica.codec
        if self._matched:
            page = await lists.answer(replica, self._query, self._watch.scope, self._related())
            self._matched.are(page.rows)
            if self._others() != self._as_of:
                raise Lost
        while number < here[1]:
            try:
                changes = await self._context.source.changes(self._resource, identifier, SLICE)
            except StoreError as error:
                raise Lost from error  # the replica goes on without Redis; what came since the token is not told by it
            if not changes:
                raise Lost
            for change in changes:
                if change.type == FOREIGN:
                    identifier = change.id
                    continue
                if change.seq != number + 1:
                    raise Lost
                number, identifier = change.seq, change.id
                if number > here[1]:
                    return
                try:
                    after = codec.decode(change.record)
                    before = codec.decode(change.previous) if change.previous else None
                except (CorruptData, UnknownFormat) as error:
                    raise Lost from error
                is_deletion = change.type == "DELETED"
                if self._others() != self._as_of:
                    raise Lost  # so whether it matched before cannot be told
                was = before is not None and self._passes(before)
                event = self._event(was, before, None if is_deletion else after, after, (run, number, identifier))
                if event is not None:
                    await self._still()
                    yield event

    async def _live(self, feed: Feed, here: Place) -> AsyncIterator[Event]:
        """What the replica takes in from ``here`` on. Raises ``Lost``."""
        run, number, identifier = here
        while True:
            deltas: list[Delta] | None = await feed.take(timeout_s=self._patience_s)
            if deltas is RESYNC:
                raise Lost
            position = self._context.source.position(self._resource)
            if position is not None and position[0] != run:
                raise Lost
            for delta in deltas:
                if delta.seq <= number:
                    continue
                if delta.seq != number + 1:
                    raise Lost
                if self._watch.is_due:
                    async for event in self._renewed((run, number, identifier)):
                        yield event
                number, identifier = delta.seq, delta.id
                told = self._told(delta, (run, number, identifier))
                if told is not None and not self._watch.was_told(self._namespace(delta), number):
                    yield told
            if self._watch.is_due:
                async for event in self._renewed((run, number, identifier)):
                    yield event
            if self._others() != self._as_of and self._matched.memory.is_free:
                async for event in self._looked_again((run, number, identifier)):
                    yield event

    async def _looked_again(self, here: Place) -> AsyncIterator[Event]:
        """Related kinds have changed: what matches now and did not, and the other way round. Raises ``Lost``."""
        if self._here()[:2] != here[:2]:
            return  # what waits in the feed comes first
        replica = self._context.source.get(self._resource)
        self._as_of, began_s = self._others(), self._matched.memory.monotonic()
        page = await lists.answer(replica, self._query, self._watch.scope, self._related())
        self._matched.memory.took(began_s)
        come, gone = self._matched.compared(page.rows)
        # An object that is not there any more was deleted meanwhile, which waits in the feed.
        changed = [(common.EventType.DELETED, row) for uid in gone if (row := replica.find(uid)) is not None]
        changed += [(common.EventType.ADDED, row) for row in come]
        for place, (kind, row) in enumerate(changed, start=1):
            await self._still()
            (self._matched.go if kind is common.EventType.DELETED else self._matched.come)(row.uid)
            at = here if place == len(changed) else _NOWHERE
            yield Event(type=kind, object=Node(replica, row), resume_token=self._token(at))

    @property
    def _patience_s(self) -> float:
        return min(self._watch.patience_s, matched.LOOK_S) if self._matched else self._watch.patience_s

    @staticmethod
    def _namespace(delta: Delta) -> str:
        row = delta.after or delta.before or delta.last
        return "" if row is None else row.namespace

    async def _renewed(self, here: Place) -> AsyncIterator[Event]:
        """Ask for the rights again: what is new to be seen comes as ADDED. Raises ``Lost``, ``AnswerError``."""
        opened = await self._renew()
        if not opened:
            return
        replica = self._context.source.get(self._resource)
        self._watch.open(opened, self._here()[1])
        page = await lists.answer(replica, self._query, Scope(namespaces=opened), self._related())
        for row in page.rows:
            self._matched.come(row.uid)
        for event in self._added(replica, page.rows, here):
            yield event

    async def _still(self) -> None:
        """Before what is told may be told: if it is time, whether the rights are what they were. Raises ``Lost``."""
        if self._watch.is_due and await self._renew():
            raise Lost

    async def _renew(self) -> frozenset[str]:
        """The namespaces that came to the scope. Raises ``Lost`` where what was told does not hold any more."""
        are_relations_others = await self._watch.patiently(self._context.relate_anew)
        opened = await self._watch.patiently(lambda: self._watch.renew(self._context, self._resource))
        if opened is None or (are_relations_others and self._query.where is not None):
            raise Lost
        return opened

    # -- one change ------------------------------------------------------------------------------------------------

    def _told(self, delta: Delta, at: Place) -> Event | None:
        before, after, last = delta.before, delta.after, delta.last or delta.before
        if not self._matched:
            return self._event(before is not None and self._passes(before), before, after, last, at)
        shown = after or last
        if shown is None:
            return None
        event = self._event(shown.uid in self._matched, before, after, last, at)
        if event is not None:
            (self._matched.go if event.type is common.EventType.DELETED else self._matched.come)(shown.uid)
        return event

    def _event(self, was: bool, before: Row | None, after: Row | None, last: Row | None, at: Place) -> Event | None:
        """How the filter sees a change: an object that leaves it is deleted, one that enters it is added."""
        shown: Row | None
        if after is not None and self._passes(after):
            kind, shown = (common.EventType.MODIFIED if was else common.EventType.ADDED), after
        elif was:
            kind, shown = common.EventType.DELETED, before if after is not None else last
        else:
            return None
        replica = self._context.source.get(self._resource)
        return Event(type=kind, object=None if shown is None else Node(replica, shown), resume_token=self._token(at))

    def _passes(self, row: Row) -> bool:
        view = View(self._context.source.get(self._resource), self._related())
        return lists.passes(view, self._query, row, self._watch.scope)

    def _related(self) -> relations.Related | None:
        """How kinds are related now."""
        known = self._context.relations()
        if not isinstance(known, relations.Related):
            return None
        known.renew()  # also for the fields that follow relations from what is told
        return known

    def _others(self) -> list[Place | None]:
        """Where the related kinds are."""
        return [self._context.source.position(resource) for resource in self._matched.related]

    def _here(self) -> Place:
        position = self._context.source.position(self._resource)
        if position is None:
            raise Lost
        return position

    async def _ready(self, feed: Feed) -> None:
        """Wait until the replica is whole again, however long that takes."""
        while self._context.source.position(self._resource) is None:
            await feed.take(timeout_s=RETRY_S)

    async def _reached(self, start: Place, feed: Feed) -> None:
        """Wait until the replica has what another one has told already; it cannot be far behind."""
        for _ in range(BEHIND_TURNS):
            run, number, _ = self._here()
            if run != start[0] or number >= start[1]:
                return
            # What is taken here lies before the place that is told from next.
            if await feed.take(timeout_s=RETRY_S) is RESYNC:
                raise Lost

    # -- tokens ----------------------------------------------------------------------------------------------------

    def _token(self, at: Place) -> str:
        run, number, identifier = at
        return pages.encode(Position(run, identifier, (number, self._mark())), self._question)

    def _mark(self) -> str:
        """What has to be the same where a token is continued from: rights, and the related kinds."""
        return matched.mark(self._watch.mark, self._as_of)

    def _read(self, token: str) -> Place:
        """The place of an event's token, or of a list's end cursor."""
        run, number, identifier, mark = self._moment(arguments.text("resumeToken", token))
        # With other rights: what was hidden then is missing among the changes since. With related kinds that have
        # changed: what matched then is not known.
        return (run, number, identifier) if mark == self._mark() else _NOWHERE

    def _moment(self, token: str) -> pages.Moment:
        try:
            position = pages.decode(token, self._question, values=2)
            return position.namespace, int(position.values[0]), position.name, str(position.values[1])
        except AnswerError as error:
            if error.code != Code.CURSOR_INVALID:
                raise
        try:
            listed = pages.decode(token, self._listed, values=0)
        except AnswerError as error:
            raise AnswerError(
                Code.CURSOR_INVALID, "resumeToken: not a token of this subscription; start again without it"
            ) from error
        return listed.moment or (*_NOWHERE, "")


_NOWHERE: Final[Place] = ("", 0, "")
"""A place that nothing can be continued from: resuming there is a RESYNC."""


async def subscribe(context: Context, resource: Resource, given: Mapping[str, Any]) -> AsyncIterator[Event]:
    """The events of a subscription field. Raises ``AnswerError``."""
    answers.check_cluster(context, given.get("cluster"))
    query = answers.list_query(context, resource, given)
    watch = Watch(await scopes.watched(context, resource, query.namespaces), query.namespaces, context.rights.renewed_s)
    await answers.wait(context, resource, given)
    scopes.cached(resource, query.namespaces, context.source.freshness(resource).namespaces)
    await context.related()
    subscription = Subscription(context, resource, query, watch)
    async with aclosing(subscription.events(given.get("resume_token"))) as events:
        async for event in events:
            yield event
