"""The two generations of official models, behind one description.

Up to kubernetes 36 a model is a plain class with a private attribute and a property for each field; from 37 on
it is a pydantic model. Both carry ``openapi_types`` and ``attribute_map``. This module turns these into
`Field` values and holds the few things that differ (where a value is stored, how a timestamp becomes a
datetime, what a finished object carries beside its fields). It also holds the one call into the official
deserialiser, which is the fallback for all that the fast path does not expect. It does not decode anything itself.
"""

from __future__ import annotations

import abc
import atexit
import functools
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NewType

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
_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
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

    # Objects that are made together have their times in common: a pod's conditions, the pods of a deployment.
    remembered = functools.lru_cache(maxsize=1024)(TypeAdapter(datetime).validate_python)
    # The time zones of pydantic must not outlive its module: one that goes later takes the interpreter down with it.
    atexit.register(remembered.cache_clear)
    return remembered


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


class Memory:
    """How finished objects of one official class lie in memory."""

    def __init__(self, cls: type[Any]) -> None:
        slots = {name: slot for base in reversed(cls.__mro__) for name, slot in vars(base).items() if name in _SLOTS}
        self.cls = cls
        self.own: Callable[[Any], dict[str, Any]] = slots["__dict__"].__get__
        """An instance's own dictionary, whatever ``__dict__`` says."""
        self.put: Callable[[Any, dict[str, Any]], None] = slots["__dict__"].__set__
        self.is_pydantic = is_pydantic(cls)
        if self.is_pydantic:
            self._all_set = {field.store for field in fields_of_class(cls)}
            self._put_set = slots["__pydantic_fields_set__"].__set__
            self._put_extra = slots["__pydantic_extra__"].__set__
            self._put_private = slots["__pydantic_private__"].__set__

    def construct(self, values: dict[str, Any]) -> Any:
        """A finished object of ``{store: value}``, every field in its order, nothing validated."""
        instance = object.__new__(self.cls)
        self.install(instance, values)
        return instance

    def constructor(self) -> Callable[[dict[str, Any]], Any]:
        """`construct` for very many objects: without a call below it, and the dictionary has what `around` says."""
        new, cls = object.__new__, self.cls

        def legacy(whole: dict[str, Any]) -> Any:
            instance = new(cls)
            instance.__dict__ = whole
            return instance

        if not self.is_pydantic:
            return legacy
        copy_all, blank = self._all_set.copy, self._blank()

        def pydantic(whole: dict[str, Any]) -> Any:
            instance = new(blank)
            instance.__pydantic_fields_set__ = copy_all()
            instance.__pydantic_extra__ = instance.__pydantic_private__ = None
            instance.__dict__ = whole
            instance.__class__ = cls
            return instance

        return pydantic

    def _blank(self) -> type[Any]:
        """A class like the official one, but with the interpreter's own assignment, which costs next to nothing."""
        body = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
        made: type[Any] = abc.ABCMeta.__new__(type(self.cls), self.cls.__name__, (self.cls,), body)
        return made

    def around(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a finished object's dictionary holds before and after its fields."""
        if self.is_pydantic:
            return {}, {}
        return {"local_vars_configuration": configuration()}, {"discriminator": None}

    def install(self, instance: Any, values: dict[str, Any], held: Any = None) -> None:
        """Give an instance its finished dictionary and what its generation keeps beside it.

        ``held`` are the paths of a partial object, None for a whole one.
        """
        if self.is_pydantic:
            self._put_set(instance, self._all_set.copy())
            self._put_extra(instance, None)
            self._put_private(instance, None if held is None else {_HELD: held})
            self.put(instance, values)
            return
        before, after = self.around()
        whole = {**before, **values, **after}
        if held is not None:
            whole[_HELD] = held
        self.put(instance, whole)

    def held_paths(self, instance: Any) -> Any:
        """What `install` was told of a finished object."""
        kept = instance.__pydantic_private__ if self.is_pydantic else vars(instance)
        return (kept or {}).get(_HELD)


_memories: dict[type[Any], Memory] = {}


def memory_of(cls: type[Any]) -> Memory:
    """The memory of an official class, made once."""
    found = _memories.get(cls)
    return found if found is not None else _memories.setdefault(cls, Memory(cls))
