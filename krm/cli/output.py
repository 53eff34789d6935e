"""What goes out: data on standard output, messages on standard error, neither of them able to drive a terminal.

No colours anywhere, so there is nothing that NO_COLOR or a pipe would have to switch off. When nobody reads standard
output any more, writing raises ``BrokenPipeError`` (see ``krm.cli.ends``).
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO


def prepare() -> None:
    """Make both streams usable whatever they are: closed, or of an encoding that cannot spell what objects hold."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # started with the descriptor closed
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (for the life of the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str) -> None:
    """Data, as it is, and all of it.

    An unbuffered stream (PYTHONUNBUFFERED) writes what fits and says how much, which ``print`` does not look at; one
    that another program has made non-blocking refuses what does not fit.
    """
    stream = sys.stdout
    binary = getattr(stream, "buffer", None)
    if binary is None:
        stream.write(text)
        return
    stream.flush()
    rest = memoryview(text.encode(stream.encoding, stream.errors or "strict"))
    while rest:
        try:
            written = binary.write(rest)
        except BlockingIOError as error:
            written = error.characters_written
        rest = rest[written or 0 :]
        if rest and not written:
            select.select([], [stream.fileno()], [])  # as long as the reader takes: it is the one who decides


def finish() -> None:
    """See that everything that was written has gone out."""
    while True:
        try:
            sys.stdout.flush()
            return
        except BlockingIOError:
            select.select([], [sys.stdout.fileno()], [])


def abandon() -> None:
    """Forget what could not be written, so that the interpreter does not complain of it at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def say(message: str) -> None:
    """One line for people, on standard error."""
    from krm import logs

    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"krm: {logs.escape(' '.join(message.split()))}\n")
        sys.stderr.flush()


def for_terminal(text: str) -> str:
    """``text`` that came from an object, as one line may show it on a terminal; unchanged where a program reads it."""
    if not sys.stdout.isatty():
        return text
    from krm import logs

    return logs.escape(text)


class Table:
    """Columns of text, left-aligned, three spaces apart, as kubectl prints them. They only grow with further rows."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def text(self, rows: Sequence[Sequence[str]]) -> str:
        """A line for each row."""
        plain = [[" ".join(for_terminal(cell).split("\n")) for cell in row] for row in rows]
        for row in plain:
            self._widths += [0] * (len(row) - len(self._widths))
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        return "".join(
            "   ".join(cell.ljust(width) for cell, width in zip(row, self._widths, strict=True)).rstrip() + "\n"
            for row in plain
        )


def table(rows: Sequence[Sequence[str]]) -> str:
    """A whole table; the first row is the heading."""
    return Table().text(rows)
