"""The examples of docs/client.md run, as they stand there, against a running demo."""

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

PAGE: Final = (Path(__file__).resolve().parents[3] / "docs/client.md").read_text()
ADDRESS: Final = "http://127.0.0.1:8000"
BLOCKS: Final = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
FIRST: Final = BLOCKS[0]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with servers.start_demo("--pods", "120", "--seed", "1") as running:
        yield running


@pytest.mark.parametrize("block", BLOCKS[1:], ids=lambda block: block.strip().splitlines()[0][:40])
def test_example_runs(demo: Demo, block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", (FIRST + block).replace(ADDRESS, demo.url)],
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
