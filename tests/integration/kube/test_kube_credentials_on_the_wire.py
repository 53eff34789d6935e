"""Which header really goes out, over every way that a kubeconfig or a pod gives credentials."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from krm import errors
from krm.kube import connect, credentials, reading
from tests.integration.kube import apiserver, certificates
from tests.integration.kube.conftest import Open

POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}


def plugin(folder: Path, status: dict[str, Any], name: str = "plugin") -> dict[str, Any]:
    """An exec plugin that answers what lies in its file, which a test may change."""
    answer = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status}
    (folder / f"{name}.json").write_text(json.dumps(answer))
    script = folder / name
    script.write_text(f"#!/bin/sh\necho run >> '{folder}/{name}.runs'\ncat '{folder}/{name}.json'\n")
    script.chmod(0o755)
    return {"exec": {"command": str(script), "apiVersion": "client.authentication.k8s.io/v1"}}


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        pytest.param({"token": "xyz"}, ["Bearer xyz"], id="token"),
        pytest.param({"tokenFile": "token"}, ["Bearer xyz"], id="token file, relative, with newline"),
        pytest.param({"username": "u", "password": "p"}, ["Basic dTpw"], id="password"),
        pytest.param({"auth-provider": {"name": "oidc", "config": {"id-token": "xyz"}}}, ["Bearer xyz"], id="oidc"),
        pytest.param({}, [], id="none"),
    ],
)
async def test_the_authorization_header_goes_out_once_and_whole(
    connected: Open, tmp_path: Path, user: dict[str, Any], sent: list[str]
) -> None:
    (tmp_path / "token").write_text("xyz\n")
    async with apiserver.running(apiserver.answer(POD)) as server:
        cluster = await connected(server.url, user=user)
        await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
        assert server.requests[0].all("Authorization") == sent


async def test_the_token_of_an_exec_plugin_goes_out(connected: Open, tmp_path: Path) -> None:
    async with apiserver.running(apiserver.answer(POD)) as server:
        cluster = await connected(server.url, user=plugin(tmp_path, {"token": "xyz"}))
        await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
        assert server.requests[0].all("Authorization") == ["Bearer xyz"]


async def test_who_is_impersonated_goes_out(connected: Open) -> None:
    async with apiserver.running(apiserver.answer(POD)) as server:
        user = {"token": "xyz", "as": "alice", "as-groups": ["a", "b"], "as-user-extra": {"k/x": ["1"]}}
        cluster = await connected(server.url, user=user)
        await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
        request = server.requests[0]
        assert (request.all("Impersonate-User"), request.all("Impersonate-Group")) == (["alice"], ["a", "b"])
        assert request.all("Impersonate-Extra-k%2Fx") == ["1"]


@pytest.fixture
def pod_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: certificates.Authority) -> Path:
    """The files that a pod finds, with our CA and the token ``first``."""
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    return tmp_path


async def test_a_pod_sends_its_token_and_a_rotated_one_at_once_after_a_401(
    pod_files: Path, monkeypatch: pytest.MonkeyPatch, authority: certificates.Authority
) -> None:
    async with apiserver.running(apiserver.answer(POD), tls=authority.server_context()) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        cluster = await connect.open(None, None)
        try:
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            (pod_files / "token").write_text("second\n")
            server.answers[:] = [apiserver.refusal(401, "Unauthorized"), apiserver.answer(POD)]
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            seen = [r.all("Authorization") for r in server.requests]
            assert seen == [["Bearer first"], ["Bearer first"], ["Bearer second"]]
        finally:
            await cluster.close()


@pytest.mark.parametrize("user", [{"tokenFile": "token"}, None], ids=["token file", "pod"])
async def test_token_files_are_read_again_each_minute(
    pod_files: Path,
    monkeypatch: pytest.MonkeyPatch,
    authority: certificates.Authority,
    user: dict[str, Any] | None,
) -> None:
    now = [1000.0]
    async with apiserver.running(apiserver.answer(POD), tls=authority.server_context()) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        path = None
        if user is not None:
            ca = {"certificate-authority": "ca.crt"}
            path = apiserver.kubeconfig(pod_files / "kubeconfig", server.url, user=user, cluster=ca)
        keeper = credentials.Credentials(path, None, env=dict(os.environ), clock=lambda: now[0])
        cluster = connect.Cluster(keeper, await keeper.load())
        try:
            for token, later_s in (("second", 59), ("second", 2), ("third", 30), ("third", 31)):
                await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
                (pod_files / "token").write_text(f"{token}\n")
                now[0] += later_s
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            seen = [r.all("Authorization")[0] for r in server.requests]
            assert seen == ["Bearer first", "Bearer first", "Bearer second", "Bearer second", "Bearer third"]
        finally:
            await cluster.close()


async def test_a_token_file_that_vanished_leaves_the_former_token_in_use(
    pod_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    async with apiserver.running(apiserver.answer(POD)) as server:
        path = apiserver.kubeconfig(pod_files / "kubeconfig", server.url, user={"tokenFile": "token"})
        keeper = credentials.Credentials(path, None, env={}, clock=lambda: now[0])
        cluster = connect.Cluster(keeper, await keeper.load())
        try:
            (pod_files / "token").unlink()
            now[0] += 61
            with caplog.at_level(logging.WARNING, "krm.kube"):
                await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            assert server.requests[0].all("Authorization") == ["Bearer first"]
            assert "could not be read again" in caplog.text
        finally:
            await cluster.close()


async def test_a_401_with_the_same_token_is_not_repeated(connected: Open) -> None:
    async with apiserver.running(apiserver.refusal(401, "Unauthorized")) as server:
        cluster = await connected(server.url, user={"token": "xyz"})
        with pytest.raises(errors.Unauthorized, match=r"credentials from context 'test' of .*kubeconfig") as caught:
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
        assert len(server.requests) == 1
        assert "xyz" not in str(caught.value)


async def test_a_401_is_repeated_once_only(connected: Open, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a")

    async def refuse_and_rotate(writer: asyncio.StreamWriter) -> None:
        token.write_text(token.read_text() + "a")
        await apiserver.refusal(401, "Unauthorized")(writer)

    async with apiserver.running(refuse_and_rotate) as server:
        cluster = await connected(server.url, user={"tokenFile": "token"})
        with pytest.raises(errors.Unauthorized):
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
        assert [r.all("Authorization") for r in server.requests] == [["Bearer a"], ["Bearer aa"]]


async def test_an_exec_plugin_runs_again_before_its_credential_expires_and_not_before(tmp_path: Path) -> None:
    wall = [1_800_000_000.0]
    expires = "2027-01-15T08:10:00Z"  # 600 s later
    user = plugin(tmp_path, {"token": "first", "expirationTimestamp": expires})
    async with apiserver.running(apiserver.answer(POD)) as server:
        path = apiserver.kubeconfig(tmp_path / "kubeconfig", server.url, user=user)
        env = {"PATH": "/usr/bin:/bin"}
        keeper = credentials.Credentials(path, None, env=env, clock=lambda: wall[0], wall=lambda: wall[0])
        cluster = connect.Cluster(keeper, await keeper.load())
        try:
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            plugin(tmp_path, {"token": "second", "expirationTimestamp": "2027-01-15T09:10:00Z"})
            wall[0] += 500
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            wall[0] += 50
            await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            seen = [r.all("Authorization")[0] for r in server.requests]
            assert seen == ["Bearer first", "Bearer first", "Bearer second"]
            assert (tmp_path / "plugin.runs").read_text().count("run") == 2
        finally:
            await cluster.close()


async def test_refused_requests_at_the_same_time_renew_once(tmp_path: Path) -> None:
    user = plugin(tmp_path, {"token": "first"})
    async with apiserver.running(apiserver.answer(POD)) as server:
        path = apiserver.kubeconfig(tmp_path / "kubeconfig", server.url, user=user)
        clock = itertools.count(1000.0, 10.0).__next__  # time enough between any two of them to run the plugin again
        keeper = credentials.Credentials(path, None, env={"PATH": "/usr/bin:/bin"}, clock=clock)
        cluster = connect.Cluster(keeper, await keeper.load())
        try:
            plugin(tmp_path, {"token": "second"})
            server.answers[:] = [*[apiserver.refusal(401, "Unauthorized")] * 5, apiserver.answer(POD)]
            await asyncio.gather(*(reading.get(cluster, "/api/v1/namespaces/a/pods/a") for _ in range(5)))
            assert (tmp_path / "plugin.runs").read_text().count("run") == 2
            assert [r.all("Authorization")[0] for r in server.requests].count("Bearer second") == 5
        finally:
            await cluster.close()


async def test_a_plugin_whose_token_is_refused_is_not_run_for_every_request(tmp_path: Path) -> None:
    now = [1000.0]
    async with apiserver.running(apiserver.refusal(401, "Unauthorized")) as server:
        path = apiserver.kubeconfig(tmp_path / "kubeconfig", server.url, user=plugin(tmp_path, {"token": "first"}))
        keeper = credentials.Credentials(path, None, env={"PATH": "/usr/bin:/bin"}, clock=lambda: now[0])
        cluster = connect.Cluster(keeper, await keeper.load())
        try:
            for later_s in (1, 1, 1, 10, 1):
                now[0] += later_s
                with pytest.raises(errors.Unauthorized):
                    await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            assert (tmp_path / "plugin.runs").read_text().count("run") == 2
        finally:
            await cluster.close()


async def test_no_error_shows_the_token(connected: Open, caplog: pytest.LogCaptureFixture) -> None:
    broken = apiserver.answer(b"x", 200, Content_Length="nonsense")
    failing = [
        apiserver.refusal(401),
        apiserver.refusal(403),
        apiserver.refusal(500),
        broken,
        apiserver.stream(b"{", end="cut"),
        apiserver.stream(b"{", end="garbage"),
        apiserver.reset,
    ]
    for answer in failing:
        async with apiserver.running(answer) as server:
            cluster = await connected(server.url, user={"token": "s3cr3t"})
            with caplog.at_level(logging.DEBUG), pytest.raises(errors.ClusterError) as caught:
                await reading.get(cluster, "/api/v1/namespaces/a/pods/a")
            chain: BaseException | None = caught.value
            while chain is not None:
                assert "s3cr3t" not in f"{chain} {chain!r} {chain.args!r} {vars(chain)!r}"
                chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
            assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
            assert "s3cr3t" not in repr(cluster.peer) + repr(cluster._access)
    assert "s3cr3t" not in caplog.text
