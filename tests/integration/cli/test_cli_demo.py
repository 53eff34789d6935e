"""``krm demo`` from its start to its end, whatever that end is."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli import programs
from tests.integration.cli.programs import Demo, krm
from tests.waiting import block_until

PARTS = {"krm api", "krm cluster", "krm verifier", "krm streamer", "krm aggregator"}


def total(url: str, field: str = "pods") -> int:
    answer = krm("query", "-", "--url", url, stdin=f"{{ {field} {{ totalCount }} }}")
    assert answer.returncode == 0, answer.stderr
    return int(json.loads(answer.stdout)["data"][field]["totalCount"])


def test_it_answers_with_the_whole_cluster_and_says_what_to_try(demo: Demo) -> None:
    assert total(demo.url) == 60
    assert f"{demo.url}/graphql" in demo.text
    assert "krm get pods -A" in demo.text
    assert f"KrmClient('{demo.url}')" in demo.text
    assert f"export KRM_URL={demo.url}" in demo.text


def test_it_serves_the_page_that_it_names(demo: Demo) -> None:
    with urllib.request.urlopen(f"{demo.url}/graphql", timeout=10) as page:
        assert b"graphiql" in page.read().lower()


def test_every_part_is_a_process_of_one_group_and_redis_is_private(demo: Demo) -> None:
    names = set(demo.relatives().values())
    assert names >= PARTS
    groups = {os.getpgid(pid) for pid, name in demo.relatives().items() if name in PARTS}
    assert groups == {demo.process.pid}
    (folder,) = (demo.folder / "tmp").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [entry.name for entry in folder.iterdir()] == ["redis.sock"]


def test_ctrl_c_of_the_terminal_is_for_the_supervisor_alone(demo: Demo) -> None:
    for pid, name in demo.relatives().items():
        status = Path(f"/proc/{pid}/status").read_text()
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        assert bool(blocked >> (signal.SIGINT - 1) & 1) is (name in PARTS), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_a_signal_ends_it_with_status_0_and_leaves_nothing(short_tmp: Path, number: signal.Signals) -> None:
    with programs.demo(short_tmp, "--pods", "20") as running:
        assert not running.nothing_is_left()
        running.process.send_signal(number)
        assert running.process.wait(60) == 0
        block_until(running.nothing_is_left, 10)
        assert "killed" not in running.complaints


def test_ctrl_c_on_the_terminal_reaches_the_whole_group_and_still_ends_it_in_order(short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "20") as running:
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.process.wait(60) == 0
        block_until(running.nothing_is_left, 10)
        assert "starting it again" not in running.complaints


def test_a_signal_during_the_start_ends_it_too(short_tmp: Path) -> None:
    with programs.long(short_tmp, "demo", "--port", "0", "--pods", "20") as running:
        block_until(lambda: "krm api" in running.relatives().values(), 20)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 0
        block_until(running.nothing_is_left, 10)


def test_killing_the_supervisor_leaves_nothing(short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "20") as running:
        running.process.kill()
        running.process.wait(10)
        block_until(running.nothing_is_left, 15)


def test_a_part_that_does_not_end_is_killed_within_a_bound(short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "20") as running:
        os.kill(running.pid_of("krm streamer"), signal.SIGSTOP)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 0
        block_until(running.nothing_is_left, 10)
        assert "streamer did not end in time and was killed" in running.complaints


def test_a_second_signal_ends_the_patience(short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "20") as running:
        os.kill(running.pid_of("krm cluster"), signal.SIGSTOP)
        running.process.send_signal(signal.SIGINT)
        block_until(lambda: "krm api" not in running.relatives().values(), 20)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 0
        block_until(running.nothing_is_left, 10)


def test_several_processes_of_the_api_end_with_the_supervisor(short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "20", "--churn", "0", env={"KRM_WORKERS": "2"}) as running:
        assert list(running.relatives().values()).count("krm api") == 3
        assert total(running.url) == 20
        running.process.kill()
        running.process.wait(10)
        block_until(running.nothing_is_left, 20)


def test_it_ends_by_itself_after_its_duration(short_tmp: Path) -> None:
    with programs.long(short_tmp, "demo", "--port", "0", "--pods", "20", "--duration", "4") as running:
        assert running.process.wait(40) == 0
        block_until(running.nothing_is_left, 10)


def test_two_live_side_by_side_and_the_end_of_one_is_nothing_to_the_other(demo: Demo, short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "25", "--churn", "0") as other:
        assert (total(demo.url), total(other.url)) == (60, 25)
    assert total(demo.url) == 60


def test_a_taken_port_is_one_line_that_names_the_setting(short_tmp: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with programs.long(short_tmp, "demo", env={"KRM_PORT": str(port)}) as running:
            assert running.process.wait(30) == 2
            assert running.complaints.count("\n") == 1
            assert str(port) in running.complaints
            assert "KRM_PORT" in running.complaints
            assert "--port" in running.complaints
            block_until(running.nothing_is_left, 10)


@pytest.fixture(scope="module")
def enduring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo whose parts the tests kill; each test leaves it whole."""
    with programs.demo(tmp_path_factory.mktemp("e"), "--pods", "20", "--churn", "0") as running:
        yield running


@pytest.mark.parametrize("part", sorted(PARTS - {"krm cluster"}))
def test_a_part_that_is_killed_comes_back_and_says_so(enduring: Demo, part: str) -> None:
    killed = enduring.pid_of(part)
    os.kill(killed, signal.SIGKILL)
    block_until(lambda: killed not in enduring.relatives() and part in enduring.relatives().values(), 20)
    assert f"{part.removeprefix('krm ')} was ended by SIGKILL; starting it again" in enduring.complaints
    block_until(lambda: _counts(enduring) == 20, 40)


def test_redis_that_is_killed_comes_back_and_is_filled_again(enduring: Demo) -> None:
    server = next(pid for pid, name in enduring.relatives().items() if name.startswith(("redis", "valkey")))
    os.kill(server, signal.SIGKILL)
    block_until(lambda: "redis ended; starting it again" in enduring.complaints, 20)
    block_until(lambda: _verified_again(enduring), 60)
    assert _counts(enduring) == 20


def _counts(running: Demo) -> int | None:
    answer = krm("query", "-", "--url", running.url, stdin="{ pods { totalCount } }")
    return int(json.loads(answer.stdout)["data"]["pods"]["totalCount"]) if answer.returncode == 0 else None


def _verified_again(running: Demo) -> bool:
    answer = krm("status", "pods", "-o", "json", "--url", running.url)
    if answer.returncode != 0:
        return False
    (freshness,) = json.loads(answer.stdout)
    return bool(freshness["state"] == "SYNCED" and freshness["verifiedAgeSeconds"] < 20)


def test_a_given_redis_is_used_and_left_running(short_tmp: Path, redis_url: str) -> None:
    with programs.demo(short_tmp, "--pods", "20", env={"KRM_REDIS_URL": redis_url}) as running:
        assert total(running.url) in range(10, 40)
        assert not list((running.folder / "tmp").iterdir())
        running.process.terminate()
        assert running.process.wait(60) == 0
    import redis

    with redis.Redis.from_url(redis_url) as client:
        assert any(key.startswith(b"krm:1:{default/core/v1/pods#0}:") for key in client.scan_iter())


def test_its_log_names_the_part_that_wrote_each_line(short_tmp: Path) -> None:
    settings = {"KRM_LOG_FORMAT": "text", "KRM_LOG_LEVEL": "info"}
    with programs.demo(short_tmp, "--pods", "20", env=settings) as running:
        lines = running.complaints.splitlines()
    assert {line.partition("|")[0].strip() for line in lines} <= {name.removeprefix("krm ") for name in PARTS}
    assert any("begins a new table" in line and line.startswith("aggregator") for line in lines)


def test_json_log_lines_stay_json(short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "20", env={"KRM_LOG_LEVEL": "info"}) as running:
        lines = running.complaints.splitlines()
    assert len([json.loads(line) for line in lines]) > 5


def test_a_reader_that_goes_away_ends_it_with_141(short_tmp: Path) -> None:
    (short_tmp / "tmp").mkdir()
    process = subprocess.Popen(
        [*programs.KRM, "demo", "--port", "0", "--pods", "20"],
        env=programs.environment({"TMPDIR": str(short_tmp / "tmp")}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 141
    running = Demo(process=process, folder=short_tmp, output=short_tmp, log=short_tmp)
    block_until(running.nothing_is_left, 10)
