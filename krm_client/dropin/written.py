"""What the program wrote itself, so that its reads show it: the last version of each kind, and what it has deleted.

A write's answer carries the version of the object, and reads of the kind ask for no less. A deletion whose answer
carries no version of the deletion leaves the uid that has to go. Nothing here sends anything.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from krm_client.facade import newer_of
from krm_client.registry import ClientResource


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """An object that must not be read any more."""

    namespace: str | None
    name: str
    uid: str


class Written:
    """The writes of one process, by kind. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[str, str] = {}
        self._deleted: dict[str, dict[str, Deleted]] = {}

    def floor(self, kind: ClientResource) -> str | None:
        """The version that answers about a kind must not be older than."""
        return self._versions.get(kind.plural)

    def must_be_gone(self, kind: ClientResource, namespace: str | None, name: str | None) -> list[Deleted]:
        """What a read of this name, or of all names, must wait for; of all namespaces where there is none."""
        with self._lock:
            return [
                one
                for one in self._deleted.get(kind.plural, {}).values()
                if (namespace is None or one.namespace == namespace) and (name is None or one.name == name)
            ]

    def has_gone(self, kind: ClientResource, uids: set[str]) -> None:
        """KRM does not show these any more."""
        with self._lock:
            deleted = self._deleted.get(kind.plural, {})
            for uid in uids:
                deleted.pop(uid, None)

    def wrote(self, kind: ClientResource, answer: Any) -> None:
        """A write was answered with an object, or with something without a version, which tells nothing."""
        version = _get(_get(answer, "metadata"), "resource_version", "resourceVersion")
        if isinstance(version, str) and version:
            with self._lock:
                self._versions[kind.plural] = newer_of(self._versions.get(kind.plural), version) or version

    def deleted(self, kind: ClientResource, namespace: str | None, name: str, answer: Any) -> None:
        """A deletion was answered, with the object's last state or with a ``Status`` that names its uid."""
        self.wrote(kind, answer)
        metadata = _get(answer, "metadata")
        uid = _get(metadata, "uid") or _get(_get(answer, "details"), "uid")
        if isinstance(uid, str) and uid and not _lives_on(metadata):
            self.gone(kind, [Deleted(namespace=namespace, name=name, uid=uid)])

    def gone(self, kind: ClientResource, objects: list[Deleted]) -> None:
        """These have been deleted for good."""
        with self._lock:
            self._deleted.setdefault(kind.plural, {}).update((one.uid, one) for one in objects)

    def renew_lock(self) -> None:
        """After a fork: no thread of the parent holds it here."""
        self._lock = threading.Lock()


def _lives_on(metadata: Any) -> bool:
    """Whether a deletion has only begun: the object has time left, or somebody has to let go of it first."""
    if not _get(metadata, "deletion_timestamp", "deletionTimestamp"):
        return False
    grace_s = _get(metadata, "deletion_grace_period_seconds", "deletionGracePeriodSeconds")
    return bool(grace_s) or bool(_get(metadata, "finalizers"))


def _get(value: Any, *names: str) -> Any:
    """A field of a model, or of the JSON that some releases give for an answer of another kind than they expect."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return next((value[name] for name in names if name in value), None)
    return getattr(value, names[0], None)
