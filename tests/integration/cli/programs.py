"""Running ``krm`` as users do: as a process of its own, asked through its options, streams and signals alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.waiting import block_until

KRM: Final = (sys.executable, "-m", "krm")
PATIENCE_S: Final = 60.0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without settings of KRM and without anybody's cluster."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KRM_") and name not in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "COLUMNS")
    }
    return {**plain, **(more or {})}


def krm(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None, timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        [*KRM, *arguments],
        env=environment(env),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A long-running ``krm`` with its own temporary folder, as a session of its own."""

    process: subprocess.Popen[bytes]
    folder: Path
    output: Path
    log: Path

    @property
    def text(self) -> str:
        """What it has said on standard output."""
        return self.output.read_text()

    @property
    def complaints(self) -> str:
        """What it has said on standard error."""
        return self.log.read_text()

    @property
    def url(self) -> str:
        """Where its API is, from what it said."""
        found = re.search(r"(https?://\S+)/graphql", self.text)
        assert found is not None
        return found[1]

    def until_ready(self) -> None:
        """Wait until it says what to open."""
        block_until(lambda: "/graphql" in self.text or self.process.poll() is not None, PATIENCE_S, "krm is ready")
        assert self.process.poll() is None, self.complaints[-3000:]

    def relatives(self) -> dict[int, str]:
        """Every process that belongs to it, with its name: of its session, or working in its folder."""
        return dict(_processes(self.process.pid, self.folder))

    def pid_of(self, part: str) -> int:
        """The process of one part."""
        (found,) = [pid for pid, name in self.relatives().items() if name == part]
        return found

    def nothing_is_left(self) -> bool:
        """No process, no file."""
        return not self.relatives() and not list((self.folder / "tmp").iterdir())


@contextmanager
def long(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Demo]:
    """Start ``krm`` with ``arguments``; ended at the exit, by force if need be."""
    temporary = folder / "tmp"
    temporary.mkdir()
    output, log = folder / "out", folder / "err"
    with output.open("wb") as out, log.open("wb") as err:
        process = subprocess.Popen(
            [*KRM, *arguments],
            env=environment({"TMPDIR": str(temporary), **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    running = Demo(process=process, folder=folder, output=output, log=log)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        try:
            block_until(lambda: not running.relatives(), 20, "all processes end")
        finally:
            for pid in running.relatives():
                os.kill(pid, signal.SIGKILL)


@contextmanager
def demo(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Demo]:
    """A ``krm demo`` on a free port that is ready."""
    # The duration: should the tests be killed, it still ends.
    with long(folder, "demo", "--port", "0", "--duration", "3600", *arguments, env=env) as running:
        running.until_ready()
        yield running


def _processes(session: int, folder: Path) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            status = (entry / "stat").read_text()
            command = (entry / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
        name, _, rest = status.partition("(")[2].rpartition(") ")
        state, _, _, its_session = rest.split()[:4]
        if state != "Z" and (int(its_session) == session or str(folder) in command):
            yield int(entry.name), name
