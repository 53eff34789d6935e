"""Which kinds a question can reach over relations: for those alone the caller's rights have to be asked for.

Every relation is named in the document, by a field or by a text (in a filter, a path), or in a text of the variables.
So what is not named cannot be reached; what is named without being meant costs a review more. Should a relation be
followed all the same, ``Related.scope`` refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from graphql import DocumentNode, FieldNode, FragmentDefinitionNode, StringValueNode, Visitor, visit

from krm.resources import RESOURCES
from krm.schema.relations import RELATIONS

_TARGETS: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(each[name].target.plural for each in RELATIONS.values() if name in each)
    for name in {name for each in RELATIONS.values() for name in each}
} | {"owners": frozenset(RESOURCES)}
"""What a relation of that name may lead to, from whichever kind."""
_ROOTS: Final = frozenset(("Query", "Subscription"))


class _Words(Visitor):
    """The names of fields, but for those of the operation itself, which are no relations; and all texts."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: set[str] = set()
        self.texts: set[str] = set()
        self._depth = 0

    def enter_fragment_definition(self, node: FragmentDefinitionNode, *_: Any) -> None:
        self._depth = 0 if node.type_condition.name.value in _ROOTS else 1

    def leave_fragment_definition(self, *_: Any) -> None:
        self._depth = 0

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        if self._depth:
            self.fields.add(node.name.value)
        self._depth += 1

    def leave_field(self, *_: Any) -> None:
        self._depth -= 1

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
