"""``kubernetes-validate`` with its bundled schemas of the Kubernetes API, in an environment of its own.

Its schemas are a hundred megabytes, so it is not among the locked requirements: it is fetched when a test first needs
it, and kept below the checkout.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.debian import SERVERS

VERSION: Final = "1.37.0"
_TIMEOUT_S: Final = 600


def validator() -> Path:
    """The program."""
    home = SERVERS / f"kubernetes-validate-{VERSION}"
    SERVERS.mkdir(exist_ok=True)
    with (SERVERS / "validator.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            uv = [sys.executable, "-m", "uv", "--quiet"]
            for command in (
                [*uv, "venv", "--clear", "--python", sys.executable, str(home)],
                [*uv, "pip", "install", "--python", str(home), f"kubernetes-validate=={VERSION}"],
            ):
                subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
            (home / "complete").touch()
    return home / "bin" / "kubernetes-validate"
