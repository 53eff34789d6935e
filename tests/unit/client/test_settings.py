"""Where the client finds its address and token, and where it does not send the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm_client import AsyncKrmClient, KrmAuthError, KrmClient, KrmProtocolError, KrmUsageError
from krm_client.answers import Answer
from krm_client.operations import Operations
from krm_client.settings import ClientSettings, Origin
from tests.unit.client import canned


def _header(settings: ClientSettings) -> str | None:
    return settings.credentials.header_for(settings.origin)


@pytest.fixture
def found(tmp_path: Path) -> str:
    """The file of a pod's service account."""
    path = tmp_path / "token"
    path.write_text("found-token\n")
    return str(path)


@pytest.mark.parametrize(
    ("url", "env", "expected"),
    [
        (None, {}, "http://127.0.0.1:8000/graphql"),
        (None, {"KRM_URL": "https://krm.example/"}, "https://krm.example/graphql"),
        ("http://localhost:9", {"KRM_URL": "https://krm.example/"}, "http://localhost:9/graphql"),
        ("http://host/prefix", {}, "http://host/prefix/graphql"),
        ("http://host/graphql", {}, "http://host/graphql"),
        ("http://host/graphql/", {}, "http://host/graphql"),
        ("http://host?x=1#y", {}, "http://host/graphql"),
        ("http://[::1]:8000", {}, "http://[::1]:8000/graphql"),
    ],
)
def test_address_of_argument_over_environment_over_default(url: str | None, env: dict[str, str], expected: str) -> None:
    assert ClientSettings.of(url, env=env).url == expected


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "a.localhost")),
        *((host, False) for host in ("10.0.0.1", "krm", "localhost.example", "0.0.0.0")),
    ],
)
def test_loopback_is_told_from_others(host: str, is_loopback: bool) -> None:
    assert Origin(scheme="http", host=host, port=80).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("url", "env", "token", "expected"),
    [
        ("https://krm", {}, None, "Bearer found-token"),
        ("http://127.0.0.1:8000", {}, None, "Bearer found-token"),
        ("http://krm", {}, None, None),
        ("http://10.0.0.1:8000", {}, None, None),
        ("http://krm", {}, "given", "Bearer given"),
        ("http://krm", {"KRM_TOKEN": "of-env"}, None, "Bearer of-env"),
        ("https://krm", {"KRM_TOKEN": "of-env"}, None, "Bearer of-env"),
        ("https://krm", {"KRM_TOKEN": "of-env"}, "given", "Bearer given"),
    ],
)
def test_token_that_was_only_found_is_not_sent_in_the_clear(
    url: str, env: dict[str, str], token: str | None, expected: str | None, found: str
) -> None:
    assert _header(ClientSettings.of(url, token=token, env=env, service_account_token_file=found)) == expected


def test_withheld_token_is_told_when_the_server_does_not_know_us(found: str) -> None:
    settings = ClientSettings.of("http://krm", env={}, service_account_token_file=found)
    call = Operations(settings).query("{ a }").start()
    next(call)
    with pytest.raises(KrmAuthError, match="KRM_TOKEN_FILE"):
        call.send(Answer(status=401, content=canned.error("UNAUTHENTICATED").body))


def test_named_file_is_explicit_and_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    settings = ClientSettings.of("http://krm", env={"KRM_TOKEN_FILE": str(path)})
    assert _header(settings) == "Bearer first"
    fresh = tmp_path / "fresh"
    fresh.write_text("second")
    fresh.replace(path)
    assert _header(settings) == "Bearer second"


def test_named_file_that_is_missing_is_an_error() -> None:
    settings = ClientSettings.of("http://krm", env={"KRM_TOKEN_FILE": "/nonexistent/token"})
    with pytest.raises(KrmUsageError, match="KRM_TOKEN_FILE"):
        _header(settings)


def test_outside_a_pod_there_is_no_token() -> None:
    settings = ClientSettings.of("https://krm", env={}, service_account_token_file="/nonexistent/token")
    assert _header(settings) is None


def test_token_is_in_no_text_of_ours() -> None:
    settings = ClientSettings.of("https://krm", token="very-secret", env={})
    assert "very-secret" not in repr(settings)


@pytest.mark.parametrize("token", ["two\nlines", "nül", "a\rb"])
def test_token_that_would_break_the_header_is_refused(token: str) -> None:
    with pytest.raises(KrmUsageError, match="token"):
        ClientSettings.of("https://krm", token=token, env={})


@pytest.mark.parametrize("timeout", [0, -1, None, float("nan")])
def test_timeout_must_be_above_zero(timeout: float | None) -> None:
    with pytest.raises(KrmUsageError, match="timeout"):
        ClientSettings.of("http://krm", timeout=timeout, env={})


def test_missing_authority_file_is_named() -> None:
    with pytest.raises(KrmUsageError, match="KRM_CA_FILE: /nonexistent"):
        ClientSettings.of("https://krm", env={"KRM_CA_FILE": "/nonexistent"})


def test_password_in_the_address_is_refused_unshown() -> None:
    with pytest.raises(KrmUsageError) as raised:
        ClientSettings.of("https://user:secret@krm", env={})
    assert "secret" not in str(raised.value)


def test_token_goes_along(server: canned.Server) -> None:
    server.answer(canned.data({}))
    with KrmClient(server.url, token="mine", env={}) as krm:
        krm.query("{ a }")
    assert server.asked[0].headers["authorization"] == "Bearer mine"


def test_redirect_on_the_same_host_keeps_question_and_token(server: canned.Server) -> None:
    moved = canned.Reply(status=307, headers={"Location": "/graphql/"})
    server.answer(moved, canned.data({"ok": True}))
    with KrmClient(server.url, token="mine", env={}) as krm:
        assert krm.query("{ ok }") == {"ok": True}
    assert [asked.path for asked in server.asked] == ["/graphql", "/graphql/"]
    assert server.asked[1].json == {"query": "{ ok }"}
    assert server.asked[1].headers["authorization"] == "Bearer mine"


async def test_redirect_to_another_host_loses_the_token(server: canned.Server) -> None:
    with canned.serving() as other:
        other.answer(canned.data({"ok": True}))
        server.answer(canned.Reply(status=308, headers={"Location": f"{other.url}/graphql"}))
        with KrmClient(server.url, token="mine", env={}) as krm:
            assert krm.query("{ ok }") == {"ok": True}
        async with AsyncKrmClient(server.url, token="mine", env={}) as awaited:
            assert await awaited.query("{ ok }") == {"ok": True}
        assert all("authorization" in asked.headers for asked in server.asked)
        assert ["authorization" in asked.headers for asked in other.asked] == [False, False]


@pytest.mark.parametrize("location", ["/elsewhere", "https://127.0.0.1:1/graphql"])
@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirect_that_would_lose_the_question_is_an_error(status: int, location: str, server: canned.Server) -> None:
    server.answer(canned.Reply(status=status, headers={"Location": location}))
    with KrmClient(server.url, env={}) as krm, pytest.raises(KrmProtocolError, match="elsewhere"):
        krm.query("{ a }")
    assert len(server.asked) == 1


def test_redirect_to_https_is_told_not_followed(server: canned.Server) -> None:
    server.answer(canned.Reply(status=308, headers={"Location": "https://127.0.0.1:1/graphql"}))
    with KrmClient(server.url, env={}) as krm, pytest.raises(KrmProtocolError, match="use https://"):
        krm.query("{ a }")


def test_redirects_in_circles_end(server: canned.Server) -> None:
    server.answer(canned.Reply(status=307, headers={"Location": "/graphql"}))
    with KrmClient(server.url, env={}) as krm, pytest.raises(KrmProtocolError, match="redirects"):
        krm.query("{ a }")
    assert len(server.asked) == 6


def test_proxy_of_the_environment_is_not_used_for_this_machine(
    server: canned.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.answer(canned.data({"ok": True}))
    with KrmClient(server.url, env={}) as krm:
        assert krm.query("{ ok }") == {"ok": True}
