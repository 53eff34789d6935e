"""Every call of the client as a value: its document, and how the answer becomes a result.

Both clients and ``explain`` build their calls here. Building sends nothing; `Operation.start` gives the
generator that a driver runs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Unpack, cast

import msgspec

from krm_client import answers, call_arguments, documents, envelopes, errors, registry, selection
from krm_client.answers import Answer
from krm_client.call_arguments import FrameArguments, ListArguments, WatchArguments
from krm_client.calls import Call, Policy, Timeouts, exchange
from krm_client.documents import Document, RouteQuery
from krm_client.freshness import Freshness
from krm_client.models import lazy, objects
from krm_client.registry import ClientResource
from krm_client.selection import Selection, ServerTypes
from krm_client.settings import ClientSettings

T = TypeVar("T")

_CONNECT_S = 5.0
"""A host that does not take a connection within five seconds is taken for gone."""

PATIENCE_S = 60.0
"""A rolling update of KRM takes less."""

_MAX_PAGES = 100_000
"""A list that takes more answers than this is a server that counts in circles."""


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[T]):
    """One call: what is sent first, and the generator that sees it through."""

    document: Document | RouteQuery
    start: Callable[[], Call[T]]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Objects of a list, with what an official list says about itself."""

    items: list[Any]
    version: str | None
    following: str | None
    """Cursor of the next page, None at the end."""
    place: str | None = None
    """Of which a watch with the same arguments may go on: as of when the first page was taken."""


@dataclass(frozen=True, kw_only=True)
class Following:
    """A watch that was asked for: its document, and how it runs."""

    kind: ClientResource
    document: Document
    resume_token: str | None
    timeout_s: float | None
    silence_s: float | None
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
            every = envelopes.field_of(answer, document.field, list[Freshness])
            if resource is None:
                return every
            if len(every) != 1:
                raise errors.KrmProtocolError(f"{len(every)} answers about the freshness of {resource!r}")
            return every[0]

        return Operation(document=document, start=start)

    def objects(self, resource: str, **given: Unpack[ListArguments]) -> Operation[list[Any]]:
        """Official objects of a list, whole or with ``fields`` only."""
        kind = call_arguments.resource_of(resource)
        call_arguments.refuse_unknown("list", given, ListArguments)
        fields = given.get("fields")
        chosen = None if fields is None else selection.select(kind.model, fields)
        arguments = call_arguments.of_list(kind, given)
        operation = self.listing(kind, arguments, chosen=chosen)

        def start() -> Call[list[Any]]:
            return (yield from operation.start()).items

        return Operation(document=operation.document, start=start)

    def frame(self, resource: str, **given: Unpack[FrameArguments]) -> Operation[Any]:
        """A list as a DataFrame."""
        kind = call_arguments.resource_of(resource)
        call_arguments.refuse_unknown("frame", given, FrameArguments)
        columns = given.get("columns")
        if isinstance(columns, str):
            raise errors.KrmUsageError("columns: a list of paths, not one text")
        arguments = {"cluster": self._settings.cluster, **call_arguments.of_list(kind, cast("ListArguments", given))}
        if arguments["where"] is not None and not isinstance(arguments["where"], dict):
            arguments["where"] = dict(arguments["where"])
        if arguments["namespaces"] == []:
            # In a URL no namespace at all is every namespace.
            arguments["where"] = {"and": [arguments["where"] or {}, {"or": []}]}
        query = documents.frame_query(kind, arguments, columns)
        whole_cluster = arguments["namespace"] is None and arguments["namespaces"] is None

        def start() -> Call[Any]:
            from krm_client import frames

            frames.require()
            answer = yield from exchange(query, self.policy)
            if answer.status != 200:
                raise answers.failure_of(answer, own=False)
            frame, told = frames.dataframe(answer.content)
            scope = msgspec.convert(told["scope"], envelopes.Scope)
            if whole_cluster and not scope.complete and not self._settings.partial:
                raise _only_some_namespaces(kind, scope)
            return frame

        return Operation(document=query, start=start)

    def watching(self, resource: str, **given: Unpack[WatchArguments]) -> Following:
        """Follow a kind."""
        kind = call_arguments.resource_of(resource)
        call_arguments.refuse_unknown("watch", given, WatchArguments)
        arguments = call_arguments.of_list(kind, cast("ListArguments", given))
        return Following(
            kind=kind,
            document=documents.watch_document(kind, {"cluster": self._settings.cluster, **arguments}),
            resume_token=given.get("resume_token"),
            timeout_s=given.get("timeout_seconds"),
            silence_s=given.get("silence_seconds"),
            patience_s=given.get("patience", PATIENCE_S),
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
            place: str | None = None
            asked = given
            for _ in range(_MAX_PAGES):
                answer = yield from exchange(documents.list_document(kind, asked, nodes), policy)
                with answers.collector.paused():
                    page = self._page(answer, kind, chosen, raw=raw, whole_cluster=whole_cluster)
                items = page.items if not items else items + page.items
                version = version or page.version
                place = place or page.place
                if page.following is None or given.get("first") is not None:
                    return Listed(items=items, version=version, following=page.following, place=place)
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
            connection = envelopes.connection_of(answer, kind.list_field, shape.struct)
            items = [lazy.make_partial(struct, chosen.paths) for struct in connection.nodes]
        elif raw:
            connection = envelopes.connection_of(answer, kind.list_field, envelopes.node(msgspec.Raw))
            items = [node.object for node in connection.nodes]
        else:
            connection, items = envelopes.whole_items(answer, kind, eager=self._eager)
        if whole_cluster and not connection.scope.complete and not self._settings.partial:
            raise _only_some_namespaces(kind, connection.scope)
        info = connection.pageInfo
        if info.hasNextPage and not info.endCursor:
            raise errors.KrmProtocolError(f"the server says that more {kind.plural} follow, but not where")
        following = info.endCursor if info.hasNextPage else None
        return Listed(items=items, version=connection.resourceVersion, following=following, place=info.endCursor)

    def _one(self, answer: Answer, kind: ClientResource, name: str, *, raw: bool) -> Any:
        found = envelopes.field_of(answer, kind.single_field, envelopes.node(msgspec.Raw) | None)
        if found is None:
            raise errors.KrmNotFound(
                f'{kind.qualified_plural} "{name}" not found',
                details={"name": name, "group": kind.group, "kind": kind.plural},
            )
        if raw:
            return found.object
        shape = objects.shape_of_single(kind.model, eager=self._eager)
        return objects.single(shape, found.object, kind=kind.kind, api_version=kind.api_version)


def _only_some_namespaces(kind: ClientResource, scope: envelopes.Scope) -> Exception:
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
