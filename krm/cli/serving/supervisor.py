"""Keeps the parts of ``krm demo`` and ``krm run`` alive together and ends them together.

One thread, one loop over what can happen: a signal, an ended child, a line of a child's log, a time that has come.
A part that dies is started again, later each time it dies soon. Whatever ends the supervisor ends every part: in order
when it can (the servers and workers, what they work against, Redis last), by closed pipes when it is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

from krm.cli import output
from krm.cli.serving import children
from krm.cli.serving.children import Child, Part
from krm.cli.serving.relay import Relay
from krm.errors import KrmError, StoreUnreachable
from krm.store.local import LocalRedis

STOP_S: Final = 6.0
"""From SIGTERM to SIGKILL: a worker drains for five seconds at most."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
HEALTHY_S: Final = 60.0
"""A part that lived this long starts again as if it had never died."""
_LOOK_S: Final = 0.05
"""Between two looks whether the API is ready."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CONFIGURATION: Final = 2
"""Exit status of a part that starting again cannot help."""


@dataclass
class _Life:
    """One part through its deaths."""

    part: Part
    child: Child | None = None
    started_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    due_s: float | None = 0.0
    """When to start it; None while it runs."""


@dataclass
class Supervisor:
    """Runs ``parts`` until a signal comes, ``duration_s`` is over, or one fails for good.

    ``last``: the parts that end only after all others have. ``look``: asked often until it says True; it announces.
    """

    parts: Sequence[Part]
    last: frozenset[str] = frozenset()
    redis: LocalRedis | None = None
    duration_s: float | None = None
    look: Callable[[], bool] | None = None
    relay: Relay = field(default_factory=lambda: Relay(2, has_names=True))
    _lives: list[_Life] = field(default_factory=list, init=False)
    _signalled: int = field(default=0, init=False)

    def run(self) -> int:
        """Returns the exit status: 0 when told to stop. Raises ``KrmError`` when a part cannot run."""
        self._lives = [_Life(part) for part in self.parts]
        lifeline, ours = os.pipe()
        try:
            with self._signals() as wakened:
                try:
                    return self._loop(wakened, lifeline)
                finally:
                    self._stop(wakened)
        finally:
            os.close(lifeline)
            os.close(ours)

    # The loop

    def _loop(self, wakened: socket.socket, lifeline: int) -> int:
        began = time.monotonic()
        while not self._signalled:
            now = time.monotonic()
            if self.duration_s is not None and now - began >= self.duration_s:
                return 0
            for life in self._lives:
                if life.due_s is not None and life.due_s <= now:
                    self._start(life, lifeline)
            if self.look is not None and self.look():
                self.look = None
            self._wait(wakened, self._next_s(began))
            status = self._bury()
            if status is not None:
                return status
            self._mind_redis()
        return 0

    def _next_s(self, began: float) -> float:
        """How long nothing but an event needs us."""
        now = time.monotonic()
        times = [life.due_s - now for life in self._lives if life.due_s is not None]
        times += [self.duration_s - (now - began)] if self.duration_s is not None else []
        times += [_LOOK_S] if self.look is not None else [1.0]
        return max(0.0, min(times))

    def _start(self, life: _Life, lifeline: int) -> None:
        life.child = children.start(life.part, lifeline)
        life.started_s, life.due_s = time.monotonic(), None

    def _wait(self, wakened: socket.socket, timeout_s: float) -> None:
        """Wait for something to happen, and pass on what the children said meanwhile."""
        watched = select.poll()
        watched.register(wakened, select.POLLIN)
        sources: dict[int, Child] = {}
        for child in self._running():
            watched.register(child.ended, select.POLLIN)
            watched.register(child.output, select.POLLIN)
            sources[child.output] = child
        for fd, _ in watched.poll(int(timeout_s * 1000) + 1):
            if fd == wakened.fileno():
                with contextlib.suppress(BlockingIOError):
                    wakened.recv(64)
            elif fd in sources:
                self.relay.pass_on(sources[fd].part.name, fd)

    def _running(self) -> list[Child]:
        return [life.child for life in self._lives if life.child is not None]

    def _bury(self) -> int | None:
        """See to the children that have ended; an exit status if that ends everything."""
        for life in self._lives:
            if life.child is None or not _is_readable(life.child.ended):
                continue
            status = self._end_of(life)
            if self._signalled:
                return 0
            if status == _CONFIGURATION:
                return status  # it has said what is wrong, and that will not change by itself
            now = time.monotonic()
            if now - life.started_s >= HEALTHY_S:
                life.pause_s = FIRST_PAUSE_S
            life.due_s = now + life.pause_s
            output.say(f"{life.part.name} {_how(status)}; starting it again in {life.pause_s:g} s")
            life.pause_s = min(life.pause_s * 2, LONGEST_PAUSE_S)
        return None

    def _end_of(self, life: _Life) -> int:
        child, life.child = life.child, None
        assert child is not None
        status = children.reap(child)
        # What it said last. The pipe may be held open by a grandchild: then it ends without its end.
        for _ in range(64):
            if not _is_readable(child.output) or not self.relay.pass_on(child.part.name, child.output):
                break
        os.close(child.output)
        return status

    def _mind_redis(self) -> None:
        """Start the own Redis again, at the same address and empty: the workers fill it anew."""
        if self.redis is None or self.redis.is_running or self._signalled:
            return
        output.say("redis ended; starting it again, empty")
        try:
            self.redis.spawn()
            self.redis.wait()
        except StoreUnreachable as error:
            raise KrmError(f"{error}; without Redis nothing works") from error

    # Signals and the end

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Catch what tells us to end; the socket becomes readable then."""
        waking, wakened = socket.socketpair()
        waking.setblocking(False)
        wakened.setblocking(False)
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        try:
            for number in _SIGNALS:
                if number == signal.SIGHUP and before[number] == signal.SIG_IGN:
                    continue  # nohup
                signal.signal(number, self._note)
            yield wakened
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            waking.close()
            wakened.close()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled += 1

    def _stop(self, wakened: socket.socket) -> None:
        """End everything: first what works, then what it works against. A second signal ends the patience."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        for is_last in (False, True):
            self._stop_some([life for life in self._lives if (life.part.name in self.last) is is_last], wakened)
        if self.redis is not None:
            self.redis.stop()

    def _stop_some(self, lives: Sequence[_Life], wakened: socket.socket) -> None:
        told = self._signalled
        for life in lives:
            _send(life, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while any(life.child for life in lives) and time.monotonic() < deadline and self._signalled <= max(told, 1):
            self._wait(wakened, min(0.5, deadline - time.monotonic()))
            self._collect(lives)
        for life in lives:
            if life.child is not None:
                _send(life, signal.SIGKILL)
                output.say(f"{life.part.name} did not end in time and was killed")
                self._end_of(life)

    def _collect(self, lives: Sequence[_Life]) -> None:
        for life in lives:
            if life.child is not None and _is_readable(life.child.ended):
                self._end_of(life)


def _send(life: _Life, number: signal.Signals) -> None:
    if life.child is not None:
        signal.pidfd_send_signal(life.child.ended, number)


def _is_readable(fd: int) -> bool:
    watched = select.poll()
    watched.register(fd, select.POLLIN)
    return bool(watched.poll(0))


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
