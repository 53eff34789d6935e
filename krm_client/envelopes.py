"""What lies around the objects of an answer, as msgspec types: one decoder for each field and kind of node.

The nodes are structs of the models, so that an answer is decoded in one pass; see `krm_client.answers` for what happens
when it does not fit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from krm_client import answers, errors
from krm_client.answers import Answer, GraphQLError
from krm_client.models import objects
from krm_client.registry import ClientResource


class _PageInfo(msgspec.Struct):
    hasNextPage: bool  # noqa: N815 (GraphQL's names)
    endCursor: str | None = None  # noqa: N815


class Scope(msgspec.Struct):
    complete: bool
    namespaces: list[str] | None = None


@functools.lru_cache(maxsize=64)
def node(inner: Any) -> Any:
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
        [("resourceVersion", str | None), ("pageInfo", _PageInfo), ("scope", Scope), ("nodes", list[node])],
    )


def field_of(answer: Answer, field: str, inner: Any) -> Any:
    """The value of the one field that was asked for. Any error that the server reports is raised, data or not."""
    body = answers.typed(answer, _envelope(field, inner))
    if body.errors:
        raise answers.errors_of(body.errors)
    return getattr(body.data, field)


def connection_of(answer: Answer, field: str, node: Any) -> Any:
    return field_of(answer, field, _connection(node))


def whole_items(answer: Answer, kind: ClientResource, *, eager: bool) -> tuple[Any, list[Any]]:
    """Whole objects, decoded in one pass; one by one if any does not fit its model's types."""
    shape = objects.shape_of_items(kind.model, eager=eager)
    with answers.collector.paused():
        try:
            connection = connection_of(answer, kind.list_field, node(shape.struct))
        except errors.KrmSchemaMismatch as mismatch:
            if answer.status != 200:
                raise
            connection = _by_item(answer, kind, mismatch)
            return connection, [objects.from_json(shape, node.object) for node in connection.nodes]
        make, nodes = shape.make, connection.nodes
        nodes.reverse()
        # What was decoded of one object goes before the next one is made, which finds its memory still in the cache.
        return connection, [make(nodes.pop().object) for _ in range(len(nodes))]


def _by_item(answer: Answer, kind: ClientResource, mismatch: Exception) -> Any:
    try:
        return connection_of(answer, kind.list_field, node(msgspec.Raw))
    except errors.KrmSchemaMismatch:
        raise mismatch from None
