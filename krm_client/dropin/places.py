"""Where a watch may go on: for each version that a program has seen, the place in KRM's changes that belongs to it.

The official way to watch is to list and then to watch from the list's version. KRM follows from a place, not from a
version, so the place is kept here under the version, together with what the list was asked for. The oldest are
forgotten; a version that is not known here is one that KRM did not tell this process.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Asked = tuple[str, ...]
"""Kind and filters of a list: what a place is good for."""

_REMEMBERED = 5_000
"""Places and continue tokens each: some hundred bytes apiece, and a program watches from the last one."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Where a list began; its later pages are as of then."""

    version: str
    place: str


class Places:
    """The places of one process. Threads may share it."""

    def __init__(self) -> None:
        self._by_version: _Recent[tuple[Asked, str], str] = _Recent()
        self._by_continue: _Recent[str, Beginning] = _Recent()
        self._of_others: _Recent[str, bool] = _Recent()

    def saw(self, asked: Asked, version: str | None, place: str | None) -> None:
        """What was told up to ``version`` ends at ``place``; the first place of a version holds, it misses nothing."""
        if version and place:
            self._by_version.keep_first((asked, version), place)

    def place_of(self, asked: Asked, version: str) -> str | None:
        return self._by_version.get((asked, version))

    def lost(self, asked: Asked, version: str | None, place: str | None) -> None:
        """Nobody can go on at ``place`` any more: the next list of the same version tells another."""
        if version and place:
            self._by_version.forget((asked, version), place)

    def pages_from(self, token: str, beginning: Beginning) -> None:
        """A page ended with ``token``."""
        self._by_continue.keep_first(token, beginning)

    def beginning_of(self, token: str) -> Beginning | None:
        return self._by_continue.get(token)

    def belongs_to_api_server(self, token: str) -> None:
        """A page that the API server gave ended with ``token``: the next one is its business, too."""
        self._of_others.keep_first(token, True)

    def is_of_api_server(self, token: str | None) -> bool:
        return token is not None and self._of_others.get(token) is not None


class _Recent(Generic[K, V]):
    """A mapping that forgets what was put in first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()
        _after_fork.add(self)

    def keep_first(self, key: K, value: V) -> None:
        with self._lock:
            self._kept.setdefault(key, value)
            self._kept.move_to_end(key)
            if len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)

    def forget(self, key: K, value: V) -> None:
        """No longer this value; another, which somebody put in meanwhile, stays."""
        with self._lock:
            if self._kept.get(key) == value:
                del self._kept[key]

    def get(self, key: K) -> V | None:
        with self._lock:
            return self._kept.get(key)

    def renew_lock(self) -> None:
        self._lock = threading.Lock()


_after_fork: weakref.WeakSet[_Recent[Any, Any]] = weakref.WeakSet()


def _renew_locks() -> None:
    for recent in list(_after_fork):
        recent.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)
