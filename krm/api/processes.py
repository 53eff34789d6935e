"""Several processes over one listening socket: the kernel shares the connections out among them."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

log = logging.getLogger(__name__)

RESTART_AFTER_S: Final = 0.5
_PR_SET_PDEATHSIG: Final = 1


def run(count: int, work: Callable[[int], None], stopping: Callable[[], None]) -> None:
    """Run ``work`` in ``count`` processes (in this one for 1) until SIGTERM or SIGINT; one that dies is replaced.

    ``work`` is given a number from 0 on, which no other running process has; who replaces another gets that one's.
    ``stopping`` is called in this process when a signal came and others do the work: what it holds of the socket goes.

    To be called before anything of this process has threads or an event loop: the processes are forked.
    """
    if count == 1:
        work(0)
        return
    children: dict[int, int] = {}
    is_stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        is_stopping = True
        stopping()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while children or not is_stopping:
        while len(children) < count and not is_stopping:
            free = min(set(range(count)) - set(children.values()))
            children[_fork(work, free)] = free
        pid, status = os.wait()
        children.pop(pid, None)
        if not is_stopping:
            log.error("a process of the API ended", extra={"pid": pid, "status": os.waitstatus_to_exitcode(status)})
            time.sleep(RESTART_AFTER_S)


def _fork(work: Callable[[int], None], number: int) -> int:
    parent, tie = os.getpid(), ctypes.CDLL(None).prctl
    pid = os.fork()
    if pid:
        return pid
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    status = 1
    try:
        tie(_PR_SET_PDEATHSIG, signal.SIGTERM)  # whoever is left alone drains and ends: nobody would tell it later
        if os.getppid() == parent:  # else it was gone before the tie held
            work(number)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)
