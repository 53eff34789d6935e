"""Programs that only tests need (a Redis with TLS, Chromium, influxd), from Debian's packages.

As root they are installed; otherwise they are unpacked, with what they depend on, into ``.servers/`` of the
checkout. A program that cannot be had is ``UnavailableError``: the test that needs it fails, it never skips.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
SERVERS: Final = CHECKOUT / ".servers"
_FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/usr/share/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""
_APT_TIMEOUT_S: Final = 600


class UnavailableError(RuntimeError):
    """A program that a test needs is neither installed nor to be had from Debian."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """Where a program lies, and the environment that it needs beside the usual one."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        """The environment to start it in."""
        return {**os.environ, **self.environment}


def program(name: str, *, package: str, folder: str = "usr/bin", root: bool | None = None) -> Program:
    """The program ``name`` (in ``folder`` of the package): what is installed, else from Debian's ``package``.

    ``root`` says whether to install (the default: when the tests run as root) or to unpack.
    """
    root = os.geteuid() == 0 if root is None else root
    unpacked = SERVERS / package
    for _ in range(2):
        if installed := shutil.which(name, path=f"/{folder}") or shutil.which(name):
            return Program(path=Path(installed))
        if (unpacked / "complete").exists() and (unpacked / folder / name).exists():
            return Program(path=unpacked / folder / name, environment=_surroundings(unpacked))
        with _one_at_a_time():
            if root:
                _install(package)
            elif not (unpacked / "complete").exists():
                _unpack(package, unpacked)
    raise UnavailableError(f"Debian's package {package} has no program {name}")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    SERVERS.mkdir(exist_ok=True)
    with (SERVERS / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _surroundings(unpacked: Path) -> dict[str, str]:
    """Where an unpacked program finds its libraries and fonts."""
    folders = sorted({str(path.parent) for path in unpacked.glob("**/lib*.so*") if "-linux-gnu" in str(path.parent)})
    given = os.environ.get("LD_LIBRARY_PATH")
    fonts = unpacked / "fonts.conf"
    fonts.write_text(_FONTS.format(folder=unpacked))
    return {"LD_LIBRARY_PATH": ":".join([*folders, *([given] if given else [])]), "FONTCONFIG_FILE": str(fonts)}


def _run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            # RUNLEVEL=1: install the program, do not start its service.
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "RUNLEVEL": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_APT_TIMEOUT_S,
            check=True,
        )
    except FileNotFoundError as error:
        raise UnavailableError(f"{command[0]} is not here: this is no Debian, install the program by hand") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{' '.join(command)}: no end after {_APT_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{' '.join(command)}: {(error.stderr or error.stdout)[-600:]}") from error
    return done.stdout


def _install(package: str) -> None:
    # Another package manager of this machine may be at work just now.
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    install = [*apt, "install", "-y", "--no-install-recommends", package]
    try:
        _run(install)
    except UnavailableError:  # mostly: the package lists are missing or old
        _run([*apt, "update"])
        _run(install)


def _unpack(package: str, unpacked: Path) -> None:
    """Download the package and what it needs that is not installed, and unpack all of it."""
    shutil.rmtree(unpacked, ignore_errors=True)
    archives, lists = SERVERS / "archives" / package, SERVERS / "lists"
    for folder in (unpacked, archives, lists / "partial", SERVERS / "cache"):
        folder.mkdir(parents=True, exist_ok=True)
    # Our own lists: the system's may be missing, and only root may fetch them.
    apt = ["apt-get", "-q", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={SERVERS / 'cache'}"]
    apt += ["-o", "Debug::NoLocking=true", "-o", "APT::Sandbox::User="]
    _run([*apt, "update"])
    plan = _run([*apt, "--simulate", "--no-install-recommends", "install", package])
    needed = re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", plan, re.MULTILINE)
    _run([*apt, "download", *(f"{name}={version}" for name, version in needed)], cwd=archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg", "-x", str(archive), str(unpacked)])
    shutil.rmtree(archives)
    (unpacked / "complete").touch()
