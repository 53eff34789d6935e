"""Questions and watches go through the proxy of the environment, where there is one and NO_PROXY does not except it."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from krm_client import AsyncKrmClient, KrmClient, KrmConnectError, KrmTlsError, KrmUsageError
from krm_client.proxies import proxy_of
from krm_client.settings import ClientSettings
from tests.unit.client import canned
from tests.unit.client.telling import Teller, TellingServer, telling

DATA = Path(__file__).parent / "data"
CERTIFICATE = DATA / "krm-test-certificate.pem"
NAME = "krm.test"
"""A host that only the proxy knows."""


class Proxy:
    """An HTTP proxy on loopback that leads every name to loopback, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusal: bytes | None = None
        self.address = ""

    def handle(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := client.recv(65_536)):
                return
            head += data
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.asked.append(f"{method} {target}")
        if self.refusal is not None:
            client.sendall(self.refusal)
            return
        port = urlsplit(target if method != "CONNECT" else f"//{target}").port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(head)
            back = threading.Thread(target=_pass, args=(server, client), daemon=True)
            back.start()
            _pass(client, server)
            back.join(10)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(autouse=True)
def _no_proxy_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    held = Proxy()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            held.handle(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        held.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield held
        server.shutdown()
        thread.join(5)


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, DATA / "krm-test-key.pem")
    return context


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest) -> Iterator[canned.Server]:
    def prepare(http: ThreadingHTTPServer) -> str:
        if request.param == "https":
            http.socket = _tls().wrap_socket(http.socket, server_side=True)
        scheme: str = request.param
        return scheme

    with canned.serving(prepare) as running:
        running.answer(canned.data({"ok": True}))
        yield running


@pytest.fixture
def teller() -> Iterator[TellingServer]:
    def one(connection: Teller) -> None:
        connection.tell("ADDED", "a", "t")
        connection.wait()

    with telling() as running:
        running.play(one)
        yield running


def _at_name(url: str, name: str = NAME) -> str:
    return url.replace("127.0.0.1", name)


TRUSTS = {"KRM_CA_FILE": str(CERTIFICATE)}


@pytest.mark.parametrize("variable", ["{SCHEME}_PROXY", "{scheme}_proxy", "ALL_PROXY"])
def test_question_goes_through_the_proxy(
    variable: str, server: canned.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = server.url.partition(":")[0]
    monkeypatch.setenv(variable.format(scheme=scheme, SCHEME=scheme.upper()), proxy.address)
    with KrmClient(_at_name(server.url), token="t", env=TRUSTS) as krm:
        assert krm.query("{ ok }") == krm.query("{ ok }") == {"ok": True}
    assert server.asked[0].headers["authorization"] == "Bearer t"
    port = server.url.rpartition(":")[2]
    expected = f"CONNECT {NAME}:{port}" if scheme == "https" else f"POST http://{NAME}:{port}/graphql"
    assert proxy.asked == [expected], "one connection for both"


async def test_awaited_question_goes_through_the_proxy(
    server: canned.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.address.removeprefix("http://"))
    async with AsyncKrmClient(_at_name(server.url), env=TRUSTS) as krm:
        assert await krm.query("{ ok }") == {"ok": True}
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("encrypted", [False, True])
async def test_watch_goes_through_the_proxy(
    encrypted: bool, proxy: Proxy, teller: TellingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY" if encrypted else "HTTP_PROXY", proxy.address)
    with contextlib.ExitStack() as stack:
        if encrypted:
            played, teller = teller, stack.enter_context(telling(_tls()))
            teller.play(*played._scripts)
        with KrmClient(_at_name(teller.url), env=TRUSTS) as krm:
            assert next(krm.watch("pods"))["type"] == "ADDED"
        async with AsyncKrmClient(_at_name(teller.url), env=TRUSTS) as awaited, awaited.watch("pods") as events:
            assert (await anext(events))["type"] == "ADDED"
    assert proxy.asked == [f"CONNECT {NAME}:{teller.url.rpartition(':')[2]}"] * 2


@pytest.mark.parametrize("excepted", ["0.0.0.0", "0.0.0.0/8", "*", "a.example, 0.0.0.0"])
def test_no_proxy_goes_without(
    excepted: str, proxy: Proxy, teller: TellingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    monkeypatch.setenv("NO_PROXY", excepted)
    with canned.serving() as plain:
        plain.answer(canned.data({"ok": True}))
        # An address of this machine that is not one of loopback.
        with KrmClient(_at_name(plain.url, "0.0.0.0"), env={}) as krm:
            assert krm.query("{ ok }") == {"ok": True}
    with KrmClient(_at_name(teller.url, "0.0.0.0"), env={}) as krm:
        assert next(krm.watch("pods"))["type"] == "ADDED"
    assert proxy.asked == []


def test_this_machine_is_never_asked_through_a_proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.address)
    for url in ("http://127.0.0.1:1", "https://localhost:1", "http://[::1]:1"):
        assert proxy_of(ClientSettings.of(url, env={}).origin) is None


@pytest.mark.parametrize(
    ("host", "exceptions", "goes_through"),
    [
        ("krm.example.com", "example.com", False),
        ("krm.example.com", ".example.com", False),
        ("krm.example.org", "example.com", True),
        ("10.1.2.3", "10.0.0.0/8,fd00::/8", False),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("[fd00::1]", "fd00::/8", False),
        ("krm", "nonsense/99, krm:80", False),
        ("krm", "krm:8000", True),
    ],
)
def test_exceptions_are_names_and_networks(
    host: str, exceptions: str, goes_through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    assert (proxy_of(ClientSettings.of(f"http://{host}", env={}).origin) is not None) is goes_through


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b""])
def test_proxy_that_refuses_is_named_in_the_error(answer: bytes, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.address.replace("//", "//user:secret@"))
    proxy.refusal = answer
    with KrmClient(f"https://{NAME}", timeout=0.5, env={}) as krm:
        with pytest.raises(KrmConnectError, match=f"{NAME}:443 through the proxy {proxy.address}") as asked:
            krm.query("{ ok }")
        with pytest.raises(KrmConnectError, match=f"through the proxy {proxy.address}") as watched:
            next(krm.watch("pods"))
    assert "secret" not in f"{asked.value}{watched.value}"


@pytest.mark.parametrize("address", ["socks5://user:secret@proxy:1080", "http://"])
def test_proxy_of_another_sort_is_a_usage_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    with KrmClient(f"http://{NAME}", env={}) as krm:
        for ask in (lambda: krm.query("{ ok }"), lambda: next(krm.watch("pods"))):
            with pytest.raises(KrmUsageError, match=r"HTTP_PROXY: .*NO_PROXY=krm\.test") as refused:
                ask()
            assert "secret" not in str(refused.value)


def test_certificates_that_the_system_is_told_to_trust_count(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(http: ThreadingHTTPServer) -> str:
        http.socket = _tls().wrap_socket(http.socket, server_side=True)
        return "https"

    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    with canned.serving(prepare) as running:
        running.answer(canned.data({"ok": True}))
        with KrmClient(_at_name(running.url), timeout=5, env={}) as krm, pytest.raises(KrmTlsError):
            krm.query("{ ok }")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with KrmClient(_at_name(running.url), env={}) as krm:
            found: Any = krm.query("{ ok }")
        assert found == {"ok": True}
