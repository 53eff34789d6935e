"""docs/bad-input.md names tests; a page that promises a test that is gone would promise nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "bad-input.md").read_text()
ROWS: Final = [
    line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("| | input", "|---"))
]
NAMED: Final = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_each_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name.startswith("test_")


def test_every_row_names_a_test_and_every_number_has_a_row() -> None:
    assert [row for row in ROWS if "`tests/" not in row] == []
    numbers = {int(found) for found in re.findall(r"^\| B(\d+) \|", PAGE, re.M)}
    assert numbers == set(range(1, 31))
