"""Consistent lists in pages: all of one version, or an error; never half a list that looks whole.

The version is left unset, which asks for a read of the newest state. A 410 in the middle means that the caller starts
anew: the token that the API server offers then would join two versions into one list, and is never used.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from krm import errors
from krm.kube import bodies, failures, managed_fields
from krm.kube.connect import Cluster

MAX_PAGE_BYTES = 256 * 2**20
_MAX_PAGES = 1_000_000
_METADATA_ACCEPT = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA_KIND = "PartialObjectMetadataList"


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a list."""

    items: list[bytes]
    """Each object's JSON as sent. Objects of a list lack ``kind`` and ``apiVersion``: see those of the page."""
    kind: str
    """Of the list: ``PodList``."""
    api_version: str
    version: str
    """The list's resourceVersion, the same on all pages."""
    remaining: int | None
    """How many objects follow, as far as the server tells."""
    is_last: bool
    body_bytes: int
    """Size of the page's JSON."""

    @property
    def count(self) -> int:
        """How many objects it has."""
        return len(self.items)


class _Meta(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion", default="")
    following: str = msgspec.field(name="continue", default="")
    remaining: int | None = msgspec.field(name="remainingItemCount", default=None)


class _List(msgspec.Struct):
    kind: str
    metadata: _Meta
    items: list[msgspec.Raw] | None  # null is an empty list; a list without the key is damaged
    api_version: str = msgspec.field(name="apiVersion")


class _Kind(msgspec.Struct):
    kind: str = ""


class Identity(msgspec.Struct, gc=False):
    """Which object, at which version; what the metadata of one lacks is empty."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    version: str = msgspec.field(name="resourceVersion", default="")


class _Partial(msgspec.Struct, gc=False):
    metadata: Identity


class _PartialList(msgspec.Struct):
    kind: str
    metadata: _Meta
    items: list[_Partial] | None


@dataclass(frozen=True, kw_only=True)
class IdentityPage:
    """One page of a list of metadata."""

    identities: list[Identity]
    version: str
    """The list's resourceVersion, the same on all pages."""
    kind: str
    remaining: int | None
    is_last: bool

    @property
    def count(self) -> int:
        """How many objects it has."""
        return len(self.identities)


_Page = TypeVar("_Page", Page, IdentityPage)
_PARTIAL_LIST = msgspec.json.Decoder(_PartialList)
_LIST = msgspec.json.Decoder(_List)


async def pages(
    cluster: Cluster,
    path: str,
    *,
    limit: int,
    timeout_s: float,
    page_timeout_s: float | None = None,
    params: Mapping[str, str] | None = None,
    max_page_bytes: int = MAX_PAGE_BYTES,
    managed: bool = True,
    ahead: bool = True,
) -> AsyncGenerator[Page, None]:
    """The pages of the list at ``path`` (``/api/v1/pods``), each of at most ``limit`` objects.

    ``params`` may hold selectors. Without ``managed``, objects may come without managed fields. With ``ahead`` the next
    page is on its way while the caller has the one before. ``timeout_s``
    bounds the whole list, the caller's own time included, ``page_timeout_s`` one page. Raises ``Gone`` when the
    version was compacted away on the way, ``BadData`` for what is not a consistent list, ``ClusterUnreachable``
    when the time is up, and what else a request raises. Only after the page that is the last has come is the list
    whole.
    """
    if params and {"resourceVersion", "resourceVersionMatch", "continue", "limit", "watch"} & params.keys():
        raise ValueError("params may hold selectors only")
    where = f"list {path}"

    ask = _Asking(
        cluster,
        path,
        {**(params or {}), "limit": str(limit)},
        timeout_s,
        page_timeout_s,
        {},
        max_page_bytes,
        ahead,
    )
    async with aclosing(_followed(ask, where, functools.partial(parse, managed=managed))) as found:
        async for page in found:
            yield page


async def identities(
    cluster: Cluster,
    path: str,
    *,
    limit: int,
    timeout_s: float,
    page_timeout_s: float | None = None,
    ahead: bool = True,
) -> AsyncGenerator[IdentityPage, None]:
    """As ``pages``, of the objects' metadata alone, of which only the identities are read: one look at each byte.

    A server that does not offer it answers 406 (``ServerFailed``), or with whole objects (``BadData``).
    """
    where = f"list {path}"

    ask = _Asking(
        cluster,
        path,
        {"limit": str(limit)},
        timeout_s,
        page_timeout_s,
        {"Accept": _METADATA_ACCEPT},
        MAX_PAGE_BYTES,
        ahead,
    )
    async with aclosing(_followed(ask, where, parse_identities)) as found:
        async for page in found:
            yield page


@dataclass(frozen=True)
class _Asking:
    """How the pages of one list are asked for."""

    cluster: Cluster
    path: str
    query: Mapping[str, str]
    timeout_s: float
    page_timeout_s: float | None
    headers: Mapping[str, str]
    max_page_bytes: int
    ahead: bool


async def _followed(
    ask: _Asking, where: str, read: Callable[[bytes, str], tuple[_Page, str]]
) -> AsyncGenerator[_Page, None]:
    """Page after page of one version, to the last."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ask.timeout_s

    def left_s() -> float:
        if (left := deadline - loop.time()) <= 0:
            raise errors.ClusterUnreachable(f"{where}: not whole within {ask.timeout_s:.3g} s")
        return left

    def asked(query: Mapping[str, str]) -> asyncio.Task[bytes]:
        left = left_s()
        return loop.create_task(_body(ask, where, query, min(left, ask.page_timeout_s or left)))

    first: _Page | None = None
    token, remaining = "", None
    coming = asked(ask.query)
    try:
        for _ in range(_MAX_PAGES):
            page, following = read(await coming, where)
            if first is not None and (page.version, page.kind) != (first.version, first.kind):
                raise errors.BadData(
                    f"{where}: pages of different versions:"
                    f" {first.kind} {first.version}, then {page.kind} {page.version}"
                )
            if first is not None and remaining and not page.count:
                raise errors.BadData(f"{where}: {remaining} more objects were told of, and a page without any came")
            if following and following == token:
                raise errors.BadData(f"{where}: a page is followed by itself")
            first, token, remaining = first or page, following, page.remaining
            if following and ask.ahead:
                coming = asked({**ask.query, "continue": following})
            yield page
            if not following:
                return
            if not ask.ahead:
                coming = asked({**ask.query, "continue": following})
            left_s()
        raise errors.BadData(f"{where}: over {_MAX_PAGES} pages")
    finally:
        # Without waiting: whoever drops this iterator may not be there to wait.
        coming.cancel()
        coming.add_done_callback(_not_minded)


def _not_minded(task: asyncio.Task[bytes]) -> None:
    """Take note of what it came to, so that asyncio does not complain."""
    if not task.cancelled():
        task.exception()


async def _body(ask: _Asking, where: str, query: Mapping[str, str], timeout_s: float) -> bytes:
    started = asyncio.get_running_loop().time()
    async with ask.cluster.answer(
        "GET", ask.path, where=where, timeout_s=timeout_s, query=query, headers=ask.headers
    ) as response:
        left_s = timeout_s - (asyncio.get_running_loop().time() - started)
        async with failures.within(ask.cluster.peer, where, left_s):
            return await bodies.read(ask.cluster, response, limit=ask.max_page_bytes, where=where)


def parse_identities(body: bytes, where: str) -> tuple[IdentityPage, str]:
    """The identities in ``body``, a list of metadata, and the token of the next page. Raises ``BadData``."""
    try:
        found = managed_fields.decoded(body, managed_fields.cut(body, templates=False), _PARTIAL_LIST.decode)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadData(f"{where}: {_described(body)} ({failures.clean(str(error))})") from error
    _check(found.kind, found.metadata, _METADATA_KIND, where)
    page = IdentityPage(
        identities=[item.metadata for item in found.items or ()],
        version=found.metadata.version,
        kind=found.kind,
        remaining=found.metadata.remaining,
        is_last=not found.metadata.following,
    )
    return page, found.metadata.following


def _check(kind: str, meta: _Meta, wanted: str | None, where: str) -> None:
    if not kind.endswith("List") or (wanted or kind) != kind:
        raise errors.BadData(f"{where}: the answer is a {failures.clean(kind)}, not a {wanted or 'list of objects'}")
    if not meta.version:
        raise errors.BadData(f"{where}: the list has no resourceVersion")
    if meta.remaining and not meta.following:
        raise errors.BadData(f"{where}: the list says that {meta.remaining} objects follow, but not how to get them")


def parse(body: bytes, where: str, *, managed: bool = True) -> tuple[Page, str]:
    """The page in ``body`` and the token of the next one (empty: none). Parses once; objects stay bytes.

    Without ``managed``, objects may come without their managed fields.

    Raises ``BadData``.
    """
    try:
        found = managed_fields.decoded(
            body, body if managed else managed_fields.cut(body, templates=True), _LIST.decode
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadData(f"{where}: {_described(body)} ({failures.clean(str(error))})") from error
    _check(found.kind, found.metadata, None, where)
    meta, items = found.metadata, found.items or []
    raw = [bytes(item) for item in items]
    if not all(item.startswith(b"{") for item in raw):
        raise errors.BadData(f"{where}: an item of the list is not an object")
    page = Page(
        items=raw,
        kind=found.kind,
        api_version=found.api_version,
        version=meta.version,
        remaining=meta.remaining,
        is_last=not meta.following,
        body_bytes=len(body),
    )
    return page, meta.following


def _described(body: bytes) -> str:
    try:
        kind = msgspec.json.decode(body, type=_Kind).kind
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        start = failures.clean(body[:60].decode("utf-8", "replace"))
        return f"the answer is not whole, valid JSON; it begins {start!r}"
    return f"the answer is a {failures.clean(kind) or 'nameless object'}, not a list of objects"
