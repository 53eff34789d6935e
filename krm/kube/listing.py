"""Consistent lists in pages: all of one version, or an error; never half a list that looks whole.

The version is left unset, which asks for a read of the newest state. A 410 in the middle means that the caller starts
anew: the token that the API server offers then would join two versions into one list, and is never used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

import msgspec

from krm import errors
from krm.kube import bodies, failures
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
    """Of the list: ``PodList``, or ``PartialObjectMetadataList``."""
    api_version: str
    version: str
    """The list's resourceVersion, the same on all pages."""
    remaining: int | None
    """How many objects follow, as far as the server tells."""
    is_last: bool
    body_bytes: int
    """Size of the page's JSON."""


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


_LIST = msgspec.json.Decoder(_List)


async def pages(
    cluster: Cluster,
    path: str,
    *,
    limit: int,
    timeout_s: float,
    page_timeout_s: float | None = None,
    params: Mapping[str, str] | None = None,
    metadata_only: bool = False,
    max_page_bytes: int = MAX_PAGE_BYTES,
) -> AsyncGenerator[Page, None]:
    """The pages of the list at ``path`` (``/api/v1/pods``), each of at most ``limit`` objects.

    ``params`` may hold selectors. ``metadata_only`` asks for the objects' metadata alone (a server that cannot answers
    406: ``ServerFailed``). ``timeout_s`` bounds the whole list, the caller's own time included, ``page_timeout_s`` one
    page. Raises ``Gone`` when the version was compacted away on the way, ``BadData`` for what is not a consistent list,
    ``ClusterUnreachable`` when the time is up, and what else a request raises. Only after the page that is the last has
    come is the list whole.
    """
    if params and {"resourceVersion", "resourceVersionMatch", "continue", "limit", "watch"} & params.keys():
        raise ValueError("params may hold selectors only")
    where = f"list {path}"
    deadline = asyncio.get_running_loop().time() + timeout_s
    query = {**(params or {}), "limit": str(limit)}
    first: Page | None = None
    for _ in range(_MAX_PAGES):
        left_s = deadline - asyncio.get_running_loop().time()
        if left_s <= 0:
            raise errors.ClusterUnreachable(f"{where}: not whole within {timeout_s:.3g} s")
        page, following = await _page(
            cluster, path, where, query, min(left_s, page_timeout_s or left_s), metadata_only, max_page_bytes
        )
        if first is not None and (page.version, page.kind) != (first.version, first.kind):
            raise errors.BadData(
                f"{where}: pages of different versions: {first.kind} {first.version}, then {page.kind} {page.version}"
            )
        if following and following == query.get("continue"):
            raise errors.BadData(f"{where}: a page is followed by itself")
        first = first or page
        yield page
        if not following:
            return
        query["continue"] = following
    raise errors.BadData(f"{where}: over {_MAX_PAGES} pages")


async def _page(
    cluster: Cluster,
    path: str,
    where: str,
    query: Mapping[str, str],
    timeout_s: float,
    metadata_only: bool,
    max_page_bytes: int,
) -> tuple[Page, str]:
    headers = {"Accept": _METADATA_ACCEPT} if metadata_only else {}
    started = asyncio.get_running_loop().time()
    async with cluster.answer("GET", path, where=where, timeout_s=timeout_s, query=query, headers=headers) as response:
        left_s = timeout_s - (asyncio.get_running_loop().time() - started)
        async with failures.within(cluster.peer, where, left_s):
            body = await bodies.read(cluster, response, limit=max_page_bytes, where=where)
    return parse(body, where, kind=_METADATA_KIND if metadata_only else None)


def parse(body: bytes, where: str, *, kind: str | None = None) -> tuple[Page, str]:
    """The page in ``body`` and the token of the next one (empty: none). Parses once; objects stay bytes.

    ``kind`` is what the list must be; None: any list of objects. Raises ``BadData``.
    """
    try:
        if not body.isascii():
            body.decode()  # the JSON decoder passes over the text inside of objects
        found = _LIST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadData(f"{where}: {_described(body)} ({failures.clean(str(error))})") from error
    if not found.kind.endswith("List") or (kind or found.kind) != found.kind:
        raise errors.BadData(
            f"{where}: the answer is a {failures.clean(found.kind)}, not a {kind or 'list of objects'}"
        )
    meta, items = found.metadata, found.items or []
    if not meta.version:
        raise errors.BadData(f"{where}: the list has no resourceVersion")
    if meta.remaining and not meta.following:
        raise errors.BadData(f"{where}: the list says that {meta.remaining} objects follow, but not how to get them")
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
