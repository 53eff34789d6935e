"""Deliberate misbehaviour: what the simulated server does wrong, to whom, and how often.

Strict by default: without a fault in the list nothing here has an effect. A fault has a target (resource, verb), and
a count, a rate or a period. What a fault does to a request or a stream is carried out in `requests` and `watches`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """All that can go wrong; the text is the name in the control interface."""

    # Whole requests
    STATUS = "status"
    """Answer with `status` (401, 403, 410, 429, 500, 503, ...) instead; `retry_after_s` where given."""
    HANG = "hang"
    """Accept, answer nothing, until the client goes or `delay_s` is over."""
    DELAY = "delay"
    """Answer `delay_s` later."""
    RESET = "reset"
    """Close the connection instead of an answer."""
    GARBAGE_BODY = "garbage_body"
    """Answer 200 with bytes that are not JSON."""
    EMPTY_LIST = "empty_list"
    """Answer a list with no items at the current version, as a broken proxy would."""
    TRUNCATED_LIST = "truncated_list"
    """Cut the body of a list after `after_bytes`."""
    LATER_PAGE = "later_page"
    """Answer `status` to requests with a continue token only."""
    NO_INITIAL_EVENTS = "no_initial_events"
    """Refuse sendInitialEvents, as servers without the feature do."""
    SKEW = "skew"
    """Let the Date header be `skew_s` off."""
    SLOW = "slow"
    """Write bodies in pieces of `size` bytes with `delay_s` between them."""
    # Streams of a watch
    DROP = "drop"
    """Leave out a line, silently."""
    DUPLICATE = "duplicate"
    """Send a line twice."""
    SWAP = "swap"
    """Send a line after the one that follows it."""
    LATE = "late"
    """Send a line, and all after it, `delay_s` late."""
    CUT = "cut"
    """Close the connection after `after_bytes` bytes of the stream, wherever that is in a line."""
    CUT_LINE = "cut_line"
    """Close the connection in the middle of a line."""
    END = "end"
    """End the stream properly."""
    GONE = "gone"
    """Send ERROR 410 in the stream and end it."""
    ERROR = "error"
    """Send ERROR with `status` in the stream and end it."""
    HALF_OPEN = "half_open"
    """Keep the socket open and forward nothing more."""
    GARBAGE_LINE = "garbage_line"
    """Insert a line that is not JSON."""
    NOT_UTF8_LINE = "not_utf8_line"
    """Insert a line that is not UTF-8."""
    HUGE_LINE = "huge_line"
    """Insert a line of `size` bytes."""
    UNKNOWN_TYPE = "unknown_type"
    """Insert an event of a type that nobody knows."""


STREAM_KINDS = frozenset(
    {
        FaultKind.DROP,
        FaultKind.DUPLICATE,
        FaultKind.SWAP,
        FaultKind.LATE,
        FaultKind.CUT,
        FaultKind.CUT_LINE,
        FaultKind.END,
        FaultKind.GONE,
        FaultKind.ERROR,
        FaultKind.HALF_OPEN,
        FaultKind.GARBAGE_LINE,
        FaultKind.NOT_UTF8_LINE,
        FaultKind.HUGE_LINE,
        FaultKind.UNKNOWN_TYPE,
    }
)


_RANGES: Mapping[str, tuple[tuple[type, ...], float, float]] = {
    "count": ((int,), 0, 10**9),
    "every": ((int,), 1, 10**9),
    "rate": ((int, float), 0, 1),
    "status": ((int,), 400, 599),
    "retry_after_s": ((int,), 0, 3600),
    "delay_s": ((int, float), 0, 3600),
    "after_bytes": ((int,), 0, 10**9),
    "skew_s": ((int, float), -(10**9), 10**9),
    "size": ((int,), 1, 256 * 1024 * 1024),
}
"""What the control interface accepts: types, least and greatest value of each setting."""


@dataclass(kw_only=True, eq=False)
class Fault:
    """One thing that goes wrong. Chances count per request, or per line for faults of streams."""

    kind: FaultKind
    resource: str = "*"
    """A plural, `plural.group`, or all."""
    verb: str = "*"
    """`list`, `watch`, `get`, `create`, ...; faults of streams hit watches whatever stands here."""
    namespace: str = "*"
    count: int | None = 1
    """How often it happens; None: for ever."""
    every: int = 1
    """Only each n-th chance."""
    rate: float = 1.0
    """Only with this probability (drawn from the seed of the faults)."""
    status: int = 500
    retry_after_s: int | None = None
    delay_s: float = 0.0
    after_bytes: int = 0
    skew_s: float = 0.0
    size: int = 1024
    message: str = ""
    happened: int = field(default=0, init=False)
    chances: int = field(default=0, init=False)

    @property
    def is_spent(self) -> bool:
        """Whether it has happened as often as it should."""
        return self.count is not None and self.happened >= self.count

    def as_dict(self) -> dict[str, Any]:
        """For the control interface."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


class Faults:
    """The faults that are set, in the order in which they were added."""

    def __init__(self, *, seed: int = 0) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - chances, not secrets
        self.on_change: Callable[[], None] = lambda: None
        """Called when a fault is set, so that streams that wait for events notice it at once."""

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def add(self, kind: FaultKind | str, **settings: Any) -> Fault:
        """Set a fault; the answer tells later how often it happened. Raises ValueError, TypeError."""
        fault = Fault(kind=FaultKind(kind), **settings)
        self._faults.append(fault)
        self.on_change()
        return fault

    def add_from(self, spec: Mapping[str, Any]) -> Fault:
        """Set a fault from JSON; raises ValueError naming what is wrong."""
        known = {each.name for each in fields(Fault) if each.init}
        if unknown := sorted(set(spec) - known):
            raise ValueError(f"unknown settings of a fault: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        if spec.get("kind") not in set(FaultKind):
            raise ValueError(f"kind must be one of {', '.join(FaultKind)}")
        for name, (types, least, most) in _RANGES.items():
            value: Any = spec.get(name, least)
            is_number = isinstance(value, types) and not isinstance(value, bool)
            fits = is_number and least <= float(value) <= most
            if not fits and not (value is None and name in ("count", "retry_after_s")):
                raise ValueError(f"{name} must be a number from {least} to {most}")
        return self.add(spec["kind"], **{name: value for name, value in spec.items() if name != "kind"})

    def remove(self, fault: Fault) -> None:
        """End a fault; one that is not set is no error."""
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()

    def take(self, kind: FaultKind, names: Iterable[str], verb: str, namespace: str = "") -> Fault | None:
        """A chance for one kind of fault: the fault that happens now, if any. `names` are those of the resource."""
        if not self._faults:
            return None
        for fault in self._faults:
            if fault.kind is kind and self._aims(fault, names, verb, namespace) and self._happens(fault):
                return fault
        return None

    def take_at_once(self, kind: FaultKind, names: Iterable[str], namespace: str = "") -> Fault | None:
        """As `take` for a stream on which nothing happens: only faults that need not count lines."""
        for fault in self._faults:
            plain = fault.kind is kind and fault.every == 1 and fault.rate >= 1.0
            if plain and self._aims(fault, names, "watch", namespace) and self._happens(fault):
                return fault
        return None

    def take_after(self, sent: int, names: Iterable[str], namespace: str = "") -> Fault | None:
        """The cut that is due in a stream that would have sent so many bytes."""
        for fault in self._faults:
            due = fault.kind is FaultKind.CUT and sent > fault.after_bytes
            if due and self._aims(fault, names, "watch", namespace) and self._happens(fault):
                return fault
        return None

    def any_for_stream(self, names: Iterable[str], namespace: str = "") -> bool:
        """Whether a watch of this resource must look at each line."""
        return any(
            fault.kind in STREAM_KINDS and not fault.is_spent and self._aims(fault, names, "watch", namespace)
            for fault in self._faults
        )

    @staticmethod
    def _aims(fault: Fault, names: Iterable[str], verb: str, namespace: str) -> bool:
        return (
            fault.resource in ("*", *names)
            and (fault.kind in STREAM_KINDS or fault.verb in ("*", verb))
            and fault.namespace in ("*", namespace)
        )

    def _happens(self, fault: Fault) -> bool:
        if fault.is_spent:
            return False
        fault.chances += 1
        if fault.chances % fault.every:
            return False
        if fault.rate < 1.0 and self._random.random() >= fault.rate:
            return False
        fault.happened += 1
        return True
