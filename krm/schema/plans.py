"""Compiled execution: a selection of a type as one decoder, so that rows become JSON without a resolver a field.

A plan is made from what graphql-core itself collected (fragments, skip and include, merged fields), so only the walk
over rows is replaced. Its decoder reads just the selected members, checks their types, and writes them again in C.
What a plan cannot say (an alias, an argument, a relation) is ``NotCompilable``; a row that does not have the promised
types is ``Anomaly``: both mean plain execution, whose answers are the same by definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import orjson
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList

from krm.errors import AnswerError, Code
from krm.schema import templates
from krm.schema.blocks import Shelf
from krm.schema.scalars import INT64
from krm.schema.templates import Tree
from krm.store.compression import Packed, Text
from krm.store.rows import Row
from krm.table.replica import Replica

Collect = Callable[[GraphQLObjectType, FieldDetailsList], CollectedFields]
Entry = tuple[Row, bytes]

_NULL: Final = msgspec.Raw(b"null")
_LEAVES: Final[dict[str, Any]] = {
    "String": str,
    "Boolean": bool,
    "Float": float,
    "Long": Annotated[int, msgspec.Meta(ge=-INT64, le=INT64 - 1)],
    "DateTime": str,
    "Quantity": str,
}
OBJECT: Final = "object"
REQUESTS: Final = "requests"
_REQUESTS_TYPE: Final = "Requests"
_MOST_BYTES: Final = 48 * 2**20
"""What one plan keeps at most, of single rows and of blocks each."""
_KEPT_BYTES: Final = 200
"""What a single row costs beside its text."""


class NotCompilable(Exception):
    """The selection needs resolvers."""


class Anomaly(Exception):
    """A row is not what its type promises."""


class _Part(NamedTuple):
    """What to decode into, and how to make what is written of it (None: the same)."""

    type: Any
    convert: Callable[[Any], Any] | None = None
    tree: Tree | None = None
    """The selection, where it is one of texts that a row may know itself."""


class _Member(NamedTuple):
    attribute: str
    response: str
    wire: str
    part: _Part
    default: Any


class Plan:
    """A selection of one kind's objects, compiled."""

    def __init__(self, type_: GraphQLObjectType, details: FieldDetailsList, collect: Collect) -> None:
        self._collect = collect
        self._object_at: str | None = None
        self._requests: tuple[str, tuple[tuple[str, str], ...]] | None = None
        part = self._struct(type_, details, is_top=True)
        self._tree = part.tree
        self._template: templates.Template | None = None
        self._decode = msgspec.json.Decoder(part.type).decode
        self._convert = part.convert
        self._encode = msgspec.json.Encoder().encode
        self.is_whole = self._object_at is not None and len(part.type.__struct_fields__) == 1 and part.convert is None
        """Whether it is of whole objects and nothing else."""
        self.is_kept = self._object_at is None
        """Whether results are worth keeping: whole objects are in the table already."""
        self.kept: dict[str, Entry] = {}
        """By uid what was made of rows that were asked for singly or in short lists."""
        self._kept_bytes = 0
        self.shelf = Shelf(_MOST_BYTES)
        """What was made of long lists."""
        del self._collect  # it belongs to one execution

    # -- making ------------------------------------------------------------------------------------------------

    def _struct(self, type_: GraphQLObjectType, details: FieldDetailsList, *, is_top: bool = False) -> _Part:
        collected = self._collect(type_, details)
        if collected.new_defer_usages:
            raise NotCompilable
        members: list[_Member] = []
        for number, (response, inner) in enumerate(collected.grouped_field_set.items()):
            node = inner[0].node
            if node.arguments:
                raise NotCompilable
            members.append(self._member(type_, f"f{number}", response, inner, is_top=is_top))
        wires = {member.attribute: member.wire for member in members}
        if len(set(wires.values())) < len(members):
            raise NotCompilable  # one member under two names cannot be decoded twice
        fields = [(member.attribute, member.part.type, member.default) for member in members]
        read = msgspec.defstruct(type_.name, fields, rename=wires, gc=False)
        responses = {member.attribute: member.response for member in members}
        tree: Tree | None = [(member.response, member.wire, member.part.tree) for member in members]
        if not members or any(member.part.tree is None for member in members):
            tree = None
        if responses == wires and all(member.part.convert is None for member in members):
            return _Part(read, None, tree)
        written = msgspec.defstruct(
            type_.name, [(member.attribute, Any) for member in members], rename=responses, gc=False
        )
        converts = tuple(member.part.convert for member in members)

        def convert(value: Any) -> Any:
            cells = zip(msgspec.structs.astuple(value), converts, strict=True)
            return written(*(cell if each is None or cell is None else each(cell) for cell, each in cells))

        return _Part(read, convert, tree)

    def _member(
        self, type_: GraphQLObjectType, attribute: str, response: str, details: FieldDetailsList, *, is_top: bool
    ) -> _Member:
        wire = details[0].node.name.value
        if wire == "__typename":
            return _Member(attribute, response, wire, _Part(str, None, type_.name), type_.name)
        field = type_.fields[wire]
        if is_top and wire == OBJECT:
            self._object_at = attribute
            return _Member(attribute, response, wire, _Part(msgspec.Raw), _NULL)
        if is_top and wire == REQUESTS and type_.name == "Pod":
            self._requests = (attribute, self._amounts(type_, details))
            return _Member(attribute, response, wire, _Part(Any), None)
        if field.args or not is_wire_field(type_, wire):
            raise NotCompilable
        if isinstance(field.type, GraphQLScalarType) and field.type.name == "JSON":
            return _Member(attribute, response, wire, _Part(msgspec.Raw), _NULL)
        part = self._type(field.type, details)
        return _Member(attribute, response, wire, part._replace(type=part.type | None), None)

    def _type(self, type_: Any, details: FieldDetailsList) -> _Part:
        if isinstance(type_, GraphQLNonNull):
            return self._type(type_.of_type, details)
        if isinstance(type_, GraphQLList):
            inner = self._type(type_.of_type, details)
            of = list[inner.type]  # type: ignore[name-defined]  # made at run time
            each = inner.convert
            return _Part(of, None if each is None else lambda items: [each(item) for item in items])
        if isinstance(type_, GraphQLObjectType):
            return self._struct(type_, details)
        if isinstance(type_, GraphQLScalarType) and type_.name in _LEAVES:
            return _Part(_LEAVES[type_.name], None, [] if _LEAVES[type_.name] is str else None)
        raise NotCompilable

    def _amounts(self, type_: GraphQLObjectType, details: FieldDetailsList) -> tuple[tuple[str, str], ...]:
        inner_type = type_.fields[REQUESTS].type
        if not isinstance(inner_type, GraphQLObjectType) or inner_type.name != _REQUESTS_TYPE:
            raise NotCompilable
        chosen = self._collect(inner_type, details).grouped_field_set
        return tuple((response, inner[0].node.name.value) for response, inner in chosen.items())

    # -- running -----------------------------------------------------------------------------------------------

    def project(self, replica: Replica, rows: Sequence[Row]) -> list[bytes]:
        """The JSON of each row. Raises ``Anomaly``, ``CorruptData``."""
        kept = self.kept
        out: list[Any] = []
        missing: list[int] = []
        for place, row in enumerate(rows):
            entry = kept.get(row.uid)
            if entry is not None and entry[0] is row:
                out.append(entry[1])
            else:
                out.append(None)
                missing.append(place)
        if missing:
            unknown = [rows[place] for place in missing]
            for place, row, made in zip(missing, unknown, self._made(replica, unknown), strict=True):
                out[place] = made
                self._keep(row, made)
        return out

    def block(self, replica: Replica, rows: Sequence[Row]) -> bytes | Packed:
        """The JSON of the rows of a block, joined by commas; raises as ``project``."""
        found = self.shelf.get(rows)
        if found is not None:
            return found
        template = self._filled_by(replica)
        filled = [None] * len(rows) if template is None else template.fill_all(rows)
        if isinstance(filled, bytes):
            return self.shelf.put(rows, filled)
        known = self.shelf.known(rows)
        texts = [known.get(id(row)) or text for row, text in zip(rows, filled, strict=True)]
        return self.shelf.joined(rows, self._completed(replica, rows, texts))

    @property
    def memory(self) -> int:
        """Bytes of all that is kept, roughly."""
        return self._kept_bytes + _KEPT_BYTES * len(self.kept) + self.shelf.memory

    @property
    def rows(self) -> int:
        """Of how many rows something is kept."""
        return max(len(self.kept), self.shelf.rows)

    def forget(self) -> None:
        """Keep nothing."""
        self.kept.clear()
        self._kept_bytes = 0
        self.shelf.clear()

    def _keep(self, row: Row, made: bytes) -> None:
        if self.is_kept:
            before = self.kept.pop(row.uid, None)
            self._kept_bytes += len(made) - (len(before[1]) if before is not None else 0)
            if self._kept_bytes > _MOST_BYTES:
                self._kept_bytes -= len(made)
            else:
                self.kept[row.uid] = (row, made)

    def _made(self, replica: Replica, rows: Sequence[Row]) -> list[bytes]:
        """What is not known yet."""
        template = self._filled_by(replica)
        filled = [None] * len(rows) if template is None else [template.fill(row) for row in rows]
        return self._completed(replica, rows, filled)

    def _completed(self, replica: Replica, rows: Sequence[Row], texts: Sequence[bytes | None]) -> list[bytes]:
        """``texts``, with what the objects say where there is none."""
        out: list[Any] = [*texts]
        missing = [place for place, text in enumerate(texts) if text is None]
        unread = [rows[place] for place in missing]
        for place, row, body in zip(missing, unread, replica.codec.bodies(unread), strict=True):
            out[place] = self._from_object(replica, row, body)
        return out

    def _filled_by(self, replica: Replica) -> templates.Template | None:
        if self._template is None and self._tree is not None:
            self._template = templates.compiled(self._tree, replica.resource)
            self._tree = None
        return self._template

    def _from_object(self, replica: Replica, row: Row, body: Text) -> bytes:
        if self.is_whole:
            return b"".join((b'{"object":', body, b"}"))
        try:
            decoded = self._decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Anomaly from error
        if self._object_at is not None:
            setattr(decoded, self._object_at, msgspec.Raw(body))
        if self._requests is not None:
            attribute, names = self._requests
            setattr(decoded, attribute, {response: _amount(replica, row, name) for response, name in names})
        return self._encode(decoded if self._convert is None else self._convert(decoded))


def is_wire_field(type_: GraphQLObjectType, name: str) -> bool:
    """Whether a field is read from the object and not computed."""
    return bool(getattr(type_.fields[name].resolve, "_is_default", False))


def _amount(replica: Replica, row: Row, name: str) -> str | None:
    if name == "__typename":
        return _REQUESTS_TYPE
    for column, value in zip(replica.resource.columns, row.columns, strict=True):
        if column.name == f"{REQUESTS}.{name}":
            return None if value is None else str(value)
    return None


def too_large(max_bytes: int) -> AnswerError:
    """The refusal of an answer that is larger than allowed."""
    return AnswerError(
        Code.BAD_ARGUMENT,
        f"the answer is larger than {max_bytes} bytes (KRM_MAX_RESPONSE): ask for fewer objects (first) or fields",
    )


def cursor_json(cursor: str) -> bytes:
    """A cursor as JSON."""
    return orjson.dumps(cursor)
