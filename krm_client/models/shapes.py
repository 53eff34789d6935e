"""How one model class is decoded: a msgspec struct whose scalars are typed and whose containers stay raw bytes.

A struct's attributes are named like the keys of the official object's ``__dict__``; its JSON names are the
wire names. What is nested is `msgspec.Raw` and is decoded when it is first asked for, by a converter made
here. Whatever does not fit (a number where text is declared, say) goes to the official deserialiser, so that
its result or its error is ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from krm_client.models import generations
from krm_client.models.generations import Field, Kind, TypeText, UnknownModel

Convert = Callable[[Any], Any]
Make = Callable[["Shape", Any], Any]
"""Makes an object of a shape and its decoded struct."""


class Shape:
    """One official class, and what is needed to decode it. Made once for each class, by `shape_of`."""

    def __init__(self, name: str, make: Make, leave_out: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.official = generations.model_class(name)
        self.is_pydantic = generations.is_pydantic(self.official)
        self.fields = generations.fields_of_class(self.official)
        self.stores = tuple(field.store for field in self.fields)
        self.wires = {field.store: field.wire for field in self.fields}
        self.make = make
        self.parse_time = generations.parser_of_times(self.official)
        read = [field for field in self.fields if field.wire not in leave_out]
        self.struct: Any = msgspec.defstruct(
            f"{name}Struct",
            [(field.store, *_struct_type(field.kind, self.is_pydantic)) for field in read],
            rename={field.store: field.wire for field in read},
            gc=False,
        )
        self.converters: dict[str, Convert | None] = {
            field.store: None if field.kind.form == "scalar" else self._later(field) for field in read
        }
        for field in self.fields:
            self.converters.setdefault(field.store, _always_none)
        self.absent = frozenset(field.store for field in self.fields if field.wire in leave_out)

    def value(self, struct: Any, store: str) -> Any:
        """One field's value as the official object would have it."""
        if store in self.absent:
            return None
        value = getattr(struct, store)
        convert = self.converters[store]
        return value if convert is None else convert(value)

    def _later(self, field: Field) -> Convert:
        """A converter that makes its decoder at its first use: shapes refer to one another, some to themselves."""

        def convert(value: Any) -> Any:
            if value is None:
                return None
            made = self._converter(field)
            self.converters[field.store] = made
            return made(value)

        return convert

    def _converter(self, field: Field) -> Convert:
        if field.kind.form == "datetime":
            return self._time
        text = field.text
        try:
            wanted, finish = self._plan(field.kind)
        except UnknownModel:  # some releases refer to a class that they do not contain
            return lambda raw: None if raw is None else _official(text, raw)
        decode = msgspec.json.Decoder(wanted).decode

        def convert(raw: Raw | None) -> Any:
            if raw is None:
                return None
            try:
                value = decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return _official(text, raw)
            return value if finish is None or value is None else finish(value)

        return convert

    def _time(self, text: str | None) -> Any:
        if text is None:
            return None
        try:
            return self.parse_time(text)
        except ValueError:
            return generations.deserialize("datetime", msgspec.json.encode(text))

    def _plan(self, kind: Kind) -> tuple[Any, Convert | None]:
        """The type to decode a kind's JSON as, and what makes the official value of the result (None: nothing)."""
        if kind.form == "scalar":
            return _json_type(kind, self.is_pydantic) | None, None
        if kind.form == "object":
            return Any, None
        if kind.form == "datetime":
            return str | None, self._time
        if kind.form == "model":
            shape, make = shape_of(kind.model, self.make), self.make
            return shape.struct | None, lambda struct: make(shape, struct)
        assert kind.item is not None
        inner, finish = self._plan(kind.item)
        many: Any = list if kind.form == "list" else dict
        if kind.form == "list":
            return many[inner] | None, None if finish is None else _each(finish)
        return many[str, inner] | None, None if finish is None else _each_value(finish)


def _json_type(kind: Kind, pydantic: bool) -> Any:
    """How a scalar is to be read: text stands for bytes; pydantic models keep a whole number where a float may be."""
    if kind.scalar is bytes:
        return str
    return int | float if kind.scalar is float and pydantic else kind.scalar


def _always_none(_value: Any) -> None:
    return None


def _each(finish: Convert) -> Convert:
    return lambda values: [None if value is None else finish(value) for value in values]


def _each_value(finish: Convert) -> Convert:
    return lambda values: {key: None if value is None else finish(value) for key, value in values.items()}


def _official(text: TypeText, raw: Raw) -> Any:
    return generations.deserialize(text, bytes(raw))


def _struct_type(kind: Kind, pydantic: bool) -> tuple[Any, Any]:
    if kind.form == "scalar":
        return _json_type(kind, pydantic) | None, None
    if kind.form == "datetime":
        return str | None, None
    return Raw, None


_shapes: dict[tuple[str, Make, frozenset[str]], Shape] = {}
_making = threading.Lock()


def shape_of(name: str, make: Make, leave_out: frozenset[str] = frozenset()) -> Shape:
    """The shape of a class by its official name; ``leave_out`` names JSON fields that are not to be read."""
    key = (name, make, leave_out)
    found = _shapes.get(key)
    if found is None:
        with _making:
            found = _shapes.get(key) or Shape(name, make, leave_out)
            _shapes[key] = found
    return found
