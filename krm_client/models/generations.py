"""The two generations of official models, behind one description.

Up to kubernetes 36 a model is a plain class with a private attribute and a property for each field; from 37 on
it is a pydantic model. Both carry ``openapi_types`` and ``attribute_map``. This module turns these into
`Field` values and holds the few things that differ (where a value is stored, how a timestamp becomes a
datetime, what a finished object carries beside its fields). It also holds the one call into the official
deserialiser, which is the fallback for all that the fast path does not expect. It does not decode anything itself.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NewType

Real = Callable[[Any], dict[str, Any]]
TypeText = NewType("TypeText", str)
"""A type as ``openapi_types`` spells it, e.g. ``list[V1Container]``."""

_SCALARS = {"str": str, "int": int, "bool": bool, "float": float, "bytes": str}
# dict(str, str) up to 35, dict[str, str] in 36, Dict[str, str] from 37 on.
_SPELLINGS = (
    (re.compile(r"[Ll]ist\[(.+)\]"), "list"),
    (re.compile(r"[Dd]ict\[str, (.+)\]"), "dict"),
    (re.compile(r"dict\(str, (.+)\)"), "dict"),
)
_MODEL = re.compile(r"[A-Z][A-Za-z0-9]*")
_HELD = "_krm_held"
_WHOLE_SECONDS = len("2026-01-01T00:00:00Z")
_MICROSECONDS = len("2026-01-01T00:00:00.000000Z")


class UnknownModel(LookupError):
    """The installed kubernetes client has no model of that name."""


class UnknownType(TypeError):
    """A model declares a type that this module cannot read: a new spelling, to be taught here."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A field's type: ``form`` is scalar, datetime, object, model, list or dict."""

    form: str
    scalar: type | None = None
    model: str = ""
    item: Kind | None = None


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a model: its attribute, its name in JSON, its key in the instance's ``__dict__``, its type."""

    attribute: str
    wire: str
    store: str
    text: TypeText
    kind: Kind


def model_class(name: str) -> type[Any]:
    """The official class, e.g. ``V1Pod``. Raises `UnknownModel`."""
    import kubernetes.client.models as models

    found = getattr(models, name, None)
    if not (isinstance(found, type) and hasattr(found, "openapi_types")):
        raise UnknownModel(f"the installed kubernetes client has no model {name!r}")
    return found


def is_pydantic(cls: type[Any]) -> bool:
    return hasattr(cls, "__pydantic_validator__")


@functools.cache
def parse_type(text: str) -> Kind:
    """Read a type as ``openapi_types`` spells it. Raises `UnknownType` rather than guess."""
    if text in _SCALARS:
        return Kind(form="scalar", scalar=_SCALARS[text])
    if text in ("datetime", "object"):
        return Kind(form=text)
    for pattern, form in _SPELLINGS:
        if match := pattern.fullmatch(text):
            return Kind(form=form, item=parse_type(match[1]))
    if _MODEL.fullmatch(text):
        return Kind(form="model", model=text)
    raise UnknownType(f"a kubernetes model declares the type {text!r}, which is not known here")


def fields_of_class(cls: type[Any]) -> tuple[Field, ...]:
    """The fields of an official class, in the order in which it keeps them."""
    stores = _pydantic_stores(cls) if is_pydantic(cls) else None
    wires: Mapping[str, str] = cls.attribute_map
    return tuple(
        Field(
            attribute=attribute,
            wire=wires[attribute],
            store=_legacy_store(cls, attribute) if stores is None else stores[wires[attribute]],
            text=TypeText(text),
            kind=parse_type(text),
        )
        for attribute, text in cls.openapi_types.items()
    )


def _pydantic_stores(cls: type[Any]) -> dict[str, str]:
    return {info.serialization_alias or name: name for name, info in cls.model_fields.items()}


def _legacy_store(cls: type[Any], attribute: str) -> str:
    """``_name``; an attribute like ``_exec`` is kept as ``__exec``, which Python mangles with the class's name."""
    name = f"_{attribute}"
    if name.startswith("__") and not name.endswith("__"):
        return f"_{cls.__name__.lstrip('_')}{name}"
    return name


def deserialize(text: str, data: bytes | str) -> Any:
    """What the official client makes of JSON, by its own deserialiser: the reference, slow, raising what it raises.

    The public method takes a response object up to 36 and text from 37 on, so the one below it is called, which has
    kept its name and arguments.
    """
    value = json.loads(data)
    client = _api_client()
    return client._ApiClient__deserialize(value, text)


@functools.cache
def _api_client() -> Any:
    from kubernetes.client.api_client import ApiClient

    return ApiClient(configuration())


@functools.cache
def configuration() -> Any:
    """The configuration that legacy models carry; one for all of ours, as the official client shares its own."""
    from kubernetes.client.configuration import Configuration

    get_default = getattr(Configuration, "get_default_copy", Configuration)
    return get_default()


def parser_of_times(cls: type[Any]) -> Callable[[str], datetime]:
    """How this generation makes a datetime of a timestamp, tzinfo included, so that even ``repr`` is the same."""
    return _pydantic_time() if is_pydantic(cls) else _legacy_time


@functools.cache
def _pydantic_time() -> Callable[[str], datetime]:
    from pydantic import TypeAdapter

    parse: Callable[[str], datetime] = TypeAdapter(datetime).validate_python
    return parse


def _legacy_time(text: str) -> datetime:
    """``dateutil.parser.parse``, with a short cut for the two forms that API servers send."""
    size = len(text)
    if size in (_WHOLE_SECONDS, _MICROSECONDS) and text[10] == "T" and text[-1] == "Z" and text[4] == "-":
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            return _dateutil_time(text)
        return parsed.replace(tzinfo=_legacy_utc(time.tzname))
    return _dateutil_time(text)


def _dateutil_time(text: str) -> datetime:
    from dateutil.parser import parse

    parsed: datetime = parse(text)
    return parsed


@functools.lru_cache(maxsize=8)
def _legacy_utc(_names: tuple[str, str]) -> Any:
    """The tzinfo that dateutil gives for ``Z``: its own UTC, or the local zone where that is called UTC."""
    return _dateutil_time("2026-01-01T00:00:00Z").tzinfo or UTC


def construct(cls: type[Any], values: dict[str, Any]) -> Any:
    """A finished official object of ``{store: value}``, every field set, nothing validated."""
    instance = object.__new__(cls)
    install(instance, cls, values)
    return instance


def install(instance: Any, cls: type[Any], values: dict[str, Any], held: Any = None) -> None:
    """Give an instance its finished ``__dict__`` and what its generation keeps beside it.

    ``held`` are the paths of a partial object, None for a whole one.
    """
    if is_pydantic(cls):
        put = object.__setattr__
        put(instance, "__pydantic_fields_set__", set(values))
        put(instance, "__pydantic_extra__", None)
        put(instance, "__pydantic_private__", None if held is None else {_HELD: held})
        set_real_dict(cls)(instance, values)
    else:
        whole = {"local_vars_configuration": configuration(), **values, "discriminator": None}
        if held is not None:
            whole[_HELD] = held
        set_real_dict(cls)(instance, whole)


def held_paths(instance: Any) -> Any:
    """What `install` was told of a finished object."""
    kept = instance.__pydantic_private__ if is_pydantic(type(instance)) else vars(instance)
    return (kept or {}).get(_HELD)


def _dict_slot(cls: type[Any]) -> Any:
    for base in cls.__mro__:
        if "__dict__" in vars(base):
            return vars(base)["__dict__"]
    raise UnknownType(f"{cls.__name__} keeps no __dict__")


def real_dict(cls: type[Any]) -> Real:
    """A function that gives an instance's own dictionary, whatever ``__dict__`` says."""
    slot = _dict_slot(cls)
    get: Real = slot.__get__
    return get


def set_real_dict(cls: type[Any]) -> Callable[[Any, dict[str, Any]], None]:
    put: Callable[[Any, dict[str, Any]], None] = _dict_slot(cls).__set__
    return put
