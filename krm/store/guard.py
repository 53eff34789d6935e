"""A program of its own that ends a server, and removes its folder, when whoever started it is gone, however it went.

It is the server's parent, and it reads a pipe that nobody writes to: the kernel closes the other end when the starter
dies, by SIGKILL too. Should the guard itself be killed, the kernel kills the server (PR_SET_PDEATHSIG). That signal
alone would not do: it comes when the starting *thread* ends, and it removes no files.

It runs as a script, without site packages, and imports nothing of KRM: it must be there within milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def run(lifeline: int, folder: str, command: Sequence[str]) -> int:
    """Make ``folder``, run ``command`` until it ends or ``lifeline`` (a file descriptor) closes, remove ``folder``.

    Returns the command's exit status, or 0 when it was ended here. Raises ``FileExistsError`` for a folder that is
    there already: it is not ours.
    """
    os.mkdir(folder, 0o700)  # noqa: PTH102 (pathlib would double the time until the server starts)
    try:
        child = _start(command)
        if _ends_by_itself(child, lifeline):
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.kill(child, signal.SIGKILL)  # there is nothing that it would have to save
        os.waitpid(child, 0)
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ends_by_itself(child: int, lifeline: int) -> bool:
    ended = os.pidfd_open(child)
    try:
        watched = select.poll()
        watched.register(lifeline, select.POLLIN | select.POLLHUP)
        watched.register(ended, select.POLLIN)
        return any(fd == ended for fd, _ in watched.poll())
    finally:
        os.close(ended)


def _start(command: Sequence[str]) -> int:
    guard = os.getpid()
    tie = ctypes.CDLL(None).prctl
    child = os.fork()
    if child == 0:  # pragma: no cover (becomes another program)
        try:
            tie(_PR_SET_PDEATHSIG, signal.SIGKILL)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            if os.getppid() == guard:  # else it died before the tie held
                os.execv(command[0], list(command))  # noqa: S606 (no shell is the point)
        finally:
            os._exit(127)
    return child


def main(arguments: Sequence[str]) -> int:
    """``guard.py FOLDER PROGRAM ARGUMENT...``, with the pipe as standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pipe alone says when it is over
    return run(sys.stdin.fileno(), arguments[0], arguments[1:])


if __name__ == "__main__":  # pragma: no cover (in a process of its own)
    sys.exit(main(sys.argv[1:]))
