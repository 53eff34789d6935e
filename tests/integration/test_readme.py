"""The README's examples run, as they stand there, against a running demo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from krm_client import KrmClient
from tests import servers
from tests.servers import Demo
from tests.waiting import block_until

ROOT: Final = Path(__file__).resolve().parents[2]
ADDRESS: Final = "http://127.0.0.1:8000"

pytestmark = pytest.mark.timeout(180)


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


COMMANDS: Final = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with servers.start_demo("--pods", "100", "--seed", "1") as running:
        # On a machine that is short of everything the demo says what is there before all of it is.
        block_until(lambda: is_synced(running.url), 60)
        yield running


def is_synced(url: str) -> bool:
    with KrmClient(url) as krm:
        every = krm.query("{ freshness { state } }")["freshness"]
    return {one["state"] for one in every} == {"SYNCED"}


@pytest.mark.parametrize("query", blocks("graphql"))
def test_query_is_answered(demo: Demo, query: str) -> None:
    with KrmClient(demo.url) as krm:
        answer = krm.query(query)
    assert answer["pods"]["freshness"]["state"] == "SYNCED"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_something(demo: Demo, command: str) -> None:
    assert command.startswith(".venv/bin/krm ")
    krm = Path(sys.executable).parent / "krm"
    done = subprocess.run(
        ["sh", "-c", command.replace(".venv/bin/krm", str(krm))],
        env={**os.environ, "KRM_URL": demo.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("program", blocks("python"))
def test_program_runs(demo: Demo, program: str) -> None:
    assert ADDRESS in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, demo.url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SYNCED" in done.stdout


def test_there_are_examples() -> None:
    assert COMMANDS
    assert blocks("graphql")
    assert blocks("python")
