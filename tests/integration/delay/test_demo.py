"""``krm demo --with-delay``: samples of the simulated cluster end up in an InfluxDB of the demo's own."""

from __future__ import annotations

import json
import os
import re
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from krm import cli
from tests import servers
from tests.waiting import block_until

pytestmark = pytest.mark.timeout(180)

QUERY = 'SELECT count("uid") AS samples FROM "stream_delay" GROUP BY "event"'


def asked(url: str) -> set[str]:
    """The events of which there are samples."""
    query = urllib.parse.urlencode({"db": "krm", "q": QUERY})
    with urllib.request.urlopen(f"{url}/query?{query}", timeout=10) as answer:
        (result,) = json.loads(answer.read())["results"]
    return {series["tags"]["event"] for series in result.get("series", ())}


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("krm-influx-*"))


def test_the_demo_keeps_delays_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    program = servers.influxd_program()
    monkeypatch.setenv("PATH", f"{program.path.parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in program.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRM_COLLECT_INTERVAL", "1s")
    before = folders()
    with servers.start_demo("--with-delay", "--pods", "40", "--churn", "40") as demo:
        url = block_until(lambda: told(demo), 60, "the demo says where InfluxDB is")
        block_until(lambda: asked(url) == {"ADDED", "DELETED"}, 60, "samples of both events")
        assert folders() - before
    assert demo.process.returncode == 0
    assert folders() <= before


def told(demo: servers.Demo) -> Any:
    found = re.search(r"delays +(http://\S+)", demo.log.read_text())
    return found[1] if found else None


def test_without_an_influxd_it_is_said_how_to_have_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KRM_REDIS_URL", "unix:///nowhere")
    monkeypatch.setattr("krm.cli.serving.preflight.check_redis", lambda _settings: [])
    assert cli.main(["demo", "--port", "0", "--with-delay"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "apt install influxdb" in line


def test_a_collector_without_an_address_is_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRM_REDIS_URL", "redis://127.0.0.1:1/0")
    assert cli.main(["collect"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "KRM_INFLUX_URL" in line
