"""The import contracts catch what they are there to catch: a violation of each is seeded and seen."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
CONTRACTS: Final = ROOT / ".importlinter"

# Contract -> the module that offends, and the line with which it does.
VIOLATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "layers": ("krm/objects/versions.py", "import krm.store"),
    "read-side": ("krm/query/lists.py", "from krm import kube"),
    "write-side": ("krm/workers/streamer.py", "import krm.table"),
    "workers": ("krm/workers/streamer.py", "from krm.workers import verifier"),
    "client": ("krm_client/client.py", "from krm import errors"),
    "redis": ("krm/table/follow.py", "from redis import asyncio"),
    "kubernetes": ("krm/schema/build.py", "from kubernetes.client import V1Pod"),
    "aiohttp": ("krm_client/client.py", "import aiohttp"),
    "web": ("krm/schema/build.py", "import starlette.responses"),
    "influx": ("krm/workers/collector.py", "from influxdb_client import Point"),
    "graphql": ("krm/query/lists.py", "from graphql import GraphQLError"),
}


def contracts() -> dict[str, str]:
    """Contract -> its name in the output."""
    parser = configparser.ConfigParser()
    parser.read(CONTRACTS)
    prefix = "importlinter:contract:"
    return {s.removeprefix(prefix): parser[s]["name"] for s in parser.sections() if s.startswith(prefix)}


def skeleton(folder: Path) -> None:
    """The project's modules without what is in them: the contracts see names and imports only."""
    for package in ("krm", "krm_client"):
        for source in (ROOT / package).glob("**/*.py"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    shutil.copy(CONTRACTS, folder / ".importlinter")


def lint(folder: Path) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_every_contract_has_a_violation_to_catch() -> None:
    assert set(VIOLATIONS) == set(contracts())


def test_modules_without_imports_keep_every_contract(tmp_path: Path) -> None:
    skeleton(tmp_path)
    assert f"{len(VIOLATIONS)} kept, 0 broken" in lint(tmp_path)


@pytest.mark.parametrize("contract", sorted(VIOLATIONS))
def test_a_violation_is_caught(contract: str, tmp_path: Path) -> None:
    skeleton(tmp_path)
    path, line = VIOLATIONS[contract]
    assert (tmp_path / path).exists()
    (tmp_path / path).write_text(f"{line}\n")
    assert f"{contracts()[contract]} BROKEN" in lint(tmp_path)


def test_a_module_that_no_layer_names_is_caught(tmp_path: Path) -> None:
    skeleton(tmp_path)
    (tmp_path / "krm" / "helpers.py").touch()
    assert "krm is layered BROKEN" in lint(tmp_path)
