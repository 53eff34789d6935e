"""Lists: which objects, at which version, in pages of one consistent version.

Pure reading of the store; the answer's bytes are joined in `encoding`. Raises StatusError as the real server answers.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from krm.simulator import status
from krm.simulator.history import Collection, CompactedError
from krm.simulator.kinds import Kind
from krm.simulator.objects import Version
from krm.simulator.options import EXACT, NOT_OLDER_THAN, ListOptions
from krm.simulator.store import Store

_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105 - the format's name, not a secret
_INCONSISTENT = -1
_CACHED_LISTS = 8
_TOO_OLD = "The resourceVersion for the provided list is too old."
_CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, kw_only=True)
class Page:
    """One answer to a list request."""

    kind: Kind
    rv: int
    versions: Sequence[Version]
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, kw_only=True)
class Continue:
    """A decoded continue token: the version of the list and the key to go on with."""

    rv: int
    start: str


def encode_continue(rv: int, start: str) -> str:
    """The token in the format of the real server (base64 without padding)."""
    text = orjson.dumps({"v": _TOKEN_VERSION, "rv": rv, "start": start})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode_continue(token: str) -> Continue:
    """Read a token; raises StatusError 400 with the text of the real server."""
    start_of_text = "invalid continue token: continue key is not valid: "
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise status.bad_request(f"{start_of_text}illegal base64 data at input byte 0") from error
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise status.bad_request(start_of_text + _json_problem(raw)) from error
    if not isinstance(found, dict) or found.get("v") != _TOKEN_VERSION:
        raise status.bad_request(
            "invalid continue token: continue key is not valid: server does not recognize this encoded version"
        )
    rv, start = found.get("rv"), found.get("start")
    if not isinstance(rv, int) or rv == 0 or not isinstance(start, str) or not start:
        raise status.bad_request(f"{start_of_text}incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    rooted = start if start.startswith("/") else f"/{start}"
    if posixpath.normpath(rooted) != rooted:
        raise status.bad_request(f"{start_of_text}{start}")
    return Continue(rv=rv, start=rooted[1:])


def _json_problem(raw: bytes) -> str:
    if not raw:
        return "unexpected end of JSON input"
    character = chr(raw[0])
    shown = character if character.isprintable() and character.isascii() else f"\\u{raw[0]:04x}"
    return f"invalid character '{shown}' looking for beginning of value"


class Lister:
    """Answers list requests of one store; keeps a few recent lists so that their further pages cost nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent: OrderedDict[tuple[int, int, str], tuple[Collection, list[Version]]] = OrderedDict()

    def forget(self) -> None:
        """Drop what is kept, after a restore or a restart."""
        self._recent.clear()

    def page(self, kind: Kind, options: ListOptions) -> Page:
        """The page that a request asks for."""
        collection = self._store.collection(kind)
        if options.continue_token:
            return self._continued(kind, collection, options)
        rv, limit = self._store.rv, options.limit
        if options.rv is not None and options.rv > rv:
            raise status.too_large_version(options.rv, rv)
        if options.rv == 0:
            # "Any version": answered from the cache of the real server, which does not know limits.
            limit = 0
        elif options.rv is None:
            collection.progress = max(collection.progress, rv)
        elif options.match == EXACT or (not options.match and limit):
            rv = options.rv
        versions = self._versions(collection, rv, options.selection.namespace, _TOO_OLD)
        return self._cut(kind, collection, versions, rv, 0, limit, options)

    def must_wait(self, options: ListOptions) -> bool:
        """Whether the request asks for a version that may still come."""
        return options.rv is not None and options.rv > self._store.rv and options.match in ("", NOT_OLDER_THAN)

    def _continued(self, kind: Kind, collection: Collection, options: ListOptions) -> Page:
        token = decode_continue(options.continue_token)
        rv = self._store.rv if token.rv == _INCONSISTENT else token.rv
        if rv > self._store.rv:
            raise status.too_large_version(rv, self._store.rv)
        if rv < collection.list_floor:
            raise status.expired(_CONTINUE_TOO_OLD, continue_token=encode_continue(_INCONSISTENT, token.start))
        namespace = options.selection.namespace
        versions = self._versions(collection, rv, namespace, _CONTINUE_TOO_OLD)
        start = f"{namespace}/{token.start}" if namespace and kind.namespaced else token.start
        begin = bisect_left(versions, start, key=lambda version: version.key)
        return self._cut(kind, collection, versions, rv, begin, options.limit, options)

    def _versions(self, collection: Collection, rv: int, namespace: str, too_old: str) -> list[Version]:
        key = (id(collection), rv, namespace)
        if (kept := self._recent.get(key)) is not None and rv >= collection.list_floor:
            return kept[1]
        try:
            return collection.at(rv, namespace)
        except CompactedError as error:
            raise status.expired(too_old) from error

    def _cut(
        self,
        kind: Kind,
        collection: Collection,
        versions: list[Version],
        rv: int,
        begin: int,
        limit: int,
        options: ListOptions,
    ) -> Page:
        selection = options.selection
        if not limit and not begin and not selection.is_filtered:
            return Page(kind=kind, rv=rv, versions=versions)
        chosen: list[Version] = []
        at = begin
        while at < len(versions) and (not limit or len(chosen) < limit):
            if not selection.is_filtered or selection.matches(versions[at]):
                chosen.append(versions[at])
            at += 1
        if at >= len(versions) or not limit:
            return Page(kind=kind, rv=rv, versions=chosen)
        self._keep(collection, rv, selection.namespace, versions)
        last = chosen[-1]
        start = last.name if selection.namespace else last.key
        return Page(
            kind=kind,
            rv=rv,
            versions=chosen,
            continue_token=encode_continue(rv, f"/{start}\0"),
            remaining=None if selection.is_filtered else len(versions) - at,
        )

    def _keep(self, collection: Collection, rv: int, namespace: str, versions: list[Version]) -> None:
        key = (id(collection), rv, namespace)
        # The collection is kept with its list, so that no other one can take over its identity.
        self._recent[key] = (collection, versions)
        self._recent.move_to_end(key)
        while len(self._recent) > _CACHED_LISTS:
            self._recent.popitem(last=False)
