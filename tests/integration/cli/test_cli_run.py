"""``krm run`` against an API server: what works, and one line for each thing that does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from krm import simulator
from krm.simulator import Simulation
from tests import servers
from tests.integration.cli import programs
from tests.integration.cli.programs import krm
from tests.waiting import block_until

IN_TIME_S = 60.0


@pytest.fixture
async def cluster() -> AsyncIterator[Simulation]:
    """A simulated API server in which nothing changes."""
    async with simulator.serve(world=simulator.World(pods=30, seed=3), auth=False) as running:
        yield running


@pytest.fixture
def kubeconfig(cluster: Simulation, short_tmp: Path) -> Path:
    """Leads to the cluster."""
    path = short_tmp / "kubeconfig"
    path.write_text(cluster.kubeconfig())
    return path


async def run(*arguments: str | Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """``krm run`` that is expected to give up: its exit status and what it said."""
    done = await asyncio.to_thread(krm, "run", "--port", "0", *map(str, arguments), env=env)
    assert not done.stdout
    return done.returncode, done.stderr


def one_line(said: str) -> str:
    (line,) = said.splitlines()
    assert line.startswith("krm: ")
    assert "Traceback" not in line
    return line


async def test_it_shows_the_cluster_and_a_kind_without_rights_does_not_stop_the_others(
    cluster: Simulation, kubeconfig: Path, short_tmp: Path
) -> None:
    cluster.faults.add("status", resource="ingresses", status=403, count=None)

    def look() -> None:
        with programs.long(short_tmp, "run", "--port", "0", "--kubeconfig", str(kubeconfig)) as running:
            running.until_ready()
            assert cluster.url in running.text
            assert "without ingresses" in running.text
            assert "ingresses will be missing" in running.complaints
            pods = krm("get", "pods", "-A", "-o", "name", "--url", running.url)
            assert (pods.returncode, len(pods.stdout.splitlines())) == (0, 30)
            ingresses = krm("get", "ingresses", "-A", "--url", running.url)
            assert (ingresses.returncode, ingresses.stdout) == (1, "")
            assert "NOT_READY" in ingresses.stderr or "FORBIDDEN" in ingresses.stderr
            status = krm("status", "-o", "json", "--url", running.url)
            states = {one["resource"]: one["state"] for one in json.loads(status.stdout)}
            assert states["ingresses"] == "FORBIDDEN"
            assert {state for name, state in states.items() if name != "ingresses"} <= {"SYNCED", "CATCHING_UP"}
            running.process.terminate()
            assert running.process.wait(20) == 0
            block_until(running.nothing_is_left, 10)

    await asyncio.to_thread(look)


async def test_only_the_wanted_kinds_are_cached(cluster: Simulation, kubeconfig: Path, short_tmp: Path) -> None:
    def look() -> None:
        wanted = ("run", "--port", "0", "--kubeconfig", str(kubeconfig), "--resources", "nodes,po")
        with programs.long(short_tmp, *wanted) as running:
            running.until_ready()
            names = krm("status", "--url", running.url).stdout.split("\n")[1:-1]
            assert [line.split()[0] for line in names] == ["nodes", "pods"]

    await asyncio.to_thread(look)
    assert cluster.requests.total(resource="services") == 0


async def test_credentials_that_are_refused_end_it(cluster: Simulation, kubeconfig: Path) -> None:
    cluster.faults.add("status", status=401, count=None)
    status, said = await run("--kubeconfig", kubeconfig)
    assert status == 1
    assert "401" in one_line(said) or "credentials" in one_line(said)
    assert str(kubeconfig) in said


async def test_no_right_to_list_anything_ends_it(cluster: Simulation, kubeconfig: Path) -> None:
    cluster.faults.add("status", status=403, count=None)
    status, said = await run("--kubeconfig", kubeconfig)
    assert status == 1
    assert "403" in one_line(said) or "forbidden" in one_line(said).lower()


async def test_a_server_that_cannot_be_reached_ends_it(short_tmp: Path, free_port: int) -> None:
    path = short_tmp / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        f"clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{free_port}'}}}}]\n"
        "users: [{name: a, user: {}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"
    )
    status, said = await run("--kubeconfig", path)
    assert status == 1
    assert str(free_port) in one_line(said)


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, [], ["{file}"]),
        ("", [], ["{file}"]),
        ("a: [", [], ["{file}"]),
        ("{good}", ["--context", "nowhere"], ["{file}", "nowhere"]),
    ],
    ids=["missing", "empty", "not-yaml", "no-such-context"],
)
async def test_a_wrong_kubeconfig_is_a_wrong_configuration(
    cluster: Simulation, short_tmp: Path, content: str | None, arguments: list[str], words: list[str]
) -> None:
    path = short_tmp / "config"
    if content is not None:
        path.write_text(content.replace("{good}", cluster.kubeconfig()))
    status, said = await run("--kubeconfig", path, *arguments)
    assert status == 2
    line = one_line(said)
    for word in words:
        assert word.replace("{file}", str(path)) in line


async def test_an_exec_plugin_that_is_missing_is_named(cluster: Simulation, short_tmp: Path) -> None:
    path = short_tmp / "config"
    plugin = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never}}"
    path.write_text(cluster.kubeconfig().replace("    {}\n", f"    {plugin}\n"))
    status, said = await run("--kubeconfig", path)
    assert status == 2
    assert "no-such-plugin" in one_line(said)
    assert str(path) in said


async def test_a_redis_that_cannot_be_reached_ends_it(kubeconfig: Path, free_port: int) -> None:
    address = f"redis://:hush@127.0.0.1:{free_port}/0"
    status, said = await run("--kubeconfig", kubeconfig, env={"KRM_REDIS_URL": address})
    assert status == 1
    assert "KRM_REDIS_URL" in one_line(said)
    assert "hush" not in said


async def test_a_redis_that_evicts_is_refused(kubeconfig: Path) -> None:
    with servers.start_redis("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        status, said = await run("--kubeconfig", kubeconfig, "--redis-url", server.url)
    assert status == 2
    assert "noeviction" in one_line(said)
    assert "allkeys-lru" in said


async def test_a_password_on_the_command_line_is_warned_of(kubeconfig: Path, free_port: int) -> None:
    _, said = await run("--kubeconfig", kubeconfig, "--redis-url", f"redis://:hush@127.0.0.1:{free_port}/0")
    assert "KRM_REDIS_URL hides it" in said.splitlines()[0]
    assert "hush" not in said


async def test_a_beyond_loopback_address_without_authentication_is_refused(kubeconfig: Path) -> None:
    status, said = await run("--kubeconfig", kubeconfig, env={"KRM_HOST": "0.0.0.0"})
    assert status == 2
    assert "--insecure-no-auth" in one_line(said)


@pytest.mark.parametrize("role", ["stream", "verify", "aggregate", "serve"])
def test_single_programs_need_to_be_told_where_redis_is(role: str) -> None:
    done = krm(role)
    assert done.returncode == 2
    assert "KRM_REDIS_URL" in one_line(done.stderr)


async def test_the_single_programs_make_up_the_whole(
    cluster: Simulation, kubeconfig: Path, redis_url: str, short_tmp: Path, free_port: int
) -> None:
    env = {"KRM_REDIS_URL": redis_url, "KRM_RESOURCES": "pods"}
    url = f"http://127.0.0.1:{free_port}"

    def look() -> None:
        folders = [short_tmp / name for name in "svag"]
        for folder in folders:
            folder.mkdir()
        of_pods = ("--resource", "pods")
        with (
            programs.long(folders[0], "stream", *of_pods, "--kubeconfig", str(kubeconfig), env=env) as streamer,
            programs.long(folders[1], "verify", *of_pods, "--kubeconfig", str(kubeconfig), env=env) as verifier,
            programs.long(folders[2], "aggregate", *of_pods, env=env) as aggregator,
            programs.long(folders[3], "serve", "--port", str(free_port), env=env) as api,
        ):
            block_until(lambda: "SYNCED" in krm("status", "pods", "--url", url).stdout, IN_TIME_S)
            assert len(krm("get", "pods", "-A", "--no-headers", "--url", url).stdout.splitlines()) == 30
            for each in (streamer, verifier, aggregator, api):
                each.process.terminate()
            assert [each.process.wait(20) for each in (streamer, verifier, aggregator, api)] == [0, 0, 0, 0]

    await asyncio.to_thread(look)
