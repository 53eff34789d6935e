from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from krm.errors import ConfigError
from krm.kube import plugin

V1 = "client.authentication.k8s.io/v1"
ENV = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "OUTSIDE": "1"}


def script(folder: Path, text: str) -> str:
    file = folder / "plugin"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def answer(status: object = None, **members: Any) -> str:
    document = {"kind": "ExecCredential", "apiVersion": V1, "status": status or {"token": "xyz"}, **members}
    return f"echo '{json.dumps(document)}'"


def runs(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and command.read_bytes() != b""  # an ended process that nobody waited for has none


async def run(folder: Path, spec: object, **options: Any) -> plugin.Credential:
    cluster = {
        "server": "https://api",
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"k": 1}}],
    }
    return await plugin.run(spec, source="context 'a' of f", cluster=cluster, directory=folder, env=ENV, **options)


async def test_a_plugin_gets_arguments_environment_and_directory_but_no_input(tmp_path: Path) -> None:
    text = f'test "$1 $OUTSIDE $INSIDE $(pwd)" = "one 1 2 {tmp_path}" && test -z "$(cat)" && {answer()}'
    script(tmp_path, text)
    spec = {
        "command": "./plugin",
        "apiVersion": V1,
        "args": ["one"],
        "env": [{"name": "INSIDE", "value": "2"}],
        "interactiveMode": "IfAvailable",
    }
    assert (await run(tmp_path, spec)).token == "xyz"


@pytest.fixture
def somebody_types() -> Iterator[None]:
    """Our own standard input holds an answer."""
    saved, (read_end, write_end) = os.dup(0), os.pipe()
    os.write(write_end, b"yes\n")
    os.dup2(read_end, 0)
    yield
    os.dup2(saved, 0)
    for each in (saved, read_end, write_end):
        os.close(each)


@pytest.mark.usefixtures("somebody_types")
async def test_a_plugin_does_not_read_our_input(tmp_path: Path) -> None:
    command = script(tmp_path, f"if read answer; then exit 3; fi\n{answer()}")
    assert (await run(tmp_path, {"command": command, "apiVersion": V1})).token == "xyz"


async def test_a_plugin_has_no_terminal_to_ask_on(tmp_path: Path) -> None:
    command = script(tmp_path, f"if (: < /dev/tty) 2>/dev/null; then exit 3; fi\n{answer()}")
    assert (await run(tmp_path, {"command": command, "apiVersion": V1})).token == "xyz"


@pytest.mark.parametrize("asked", [True, False])
async def test_a_plugin_is_told_of_its_cluster_only_if_it_wants(tmp_path: Path, asked: bool) -> None:
    command = script(tmp_path, f'echo "$KUBERNETES_EXEC_INFO" > info\n{answer()}')
    await run(tmp_path, {"command": command, "apiVersion": V1, "provideClusterInfo": asked})
    info = json.loads((tmp_path / "info").read_text())
    assert info["spec"]["interactive"] is False
    assert info["spec"].get("cluster") == ({"server": "https://api", "config": {"k": 1}} if asked else None)


async def test_a_certificate_and_an_expiry_are_read(tmp_path: Path) -> None:
    status = {"clientCertificateData": "C", "clientKeyData": "K", "expirationTimestamp": "2027-01-15T08:10:00Z"}
    found = await run(tmp_path, {"command": script(tmp_path, answer(status)), "apiVersion": V1})
    assert (found.token, found.certificate, found.key, found.expires_at_s) == (None, "C", "K", 1_800_000_600.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("exit 0", "did not answer with a credential", id="nothing"),
        pytest.param("echo hello", "did not answer with a credential", id="not JSON"),
        pytest.param("echo sign in first >&2; exit 7", "exit status 7: sign in first", id="failed"),
        pytest.param("exit 7", "exit status 7: it said nothing", id="failed silently"),
        pytest.param("read answer || { echo no input >&2; exit 1; }", "no input", id="prompts on its input"),
        pytest.param(answer({"token": ""}), "neither a token nor a certificate", id="empty token"),
        pytest.param(answer({"clientKeyData": "K"}), "a key without its certificate", id="half a certificate"),
        pytest.param(answer({"token": "x", "expirationTimestamp": "soon"}), "credential", id="expiry no time"),
        pytest.param(answer(apiVersion="client.authentication.k8s.io/v1beta1"), "v1beta1", id="other version"),
        pytest.param(answer(kind="Secret"), "answered Secret", id="other kind"),
        pytest.param(f"printf '%2000000s' ''; {answer()}", "did not answer with a credential", id="megabytes"),
    ],
)
async def test_a_failing_plugin_is_an_error_that_says_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await run(tmp_path, {"command": script(tmp_path, text), "apiVersion": V1})
    assert says in str(caught.value)
    assert "context 'a' of f: the exec plugin" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        pytest.param(
            {"command": "no-such-plugin", "apiVersion": V1, "installHint": "get it"}, "PATH: get it", id="missing"
        ),
        pytest.param({"command": "./gone", "apiVersion": V1}, "is not installed", id="missing beside the file"),
        pytest.param(
            {"command": "true", "apiVersion": V1, "interactiveMode": "Always"}, "a terminal", id="interactive"
        ),
        pytest.param({"command": "true", "apiVersion": "v1alpha1"}, "'v1alpha1'", id="old version"),
        pytest.param({"apiVersion": V1}, "not described", id="no command"),
        pytest.param({"command": "true", "apiVersion": V1, "args": "x"}, "not described", id="arguments no list"),
        pytest.param("true", "not described", id="no mapping"),
    ],
)
async def test_a_plugin_that_cannot_run_is_an_error_that_says_why(tmp_path: Path, spec: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await run(tmp_path, spec)
    assert says in str(caught.value)
    assert "context 'a' of f: the exec plugin" in str(caught.value)


async def test_a_plugin_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    command = script(tmp_path, "sleep 60 & echo $! > child; sleep 60")
    with pytest.raises(ConfigError, match=r"did not answer within 0.5 s; does it wait for somebody\?"):
        await run(tmp_path, {"command": command, "apiVersion": V1}, timeout_s=0.5)
    assert not runs(int((tmp_path / "child").read_text()))
