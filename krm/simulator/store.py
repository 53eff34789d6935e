"""The one truth of the simulated cluster: a log of versions with a single resourceVersion over all resources.

Lists at a version, watches from a version and the histories of tests all come from here. Used from one event loop
only; a change is applied and announced before the call returns. Not here: HTTP, rights, defaults, validation beyond
identity, and deliberate faults.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from krm import garbage
from krm.simulator import kinds as kinds_module
from krm.simulator import objects
from krm.simulator.history import (
    AbsentError,
    AlreadyExistsError,
    Collection,
    ConflictError,
    Event,
    EventType,
    Snapshot,
)
from krm.simulator.kinds import Json, Kind
from krm.simulator.objects import Version

Clock = Callable[[], datetime]


class Store:
    """Collections by kind, one version counter, and the in-process way to change objects fast."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        new_uid: Callable[[], str] | None = None,
        first_rv: int = 1,
        history_max: int = 50_000,
    ) -> None:
        """`history_max` bounds the events kept per kind, and with them the memory of old versions."""
        self.clock: Clock = clock or (lambda: datetime.now(UTC))
        self.new_uid = new_uid or (lambda: str(uuid.uuid4()))
        self.rv = first_rv
        self._history_max = history_max
        self._collections: dict[Kind, Collection] = {}
        self._by_path: dict[tuple[str, str, str], Kind] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        for kind in kinds_module.BUILT_IN:
            self._serve(kind)

    # Kinds

    def kinds(self) -> Iterator[Kind]:
        """All kinds that are served now."""
        return iter(tuple(self._collections))

    def kind(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind at a path, or None when it is not served."""
        return self._by_path.get((group, version, plural))

    def kind_named(self, name: str) -> Kind:
        """The kind of a plural or `plural.group`; raises KeyError."""
        for kind in self._collections:
            if name in (kind.plural, kind.qualified):
                return kind
        raise KeyError(name)

    def collection(self, kind: Kind) -> Collection:
        """The objects of a kind; raises KeyError when it is served no more."""
        return self._collections[kind]

    def _serve(self, kind: Kind) -> None:
        self._collections[kind] = Collection(kind, floor=self.rv, history_max=self._history_max)
        self._by_path[(kind.group, kind.version, kind.plural)] = kind

    def _withdraw(self, kind: Kind) -> None:
        gone = self._collections.pop(kind)
        gone.is_withdrawn = True
        del self._by_path[(kind.group, kind.version, kind.plural)]
        for listener in tuple(gone.listeners):
            listener()

    def _follow_definition(self, before: Version | None, after: Version | None) -> None:
        old = {} if before is None else self._kinds_of(before)
        if after is None:
            for kind in old.values():
                self._withdraw(kind)
            return
        for made in kinds_module.from_definition(after.parse()):
            if (made.group, made.version, made.plural) not in self._by_path:
                self._serve(made)

    def _kinds_of(self, definition: Version) -> dict[tuple[str, str, str], Kind]:
        made = kinds_module.from_definition(definition.parse())
        paths = [(kind.group, kind.version, kind.plural) for kind in made]
        return {path: self._by_path[path] for path in paths if path in self._by_path}

    # Reading

    def get(self, kind: Kind, namespace: str, name: str) -> Version | None:
        """The current version of an object, or None."""
        return self._collections[kind].current.get(objects.key_of(kind, namespace, name))

    def all(self, kind: Kind) -> list[Version]:
        """All current objects of a kind, in the order of their keys."""
        return self._collections[kind].at(self.rv)

    async def reached(self, rv: int) -> None:
        """Return once the store is at this version or a later one."""
        if rv > self.rv:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((rv, future))
            await future

    def now_text(self) -> str:
        """The clock's time as the API writes it: UTC, whole seconds."""
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    # Writing

    def create(self, kind: Kind, obj: Json) -> Version:
        """Add an object; fills uid and creationTimestamp where missing. Raises AlreadyExistsError."""
        metadata = obj["metadata"]
        key = objects.key_of(kind, metadata.get("namespace", ""), metadata["name"])
        if key in self._collections[kind].current:
            raise AlreadyExistsError(key)
        metadata.setdefault("uid", self.new_uid())
        metadata.setdefault("creationTimestamp", self.now_text())
        return self._commit(kind, EventType.ADDED, objects.encode(kind, obj, self.rv + 1), None)

    def update(self, kind: Kind, obj: Json, *, expected_rv: int | None = None) -> Version:
        """Put an object in the place of the one of its name. Raises AbsentError, ConflictError."""
        metadata = obj["metadata"]
        before = self.get(kind, metadata.get("namespace", ""), metadata["name"])
        if before is None:
            raise AbsentError(metadata["name"])
        if expected_rv is not None and before.rv != expected_rv:
            raise ConflictError(metadata["name"])
        return self._commit(kind, EventType.MODIFIED, objects.encode(kind, obj, self.rv + 1), before)

    def delete(self, kind: Kind, namespace: str, name: str) -> Version:
        """Remove an object at once; the answer is its last state at the deletion's version. Raises AbsentError."""
        before = self.get(kind, namespace, name)
        if before is None:
            raise AbsentError(name)
        if kind is kinds_module.CUSTOM_RESOURCE_DEFINITIONS:
            # The objects go before their definition, one by one.
            for custom in self._kinds_of(before).values():
                for version in tuple(self._collections[custom].current.values()):
                    self.delete(custom, version.namespace, version.name)
        return self._commit(kind, EventType.DELETED, objects.with_version(before, self.rv + 1), before)

    def _commit(self, kind: Kind, type_: EventType, version: Version, before: Version | None) -> Version:
        self.rv = version.rv
        if self._waiting:
            self._release()
        self._collections[kind].record(Event(type=type_, version=version, previous=before, at=self.clock()))
        if kind is kinds_module.CUSTOM_RESOURCE_DEFINITIONS:
            self._follow_definition(before, None if type_ is EventType.DELETED else version)
        return version

    def _release(self) -> None:
        for wanted, future in self._waiting:
            if wanted <= self.rv and not future.done():
                future.set_result(None)
        self._waiting = [each for each in self._waiting if not each[1].done()]

    def load(self, kind: Kind, objs: Iterable[Json], *, keep_versions: bool = False) -> None:
        """Put many objects in place without a history of their own, as a server that has just started has none.

        With `keep_versions` each keeps the resourceVersion that it carries.
        """
        collection = self._collections[kind]
        with garbage.filling():
            self._load(kind, collection, objs, keep_versions=keep_versions)
        collection.keys = sorted(collection.current)
        collection.list_floor = collection.watch_floor = self.rv
        if kind is kinds_module.CUSTOM_RESOURCE_DEFINITIONS:
            for version in collection.current.values():
                self._follow_definition(None, version)

    def _load(self, kind: Kind, collection: Collection, objs: Iterable[Json], *, keep_versions: bool) -> None:
        for obj in objs:
            rv = int(obj["metadata"]["resourceVersion"]) if keep_versions else self.rv + 1
            self.rv = max(self.rv, rv)
            version = objects.encode(kind, obj, rv)
            collection.current[version.key] = version

    # History

    def compact(self, rv: int | None = None) -> int:
        """Forget what happened up to a version (now, when none is given); the answer is that version."""
        floor = self.rv if rv is None else min(rv, self.rv)
        for collection in self._collections.values():
            collection.compact(floor)
        return floor

    def forget(self) -> None:
        """Lose what watches may resume from, as a restarted server has lost it; lists at old versions remain."""
        for collection in self._collections.values():
            collection.watch_floor = self.rv
            collection.progress = 0

    def snapshot(self) -> Snapshot:
        """The whole state now; costs one reference per object."""
        versions = [version for collection in self._collections.values() for version in collection.current.values()]
        return Snapshot(rv=self.rv, versions=tuple(versions))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, version counter included: what was written since has never happened."""
        by_kind: dict[Kind, list[Version]] = {}
        for version in snapshot.versions:
            by_kind.setdefault(version.kind, []).append(version)
        self.rv = snapshot.rv
        for kind in tuple(self._collections):
            if kind.custom and kind not in by_kind:
                self._withdraw(kind)
        for kind in by_kind:
            if kind not in self._collections:
                self._serve(kind)
        for kind, collection in self._collections.items():
            collection.replace(by_kind.get(kind, []), snapshot.rv)
        for version in by_kind.get(kinds_module.CUSTOM_RESOURCE_DEFINITIONS, []):
            self._follow_definition(None, version)
