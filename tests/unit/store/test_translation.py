"""Each error of the library as ours, wherever in its chain the reason is."""

from __future__ import annotations

import pytest
from redis import exceptions

from krm.errors import Fenced, OutOfStep, StoreRefused, StoreUnreachable
from krm.store.connect import translated


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("raised", "kind", "told"),
    [
        (exceptions.ConnectionError("cut\nmore"), StoreUnreachable, "cut$"),
        (exceptions.ConnectionError(), StoreUnreachable, "ConnectionError"),
        (exceptions.TimeoutError("slow"), StoreUnreachable, "slow"),
        (TimeoutError(), StoreUnreachable, "TimeoutError"),
        (ConnectionResetError(104, "reset"), StoreUnreachable, "reset"),
        (RuntimeError("unable to perform operation on <...>; the handler is closed"), StoreUnreachable, "was reset"),
        (exceptions.BusyLoadingError("LOADING"), StoreUnreachable, "loading"),
        (caused(exceptions.ConnectionError(""), exceptions.BusyLoadingError()), StoreUnreachable, "loading"),
        (exceptions.AuthenticationError("x"), StoreRefused, "password"),
        (caused(exceptions.ConnectionError(""), exceptions.AuthenticationError()), StoreRefused, "password"),
        (exceptions.ResponseError("KRMFENCED streamer"), Fenced, "streamer"),
        (exceptions.ResponseError("KRMOUTOFSTEP position"), OutOfStep, "position"),
        (exceptions.OutOfMemoryError("command not allowed"), StoreRefused, "full"),
        (exceptions.ResponseError("in a script: OOM command not allowed"), StoreRefused, "full"),
        (exceptions.ReadOnlyError("a replica"), StoreRefused, "replica"),
        (
            exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
            StoreUnreachable,
            "now: NOREPLICAS",
        ),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), StoreUnreachable, "now: BUSY"),
        (exceptions.NoPermissionError("no rights"), StoreRefused, "no rights"),
        (exceptions.InvalidResponse("odd"), StoreRefused, "unexpectedly: odd"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:30]),
)
def test_error_of_the_library_becomes_ours(raised: Exception, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as caught, translated():
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("other", [KeyError("k"), RuntimeError("another")], ids=repr)
def test_other_errors_pass(other: Exception) -> None:
    with pytest.raises(type(other)), translated():
        raise other
