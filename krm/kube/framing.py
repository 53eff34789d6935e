"""Lines out of a byte stream that is cut anywhere.

Knows nothing of JSON: a line is what lies between two newlines. What follows the last newline is never given out, so
an event that was cut off is never taken for a whole one.
"""

from __future__ import annotations

from collections.abc import Iterator

from krm import errors

MAX_LINE_BYTES = 64 * 2**20
"""Far above what an API server can store in one object (about 1.5 MiB), and far below what hurts."""


class Framer:
    """Collects chunks and gives out whole lines. Memory is bounded by one line and one chunk."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._partial = bytearray()

    @property
    def partial_bytes(self) -> int:
        """How many bytes lie behind the last newline: what the end of the stream would cut off."""
        return len(self._partial)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that ``data`` completes, in order, without their newlines and without blank ones.

        Must be exhausted before the next call. Raises ``BadData`` at a line over the limit, after the lines before it.
        """
        lines = data.split(b"\n")
        if len(lines) == 1:
            self._keep(data)
            return
        last = lines.pop()
        if self._partial:
            self._keep(lines[0])
            lines[0] = bytes(self._partial)
            self._partial.clear()
        for line in lines:
            if len(line) > self._max:
                raise self._too_long()
            if line and not line.isspace():
                yield line
        self._keep(last)

    def _keep(self, data: bytes) -> None:
        if len(self._partial) + len(data) > self._max:
            self._partial = bytearray()
            raise self._too_long()
        self._partial += data

    def _too_long(self) -> errors.BadData:
        return errors.BadData(f"a line of the watch is over {self._max} bytes")
