"""Programs as they are written in the field, run as they are and with one import changed: the same outcome.

Each runs against the official client and the simulated API server, and against KRM; requests to the API server are
counted at a door that only the program goes through. Run with ``-s`` for the table.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as k8s
from kubernetes import config

from tests.integration.client import cluster
from tests.integration.client.cluster import Cluster
from tests.integration.client.test_matrix import RELEASES, environment

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = Path(__file__).parent / "programs"
OFFICIAL = "from kubernetes import client, config, watch"
OURS = "from krm_client.kubernetes import client, config, watch"
USERS = ("ada", "grace", "alan")
READS = ("GET", "WATCH")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster.running(tmp_path_factory.mktemp("cluster"), resources="pods") as running:
        yield running


class Kubelet:
    """Lets the pods of one namespace run and, where they say with which code, end."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._api = k8s.CoreV1Api(config.new_client_from_config(str(kubeconfig)))  # type: ignore[no-untyped-call]
        self._namespace = namespace
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)
        self._api.api_client.close()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            for pod in self._api.list_namespaced_pod(self._namespace).items:
                with contextlib.suppress(k8s.ApiException):  # it was deleted meanwhile
                    self._advance(pod)

    def _advance(self, pod: k8s.V1Pod) -> None:
        assert pod.metadata is not None
        assert pod.metadata.name is not None
        assert pod.status is not None
        code = (pod.metadata.annotations or {}).get("exit-code")
        container = {"name": "c", "image": "i", "imageID": "", "restartCount": 0, "ready": False}
        if pod.status.phase == "Pending":
            ready = {"type": "Ready", "status": "True"}
            status: dict[str, Any] = {"phase": "Running", "podIP": "10.1.2.3", "conditions": [ready]}
        elif pod.status.phase == "Running" and code is not None:
            state = {"terminated": {"exitCode": int(code)}}
            phase = "Failed" if int(code) else "Succeeded"
            status = {"phase": phase, "containerStatuses": [{**container, "state": state}]}
        else:
            return
        self._api.patch_namespaced_pod_status(pod.metadata.name, self._namespace, {"status": status})


def program(name: str, text_of_import: str, folder: Path) -> Path:
    """The program with its import line, which is the only thing that differs."""
    source = (PROGRAMS / f"{name}.py").read_text()
    assert source.count(OFFICIAL) == 1
    path = folder / f"{name}.py"
    path.write_text(source.replace(OFFICIAL, text_of_import))
    return path


def outcome(
    path: Path, kubeconfig: Path, namespace: str, krm_url: str, commands: list[str], python: str | Path = sys.executable
) -> Any:
    """The last line that the program prints."""
    done = subprocess.run(
        [str(python), str(path), str(kubeconfig), namespace],
        input="".join(f"{line}\n" for line in commands),
        env={**os.environ, "KRM_URL": krm_url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout.splitlines()[-1])


def new_namespace(there: Cluster, name: str) -> str:
    api = k8s.CoreV1Api(config.new_client_from_config(str(there.kubeconfig)))  # type: ignore[no-untyped-call]
    api.create_namespace(k8s.V1Namespace(metadata=k8s.V1ObjectMeta(name=name)))
    api.api_client.close()
    return name


COMMANDS = {"notebook_hub": [*(f"start {user}" for user in USERS), "stop grace", "start grace", "stop ada", "show"]}


@pytest.mark.parametrize("name", ["notebook_hub", "workflow_executor", "ci_runner"])
def test_program_does_the_same_through_krm(there: Cluster, name: str, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    counted: dict[str, Counter[str]] = {}
    for client_name, text in (("official", OFFICIAL), ("krm", OURS)):
        folder = tmp_path / client_name
        folder.mkdir()
        namespace = new_namespace(there, f"{name.replace('_', '-')}-{client_name}")
        with Kubelet(there.kubeconfig, namespace), there.door(folder) as (door, kubeconfig):
            path = program(name, text, folder)
            found[client_name] = outcome(path, kubeconfig, namespace, there.krm_url, COMMANDS.get(name, []))
            counted[client_name] = door.counts
    assert found["krm"] == found["official"]
    print(f"\n{name}: requests that reached the API server")
    for client_name, counts in counted.items():
        reads, watches = counts["GET"], counts["WATCH"]
        writes = sum(counts[verb] for verb in ("POST", "PUT", "PATCH", "DELETE"))
        print(f"  {client_name:8}  reads {reads:4}  watches {watches:3}  writes {writes:3}")
    assert sum(counted["official"][verb] for verb in READS) > 0
    assert [counted["krm"][verb] for verb in READS] == [0, 0]
    writes_of = {who: {verb: counts[verb] for verb in ("POST", "PATCH", "DELETE")} for who, counts in counted.items()}
    assert writes_of["krm"] == writes_of["official"]


LIVED = ["Pending", "Running"]
OUTCOMES: dict[str, Any] = {
    "notebook_hub": {
        "story": {
            "jupyter-ada": [*LIVED, "gone"],
            "jupyter-alan": LIVED,
            "jupyter-grace": [*LIVED, "gone", *LIVED],
        },
        "there": ["jupyter-alan", "jupyter-grace"],
    },
    "workflow_executor": {
        "clean": ["Failed", 1],
        "extract": ["Succeeded", 0],
        "load": ["Succeeded", 0],
        "report": ["Succeeded", 0],
        "transform": ["Failed", 3],
    },
}


OLDER: list[Any] = [
    ("notebook_hub", RELEASES[-1]),
    ("workflow_executor", RELEASES[0]),
    pytest.param("notebook_hub", RELEASES[0], marks=pytest.mark.faults),
    pytest.param("workflow_executor", RELEASES[-1], marks=pytest.mark.faults),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "release"), OLDER)
def test_program_does_the_same_with_older_releases(there: Cluster, name: str, release: str, tmp_path: Path) -> None:
    python = environment(release)
    namespace = new_namespace(there, f"{name.replace('_', '-')}-{release.partition('.')[0]}")
    with Kubelet(there.kubeconfig, namespace), there.door(tmp_path) as (door, kubeconfig):
        path = program(name, OURS, tmp_path)
        found = outcome(path, kubeconfig, namespace, there.krm_url, COMMANDS.get(name, []), python)
    assert found == OUTCOMES[name]
    assert [door.counts[verb] for verb in READS] == [0, 0]


PAGE = (Path(__file__).parents[3] / "docs/migration.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS)
def test_example_of_the_migration_page_runs(there: Cluster, block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env={**os.environ, "KRM_URL": there.krm_url, "KUBECONFIG": str(there.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "pods at version" in done.stdout
