"""A part of ``krm demo`` and ``krm run`` as a child process: forked, so that what is imported once serves all of them.

A child ignores Ctrl-C (the terminal sends it to the whole process group; who ends when is the supervisor's to say),
writes into a pipe, and ends when the supervisor is gone, however it went: it reads a pipe whose other end only the
supervisor holds. The supervisor must have no threads when it forks.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from krm.cli import ends

ORPHAN_GRACE_S: Final = 5.0
"""How long a child whose supervisor is gone may take to end properly."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a child is: its name in the log, and what it runs (returns the exit status)."""

    name: str
    run: Callable[[], int]
    keeps: tuple[int, ...] = ()
    """File descriptors that it needs: its listening socket."""
    imports: tuple[str, ...] = ()
    """Modules to import in the supervisor before it forks: once for all parts that share them."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A running part."""

    part: Part
    pid: int
    ended: int
    """A pidfd: readable when the process has ended."""
    output: int
    """What it writes on standard output and standard error."""


def start(part: Part, lifeline: int) -> Child:
    """Fork ``part``. ``lifeline``: the reading end of the pipe that closes with the supervisor."""
    for module in part.imports:
        importlib.import_module(module)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else the child would write it a second time
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover (in the child)
        _become(part, lifeline, writing)
    os.close(writing)
    os.set_blocking(reading, False)
    return Child(part=part, pid=pid, ended=os.pidfd_open(pid), output=reading)


def reap(child: Child) -> int:
    """The exit status of a child that has ended (negative: the signal that ended it)."""
    _, status = os.waitpid(child.pid, 0)
    os.close(child.ended)
    return os.waitstatus_to_exitcode(status)


def _become(part: Part, lifeline: int, output: int) -> None:  # pragma: no cover (in the child)
    status = 1
    try:
        _cut_loose(output, {lifeline, *part.keeps})
        Path("/proc/self/comm").write_text(f"krm {part.name}"[:15])  # what ps and top show
        watch = threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True)
        watch.start()
        status = part.run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        status = ends.INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the end of this process)
        status = ends.explain(error)
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _cut_loose(output: int, kept: set[int]) -> None:  # pragma: no cover (in the child)
    """Let go of all that is the supervisor's: its signals, its terminal, its pipes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (numbers, no paths)
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # the one that listed them
                continue


def _end_with(lifeline: int) -> None:  # pragma: no cover (in the child)
    """Nobody writes into the pipe: it becomes readable when the supervisor is gone."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
