"""The history of one kind: its objects now, what happened to them lately, and the way back to older versions.

Also the events, snapshots and errors of the store. Which kinds there are, and the versions over all of them, is
`store`'s.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from krm.simulator.kinds import Kind
from krm.simulator.objects import Version


class StoreError(Exception):
    """A write that the state of the store does not allow."""


class AlreadyExistsError(StoreError):
    """An object of that name is there."""


class AbsentError(StoreError):
    """No object of that name is there."""


class ConflictError(StoreError):
    """The object is at another version than the writer assumed."""


class CompactedError(StoreError):
    """The history asked for is gone; `floor` is the oldest version from which it is whole."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"history before {floor} is gone")
        self.floor = floor


class EventType(StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(slots=True, kw_only=True, eq=False)
class Event:
    """One change: the object after it (for a deletion the last state, at the deletion's version) and before it."""

    type: EventType
    version: Version
    previous: Version | None
    at: datetime
    lines: dict[tuple[EventType, bool], bytes] = field(default_factory=dict)
    """Encoded watch lines, made on first use and shared by all watchers: (type, metadata only) -> line."""

    @property
    def rv(self) -> int:
        """The version of the change."""
        return self.version.rv


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The whole state at one version, as a backup of etcd holds it."""

    rv: int
    versions: tuple[Version, ...]


class Collection:
    """All objects of one kind, and what happened to them lately."""

    def __init__(self, kind: Kind, *, floor: int, history_max: int) -> None:
        self.kind = kind
        self.current: dict[str, Version] = {}
        self.keys: list[str] = []
        """The keys of `current`, sorted."""
        self.log: list[Event] = []
        self.dropped = 0
        """How many events have left the beginning of the log: absolute positions stay valid."""
        self.list_floor = floor
        self.watch_floor = floor
        self.progress = 0
        """The version up to which this kind's watchers are known to be informed; what bookmarks carry."""
        self.is_withdrawn = False
        """Whether its definition is gone: its watches end."""
        self.listeners: set[Callable[[], None]] = set()
        self._history_max = history_max

    @property
    def end(self) -> int:
        """Absolute position after the newest event."""
        return self.dropped + len(self.log)

    def position_after(self, rv: int) -> int:
        """Absolute position of the first event newer than a version; raises CompactedError."""
        if rv < self.watch_floor:
            raise CompactedError(self.watch_floor)
        return self.dropped + bisect_right(self.log, rv, key=lambda event: event.rv)

    def events_from(self, position: int, limit: int) -> Sequence[Event] | None:
        """Up to `limit` events from an absolute position; None when they have left the log."""
        if position < self.dropped:
            return None
        start = position - self.dropped
        return self.log[start : start + limit]

    def at(self, rv: int, namespace: str = "") -> list[Version]:
        """All objects (of a namespace) at a version, in the order of their keys; raises CompactedError."""
        if rv < self.list_floor:
            raise CompactedError(self.list_floor)
        undone: dict[str, Version | None] = {}
        for event in reversed(self.log):
            if event.rv <= rv:
                break
            undone[event.version.key] = event.previous
        current = self.current
        keys: Iterable[str] = self._keys_of(namespace)
        if not undone:
            return [current[key] for key in keys]
        prefix = f"{namespace}/" if namespace and self.kind.namespaced else ""
        extra = [key for key in undone if key not in current and key.startswith(prefix)]
        found: list[Version] = []
        for key in sorted([*keys, *extra]):
            version = undone[key] if key in undone else current[key]
            if version is not None:
                found.append(version)
        return found

    def _keys_of(self, namespace: str) -> list[str]:
        if not namespace or not self.kind.namespaced:
            return self.keys
        # "0" is the character after "/": the keys of one namespace lie between the two.
        return self.keys[bisect_left(self.keys, f"{namespace}/") : bisect_left(self.keys, f"{namespace}0")]

    def in_namespace(self, namespace: str) -> list[Version]:
        """The current objects of a namespace."""
        return [self.current[key] for key in self._keys_of(namespace)]

    def record(self, event: Event) -> None:
        """Apply a change and tell the listeners."""
        key = event.version.key
        if event.type is EventType.DELETED:
            del self.current[key]
            del self.keys[bisect_left(self.keys, key)]
        else:
            if key not in self.current:
                if self.keys and key < self.keys[-1]:
                    insort(self.keys, key)
                else:
                    self.keys.append(key)
            self.current[key] = event.version
        self.log.append(event)
        self.progress = event.rv
        if len(self.log) > self._history_max + self._history_max // 10:
            self._drop(len(self.log) - self._history_max)
        for listener in tuple(self.listeners):
            listener()

    def _drop(self, count: int) -> None:
        if count:
            floor = self.log[count - 1].rv
            self.list_floor = max(self.list_floor, floor)
            self.watch_floor = max(self.watch_floor, floor)
            del self.log[:count]
            self.dropped += count

    def compact(self, rv: int) -> None:
        """Forget what happened up to a version."""
        self._drop(bisect_right(self.log, rv, key=lambda event: event.rv))
        self.list_floor = max(self.list_floor, rv)
        self.watch_floor = max(self.watch_floor, rv)

    def replace(self, versions: Sequence[Version], floor: int) -> None:
        """Put another state in place, without a history."""
        self.current = {version.key: version for version in versions}
        self.keys = sorted(self.current)
        self.dropped = self.end
        self.log = []
        self.list_floor = self.watch_floor = floor
        self.progress = 0
