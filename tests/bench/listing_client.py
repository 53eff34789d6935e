"""One way of listing all pods, measured in a process of its own: ``listing_client.py WAY ADDRESS``, JSON on stdout.

``WAY`` is ``official``, ``lazy``, ``eager`` or ``partial``; the address is a kubeconfig for the first, KRM's URL for
the others. It runs with any release of ``kubernetes``. What is read of each pod is printed as a digest, to be compared.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

FIELDS = ["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "status.podIP"]
RUNS = 3


def lister(way: str, address: str) -> Callable[[], list[Any]]:
    """What lists all pods this way."""
    if way == "official":
        from kubernetes import client, config

        api: Any = client.CoreV1Api(config.new_client_from_config(address))  # type: ignore[no-untyped-call]
        return lambda: list(api.list_pod_for_all_namespaces().items)
    from krm_client import KrmClient

    krm = KrmClient(address, timeout=120, eager=way == "eager", env={})
    if way == "partial":
        return lambda: krm.list("pods", fields=FIELDS)
    return lambda: list(krm.core_v1.list_pod_for_all_namespaces().items)


def read(items: list[Any]) -> list[Any]:
    """Five attributes of each."""
    return [(i.metadata.name, i.metadata.namespace, i.spec.node_name, i.status.phase, i.status.pod_ip) for i in items]


def main(way: str, address: str, runs: int) -> None:
    work = lister(way, address)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, list[float]] = {"wall_s": [], "read_s": [], "cpu_s": []}
    seen: list[Any] = []
    for run in range(runs + 1):
        start, cpu = time.perf_counter(), time.process_time()
        items = work()
        listed = time.perf_counter()
        seen = read(items)
        ended = time.perf_counter()
        if run or way == "official":  # the first one of ours loads models; the official one's takes long without that
            found["wall_s"].append(listed - start)
            found["read_s"].append(ended - start)
            found["cpu_s"].append(time.process_time() - cpu)
        if way == "official":
            break
        del items
    medians = {name: sorted(values)[len(values) // 2] for name, values in found.items()}
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    digest = hashlib.sha256(json.dumps(sorted(seen)).encode()).hexdigest()
    json.dump({**medians, "peak_bytes": peak, "pods": len(seen), "digest": digest}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], RUNS)
