"""The reading commands against a running KRM."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import http.server
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from krm import resources
from tests.integration.cli import programs
from tests.integration.cli.programs import Demo, krm
from tests.waiting import block_until

SHORT = {"pods": "po", "deployments": "deploy", "persistentvolumeclaims": "pvc", "services": "svc"}


def ask(demo: Demo, *arguments: str, stdin: str | None = None) -> str:
    """What a command that works prints."""
    done = krm(*arguments, env={"KRM_URL": demo.url}, stdin=stdin)
    # On a machine that is short of everything an answer may be a little old, and says so.
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("krm: warning: ")]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout


def objects(demo: Demo, kind: str, *arguments: str) -> list[dict[str, Any]]:
    whole = json.loads(ask(demo, "get", kind, "-A", "-o", "json", *arguments))
    assert whole["kind"] == "List"
    items: list[dict[str, Any]] = whole["items"]
    return items


@pytest.mark.parametrize("kind", list(resources.RESOURCES))
def test_a_table_has_kubectls_headings_and_a_line_an_object(demo: Demo, kind: str) -> None:
    lines = ask(demo, "get", SHORT.get(kind, kind), "-A").splitlines()
    namespaced = resources.RESOURCES[kind].namespaced
    assert lines[0].split()[:2] == (["NAMESPACE", "NAME"] if namespaced else ["NAME", "STATUS"])
    assert len(lines) - 1 == len(objects(demo, kind))


def test_names_are_what_kubectl_takes(demo: Demo) -> None:
    first = objects(demo, "deploy")[0]["metadata"]
    name = ask(demo, "get", "deploy", "-n", first["namespace"], "-o", "name").splitlines()[0]
    assert name == f"deployment.apps/{first['name']}"
    one = json.loads(ask(demo, "get", f"deployment/{first['name']}", "-n", first["namespace"], "-o", "json"))
    assert one["metadata"]["uid"] == first["uid"]


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_json_and_yaml_are_the_objects_as_the_api_gives_them(demo: Demo, form: str, read: Any) -> None:
    printed = read(ask(demo, "get", "pods", "-A", "-o", form))["items"]
    answer = json.loads(ask(demo, "query", "-", stdin="{ pods { nodes { object } } }"))
    assert printed == [node["object"] for node in answer["data"]["pods"]["nodes"]]
    assert all(item["kind"] == "Pod" and item["apiVersion"] == "v1" for item in printed)


def test_csv_has_a_record_an_object(demo: Demo) -> None:
    rows = list(csv.DictReader(io.StringIO(ask(demo, "get", "nodes", "-o", "csv"))))
    assert [row["NAME"] for row in rows] == [node["metadata"]["name"] for node in objects(demo, "nodes")]
    assert all(row["CREATED"].endswith("Z") and row["STATUS"] == "Ready" for row in rows)


def test_selectors_conditions_and_order_choose_what_is_shown(demo: Demo) -> None:
    pods = objects(demo, "pods")
    app = pods[0]["metadata"]["labels"]["app"]
    chosen = objects(demo, "pods", "-l", f"app={app}")
    assert {pod["metadata"]["uid"] for pod in chosen} == {
        pod["metadata"]["uid"] for pod in pods if pod["metadata"]["labels"].get("app") == app
    }
    node = pods[0]["spec"]["nodeName"]
    assert objects(demo, "pods", "--field-selector", f"spec.nodeName={node}") == [
        pod for pod in pods if pod["spec"]["nodeName"] == node
    ]
    both = objects(demo, "pods", "--where", f"spec.nodeName={node}", "--where", f"metadata.labels['app']!={app}")
    assert both == [
        pod for pod in pods if pod["spec"]["nodeName"] == node and pod["metadata"]["labels"].get("app") != app
    ]
    sorted_names = [each["metadata"]["name"] for each in objects(demo, "nodes", "--sort-by", "-metadata.name")]
    assert sorted_names == sorted(sorted_names, reverse=True)


def test_a_namespace_narrows_and_an_empty_one_is_said_on_standard_error(demo: Demo) -> None:
    namespace = objects(demo, "pods")[0]["metadata"]["namespace"]
    lines = ask(demo, "get", "pods", "-n", namespace, "--no-headers").splitlines()
    assert len(lines) == sum(pod["metadata"]["namespace"] == namespace for pod in objects(demo, "pods"))
    done = krm("get", "pods", "-n", "empty", "--url", demo.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "krm: No resources found in empty namespace.\n")


def test_an_empty_list_is_still_json(demo: Demo) -> None:
    done = krm("get", "pods", "-n", "empty", "-o", "json", "--url", demo.url)
    assert done.returncode == 0
    assert json.loads(done.stdout)["items"] == []


def test_several_kinds_are_told_apart(demo: Demo) -> None:
    printed = ask(demo, "get", "po,no", "-A")
    first, second = printed.split("\n\n")
    assert first.splitlines()[1].split()[1].startswith("pod/")
    assert second.splitlines()[1].startswith("node/")


def test_what_is_missing_is_named_and_the_rest_is_printed(demo: Demo) -> None:
    node = objects(demo, "nodes")[0]["metadata"]["name"]
    done = krm("get", "nodes", node, "nope", "-o", "name", "--url", demo.url)
    assert (done.returncode, done.stdout) == (1, f"node/{node}\n")
    assert done.stderr == "krm: nodes 'nope' not found\n"


def test_a_path_that_the_kind_does_not_have_is_refused_by_the_api(demo: Demo) -> None:
    done = krm("get", "pods", "--where", "spec.nodeNam=x", "--url", demo.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "PATH_INVALID" in done.stderr
    assert "spec.nodeName" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_query_takes_variables_and_a_file(demo: Demo, short_tmp: Path) -> None:
    file = short_tmp / "q.graphql"
    file.write_text("query ($n: String, $first: Int) { pods(namespace: $n, first: $first) { nodes { object } } }")
    namespace = objects(demo, "pods")[0]["metadata"]["namespace"]
    answer = json.loads(ask(demo, "query", str(file), "--var", f"n={namespace}", "--var", "first=1"))
    assert [node["object"]["metadata"]["namespace"] for node in answer["data"]["pods"]["nodes"]] == [namespace]


def test_a_query_with_errors_prints_what_was_answered_and_ends_with_1(demo: Demo) -> None:
    text = '{ nodes { totalCount } bad: pods(labelSelector: "a==,") { totalCount } }'
    done = krm("query", "-", "--url", demo.url, stdin=text)
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert answer["data"]["nodes"]["totalCount"] == len(objects(demo, "nodes"))
    assert answer["errors"][0]["extensions"]["code"] == "SELECTOR_INVALID"
    assert "bad: " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["{ nope }", "{", "subscription { pods { type } }", "\x00", "{ pods { nodes } }"])
def test_a_query_that_is_none_is_one_line(demo: Demo, text: str) -> None:
    done = krm("query", "-", "--url", demo.url, stdin=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("krm: ")


def test_the_status_says_in_words_how_true_answers_are(demo: Demo) -> None:
    def words() -> list[str]:
        return ask(demo, "status").splitlines()

    block_until(lambda: all("SYNCED" in line for line in words()[1:]), 60)
    lines = words()
    assert [line.split()[0] for line in lines[1:]] == list(resources.RESOURCES)
    assert all("ago" in line for line in lines[1:])
    assert any(line.endswith("current") for line in lines[1:])
    (nodes,) = json.loads(ask(demo, "status", "no", "-o", "json"))
    assert (nodes["resource"], nodes["contiguous"]) == ("nodes", True)


def test_the_status_has_percentiles_of_the_delay_where_metrics_may_be_read(short_tmp: Path) -> None:
    def delay(living: Demo) -> Any:
        (pods,) = json.loads(ask(living, "status", "po", "-o", "json"))
        return pods["streamDelay"]

    with programs.demo(short_tmp, "--pods", "20", "--churn", "40") as living:
        found = block_until(lambda: delay(living), 60, "a delay was measured")
        line = ask(living, "status", "po").splitlines()[1]
    assert found["samples"] > 0
    assert 0 <= found["p50Seconds"] <= found["p90Seconds"] <= found["p99Seconds"] <= 1800
    assert re.search(r" \d+\.\d\d/\d+\.\d\d/\d+\.\d\ds +\d+ ", line)


def test_without_metrics_the_status_is_whole_but_for_percentiles() -> None:
    freshness = {"resource": "pods", "state": "SYNCED", "missed": {}}
    with server(200, json.dumps({"data": {"freshness": [freshness]}}).encode()) as url:  # it refuses GET with 501
        table = krm("status", "--url", url)
        printed = krm("status", "-o", "json", "--url", url)
    assert (table.returncode, table.stderr, printed.returncode) == (0, "", 0)
    assert table.stdout.splitlines()[1].split() == [
        "pods",
        "SYNCED",
        "-",
        "never",
        "-",
        "-",
        "-",
        "-",
        "none",
        "current",
    ]
    assert json.loads(printed.stdout) == [{**freshness, "streamDelay": None}]


def test_no_drift_is_no_output(demo: Demo) -> None:
    done = krm("drift", "--url", demo.url)
    assert (done.returncode, done.stdout) == (0, "")
    assert "No drift" in done.stderr
    assert json.loads(krm("drift", "pods", "-o", "json", "--url", demo.url).stdout) == []


def test_the_packaged_schema_is_the_served_one(demo: Demo) -> None:
    from graphql import (
        build_client_schema,
        build_schema,
        get_introspection_query,
        lexicographic_sort_schema,
        print_schema,
    )

    served = json.loads(ask(demo, "query", "-", stdin=get_introspection_query()))["data"]

    def spelled(schema: Any) -> str:
        return print_schema(lexicographic_sort_schema(schema))

    assert spelled(build_schema(ask(demo, "schema"))) == spelled(build_client_schema(served))


def test_a_reader_that_takes_one_line_and_goes_is_status_141(demo: Demo) -> None:
    process = subprocess.Popen(
        [*programs.KRM, "get", "pods", "-A", "-o", "json", "--url", demo.url],
        env=programs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_terminal_of_any_width_gets_the_same_table(demo: Demo) -> None:
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [*programs.KRM, "get", "nodes", "--no-headers", "--url", demo.url],
        env=programs.environment({"COLUMNS": "1", "NO_COLOR": "1"}),
        stdin=subprocess.DEVNULL,
        stdout=secondary,
        stderr=subprocess.PIPE,
    )
    os.close(secondary)
    shown = b""
    try:
        while piece := os.read(primary, 65536):
            shown += piece
    except OSError:  # the other side is closed: the end, for a terminal
        pass
    os.close(primary)
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, b"")
    assert len(shown.splitlines()) == len(objects(demo, "nodes"))
    assert b"\x1b" not in shown


@contextmanager
def server(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """An HTTP server that answers everything alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()


EVIL = "a\x1b]0;title\x07b"


def stale(name: str) -> bytes:
    freshness = {"resource": "pods", "state": "STALE", "verifiedAgeSeconds": 130.0, "reason": EVIL, "missed": {}}
    scope = {"complete": False, "namespaces": ["n1", "n2"]}
    node = {"object": {"metadata": {"name": name, "namespace": "n1"}}}
    pods = {"nodes": [node], "resourceVersion": "7", "scope": scope, "freshness": freshness}
    return json.dumps({"data": {"pods": pods}}).encode()


def test_an_old_or_partial_answer_is_printed_with_a_warning_on_standard_error() -> None:
    with server(200, stale("web")) as url:
        done = krm("get", "pods", "-A", "-o", "name", "--url", url)
    assert (done.returncode, done.stdout) == (0, "pod/web\n")
    old, partial = done.stderr.splitlines()
    assert "STALE" in old
    assert "verified 2m10s ago" in old
    assert "n1, n2" in partial
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (502, b"<html>bad gateway</html>", "502"),
        (200, b"<html>a login page</html>", "not"),
        (200, b'{"data": {"pods": ', "not"),
        (200, b"", "empty"),
        (401, b'{"errors": [{"message": "no valid token", "extensions": {"code": "UNAUTHENTICATED"}}]}', "token"),
        (500, b'{"errors": [{"message": "trace 7", "extensions": {"code": "INTERNAL"}}]}', "trace 7"),
        (
            200,
            b'{"data": null, "errors": [{"message": "not listed", "extensions": {"code": "NOT_READY"}}]}',
            "not listed",
        ),
    ],
    ids=["proxy", "page", "cut", "empty", "unauthenticated", "internal", "not-ready"],
)
def test_every_failure_of_the_server_is_one_line_and_never_an_empty_list(status: int, body: bytes, words: str) -> None:
    with server(status, body) as url:
        done = krm("get", "pods", "--url", url, "--timeout", "2s")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert words in line
    assert "fault of krm" not in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_watch_on_a_terminal_draws_the_table_again_until_a_signal(demo: Demo, number: signal.Signals) -> None:
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 8, 40, 0, 0))
    process = subprocess.Popen(
        [*programs.KRM, "get", "pods", "-A", "-w", "--url", demo.url],
        env={
            name: v for name, v in programs.environment({"TERM": "xterm"}).items() if name not in ("COLUMNS", "LINES")
        },
        stdin=subprocess.DEVNULL,
        stdout=secondary,
        stderr=subprocess.PIPE,
    )
    os.close(secondary)
    shown = b""
    while shown.count(b"\x1b[J") < 4:  # twice cleared for a list and drawn: that of before the watch, and one behind it
        shown += os.read(primary, 65536)
    process.send_signal(number)
    with contextlib.suppress(OSError):  # the other side is closed: the end, for a terminal
        while piece := os.read(primary, 65536):
            shown += piece
    os.close(primary)
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, b"")
    drawn = shown.replace(b"\r\n", b"\n").split(b"\x1b[H")[4].decode()
    lines = drawn.replace("\x1b[K", "").replace("\x1b[J", "").splitlines()
    assert lines[0].startswith("NAMESPACE   NAME")
    assert lines[-1] == f"... and {len(objects(demo, 'pods')) - 5} more"
    assert len(lines) == 7
    assert max(map(len, lines)) <= 40


def test_a_watch_prints_changes_until_it_is_interrupted(short_tmp: Path) -> None:
    with programs.demo(short_tmp, "--pods", "20", "--churn", "20") as living:
        process = subprocess.Popen(
            [*programs.KRM, "get", "pods", "-A", "-w", "-o", "name", "--url", living.url],
            env=programs.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(60)]  # a list of about 20, and what happens after it
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert all(line.startswith("pod/") for line in lines)
    assert (process.returncode, complaints) == (0, "")
