"""Listing every pod: krm_client against the official client, in the same run, for both generations of models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.bench import stack
from tests.bench.report import Report
from tests.integration.client.test_matrix import environment

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
LEGACY = "36.0.3"
PODS = int(os.environ.get("KRM_BENCH_PODS", "10000"))
GROUP = "The Python client"
MUST = {"37": {"lazy": 20.0, "eager": 5.0}, "36": {"lazy": 35.0, "eager": 8.0}}
WAYS = {"lazy": "whole objects", "eager": "objects that are fully built", "partial": "objects with five fields"}


def measured(python: str | Path, way: str, address: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), str(ROOT / "tests/bench/listing_client.py"), way, address],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("release", [version("kubernetes"), LEGACY])
def test_listing_all_pods(tmp_path: Path, release: str, report: Report) -> None:
    python = sys.executable if release == version("kubernetes") else environment(release)
    with stack.simulated(tmp_path, pods=PODS, churn=0) as kubeconfig, stack.served(kubeconfig) as url:
        theirs = measured(python, "official", str(kubeconfig))
        ours = {way: measured(python, way, url) for way in WAYS}
    major = release.partition(".")[0]
    print(f"\n{PODS} pods, five attributes of each read; kubernetes {release}")
    for way, one in {"official": theirs, **ours}.items():
        assert (one["pods"], one["digest"]) == (PODS, theirs["digest"]), way
        ratio = theirs["read_s"] / one["read_s"]
        print(
            f"  {way:9}{one['read_s']:8.3f} s ({ratio:5.1f}x), without reading {one['wall_s']:7.3f} s, "
            f"CPU {one['cpu_s']:7.3f} s ({theirs['cpu_s'] / one['cpu_s']:5.1f}x), "
            f"peak memory {one['peak_bytes'] / 2**20:6.0f} MiB "
            f"({theirs['peak_bytes'] / max(one['peak_bytes'], 2**20):4.1f}x less)"
        )
    for way, what in WAYS.items():
        must = MUST.get(major, {}).get(way)
        report.faster(
            GROUP,
            f"list all pods as {what}, five attributes of each read",
            PODS,
            ours[way]["read_s"],
            f"the official client {release}",
            theirs["read_s"],
            must,
        )
