"""Official objects that are built at once: all JSON is decoded in one pass, then put in its places."""

from __future__ import annotations

from typing import Any

import msgspec

from krm_client.models.shapes import Convert, Shape


def eagerly(shape: Shape) -> Convert:
    """What makes a finished object of a struct of this (deep) shape.

    Written for speed, since a list of pods makes a million of these objects: the dictionary is a copy of one in which
    all is None already, which neither hashes a name nor grows, and most fields of most objects stay None.
    """
    astuple, construct = msgspec.structs.astuple, shape.memory.constructor()
    before, after = shape.memory.around()
    empty = {**before, **dict.fromkeys(shape.stores), **after}.copy
    stores, converters = shape.stores, tuple(shape.converters[store] for store in shape.stores)

    def make(struct: Any) -> Any:
        whole = empty()
        for store, convert, value in zip(stores, converters, astuple(struct)):  # noqa: B905 (all as long)
            if value is not None:
                whole[store] = value if convert is None else convert(value)
        return construct(whole)

    return make
