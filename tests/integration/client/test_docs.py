"""The examples of docs/client.md and docs/frames.md run, as they stand there, against a running demo."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import krm_client
from tests import servers
from tests.servers import Demo

DOCS: Final = Path(__file__).resolve().parents[3] / "docs"
PAGE: Final = (DOCS / "client.md").read_text()
ADDRESS: Final = "http://127.0.0.1:8000"
FENCED: Final = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
BLOCKS: Final = FENCED.findall(PAGE)
FIRST: Final = BLOCKS[0]
PROGRAMS: Final = [*(FIRST + block for block in BLOCKS[1:]), *FENCED.findall((DOCS / "frames.md").read_text())]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with servers.start_demo("--pods", "120", "--seed", "1") as running:
        yield running


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=lambda program: program.replace(FIRST, "").strip().splitlines()[0][:40]
)
def test_example_runs(demo: Demo, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.replace(ADDRESS, demo.url)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_error_is_on_the_page() -> None:
    documented = set(re.findall(r"^\| `(Krm\w+)` \|", PAGE, re.M))
    errors = {name for name in krm_client.__all__ if isinstance(getattr(krm_client, name), type)}
    errors = {name for name in errors if issubclass(getattr(krm_client, name), krm_client.KrmError)}
    assert documented == errors - {"KrmError"}
