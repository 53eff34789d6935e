"""Official objects that decode a field when it is first touched.

A lazy object is an instance of a subclass of the official class that adds nothing but lateness: until it is
touched, it holds only the decoded struct of its JSON (`_STRUCT`). A plain value is read from the struct, without
a line of Python. Reading any other field finds nothing, lands in ``__getattr__``, converts that one field and
stores it where the official object keeps it; from then on reading is as fast as on any object. Whatever looks at
the object as a whole (``__dict__``, ``vars``, ``copy``, ``pickle``, pydantic's serialiser) or changes it
(assignment, ``del``) first *finishes* it: all fields are put in their places and the object's class becomes the
official class itself, so that nothing of ours is left.

Threads may share a lazy object: whoever converts a field first wins, and finishing happens under a lock.
Not promised: ``type(obj) is V1Pod`` before an object is finished (``isinstance`` and ``obj.__class__`` hold).
"""

from __future__ import annotations

import abc
import functools
import operator
import os
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from krm_client.models import generations
from krm_client.models.shapes import Convert, Shape

Path = tuple[str, ...]

_STRUCT = "~struct"
"""Key of the decoded struct in an unfinished object's dictionary; no field can have this name."""

_HELD = "~held"
"""Key of the paths that a partial object holds, while it is unfinished; later `generations` keeps them."""

_CONVERTED = object()
"""In a struct, instead of a value that was converted: the object itself has it now."""

_MUTATORS = ("__copy__", "__deepcopy__", "__delattr__", "__getstate__", "__reduce__", "__reduce_ex__", "__setattr__")
_MUTATORS_OF_PYDANTIC = ("__replace__", "__setstate__", "copy", "model_copy")

_finishing = threading.RLock()


def _new_lock_after_fork() -> None:
    global _finishing
    _finishing = threading.RLock()


os.register_at_fork(after_in_child=_new_lock_after_fork)


class LazyClass:
    """The subclass of one official class and what makes and finishes its objects."""

    def __init__(self, official: type[Any], *, is_partial: bool) -> None:
        self.official = official
        self.is_partial = is_partial
        self.memory = generations.memory_of(official)
        self.own = self.memory.own
        self.put = self.memory.put
        self.cls = self._subclass()

    def finish(self, instance: Any) -> None:
        """Turn an instance into an official object, for good. Does nothing to one that is finished already."""
        with _finishing:
            if type(instance) is not self.cls:
                return
            fields = self.own(instance)
            struct = fields.get(_STRUCT)
            if struct is not None:
                self.memory.install(instance, _finished(struct, fields), fields.get(_HELD))
            _set_class(instance, self.official)

    def _subclass(self) -> type[Any]:
        official, own, finish = self.official, self.own, self.finish

        def get_dict(instance: Any) -> dict[str, Any]:
            finish(instance)
            return own(instance)

        def set_dict(instance: Any, value: dict[str, Any]) -> None:
            finish(instance)
            self.put(instance, value)

        body: dict[str, Any] = {
            "__slots__": (),
            "__module__": official.__module__,
            "__qualname__": official.__qualname__,
            "__doc__": official.__doc__,
            "__getattr__": self._getter(),
            "__dict__": property(get_dict, set_dict),
            "__class__": property(lambda _self: official, _set_class),
        }
        body.update(_plain_values(official))
        names = _MUTATORS + (_MUTATORS_OF_PYDANTIC if generations.is_pydantic(official) else ())
        body.update((name, _finished_first(name, finish)) for name in names if hasattr(official, name))
        metaclass = type(official)
        create = abc.ABCMeta.__new__ if issubclass(metaclass, abc.ABCMeta) else type.__new__
        # Past pydantic's own metaclass: it would build the validator again, which is inherited and right as it is.
        made: type[Any] = create(metaclass, official.__name__, (official,), body)
        return made

    def _getter(self) -> Callable[[Any, str], Any]:
        """What reads a field that is not there yet."""
        own, finish, is_partial = self.own, self.finish, self.is_partial

        def get(instance: Any, name: str) -> Any:
            try:
                struct = _load(instance, _STRUCT)
                convert = struct.krm_shape.converters[name]
            except (AttributeError, KeyError):
                return otherwise(instance, name)
            value = held = getattr(struct, name)
            if convert is None:
                return value
            if value is not None and value is not _CONVERTED:
                value = convert(value)
                if is_partial:
                    _pass_on(own(instance)[_HELD], struct.krm_shape.wires[name], value)
            with _finishing:
                # Of several threads that convert at once, the first one's value is everybody's.
                if getattr(struct, name) is held and held is not _CONVERTED:
                    setattr(struct, name, _CONVERTED)
                    _store(instance, name, value)
                    return value
            return own(instance)[name]

        def otherwise(instance: Any, name: str) -> Any:
            fields = own(instance)
            if name in fields:  # another thread is finishing it at the moment
                return fields[name]
            finish(instance)
            return getattr(instance, name)

        return get


def _plain_values(official: type[Any]) -> dict[str, Any]:
    """Properties that read what needs no conversion, by their attributes, straight from the struct."""
    return {
        field.attribute: property(operator.attrgetter(f"{_STRUCT}.{field.store}"))
        for field in generations.fields_of_class(official)
        if field.kind.form == "scalar"
    }


def _finished_first(name: str, finish: Any) -> Any:
    def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
        finish(instance)
        return getattr(instance, name)(*args, **kwargs)

    call.__name__ = name
    return call


_set_class = vars(object)["__class__"].__set__
_load = object.__getattribute__
_store = object.__setattr__
_lazy_classes: dict[tuple[type[Any], bool], LazyClass] = {}


def _lazy_class(official: type[Any], *, is_partial: bool = False) -> LazyClass:
    """Made once for each official class."""
    key = (official, is_partial)
    found = _lazy_classes.get(key)
    return found if found is not None else _lazy_classes.setdefault(key, LazyClass(official, is_partial=is_partial))


def _finished(struct: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """All fields of an object in their order: what was touched before as it is, the rest converted now."""
    shape: Shape = struct.krm_shape
    values = dict(zip(shape.stores, msgspec.structs.astuple(struct), strict=True))
    for store in shape.nested:
        value = values[store]
        if value is not None and store not in fields:
            convert = shape.converters[store]
            assert convert is not None
            value = convert(value)
            if _HELD in fields:
                _pass_on(fields[_HELD], shape.wires[store], value)
            fields.setdefault(store, value)
    for store, value in fields.items():
        if store in values:
            values[store] = value
    return values


def lazily(shape: Shape) -> Convert:
    """What makes a lazy object of a struct of this shape."""
    new, cls, store = object.__new__, _lazy_class(shape.official).cls, _store

    def make(struct: Any) -> Any:
        instance = new(cls)
        # Not into a dictionary: the interpreter makes one only when somebody asks for it.
        store(instance, _STRUCT, struct)
        return instance

    return make


def make_partial(struct: Any, paths: tuple[Path, ...]) -> Any:
    """An object of which only ``paths`` (of wire names) were fetched; all else reads None."""
    made = struct.krm_shape.make(struct)
    _hold(made, paths)
    return made


def _hold(instance: Any, paths: tuple[Path, ...]) -> None:
    """Turn a fresh lazy object into one that holds only these paths."""
    _store(instance, _HELD, paths)
    _set_class(instance, _partial_class(type(instance)))  # type: ignore[arg-type]  # mypy: no class is hashable


@functools.cache
def _partial_class(cls: type[Any]) -> type[Any]:
    """Of the objects of a lazy class that hold some paths only."""
    return _lazy_class(cls.__mro__[1], is_partial=True).cls


def preset(instance: Any, values: dict[str, Any]) -> None:
    """Put plain fields of a fresh object in place, instead of what its JSON says."""
    if _lazy_class_of(instance) is None:
        vars(instance).update(values)
        return
    struct = _load(instance, _STRUCT)
    for store, value in values.items():
        setattr(struct, store, value)


def held_paths(instance: Any) -> tuple[Path, ...] | None:
    """What a partial object holds; None for a whole one."""
    lazy = _lazy_class_of(instance)
    if lazy is not None:
        held: tuple[Path, ...] | None = lazy.own(instance).get(_HELD)
    else:
        held = generations.memory_of(type(instance)).held_paths(instance)
    return held


def _lazy_class_of(instance: Any) -> LazyClass | None:
    """The lazy class of an unfinished object."""
    return _lazy_class_of_type(type(instance))  # type: ignore[arg-type]  # as above


@functools.cache
def _lazy_class_of_type(cls: type[Any]) -> LazyClass | None:
    if len(cls.__mro__) <= 2:
        return None
    for is_partial in (False, True):
        lazy = _lazy_classes.get((cls.__mro__[1], is_partial))
        if lazy is not None and lazy.cls is cls:
            return lazy
    return None


def _pass_on(paths: tuple[Path, ...], wire: str, value: Any) -> None:
    """Tell what is below a partial object which part of it was fetched; nothing if all of it was."""
    below = _below(paths, wire)
    if below is None:
        return
    children = value if isinstance(value, list) else value.values() if isinstance(value, dict) else (value,)
    for child in children:
        if _lazy_class_of(child) is not None:
            _hold(child, below)


@functools.lru_cache(maxsize=1024)
def _below(paths: tuple[Path, ...], wire: str) -> tuple[Path, ...] | None:
    """Which paths were fetched below a field; None if all were."""
    below = tuple(path[1:] for path in paths if path[0] == wire)
    return None if () in below else below


def finish_all(value: Any) -> Any:
    """Finish an object and everything below it; gives the same object."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, list):
            pending.extend(current)
        elif isinstance(current, dict):
            pending.extend(current.values())
        elif hasattr(type(current), "openapi_types"):
            lazy = _lazy_class_of(current)
            if lazy is not None:
                lazy.finish(current)
            pending.extend(vars(current).values())
    return value
