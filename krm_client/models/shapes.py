"""How one model class is decoded: a msgspec struct with typed scalars, named like the official object's own fields.

A struct's attributes are named like the keys of the official object's ``__dict__``, in their order; its JSON
names are the wire names. What is nested stays `msgspec.Raw` and is decoded when a converter made here is
called, or, in a *deep* shape, is decoded with the rest. Whatever does not fit (a number where text is
declared, say) goes to the official deserialiser, so that its result or its error is ours.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypedDict

import msgspec
from msgspec import Raw

from krm_client.models import generations
from krm_client.models.generations import Field, Kind, TypeText, UnknownModel

Convert = Callable[[Any], Any]
Maker = Callable[["Shape"], Convert]
"""Gives, for a shape, what makes an object of a decoded struct."""

_NEVER = "~not-read~"
"""Before the wire name of a field that is not to be read: no JSON of an API server has such a key."""


class Shape:
    """One official class, and what is needed to decode it. Made once for each use, by `shape_of`."""

    def __init__(self, name: str, maker: Maker, *, deep: bool, leave_out: frozenset[str]) -> None:
        self.name = name
        self.official = generations.model_class(name)
        self.memory = generations.memory_of(self.official)
        self.fields = generations.fields_of_class(self.official)
        self.stores = tuple(field.store for field in self.fields)
        self.wires = {field.store: field.wire for field in self.fields}
        self._maker = maker
        self._deep = deep
        self._parse_time = generations.parser_of_times(self.official)
        plans = {field.store: self._read_as(field) for field in self.fields}
        types = {store: declared for store, (declared, _) in plans.items()}
        self.struct: Any = self._present_of(types, leave_out) if deep else self._struct_of(types, leave_out)
        """What its JSON is decoded as."""
        self.converters: dict[str, Convert | None] = {store: convert for store, (_, convert) in plans.items()}
        """By store: what makes the official value of a struct's value that is not None; None where it is that value."""
        self.nested: list[str] = [store for store, convert in self.converters.items() if convert is not None]
        self.make: Convert = maker(self)

    def _struct_of(self, types: dict[str, Any], leave_out: frozenset[str]) -> Any:
        """A struct with a place for every field, by its store, with this shape as its ``krm_shape``."""
        return msgspec.defstruct(
            f"{self.name}Struct",
            [(store, declared, None) for store, declared in types.items()],
            rename={field.store: _NEVER * (field.wire in leave_out) + field.wire for field in self.fields},
            namespace={"krm_shape": self},
            gc=False,
        )

    def _present_of(self, types: dict[str, Any], leave_out: frozenset[str]) -> Any:
        """A dictionary of the fields that are there, by their wire names: most fields of most objects are not."""
        fields = {self.wires[store]: declared for store, declared in types.items()}
        return _typed_dict(self.name, {wire: fields[wire] for wire in fields if wire not in leave_out})

    def _read_as(self, field: Field) -> tuple[Any, Convert | None]:
        """The struct's type for a field, and the converter of its values."""
        kind = field.kind
        if kind.form in ("scalar", "datetime"):
            return self._plan(kind)
        if self._deep:
            try:
                return self._plan(kind)
            except (UnknownModel, _RefersToItselfError):
                pass
        return Raw, self._later(field)

    def _later(self, field: Field) -> Convert:
        """A converter that makes its decoder at its first use: shapes refer to one another, some to themselves."""
        made: Convert | None = None

        def convert(raw: Raw) -> Any:
            nonlocal made
            if made is None:
                made = self._decoder(field)
                self.converters[field.store] = made
            return made(raw)

        return convert

    def _decoder(self, field: Field) -> Convert:
        text = field.text
        try:
            wanted, finish = self._plan(field.kind)
        except UnknownModel:  # some releases refer to a class that they do not contain
            return lambda raw: _official(text, raw)
        decode = msgspec.json.Decoder(wanted).decode

        def convert(raw: Raw) -> Any:
            try:
                value = decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return _official(text, raw)
            return value if finish is None or value is None else finish(value)

        return convert

    def _time(self, text: str) -> Any:
        try:
            return self._parse_time(text)
        except ValueError:
            return generations.deserialize("datetime", msgspec.json.encode(text))

    def _plan(self, kind: Kind) -> tuple[Any, Convert | None]:
        """The type to decode a kind's JSON as, and what makes the official value of the result (None: nothing)."""
        if kind.form == "scalar":
            return _json_type(kind, self.memory.is_pydantic) | None, None
        if kind.form == "object":
            return Any, None
        if kind.form == "datetime":
            return str | None, self._time
        if kind.form == "model":
            shape = shape_of(kind.model, self._maker, deep=self._deep)
            return shape.struct | None, shape.make
        assert kind.item is not None
        inner, finish = self._plan(kind.item)
        many: Any = list if kind.form == "list" else dict
        if kind.form == "list":
            return many[inner] | None, None if finish is None else _each(finish)
        return many[str, inner] | None, None if finish is None else _each_value(finish)


def _typed_dict(name: str, fields: dict[str, Any]) -> Any:
    """``TypedDict`` in a form that mypy does not take for a declaration."""
    factory: Any = TypedDict
    return factory(name, fields, total=False)


class _RefersToItselfError(Exception):
    """A deep shape is asked for while it is being made."""


def _json_type(kind: Kind, pydantic: bool) -> Any:
    """How a scalar is to be read: text stands for bytes; pydantic models keep a whole number where a float may be."""
    if kind.scalar is bytes:
        return str
    return int | float if kind.scalar is float and pydantic else kind.scalar


def _each(finish: Convert) -> Convert:
    return lambda values: [None if value is None else finish(value) for value in values]


def _each_value(finish: Convert) -> Convert:
    return lambda values: {key: None if value is None else finish(value) for key, value in values.items()}


def _official(text: TypeText, raw: Raw) -> Any:
    return generations.deserialize(text, bytes(raw))


_shapes: dict[tuple[str, Maker, bool, frozenset[str]], Shape] = {}
_in_the_making: set[tuple[str, Maker, bool, frozenset[str]]] = set()
_making = threading.RLock()


def _new_lock_after_fork() -> None:
    global _making
    _making = threading.RLock()
    _in_the_making.clear()


os.register_at_fork(after_in_child=_new_lock_after_fork)


def shape_of(name: str, maker: Maker, *, deep: bool = False, leave_out: frozenset[str] = frozenset()) -> Shape:
    """The shape of a class by its official name; ``leave_out`` names JSON fields that are not to be read.

    Raises `UnknownModel`.
    """
    key = (name, maker, deep, leave_out)
    found = _shapes.get(key)
    if found is not None:
        return found
    with _making:
        if key in _in_the_making:
            raise _RefersToItselfError(name)
        if key not in _shapes:
            _in_the_making.add(key)
            try:
                _shapes[key] = Shape(name, maker, deep=deep, leave_out=leave_out)
            finally:
                _in_the_making.discard(key)
        return _shapes[key]
