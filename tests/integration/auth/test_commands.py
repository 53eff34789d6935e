"""``krm serve`` and ``krm run`` with ``KRM_AUTH=kubernetes``, as processes of their own."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from krm import simulator
from krm.errors import ConfigError
from krm.settings import Settings
from krm.simulator import kinds
from tests.integration.auth.conftest import USERS, grant
from tests.integration.cli import programs
from tests.integration.cli.programs import krm
from tests.waiting import block_until

QUERY = json.dumps({"query": "{ pods { totalCount scope { complete } } }"}).encode()


def asked(url: str, token: str = "") -> tuple[int, dict[str, object]]:
    """Status and answer of a query, (0, {}) while nobody listens."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/graphql", QUERY, headers), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)
    except OSError:
        return 0, {}


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("t")


async def test_krm_run_shows_to_each_caller_what_is_theirs(folder: Path) -> None:
    world = simulator.World(pods=30, seed=3)
    async with simulator.serve(world=world, auth=True, tokens=USERS) as cluster:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig("admin-token"))
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
        other = {"name": "other", "namespace": "kube-system"}
        cluster.store.create(kinds.PODS, {"metadata": other, "spec": {"containers": []}})
        every = [pod.parse()["metadata"]["namespace"] for pod in cluster.store.all(cluster.store.kind_named("pods"))]
        namespace = max(every)
        own = every.count(namespace)
        assert own < len(every)
        grant(cluster.store, "ann", [rule], namespace)

        def look() -> None:
            arguments = ("run", "--port", "0", "--resources", "pods", "--kubeconfig", str(kubeconfig))
            with programs.long(folder, *arguments, env={"KRM_AUTH": "kubernetes"}) as running:
                running.until_ready()
                assert asked(running.url)[0] == 401
                assert asked(running.url, "admin-token")[1] == {
                    "data": {"pods": {"totalCount": len(every), "scope": {"complete": True}}}
                }
                assert asked(running.url, "ann-token")[1] == {
                    "data": {"pods": {"totalCount": own, "scope": {"complete": False}}}
                }
                mine = krm(
                    "get", "pods", "-n", namespace, "-o", "name", "--url", running.url, env={"KRM_TOKEN": "ann-token"}
                )
                assert (mine.returncode, len(mine.stdout.splitlines())) == (0, own)
                others = krm("get", "pods", "-n", "kube-system", "--url", running.url, env={"KRM_TOKEN": "ann-token"})
                assert (others.returncode, others.stdout) == (1, "")
                nobody = krm("get", "pods", "-A", "--url", running.url)
                assert (nobody.returncode, nobody.stdout) == (1, "")
                assert "-token" not in running.complaints

        await asyncio.to_thread(look)


async def test_krm_serve_lets_in_whom_the_cluster_of_its_kubeconfig_knows(
    folder: Path, redis_url: str, free_port: int
) -> None:
    async with simulator.serve(auth=True, tokens=USERS) as cluster:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig("admin-token"))
        url = f"http://127.0.0.1:{free_port}"

        def look() -> None:
            arguments = ("serve", "--port", str(free_port), "--kubeconfig", str(kubeconfig))
            env = {"KRM_AUTH": "kubernetes", "KRM_REDIS_URL": redis_url, "KRM_WORKERS": "2"}
            with programs.long(folder, *arguments, env=env):
                block_until(lambda: asked(url)[0] == 401, programs.PATIENCE_S, "the API lets nobody in")
                status, answer = asked(url, "admin-token")
                assert status == 200
                assert "NOT_READY" in json.dumps(answer)
                assert asked(url, "nobodys")[0] == 401

        await asyncio.to_thread(look)


def test_without_a_cluster_to_ask_nothing_is_served(redis_url: str, free_port: int) -> None:
    env = {"KRM_AUTH": "kubernetes", "KRM_REDIS_URL": redis_url, "HOME": "/nonexistent"}
    done = krm("serve", "--port", str(free_port), env=env)
    assert done.returncode == 2
    assert "no cluster is configured" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_in_a_cluster_callers_are_asked_for_a_token_unless_that_is_switched_off() -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert Settings.load({}, inside).auth == "kubernetes"
    assert Settings.load({}, {**inside, "KRM_HOST": "0.0.0.0"}).auth == "kubernetes"
    assert Settings.load({}, {**inside, "KRM_AUTH": "none"}).auth == "none"
    assert Settings.load({"insecure_no_auth": True}, inside).auth is None
    assert Settings.load({}, {}).auth is None
    with pytest.raises(ConfigError, match="insecure-no-auth"):
        Settings.load({}, {**inside, "KRM_AUTH": "none", "KRM_HOST": "0.0.0.0"}).check_api()


def test_the_simulated_cluster_has_no_users() -> None:
    done = krm("demo", "--port", "0", env={"KRM_AUTH": "kubernetes"})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "krm run" in done.stderr
