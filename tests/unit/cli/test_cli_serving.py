"""The small parts of ``krm demo`` and ``krm run``: sockets, the log, what is announced when."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from krm.cli.serving import probe, relay, sockets
from krm.cli.serving.announce import Announcement
from krm.cli.serving.probe import NOTHING, Address, Standing
from krm.cli.serving.relay import Relay
from krm.errors import ConfigError

ALL_READY = Standing(is_ready=True, states={"pods": "SYNCED", "nodes": "SYNCED"}, reasons={})
PARTLY = Standing(is_ready=False, states={"pods": "SYNCED", "nodes": "NOT_READY"}, reasons={"nodes": "no list yet"})
REFUSED = Standing(is_ready=True, states={"pods": "SYNCED", "nodes": "FORBIDDEN"}, reasons={"nodes": "403"})


def announcement(monkeypatch: pytest.MonkeyPatch, standing: Standing, *, slow_s: float = 1e9, port: int = 8000) -> Any:
    monkeypatch.setattr(probe, "ask", lambda _: standing)
    return Announcement(address=Address(host="127.0.0.1", port=port), title="KRM shows it", began=0.0, slow_s=slow_s)


def test_it_is_announced_once_everything_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not announcement(monkeypatch, NOTHING).look()
    assert not announcement(monkeypatch, PARTLY).look()
    assert capsys.readouterr() == ("", "")
    assert announcement(monkeypatch, ALL_READY).look()
    out, err = capsys.readouterr()
    assert "http://127.0.0.1:8000/graphql" in out
    assert "without" not in out
    assert err == ""


def test_another_port_than_the_usual_is_to_be_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    announcement(monkeypatch, ALL_READY).look()
    assert "KRM_URL" not in capsys.readouterr().out
    announcement(monkeypatch, ALL_READY, port=8001).look()
    assert "export KRM_URL=http://127.0.0.1:8001" in capsys.readouterr().out


def test_a_kind_without_rights_is_named_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert announcement(monkeypatch, REFUSED).look()
    assert "without nodes: KRM has no right to list it (403)" in capsys.readouterr().out


def test_after_a_while_what_is_there_is_announced_without_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert announcement(monkeypatch, PARTLY, slow_s=0).look()
    assert "without nodes: not listed yet (no list yet)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (NOTHING, "the API at http://127.0.0.1:8000 does not answer yet"),
        (Standing(is_ready=False, states={"pods": "NOT_READY"}, reasons={"pods": "why"}), "pods NOT_READY (why)"),
    ],
)
def test_a_start_that_takes_long_says_once_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], standing: Standing, words: str
) -> None:
    waiting = announcement(monkeypatch, standing, slow_s=0)
    assert not waiting.look()
    assert not waiting.look()
    assert capsys.readouterr() == ("", f"krm: still waiting: {words}\n")


@pytest.mark.parametrize(
    ("answer", "standing"),
    [
        ({"data": {"freshness": [{"resource": "pods", "state": "SYNCED", "reason": None}]}}, True),
        ({"data": {"freshness": [{"resource": "pods", "state": "CATCHING_UP", "reason": None}]}}, False),
        ({"data": {"freshness": [{"resource": "pods", "state": "HISTORY_RESET", "reason": None}]}}, False),
        ({"data": {"freshness": []}}, False),
        ({"data": None}, False),
        ([], False),
    ],
)
def test_an_answer_tells_whether_every_kind_is_decided(answer: Any, standing: bool) -> None:
    assert probe._standing(json.loads(json.dumps(answer))).is_ready is standing


def test_nobody_who_answers_is_not_ready() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert probe.ask(Address(host="127.0.0.1", port=port)) == NOTHING


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("::1", "http://[::1]:1"), ("localhost", "http://localhost:1")],
)
def test_addresses_are_spelled_as_urls(host: str, url: str) -> None:
    assert Address(host=host, port=1).url == url
    assert Address(host=host, port=1, is_tls=True).url == url.replace("http", "https")


@pytest.mark.parametrize(("host", "seen"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.1.1", "10.1.1.1")])
def test_an_address_for_all_is_asked_on_this_machine(host: str, seen: str) -> None:
    assert probe.reachable(host) == seen


def test_a_free_port_is_found_and_a_taken_one_is_explained() -> None:
    with sockets.listen("127.0.0.1", 0) as first:
        port = sockets.port_of(first)
        with pytest.raises(ConfigError, match=rf"port {port} on 127\.0\.0\.1 is taken .*--port or KRM_PORT"):
            sockets.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7"])
def test_an_address_of_another_machine_is_explained(host: str) -> None:
    with pytest.raises(ConfigError, match="KRM_HOST"):
        sockets.listen(host, 0)


def relayed(*pieces: bytes, has_names: bool = True) -> bytes:
    """What comes out of the relay when a child writes ``pieces`` and ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    out_reading, out_writing = os.pipe()
    passing = Relay(out_writing, has_names=has_names)
    for piece in pieces:
        os.write(writing, piece)
        assert passing.pass_on("api", reading)
    os.close(writing)
    assert not passing.pass_on("api", reading)
    os.close(reading)
    os.close(out_writing)
    with os.fdopen(out_reading, "rb") as out:
        return out.read()


def test_each_line_of_the_log_carries_a_name() -> None:
    assert relayed(b"one\ntwo\n") == b"api        | one\napi        | two\n"
    assert relayed(b'{"a": 1}\n', has_names=False) == b'{"a": 1}\n'


def test_a_line_that_comes_in_pieces_stays_one_line_and_the_last_needs_no_end() -> None:
    assert relayed(b"on", b"e\ntw", b"o") == b"api        | one\napi        | two\n"


def test_a_line_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_LONGEST_LINE", 8)
    assert relayed(b"0123456789", b"x\n") == b"api        | 0123456789\napi        | x\n"


def test_what_nobody_reads_is_dropped_counted_and_never_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_PATIENCE_MS", 1)
    reading, writing = os.pipe()
    passing = Relay(writing, has_names=False)
    for _ in range(40):
        passing._write("api", b"x" * 4_000)
    taken = os.read(reading, 200_000)
    assert len(taken) < 40 * 4_001
    passing._write("api", b"again")
    os.close(writing)
    with os.fdopen(reading, "rb") as rest:
        told, line = rest.read().splitlines()
    assert told.endswith(b"lines of the log were dropped: nobody read them")
    assert line == b"again"


def test_a_log_that_nobody_will_ever_read_is_no_reason_to_stop() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Relay(writing, has_names=False)._write("api", b"x")
    os.close(writing)
