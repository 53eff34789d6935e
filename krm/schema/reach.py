"""Which kinds a question can reach over relations: for those alone the caller's rights have to be asked for.

Every relation is named in the document, by a field or by a text (in a filter, a path), or in a text of the variables.
So what is not named cannot be reached; what is named without being meant costs a review more. Should a relation be
followed all the same, ``Related.scope`` refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from graphql import DocumentNode, FieldNode, StringValueNode, Visitor, visit

from krm.resources import RESOURCES
from krm.schema.relations import RELATIONS

_TARGETS: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(each[name].target.plural for each in RELATIONS.values() if name in each)
    for name in {name for each in RELATIONS.values() for name in each}
} | {"owners": frozenset(RESOURCES)}
"""What a relation of that name may lead to, from whichever kind."""


class _Words(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.fields: set[str] = set()
        self.texts: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.fields.add(node.name.value)

    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        self.texts.add(node.value)


def of_document(node: DocumentNode) -> frozenset[str]:
    """The plurals that the document itself names."""
    words = _Words()
    visit(node, words)
    named = [targets for name, targets in _TARGETS.items() if name in words.fields]
    return frozenset[str]().union(*named, of_texts(words.texts))


def of_texts(texts: Iterable[str]) -> frozenset[str]:
    """The plurals that texts can name: relations and paths stand in them."""
    every = list(texts)
    found = (targets for name, targets in _TARGETS.items() if any(name in text for text in every))
    return frozenset[str]().union(*found)


def of_value(value: Any) -> frozenset[str]:
    """The plurals that the texts of a JSON value can name."""
    return of_texts(_texts(value))


def _texts(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            pending += each.values()
        elif isinstance(each, list):
            pending += each
