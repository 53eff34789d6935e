"""A folder that several processes of one API share while they run. Whoever begins clears away what killed ones left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of a random name in it
_PREFIX: Final = "krm-api-"
_LOCK: Final = "lock"


@contextlib.contextmanager
def common(within: Path = MEMORY) -> Iterator[Path]:
    """A new folder below ``within`` (else where temporary files go), gone at the end.

    It is locked by this process and by those that are forked from it: one that nobody has locked is nobody's.
    """
    parent = within if os.access(within, os.W_OK) else Path(tempfile.gettempdir())
    _clear(parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as folder:
        beside, lock = Path(folder) / f"{_LOCK}.new", Path(folder) / _LOCK
        held = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            beside.rename(lock)  # nobody finds it and it is not locked
            yield Path(folder)
        finally:
            os.close(held)


def _clear(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        # What has no lock yet is being made; what is locked is in use, or has gone meanwhile.
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
