"""Credentials from an exec plugin of a kubeconfig (``client.authentication.k8s.io``).

The official client lets a plugin read our standard input, waits for it without end and only logs what it said when it
fails. A worker has no terminal: here the plugin gets none (no input, a session of its own), a bounded time, and its
failure is an error that says what it said. Plugins that need a terminal each time are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from krm.errors import ConfigError
from krm.kube import failures
from krm.objects import times

TIMEOUT_S = 30.0
_MAX_OUTPUT = 2**20
_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class _Status(msgspec.Struct):
    token: str | None = None
    clientCertificateData: str | None = None  # noqa: N815 - the wire's names
    clientKeyData: str | None = None  # noqa: N815
    expirationTimestamp: str | None = None  # noqa: N815


class _ExecCredential(msgspec.Struct):
    kind: str
    apiVersion: str  # noqa: N815 - the wire's name
    status: _Status


@dataclass(frozen=True, kw_only=True, repr=False)
class Credential:
    """What a plugin gave: a token, or a certificate with its key (PEM), or both."""

    token: str | None
    certificate: str | None
    key: str | None
    expires_at_s: float | None
    """Unix seconds; None: until the API server refuses it."""


class _Spec(msgspec.Struct):
    command: str
    apiVersion: str  # noqa: N815 - the kubeconfig's names
    args: list[str] | None = None
    env: list[dict[str, str]] | None = None
    installHint: str | None = None  # noqa: N815
    provideClusterInfo: bool = False  # noqa: N815
    interactiveMode: str = "IfAvailable"  # noqa: N815


async def run(
    spec: object,
    *,
    source: str,
    cluster: Mapping[str, Any],
    directory: Path,
    env: Mapping[str, str],
    timeout_s: float = TIMEOUT_S,
) -> Credential:
    """Run the plugin that ``spec`` (the ``exec`` entry of a user) describes, in ``directory``.

    Raises ``ConfigError`` that names ``source``: the plugin is missing, fails, needs a terminal, takes longer than
    ``timeout_s`` or answers something else than a credential.
    """
    where = f"{source}: the exec plugin"
    try:
        plan = msgspec.convert(spec, _Spec)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where} is not described as it should be: {error}") from error
    where = f"{where} {plan.command!r}"
    if plan.interactiveMode == "Always":
        raise ConfigError(f"{where} needs a terminal (interactiveMode: Always); use credentials that do not")
    if plan.apiVersion not in _VERSIONS:
        raise ConfigError(f"{where} speaks {plan.apiVersion!r}; KRM knows {', '.join(_VERSIONS)}")
    environment = {**env, **{e.get("name", ""): e.get("value", "") for e in plan.env or () if e.get("name")}}
    environment["KUBERNETES_EXEC_INFO"] = _exec_info(plan, cluster)
    command = _command(plan, directory, environment, where)
    output = await _output([command, *(plan.args or ())], directory, environment, where, timeout_s)
    return _credential(output, plan.apiVersion, where)


def _command(plan: _Spec, directory: Path, env: Mapping[str, str], where: str) -> str:
    # A command with a slash is relative to the kubeconfig, one without is looked up in PATH.
    named = str(directory / plan.command) if "/" in plan.command else plan.command
    found = shutil.which(named, path=env.get("PATH"))
    if found is None:
        hint = f": {failures.clean(plan.installHint)}" if plan.installHint else ""
        raise ConfigError(f"{where} is not installed, not executable or not in PATH{hint}")
    return found


def _exec_info(plan: _Spec, cluster: Mapping[str, Any]) -> str:
    spec: dict[str, Any] = {"interactive": False}
    if plan.provideClusterInfo:
        spec["cluster"] = {k: v for k, v in cluster.items() if k != "extensions"}
        for extension in cluster.get("extensions") or ():
            if extension.get("name") == "client.authentication.k8s.io/exec":
                spec["cluster"]["config"] = extension.get("extension")
    return json.dumps({"apiVersion": plan.apiVersion, "kind": "ExecCredential", "spec": spec})


async def _output(command: list[str], directory: Path, env: Mapping[str, str], where: str, timeout_s: float) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=directory,
            env=dict(env),
            start_new_session=True,  # without a controlling terminal /dev/tty cannot be opened either
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where} cannot be started: {failures.clean(str(error))}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            output, said, _ = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr), process.wait())
    except TimeoutError as error:
        raise ConfigError(
            f"{where} did not answer within {timeout_s:.3g} s; does it wait for somebody? "
            "It gets no terminal here: run it once by hand in one, or use credentials that need nobody"
        ) from error
    finally:
        if process.returncode is None or not process.stdout.at_eof() or not process.stderr.at_eof():
            await _end(process)
    if process.returncode != 0:
        text = failures.clean(said.decode("utf-8", "replace")) or "it said nothing"
        raise ConfigError(f"{where} failed with exit status {process.returncode}: {text}")
    return output


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # the whole group: a plugin may have started others
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):  # killed processes end at once; one stuck in the kernel is not waited for
        await asyncio.wait_for(process.wait(), 2.0)


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    """All of ``stream``; of more than 1 MiB the beginning, so that the plugin can still write and end."""
    kept = bytearray()
    while chunk := await stream.read(65536):
        kept += chunk[: _MAX_OUTPUT - len(kept)]
    return bytes(kept)


def _credential(output: bytes, version: str, where: str) -> Credential:
    try:
        answer = msgspec.json.decode(output, type=_ExecCredential)
        expires_at_s = None
        if answer.status.expirationTimestamp:
            expires_at_s = times.parse(answer.status.expirationTimestamp).timestamp()
    except (ValueError, RecursionError) as error:  # includes msgspec's; its text quotes no value
        raise ConfigError(f"{where} did not answer with a credential: {failures.clean(str(error))}") from error
    status = answer.status
    if answer.kind != "ExecCredential" or answer.apiVersion != version:
        raise ConfigError(f"{where} answered {answer.kind} of {answer.apiVersion}, not ExecCredential of {version}")
    if bool(status.clientCertificateData) != bool(status.clientKeyData):
        raise ConfigError(f"{where} answered a certificate without its key, or a key without its certificate")
    if not status.token and not status.clientCertificateData:
        raise ConfigError(f"{where} answered neither a token nor a certificate")
    return Credential(
        token=status.token,
        certificate=status.clientCertificateData,
        key=status.clientKeyData,
        expires_at_s=expires_at_s,
    )
