"""The client's unit tests with the oldest supported ``kubernetes`` and the last of the legacy classes.

The newest is what the checkout's own environment has, where tests/unit runs. Each other release gets an
environment below ``.cache``, made when it is missing or its list has changed; all else in it is as in the checkout's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
RELEASES: Final = ("31.0.0", "36.0.3")
AS_HERE: Final = (
    "gql",
    "graphql-core",
    "httpx2",
    "websockets",
    "msgspec",
    "orjson",
    "urllib3",
    "pydantic",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
)


def _run(*command: str | Path, timeout_s: float, **env: str) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def environment(release: str) -> Path:
    """The Python of an environment with this release of kubernetes."""
    wanted = [f"kubernetes=={release}", *(f"{name}=={version(name)}" for name in AS_HERE)]
    mark = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    home = ROOT / ".cache" / f"client-{release}"
    home.parent.mkdir(exist_ok=True)
    with Path(f"{home}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = home / "krm.stamp"
        if not stamp.is_file() or stamp.read_text() != mark:
            venv.create(home, clear=True, with_pip=True, symlinks=True)
            _run(home / "bin/python", "-m", "pip", "install", "--quiet", "--no-compile", *wanted, timeout_s=600)
            stamp.write_text(mark)
    return home / "bin/python"


WITHOUT_MODELS: Final = ("test_proxies.py", "test_settings.py", "test_watch.py")
"""What these try does not depend on the release."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.faults)])
@pytest.mark.parametrize("release", RELEASES)
def test_client_works_with_this_release_of_kubernetes(release: str, is_whole: bool) -> None:
    """With each class that KRM's kinds are made of, and each eighth of the others; ``make faults`` tries all of it."""
    python = environment(release)
    # Without the project's conftest.py: it needs what only the checkout's own environment has.
    command: list[str | Path] = [
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--confcutdir=tests/unit/client",
    ]
    if not is_whole:
        command += [f"--ignore=tests/unit/client/{name}" for name in WITHOUT_MODELS]
    _run(*command, "tests/unit/client", timeout_s=500, KRM_TEST_EVERY="1" if is_whole else "8")
