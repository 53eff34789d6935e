"""What editors and type checkers see of the client is what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from krm_client import facade_types
from krm_client.facade import specs_of
from tests.unit.client import rendering

ROOT = Path(__file__).parents[3]

USER = """
from kubernetes.client import V1Pod

from krm_client import AsyncKrmClient, Freshness, KrmClient, KrmNotFound

krm = KrmClient("http://127.0.0.1:8000", token="t", timeout=3, partial=True)
name: str | None = None
for pod in krm.core_v1.list_namespaced_pod("default", label_selector="a=b").items:
    if pod.metadata is not None:
        name = pod.metadata.name
one: V1Pod = krm.core_v1.read_namespaced_pod("a", "b")
freshness: Freshness = krm.freshness("pods")
every: list[Freshness] = krm.freshness()
rows: int = len(krm.frame("pods", columns=["metadata.name"]))
some = krm.list("pods", fields=["metadata.name"], order_by="-metadata.name", max_staleness=2)
text: str = krm.explain(krm.core_v1.list_node).query
try:
    krm.query("{ a }", {"b": 1})
except KrmNotFound as error:
    print(error.status, error.code)


async def main() -> None:
    async with AsyncKrmClient() as awaited:
        node = await awaited.core_v1.read_node("a")
        print(node.spec, await awaited.freshness("pods"))
"""

MOVED = """
from kubernetes.client import V1Pod

from krm_client.kubernetes import client, config, watch

config.load_kube_config()
v1 = client.CoreV1Api()
first: V1Pod = v1.list_namespaced_pod("default", label_selector="app", _request_timeout=3).items[0]
made = v1.create_namespaced_pod("default", client.V1Pod())
if made.metadata is not None:
    print(made.metadata.name)
for event in watch.Watch().stream(v1.list_namespaced_pod, "default", timeout_seconds=3):
    print(event["type"])
try:
    v1.read_namespaced_pod("a", "b")
except client.ApiException as error:
    print(error.status)
"""

WRONG = """
from krm_client import KrmClient

KrmClient().core_v1.list_namespaced_pod("default", nonsense=1)
KrmClient().list("pods", nonsense=1)
KrmClient().core_v1.list_namespaced_secret("default")
"""


def test_types_of_the_official_methods_are_current() -> None:
    assert rendering.PATH.read_text() == rendering.rendered(), "run: python -m tests.unit.client.rendering"


def test_every_protocol_has_exactly_the_methods_that_there_are() -> None:
    for name, facade in (("CoreV1", "core_v1"), ("AppsV1", "apps_v1"), ("NetworkingV1", "networking_v1")):
        for prefix in ("", "Async"):
            protocol = getattr(facade_types, prefix + name)
            methods = {method for method in vars(protocol) if method.startswith(("list_", "read_"))}
            assert methods == {spec.name for spec in specs_of(facade)}


def _mypy(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "user.py"
    file.write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--hide-error-context"]
    return subprocess.run(
        [*command, f"--cache-dir={ROOT / '.mypy_cache' / 'user'}", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.fixture
def checked() -> None:
    pytest.importorskip("mypy", reason="mypy is in the checkout's own environment only")


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("program", [USER, MOVED], ids=["client", "moved"])
def test_program_of_a_user_is_clean_under_strict(program: str, tmp_path: Path) -> None:
    done = _mypy(program, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.usefixtures("checked")
def test_wrong_names_are_seen_by_the_type_checker(tmp_path: Path) -> None:
    done = _mypy(WRONG, tmp_path)
    assert len(done.stdout.strip().splitlines()) >= 3
    assert done.stdout.count("error:") == 3
