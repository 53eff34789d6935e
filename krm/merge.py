"""The merge: what is true of one resource in one scope, out of a list and a stream.

A list is exact at its version L. Events are newer, and some may never arrive. For a key (namespace, name):

    the newest event of that key, if its version is above L     (absent, if it says DELETED)
    else what the list says                                     (absent, if it does not name the key)

Nothing else decides: no clock, no order of arrival, no version of one object against another's. Identity is the uid:
a key whose uid changes is one object gone and another one come.

Events at or below L are spent: the list has seen whatever they told. Only then are they dropped, tombstones among
them; never by age or number. So a deletion that was seen hides the object until a list newer than it is installed,
and a deletion that was missed ends with the next list. While lists fail for long, old events are *folded* into what
the list said: that changes no row, and a list that is older than what is folded is then refused, as it could not be
held against the events that it lacks.

Versions are compared as integers of any size (``krm.objects.versions``), inside one resource. This module does no I/O
and knows no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from krm.objects.versions import latest, newer

Key = tuple[str, str]
"""(namespace, name)"""


class State(NamedTuple):
    """One object's state: its uid at a version."""

    uid: str
    version: str


class Event(NamedTuple):
    """What the stream said of a key: the object's state, or that it was deleted (at the deletion's version)."""

    uid: str
    version: str
    deleted: bool


def merged(listed: Mapping[Key, State], listed_at: str, last: Mapping[Key, Event], key: Key) -> State | None:
    """The rule, for one key: ``listed`` is the list at version ``listed_at``, ``last`` the newest event of each key."""
    event = last.get(key)
    if event is not None and newer(event.version, listed_at):
        return None if event.deleted else State(event.uid, event.version)
    return listed.get(key)


class Prediction(NamedTuple):
    """What list and stream had said of a later list, before it came: ``of`` a key at that list's version."""

    listed: Mapping[Key, State]
    spent: Mapping[Key, Event]
    """Of each key the newest event that the later list has seen."""

    def of(self, key: Key) -> State | None:
        """The state of ``key`` that the later list should have; where it has another, the stream missed something."""
        event = self.spent.get(key)
        if event is not None:
            return None if event.deleted else State(event.uid, event.version)
        return self.listed.get(key)


@dataclass
class Scope:
    """The same rule, kept up to date event by event and list by list; always equal to ``merged`` of everything.

    ``window_start`` and ``window_end`` are (W0, W]: the stream is gap-free on it.
    """

    listed: Mapping[Key, State] = field(default_factory=dict)
    listed_at: str = ""
    events: dict[Key, list[Event]] = field(default_factory=dict)
    """Of each key its unspent events, oldest first, versions rising."""
    folded_to: str = ""
    """``listed`` holds the events up to here, too; not above ``listed_at`` where nothing is folded."""
    window_start: str = ""
    window_end: str = ""

    def now(self, key: Key) -> State | None:
        """What is true of ``key``."""
        seen = self.events.get(key)
        return merged(self.listed, self.listed_at, {key: seen[-1]} if seen else {}, key)

    def keys(self) -> set[Key]:
        """Every key that the list or an unspent event names."""
        return self.listed.keys() | self.events.keys()

    def see(self, key: Key, event: Event) -> bool:
        """Take an event in; whether it counts. Equal, older and spent ones do not (duplicates, replays, late ones)."""
        if newer(event.version, self.window_end):
            self.window_end = event.version
        seen = self.events.get(key)
        if not newer(event.version, seen[-1].version if seen else latest(self.listed_at, self.folded_to)):
            return False
        if seen is None:
            self.events[key] = [event]
        else:
            seen.append(event)
        return True

    def bookmark(self, version: str) -> None:
        """The stream has passed ``version``: whatever happened up to it has been delivered."""
        self.window_end = version if newer(version, self.window_end) else self.window_end

    def gap(self, resumed_at: str) -> None:
        """The stream lost its place and goes on behind ``resumed_at``; what happened in between was not seen."""
        if newer(resumed_at, self.window_start):
            self.window_start = resumed_at
        self.bookmark(resumed_at)

    def install(self, listed: Mapping[Key, State], listed_at: str) -> Prediction | None:
        """Install a whole list: spent events go. None for one that is older than the installed or than what is folded.

        Gives what was predicted of that list, for the audit.
        """
        if newer(latest(self.listed_at, self.folded_to), listed_at):
            return None
        spent: dict[Key, Event] = {}
        for key, seen in list(self.events.items()):
            unspent = [event for event in seen if newer(event.version, listed_at)]
            if len(unspent) < len(seen):
                spent[key] = seen[len(seen) - len(unspent) - 1]
                self.events[key] = unspent
                if not unspent:
                    del self.events[key]
        prediction = Prediction(self.listed, spent)
        self.listed, self.listed_at = listed, listed_at
        return prediction

    def fold(self, up_to: str) -> int:
        """Fold the events up to a version into ``listed``; how many events are left. No row changes by it."""
        table, left = dict(self.listed), 0
        for key, seen in list(self.events.items()):
            unspent = [event for event in seen if newer(event.version, up_to)]
            left += len(unspent)
            if len(unspent) == len(seen):
                continue
            newest = seen[len(seen) - len(unspent) - 1]
            if newest.deleted:
                table.pop(key, None)
            else:
                table[key] = State(newest.uid, newest.version)
            self.events[key] = unspent
            if not unspent:
                del self.events[key]
        self.listed, self.folded_to = table, latest(self.folded_to, up_to)
        return left

    @property
    def contiguous(self) -> bool:
        """Whether list and stream meet without a gap."""
        return bool(self.listed_at) and not newer(self.window_start, self.listed_at)

    @property
    def complete_at(self) -> str:
        """The version C at which the table is exact: W while contiguous, else L."""
        if self.contiguous and newer(self.window_end, self.listed_at):
            return self.window_end
        return self.listed_at


def table(scope: Scope, keys: Iterable[Key] | None = None) -> dict[Key, State]:
    """Everything that is true, by key: the pure function that the incremental one must equal."""
    last = {key: seen[-1] for key, seen in scope.events.items()}
    found = (
        (key, merged(scope.listed, scope.listed_at, last, key)) for key in (scope.keys() if keys is None else keys)
    )
    return {key: state for key, state in found if state is not None}
