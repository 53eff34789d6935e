"""The command ``krm``: only where it starts. What takes long to import is imported by the command that needs it."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` without its first) and return the exit status.

    0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted, 141 nobody reads the output any more.
    """
    try:
        from krm.cli import ends

        return ends.run(arguments)
    except KeyboardInterrupt:  # in the first tenth of a second, before anything of ours could catch it
        return 130
