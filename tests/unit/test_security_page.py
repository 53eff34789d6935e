"""docs/security.md names tests; a page that promises a test that is gone would promise nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from krm.api import sockets
from krm.auth import permissions, tokens

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "security.md").read_text()
NAMED: Final = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_each_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name.startswith("test_")


def test_every_number_has_a_row_with_a_test() -> None:
    rows = dict(re.findall(r"^\| X(\d+) \|(.*)$", PAGE, re.M))
    assert set(map(int, rows)) == set(range(1, 35))
    assert [number for number, row in rows.items() if "`tests/" not in row] == []


def test_the_times_on_the_page_are_those_of_the_code() -> None:
    kept = f"kept for {tokens.HOLDS_S:g} s"
    said = re.sub(r"\s+", " ", PAGE)
    assert kept in said
    assert f"a right for {permissions.HOLDS_S:g} s; a no for {permissions.REFUSAL_HOLDS_S:g} s" in said
    assert tokens.REFUSAL_HOLDS_S == permissions.REFUSAL_HOLDS_S
    assert f"asked for again every {permissions.RENEWED_S:g} s" in said
    assert f"the token every {sockets.REVIEW_EVERY_S:g} s" in said
    assert f"at most {permissions.NAMESPACES_MAX:,}" in said
