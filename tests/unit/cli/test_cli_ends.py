"""How commands end: exit status, one line on standard error, and nothing heavy loaded on the way to --help."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.main import get_command

from krm import cli
from krm.cli.app import app
from tests.waiting import block_until

HEAVY = [
    *("redis", "fastapi", "starlette", "uvicorn", "strawberry", "graphql", "gql", "aiohttp", "kubernetes", "pandas"),
    *("numpy", "pyarrow", "pydantic", "httpx2", "yaml", "rich", "krm_client", "krm.schema", "krm.api", "krm.kube"),
]
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


def krm(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("KRM_")}
    return subprocess.run(
        [sys.executable, "-m", "krm", *arguments],
        env={**plain, "KUBECONFIG": "/nowhere/kubeconfig", **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a command line imports."""
    program = (
        "import sys, json; from krm import cli; status = cli.main(sys.argv[1:]);"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["get", "--help"], ["demo", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not loaded_by(*arguments) & set(HEAVY)


def test_the_schema_is_printed_without_what_serves_it() -> None:
    assert not loaded_by("schema") & {"strawberry", "graphql", "fastapi", "redis"}
    assert "type Query {" in krm("schema").stdout


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_however_narrow_the_terminal(
    command: str, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1")
    assert cli.main([command, option]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Usage: krm")


def test_the_version_is_the_packages() -> None:
    assert krm("--version").stdout == f"krm {metadata.version('kubernetes-resource-monitor')}\n"


def test_the_installed_command_is_the_same() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "krm", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == krm("--version").stdout


WRONG = {
    "unknown-flag": (["get", "pods", "--nope"], {}, "--nope"),
    "unknown-command": (["nope"], {}, "nope"),
    "unknown-form": (["get", "pods", "-o", "xml"], {}, "xml"),
    "no-resource": (["get"], {}, "RESOURCE"),
    "unknown-kind": (["get", "poods"], {}, "pods"),
    "no-value": (["get", "pods", "-n"], {}, "-n"),
    "empty-namespace": (["get", "pods", "-n", ""], {}, "-A"),
    "name-in-all-namespaces": (["get", "pods", "-A", "x"], {}, "-n"),
    "name-and-selector": (["get", "pods", "x", "-l", "a=b"], {}, "name"),
    "label-selector": (["get", "pods", "-l", "a==b,,c"], {}, "position 5"),
    "field-selector": (["get", "pods", "--field-selector", "a"], {}, "position 0"),
    "several-kinds-as-csv": (["get", "po,svc", "-o", "csv"], {}, "csv"),
    "timeout": (["get", "pods", "--timeout", "-3"], {}, "--timeout"),
    "url": (["get", "pods", "--url", "ftp://x"], {}, "--url"),
    "url-variable": (["status"], {"KRM_URL": "nonsense"}, "KRM_URL"),
    "ca-file": (["status"], {"KRM_CA_FILE": "/nowhere/ca.pem"}, "KRM_CA_FILE"),
    "token": (["status"], {"KRM_TOKEN": "a\nb"}, "KRM_TOKEN"),
    "drift-of-nothing": (["drift", "nope"], {}, "nope"),
    "drift-limit": (["drift", "--limit", "0"], {}, "--limit"),
    "token-file": (["status"], {"KRM_TOKEN_FILE": "/nowhere/token"}, "KRM_TOKEN_FILE"),
    "query-file": (["query", "/nowhere/q.graphql"], {}, "/nowhere/q.graphql"),
    "empty-query": (["query", "-"], {}, "empty"),
    "variable": (["query", "{a}", "--var", "x"], {}, "--var"),
    "too-few-pods": (["demo", "--pods", "0"], {}, "--pods"),
    "negative-churn": (["demo", "--churn", "-1"], {}, "--churn"),
    "flag-out-of-range": (["demo", "--port", "99999"], {}, "65535"),
    "bad-number": (["demo"], {"KRM_PORT": "x"}, "KRM_PORT"),
    "verify-interval-0": (["demo"], {"KRM_VERIFY_INTERVAL": "0s"}, "KRM_VERIFY_INTERVAL"),
    "verify-interval-negative": (["demo"], {"KRM_VERIFY_INTERVAL": "-1s"}, "from 1s to 24h"),
    "page-size-0": (["demo"], {"KRM_LIST_PAGE_SIZE": "0"}, "KRM_LIST_PAGE_SIZE"),
    "same-kind-twice": (["run"], {"KRM_RESOURCES": "pods,po"}, "twice"),
    "no-namespaces": (["run"], {"KRM_NAMESPACES": ""}, "KRM_NAMESPACES"),
    "redis-url": (["run", "--redis-url", "http://x"], {}, "redis://"),
    "redis-secret": (["run"], {"KRM_REDIS_URL": "rediz://:hush@x"}, "KRM_REDIS_URL"),
    "no-redis": (["serve"], {}, "KRM_REDIS_URL"),
    "tls-half": (["demo"], {"KRM_TLS_CERT_FILE": "/nowhere/a"}, "KRM_TLS_KEY_FILE"),
    "open-to-all": (["demo"], {"KRM_HOST": "0.0.0.0", "KRM_AUTH": "none"}, "--insecure-no-auth"),
    "no-kubeconfig": (["run"], {}, "/nowhere/kubeconfig"),
}


@pytest.mark.parametrize(("arguments", "env", "word"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str],
    env: dict[str, str],
    word: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"KUBECONFIG": "/nowhere/kubeconfig", **env}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("krm: ")
    assert word in line
    assert "hush" not in line


def test_a_variable_that_means_nothing_is_reported_with_the_nearest_one() -> None:
    done = krm("serve", KRM_PROT="80")
    assert "KRM_PROT is not a setting of KRM; did you mean KRM_PORT?" in done.stderr


def test_a_token_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc\n")
    token.chmod(0o644)
    assert "chmod 600" in krm("status", "--url", "http://127.0.0.1:1", KRM_TOKEN_FILE=str(token)).stderr
    token.chmod(0o600)
    assert "chmod 600" not in krm("status", "--url", "http://127.0.0.1:1", KRM_TOKEN_FILE=str(token)).stderr


def test_no_answer_is_one_line_that_says_what_to_do() -> None:
    done = krm("get", "pods", "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "http://127.0.0.1:1" in line
    assert "krm demo" in line
    assert "KRM_URL" in line


@pytest.mark.parametrize("arguments", [["--help"], ["schema"]])
def test_a_reader_that_has_gone_is_status_141_and_quiet(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "krm", *arguments], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_said() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "krm", "schema"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_closed_streams_are_no_fault() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m krm schema >&- 2>&- <&-'], timeout=60, check=False
    )
    assert done.returncode in (0, 1)


def test_an_interrupted_short_command_is_status_130_and_quiet() -> None:
    """It waits for a query that does not come."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "krm", "query", "-"], stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(reading)
    block_until(lambda: _reads_its_input(process.pid), 30)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    os.close(writing)
    assert (process.returncode, out, err) == (130, b"", b"")


def _reads_its_input(pid: int) -> bool:
    try:
        called = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        return False
    return called[:2] == ["0", "0x0"]  # read from descriptor 0 (x86-64)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_kinds(shell: str) -> None:
    done = krm(
        _KRM_COMPLETE=f"complete_{shell}",
        COMP_WORDS="krm get dep",
        COMP_CWORD="2",
        _TYPER_COMPLETE_ARGS="krm get dep",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "deployments" in done.stdout
    assert "pods" not in done.stdout


LARGE = """
import sys
from krm import cli
from krm.cli import ends, output
ends._run = lambda _: output.write("line\\n" * 400_000) or 0
sys.exit(cli.main([]))
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_takes_a_part_and_goes_is_status_141(unbuffered: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LARGE],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen(
        [sys.executable, "-c", LARGE], env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, stdout=writing
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"line\n" * 400_000
    assert process.wait(30) == 0
