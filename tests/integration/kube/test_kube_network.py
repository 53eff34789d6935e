"""TLS, proxies and a network that fails, with real sockets and real certificates."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from krm import errors
from krm.kube import connect, credentials, reading
from tests.integration.kube import apiserver, certificates
from tests.integration.kube.apiserver import answer
from tests.integration.kube.certificates import Authority
from tests.integration.kube.conftest import Open

POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}
PATH = "/api/v1/namespaces/a/pods/a"


async def refusal(cluster: connect.Cluster) -> str:
    with pytest.raises(errors.ClusterUnreachable) as caught:
        await reading.get(cluster, PATH, timeout_s=5)
    return str(caught.value)


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "file"])
async def test_a_server_of_our_ca_is_trusted(connected: Open, authority: Authority, inline: bool) -> None:
    data = {"certificate-authority-data": base64.b64encode(authority.ca.read_bytes()).decode()}
    ca = data if inline else {"certificate-authority": str(authority.ca)}
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        cluster = await connected(server.url, user={"token": "xyz"}, cluster=ca)
        assert b'"Pod"' in await reading.get(cluster, PATH)
        await reading.get(cluster, PATH)
        assert server.connections == 1


async def test_a_server_of_another_ca_is_refused_before_it_sees_the_token(
    connected: Open, authority: Authority, other_authority: Authority
) -> None:
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        cluster = await connected(
            server.url, user={"token": "xyz"}, cluster={"certificate-authority": str(other_authority.ca)}
        )
        said = await refusal(cluster)
        assert f"does not verify against the CA file {other_authority.ca}" in said
        assert server.requests == []


async def test_without_a_ca_those_of_the_system_count(connected: Open, authority: Authority) -> None:
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        assert "does not verify against the CAs of this system" in await refusal(await connected(server.url))


async def test_the_name_in_the_certificate_counts(connected: Open, authority: Authority) -> None:
    ca = {"certificate-authority": str(authority.ca)}
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        good = await connected(server.url, cluster={**ca, "tls-server-name": "kubernetes.test"})
        assert await reading.get(good, PATH)
        bad = await connected(server.url, cluster={**ca, "tls-server-name": "other.test"})
        assert "Hostname mismatch" in await refusal(bad)


async def test_unverified_tls_works_only_when_asked_for(connected: Open, authority: Authority) -> None:
    insecure = {"insecure-skip-tls-verify": True}
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        with pytest.raises(errors.ConfigError, match="insecure-skip-tls-verify"):
            await connected(server.url, cluster=insecure)
        assert await reading.get(await connected(server.url, cluster=insecure, allow_insecure=True), PATH)


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "file"])
async def test_a_client_certificate_is_shown(connected: Open, authority: Authority, inline: bool) -> None:
    certificate, key = authority.pair("client")
    user: dict[str, Any] = {"client-certificate": str(certificate), "client-key": str(key)}
    if inline:
        user = {f"{k}-data": base64.b64encode(f.read_bytes()).decode()
                for k, f in (("client-certificate", certificate), ("client-key", key))}  # fmt: skip
    ca = {"certificate-authority": str(authority.ca)}
    async with apiserver.running(answer(POD), tls=authority.server_context(asks_clients=True)) as server:
        assert await reading.get(await connected(server.url, user=user, cluster=ca), PATH)
        with pytest.raises(errors.ClusterUnreachable):
            await reading.get(await connected(server.url, cluster=ca), PATH)


async def test_a_client_key_with_a_password_is_an_error_and_no_question(
    connected: Open, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.pair("client")
    certificates.openssl(tmp_path, f"ec -in {key} -aes256 -passout pass:secret -out locked.key")
    user = {"client-certificate": str(certificate), "client-key": str(tmp_path / "locked.key")}
    with pytest.raises(errors.ConfigError, match=f"client certificate {certificate} or its key is unusable"):
        await connected("https://127.0.0.1:1", user=user)


async def test_the_ca_of_a_file_that_was_rotated_counts_after_a_minute(
    connected: Open, authority: Authority, other_authority: Authority, tmp_path: Path
) -> None:
    now = [0.0]
    ca = tmp_path / "ca.crt"
    ca.write_bytes(other_authority.ca.read_bytes())
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        file = apiserver.kubeconfig(tmp_path / "config", server.url, cluster={"certificate-authority": "ca.crt"})
        keeper = credentials.Credentials(file, None, env={}, clock=lambda: now[0])
        cluster = connect.Cluster(keeper, await keeper.load())
        try:
            await refusal(cluster)
            ca.write_bytes(authority.ca.read_bytes())
            now[0] += 61
            assert await reading.get(cluster, PATH)
        finally:
            await cluster.close()


async def test_http_to_a_port_of_https_and_the_reverse(connected: Open, authority: Authority) -> None:
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        with pytest.raises(errors.ClusterError):
            await reading.get(await connected(server.url.replace("https", "http")), PATH)
    async with listening(speak_plainly) as address:
        assert "is it https" in await refusal(await connected(f"https://{address}"))


async def test_a_refused_connection_says_where_and_what_to_look_at(connected: Open, free_port: int) -> None:
    said = await refusal(await connected(f"https://127.0.0.1:{free_port}"))
    assert f"no connection to https://127.0.0.1:{free_port} (Connection refused)" in said
    assert "is the API server running, is the server in context 'test' of" in said


async def test_a_name_that_does_not_resolve_is_said(connected: Open) -> None:
    assert "does not resolve" in await refusal(await connected("https://kubernetes.invalid"))


async def test_a_server_that_accepts_and_is_silent_is_given_up_in_time(
    connected: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT_S", 0.3)  # no TLS greeting ever comes
    async with listening(be_silent) as address:
        assert "in time" in await refusal(await connected(f"https://{address}"))


async def test_connecting_is_bounded_by_five_seconds() -> None:
    assert connect.CONNECT_TIMEOUT_S == 5


@pytest.mark.parametrize("broken", [apiserver.reset, answer(b"", 200, Content_Length="x"), apiserver.stream(end="cut")])
async def test_a_broken_answer_is_one_of_our_errors(connected: Open, broken: apiserver.Answer) -> None:
    async with apiserver.running(broken) as server:
        with pytest.raises((errors.ClusterUnreachable, errors.BadData)):
            await reading.get(await connected(server.url), PATH)


class Proxy:
    """Leads every CONNECT to one port of loopback, whatever name was asked for."""

    def __init__(self, to_port: int, status: int = 200) -> None:
        self.to_port = to_port
        self.status = status
        self.asked: list[str] = []
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(text)
            self.asked.append(text.split(" ")[1])
            writer.write(f"HTTP/1.1 {self.status} Whatever\r\n\r\n".encode())
            if self.status != 200:
                return
            inner, outer = await asyncio.open_connection("127.0.0.1", self.to_port)
            await asyncio.gather(pipe(reader, outer), pipe(inner, writer))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def proxy(to_port: int, status: int = 200) -> AsyncIterator[tuple[Proxy, str]]:
    one = Proxy(to_port, status)
    async with listening(one.serve) as address:
        yield one, address


async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    await writer.drain()


async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


@asynccontextmanager
async def listening(
    speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a server that speaks so; its connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await speak(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("given", ["environment", "kubeconfig"])
async def test_a_proxy_leads_to_the_server_and_sees_no_token(connected: Open, authority: Authority, given: str) -> None:
    ca = {"certificate-authority": str(authority.ca)}
    async with (
        apiserver.running(answer(POD), tls=authority.server_context()) as server,
        proxy(server.port) as (used, address),
    ):
        url = f"http://me:pass@{address}"
        cluster = await connected(
            "https://kubernetes.test:6443",
            user={"token": "xyz"},
            cluster={**ca, "proxy-url": url} if given == "kubeconfig" else ca,
            env={"HTTPS_PROXY": url} if given == "environment" else {"HTTPS_PROXY": "http://127.0.0.1:1"},
        )
        assert await reading.get(cluster, PATH)
        assert used.asked == ["kubernetes.test:6443"]
        assert "Proxy-Authorization: Basic bWU6cGFzcw==" in used.heads[0]
        assert "xyz" not in used.heads[0]
        assert server.requests[0].all("Authorization") == ["Bearer xyz"]
        assert server.requests[0].all("Proxy-Authorization") == []


async def test_no_proxy_and_loopback_go_directly(connected: Open, authority: Authority) -> None:
    env = {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    ca = {"certificate-authority": str(authority.ca)}
    async with apiserver.running(answer(POD), tls=authority.server_context()) as server:
        assert await reading.get(await connected(server.url, cluster=ca, env=env), PATH)


async def test_a_proxy_that_is_not_there_or_refuses_is_named(connected: Open, free_port: int) -> None:
    env = {"HTTPS_PROXY": f"http://me:s3cr3t@127.0.0.1:{free_port}"}
    said = await refusal(await connected("https://kubernetes.test:6443", env=env))
    assert f"no connection to the proxy http://127.0.0.1:{free_port}" in said
    async with proxy(1, status=407) as (_, address):
        env = {"HTTPS_PROXY": f"http://me:s3cr3t@{address}"}
        said = await refusal(await connected("https://kubernetes.test:6443", env=env))
        assert f"the proxy http://{address} answered status 407" in said
        assert "s3cr3t" not in said


async def test_netrc_is_never_read(connected: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password pass\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with apiserver.running(answer(POD)) as server:
        await reading.get(await connected(server.url), PATH)
        assert server.requests[0].all("Authorization") == []
