"""Fixtures of the command line's tests: the command as users run it, and a demo to ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli import programs
from tests.integration.cli.programs import Demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A running ``krm demo``: 60 pods of a fixed seed in which nothing changes."""
    with programs.demo(tmp_path_factory.mktemp("d"), "--pods", "60", "--churn", "0", "--seed", "7") as running:
        yield running


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own whose path is short enough for the sockets inside."""
    return tmp_path_factory.mktemp("t")
