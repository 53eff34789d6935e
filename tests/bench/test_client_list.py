"""Listing every pod: krm_client against the official client, on the same cluster, in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from krm_client import KrmClient
from tests.bench import stack

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


@pytest.mark.parametrize("pods", [1_000, 10_000])
def test_listing_all_pods(tmp_path: Path, pods: int) -> None:
    with stack.simulated(tmp_path, pods=pods, churn=0) as kubeconfig, stack.served(kubeconfig) as url:
        api = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))  # type: ignore[no-untyped-call]
        krm = KrmClient(url, timeout=120)
        theirs, official_s = timed(lambda: api.list_pod_for_all_namespaces().items, runs=3 if pods <= 1_000 else 1)
        ours, krm_s = timed(lambda: krm.core_v1.list_pod_for_all_namespaces().items, runs=3)
        _, read_s = timed(lambda: read(krm.core_v1.list_pod_for_all_namespaces().items), runs=3)
        _, official_read_s = timed(lambda: read(theirs), runs=1)
        assert len(ours) == len(theirs) == pods
        names = sorted(range(pods), key=lambda i: (theirs[i].metadata.namespace, theirs[i].metadata.name))
        for i in names[:: max(1, pods // 50)]:
            assert comparable(ours[i]) == comparable(theirs[i])
    print(f"\n{pods} pods: official {official_s:.2f} s, krm {krm_s:.3f} s ({official_s / krm_s:.0f}x)")
    both_s = official_s + official_read_s
    print(f"  and five attributes of each: official {both_s:.2f} s, krm {read_s:.3f} s ({both_s / read_s:.0f}x)")


def timed(work: Callable[[], list[Any]], *, runs: int) -> tuple[list[Any], float]:
    """The result, and the median seconds of it."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return found, sorted(seconds)[len(seconds) // 2]


def read(items: list[Any]) -> list[Any]:
    """Touch five attributes of each."""
    return [(i.metadata.name, i.metadata.namespace, i.spec.node_name, i.status.phase, i.status.pod_ip) for i in items]


def comparable(pod: Any) -> dict[str, Any]:
    """A pod without what KRM does not store."""
    found: dict[str, Any] = pod.to_dict()
    found["metadata"].pop("managed_fields", None)
    found["metadata"].pop("managedFields", None)
    return found
