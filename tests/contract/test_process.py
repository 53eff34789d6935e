"""`python -m krm.simulator`: one line when it is ready, a kubeconfig, and a clean end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.waiting import block_until


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it has printed."""
    command = [sys.executable, "-m", "krm.simulator", "--port", "0", "--pods", "20", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"simulated API server at (http://127\.0\.0\.1:\d+)\n", line)
        assert found is not None, line
        yield process, found[1]
    finally:
        process.kill()
        process.communicate(timeout=10)


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return dict(json.load(response))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_also_with_an_open_watch(number: signal.Signals) -> None:
    with running("--churn", "50") as (process, url):
        with urllib.request.urlopen(f"{url}/api/v1/pods?watch=1", timeout=10) as stream:
            stream.readline()
            process.send_signal(number)
            output, errors = process.communicate(timeout=10)
        assert (process.returncode, output, errors) == (0, "", "")


def test_it_serves_a_world_that_lives(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    with running("--churn", "200", "--kubeconfig-out", str(path), "--control", "--seed", "7") as (_, url):
        first = get(f"{url}/_simulator/state")
        block_until(lambda: get(f"{url}/_simulator/state")["resourceVersion"] != first["resourceVersion"])
        assert yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"] == url


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--pods", "0"], 2, "--pods must lie between"),
        (["--churn", "-1"], 2, "--churn must lie between"),
        (["--nothing"], 2, "unrecognized arguments"),
        (["--host", "192.0.2.1"], 1, "cannot run the simulated API server"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(arguments: list[str], code: int, text: str) -> None:
    command = [sys.executable, "-m", "krm.simulator", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    assert text in done.stderr.splitlines()[-1]
