"""Every call of the client as a value: its document, and how the answer becomes a result.

Both clients and ``explain`` build their calls here. Building sends nothing; `Operation.start` gives the
generator that a driver runs.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast

import msgspec

from krm_client import answers, documents, errors, registry, selection
from krm_client.answers import Answer, GraphQLError
from krm_client.calls import Call, Policy, Timeouts, exchange
from krm_client.documents import Document
from krm_client.errors import KrmUsageError
from krm_client.freshness import Freshness
from krm_client.models import lazy, objects
from krm_client.registry import ClientResource
from krm_client.selection import Selection, ServerTypes
from krm_client.settings import ClientSettings

T = TypeVar("T")

_CONNECT_S = 5.0
"""A host that does not take a connection within five seconds is taken for gone."""

_PATIENCE_S = 60.0
"""A rolling update of KRM takes less."""

_MAX_PAGES = 100_000
"""A list that takes more answers than this is a server that counts in circles."""


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[T]):
    """One call: what is sent first, and the generator that sees it through."""

    document: Document
    start: Callable[[], Call[T]]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Objects of a list, with what an official list says about itself."""

    items: list[Any]
    version: str | None
    following: str | None
    """Cursor of the next page, None at the end."""


class _PageInfo(msgspec.Struct):
    hasNextPage: bool  # noqa: N815 (GraphQL's names)
    endCursor: str | None = None  # noqa: N815


class _Scope(msgspec.Struct):
    complete: bool
    namespaces: list[str] | None = None


class ListArguments(TypedDict, total=False):
    """Arguments of ``list`` beside the resource; each may be left out."""

    fields: Sequence[str]
    """Paths like ``spec.containers[*].image``; only these are fetched. Left out: whole objects."""
    namespace: str | None
    namespaces: Sequence[str] | None
    name: str | None
    label_selector: str | None
    field_selector: str | None
    where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    """A ``Filter`` like ``{"path": "status.phase", "eq": "Running"}``; several are "and"."""
    order_by: Any
    """A path, ``-path`` for descending, or ``{"path", "direction"}``; or several of them."""
    limit: int | None
    max_staleness: str | float | timedelta | None
    """Text like ``30s``, or seconds."""
    min_resource_version: str | None


class WatchArguments(TypedDict, total=False):
    """Arguments of ``watch`` beside the resource; each may be left out."""

    namespace: str | None
    namespaces: Sequence[str] | None
    name: str | None
    label_selector: str | None
    field_selector: str | None
    where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    max_staleness: str | float | timedelta | None
    min_resource_version: str | None
    resume_token: str | None
    """Of an earlier watch with the same arguments: go on after its last event."""
    timeout_seconds: float | None
    """End after this time; left out: never."""
    patience: float
    """Seconds to try to come back after a connection broke; 60 unless told."""


@dataclass(frozen=True, kw_only=True)
class Following:
    """A watch that was asked for: its document, and how it runs."""

    kind: ClientResource
    document: Document
    resume_token: str | None
    timeout_s: float | None
    patience_s: float


class Operations:
    """Builds the calls of one client."""

    def __init__(self, settings: ClientSettings, *, eager: bool = False) -> None:
        self._settings = settings
        self._eager = eager
        timeouts = Timeouts(connect_s=min(settings.timeout_s, _CONNECT_S), read_s=settings.timeout_s)
        self.policy = Policy(timeouts=timeouts, retries=settings.retries, hint_when_unknown=settings.hint_when_unknown)
        self._server_types: ServerTypes | None = None

    def query(self, text: str, variables: Mapping[str, Any] | None = None) -> Operation[dict[str, Any]]:
        """A query that the caller wrote."""
        document = Document(text=text, variables=dict(variables or {}), field="")

        def start() -> Call[dict[str, Any]]:
            return answers.plain((yield from exchange(document, self.policy)))

        return Operation(document=document, start=start)

    def freshness(self, resource: str | None = None) -> Operation[Any]:
        """One `Freshness` for a resource, a list of them for None."""
        found = registry.find(resource) if resource is not None else None
        names = None if resource is None else [found.plural if found is not None else resource]
        document = documents.freshness_document(names)

        def start() -> Call[Any]:
            answer = yield from exchange(document, self.policy)
            every = _single_field_of(answer, document.field, list[Freshness])
            if resource is None:
                return every
            if len(every) != 1:
                raise errors.KrmProtocolError(f"{len(every)} answers about the freshness of {resource!r}")
            return every[0]

        return Operation(document=document, start=start)

    def objects(self, resource: str, **given: Unpack[ListArguments]) -> Operation[list[Any]]:
        """Official objects of a list, whole or with ``fields`` only."""
        kind = _resource_of(resource)
        _refuse_unknown("list", given, ListArguments)
        fields = given.get("fields")
        chosen = None if fields is None else selection.select(kind.model, fields)
        arguments = _list_arguments(given)
        operation = self.listing(kind, arguments, chosen=chosen)

        def start() -> Call[list[Any]]:
            return (yield from operation.start()).items

        return Operation(document=operation.document, start=start)

    def watching(self, resource: str, **given: Unpack[WatchArguments]) -> Following:
        """Follow a kind."""
        kind = _resource_of(resource)
        _refuse_unknown("watch", given, WatchArguments)
        arguments = _list_arguments(cast("ListArguments", given))
        return Following(
            kind=kind,
            document=documents.watch_document(kind, {"cluster": self._settings.cluster, **arguments}),
            resume_token=given.get("resume_token"),
            timeout_s=given.get("timeout_seconds"),
            patience_s=given.get("patience", _PATIENCE_S),
        )

    def listing(
        self,
        kind: ClientResource,
        arguments: Mapping[str, Any],
        *,
        chosen: Selection | None = None,
        raw: bool = False,
        timeouts: Timeouts | None = None,
    ) -> Operation[Listed]:
        """List a kind: one page if ``first`` is given, else all pages. ``raw``: items as JSON bytes."""
        given = {"cluster": self._settings.cluster, **arguments}
        policy = self.policy.with_timeouts(timeouts)
        nodes = "object"
        if chosen is not None and not (chosen.needs_schema and self._server_types is None):
            nodes = selection.render(chosen, kind.kind, self._server_types)
        document = documents.list_document(kind, given, nodes)

        def start() -> Call[Listed]:
            nodes = "object"
            if chosen is not None:
                types = (yield from self._schema(policy)) if chosen.needs_schema else None
                nodes = selection.render(chosen, kind.kind, types)
            whole_cluster = given.get("namespace") is None and given.get("namespaces") is None
            page: Listed | None = None
            items: list[Any] = []
            version: str | None = None
            asked = given
            for _ in range(_MAX_PAGES):
                answer = yield from exchange(documents.list_document(kind, asked, nodes), policy)
                with answers.collector.paused():
                    page = self._page(answer, kind, chosen, raw=raw, whole_cluster=whole_cluster)
                items = page.items if not items else items + page.items
                version = version or page.version
                if page.following is None or given.get("first") is not None:
                    return Listed(items=items, version=version, following=page.following)
                if page.following == asked.get("after"):
                    break
                asked = {**given, "after": page.following}
            raise errors.KrmProtocolError(f"the pages of {kind.plural} do not end")

        return Operation(document=document, start=start)

    def reading(
        self,
        kind: ClientResource,
        arguments: Mapping[str, Any],
        *,
        raw: bool = False,
        timeouts: Timeouts | None = None,
    ) -> Operation[Any]:
        """Read one object; raises `KrmNotFound` where there is none."""
        given = {"cluster": self._settings.cluster, **arguments}
        document = documents.single_document(kind, given)

        def start() -> Call[Any]:
            answer = yield from exchange(document, self.policy.with_timeouts(timeouts))
            return self._one(answer, kind, str(given.get("name")), raw=raw)

        return Operation(document=document, start=start)

    def _schema(self, policy: Policy) -> Call[ServerTypes]:
        """The server's types, asked for once."""
        if self._server_types is None:
            document = Document(text=documents.SCHEMA_TEXT, variables={}, field="__schema")
            answer = yield from exchange(document, policy)
            self._server_types = ServerTypes.of(answers.plain(answer))
        return self._server_types

    def _page(
        self, answer: Answer, kind: ClientResource, chosen: Selection | None, *, raw: bool, whole_cluster: bool
    ) -> Listed:
        if chosen is not None:
            shape = objects.shape_of_single(kind.model)
            connection = _connection_of(answer, kind.list_field, shape.struct)
            items = [lazy.make_partial(struct, chosen.paths) for struct in connection.nodes]
        elif raw:
            connection = _connection_of(answer, kind.list_field, _node(msgspec.Raw))
            items = [node.object for node in connection.nodes]
        else:
            connection, items = _whole_items(answer, kind, eager=self._eager)
        if whole_cluster and not connection.scope.complete and not self._settings.partial:
            raise _only_some_namespaces(kind, connection.scope)
        info = connection.pageInfo
        if info.hasNextPage and not info.endCursor:
            raise errors.KrmProtocolError(f"the server says that more {kind.plural} follow, but not where")
        following = info.endCursor if info.hasNextPage else None
        return Listed(items=items, version=connection.resourceVersion, following=following)

    def _one(self, answer: Answer, kind: ClientResource, name: str, *, raw: bool) -> Any:
        found = _single_field_of(answer, kind.single_field, _node(msgspec.Raw) | None)
        if found is None:
            raise errors.KrmNotFound(
                f'{kind.qualified_plural} "{name}" not found',
                details={"name": name, "group": kind.group, "kind": kind.plural},
            )
        if raw:
            return found.object
        shape = objects.shape_of_single(kind.model, eager=self._eager)
        return objects.single(shape, found.object, kind=kind.kind, api_version=kind.api_version)


def _refuse_unknown(method: str, given: Mapping[str, Any], known: Any) -> None:
    unknown = given.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"{method}() got an unexpected keyword argument {min(unknown)!r}")


def _list_arguments(given: ListArguments) -> dict[str, Any]:
    namespaces = given.get("namespaces")
    return {
        "namespace": given.get("namespace"),
        "namespaces": None if namespaces is None else list(namespaces),
        "name": given.get("name"),
        "labelSelector": given.get("label_selector"),
        "fieldSelector": given.get("field_selector"),
        "where": documents.where_argument(given.get("where")),
        "orderBy": documents.order_argument(given.get("order_by")),
        "first": given.get("limit"),
        "maxStaleness": _duration(given.get("max_staleness")),
        "minResourceVersion": given.get("min_resource_version"),
    }


def _resource_of(name: str) -> ClientResource:
    found = registry.find(name)
    if found is None:
        known = ", ".join(resource.plural for resource in registry.RESOURCES)
        raise KrmUsageError(f"{name!r} is not one of {known}; other kinds are read with query()")
    return found


def _duration(value: str | float | timedelta | None) -> str | None:
    """Text as it is; numbers are seconds."""
    if value is None or isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{round(seconds * 1000)}ms"


@functools.lru_cache(maxsize=64)
def _node(inner: Any) -> Any:
    return msgspec.defstruct("Node", [("object", inner)], gc=False)


@functools.lru_cache(maxsize=64)
def _envelope(field: str, inner: Any) -> Callable[[bytes], Any]:
    data = msgspec.defstruct("Data", [(field, inner)])
    envelope = msgspec.defstruct("Envelope", [("data", data), ("errors", list[GraphQLError] | None, None)])
    return msgspec.json.Decoder(envelope).decode


@functools.lru_cache(maxsize=64)
def _connection(node: Any) -> Any:
    return msgspec.defstruct(
        "Connection",
        [("resourceVersion", str | None), ("pageInfo", _PageInfo), ("scope", _Scope), ("nodes", list[node])],
    )


def _single_field_of(answer: Answer, field: str, inner: Any) -> Any:
    """The value of the one field that was asked for. Any error that the server reports is raised, data or not."""
    body = answers.typed(answer, _envelope(field, inner))
    if body.errors:
        raise answers.errors_of(body.errors)
    return getattr(body.data, field)


def _connection_of(answer: Answer, field: str, node: Any) -> Any:
    return _single_field_of(answer, field, _connection(node))


def _whole_items(answer: Answer, kind: ClientResource, *, eager: bool) -> tuple[Any, list[Any]]:
    """Whole objects, decoded in one pass; one by one if any does not fit its model's types."""
    shape = objects.shape_of_items(kind.model, eager=eager)
    try:
        connection = _connection_of(answer, kind.list_field, _node(shape.struct))
    except errors.KrmSchemaMismatch as mismatch:
        if answer.status != 200:
            raise
        connection = _by_item(answer, kind, mismatch)
        return connection, [objects.from_json(shape, node.object) for node in connection.nodes]
    make = shape.make
    return connection, [make(node.object) for node in connection.nodes]


def _by_item(answer: Answer, kind: ClientResource, mismatch: Exception) -> Any:
    try:
        return _connection_of(answer, kind.list_field, _node(msgspec.Raw))
    except errors.KrmSchemaMismatch:
        raise mismatch from None


def _only_some_namespaces(kind: ClientResource, scope: _Scope) -> Exception:
    allowed = ", ".join(scope.namespaces or []) or "none"
    return errors.KrmForbidden(
        f'{kind.qualified_plural} is forbidden: cannot list resource "{kind.plural}" in API group "{kind.group}" '
        f"at the cluster scope; allowed namespaces: {allowed} (KrmClient(partial=True) lists these)",
        code="FORBIDDEN",
        details={"group": kind.group, "kind": kind.plural},
    )


def raw_list_response(kind: ClientResource, listed: Listed) -> Any:
    """The list as the official client gives it with ``_preload_content=False``: a urllib3 response with JSON."""
    metadata = {"resourceVersion": listed.version or ""}
    if listed.following:
        metadata["continue"] = listed.following
    body = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": listed.items}
    return raw_response(msgspec.json.encode(body))


def raw_response(content: bytes) -> Any:
    from urllib3 import HTTPResponse

    return HTTPResponse(
        body=io.BytesIO(content),
        headers={"Content-Type": "application/json", "Content-Length": str(len(content))},
        status=200,
        reason="OK",
        preload_content=False,
    )
