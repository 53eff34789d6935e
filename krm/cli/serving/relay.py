"""The log lines of the children, each with the name of who wrote it, passed on to our standard error.

A standard error that nobody reads must not stop the supervisor: what cannot be written in time is dropped and counted.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import Final

_READ: Final = 65_536
_LONGEST_LINE: Final = 16_384
_CHUNK: Final = 4_096
"""PIPE_BUF: that much can be written to a pipe that is writable at all."""
_PATIENCE_MS: Final = 200


class Relay:
    """Passes lines on. ``has_names``: put the writer's name before each line (not where lines are JSON)."""

    def __init__(self, target: int, *, has_names: bool) -> None:
        self._target = target
        self._has_names = has_names
        self._rests: dict[int, bytes] = {}
        self._dropped = 0

    def pass_on(self, name: str, source: int) -> bool:
        """Pass on what ``source`` (non-blocking) has; False at its end."""
        try:
            read = os.read(source, _READ)
        except BlockingIOError:
            return True
        *lines, rest = (self._rests.pop(source, b"") + read).split(b"\n")
        if rest and (not read or len(rest) > _LONGEST_LINE):
            lines, rest = [*lines, rest], b""
        if rest:
            self._rests[source] = rest
        for line in lines:
            self._write(name, line)
        return bool(read)

    def _write(self, name: str, line: bytes) -> None:
        prefix = f"{name:<10} | ".encode() if self._has_names else b""
        data = prefix + line + b"\n"
        if self._dropped and self._is_writable():
            dropped, self._dropped = self._dropped, 0
            self._put(f"{dropped} lines of the log were dropped: nobody read them\n".encode())
        self._put(data)

    def _put(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody will ever read it: then there is nobody to tell
            for begin in range(0, len(data), _CHUNK):
                if not self._is_writable():
                    self._dropped += 1
                    return
                os.write(self._target, data[begin : begin + _CHUNK])

    def _is_writable(self) -> bool:
        watched = select.poll()
        watched.register(self._target, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in watched.poll(0 if self._dropped else _PATIENCE_MS))
