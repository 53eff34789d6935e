"""Official objects that are built at once: all JSON is decoded in one pass, then put in its places.

For each class a function is compiled that is one dictionary display, as ``dataclasses`` compiles ``__init__``:
a loop over the fields takes about twice as long, and a list of pods makes a million of these objects.
"""

from __future__ import annotations

import keyword
from typing import Any

from krm_client.models.generations import UnknownType
from krm_client.models.shapes import Convert, Shape


def eagerly(shape: Shape) -> Convert:
    """What makes a finished object of a struct of this (deep) shape."""
    names: dict[str, Any] = {"construct": shape.memory.constructor()}
    before, after = shape.memory.around()
    entries = [_constant(store, value, names) for store, value in before.items()]
    entries += [_field(store, convert, names) for store, convert in shape.converters.items()]
    entries += [_constant(store, value, names) for store, value in after.items()]
    source = f"def make(struct):\n    return construct({{{', '.join(entries)}}})\n"
    exec(compile(source, f"<eager {shape.name}>", "exec"), names)  # noqa: S102 (only names of fields, checked, are in it)
    made: Convert = names["make"]
    return made


def _constant(store: str, value: Any, names: dict[str, Any]) -> str:
    name = f"constant_{len(names)}"
    names[name] = value
    return f"{store!r}: {name}"


def _field(store: str, convert: Convert | None, names: dict[str, Any]) -> str:
    if not store.isidentifier() or keyword.iskeyword(store):
        raise UnknownType(f"{store!r} is no name of a field")
    if convert is None:
        return f"{store!r}: struct.{store}"
    name = f"convert_{len(names)}"
    names[name] = convert
    return f"{store!r}: None if (value := struct.{store}) is None else {name}(value)"
