from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config as official
from kubernetes.client import Configuration

from krm.errors import ConfigError
from krm.kube import access, connect, kubeconfig


def write(file: Path, **members: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **members}))
    return file


def entries(context: str, server: str, **user: Any) -> dict[str, Any]:
    return {
        "contexts": [{"name": context, "context": {"cluster": f"{context}-c", "user": f"{context}-u"}}],
        "clusters": [{"name": f"{context}-c", "cluster": {"server": server}}],
        "users": [{"name": f"{context}-u", "user": user}],
    }


@pytest.fixture
def several(tmp_path: Path) -> str:
    """Three files that disagree, and one that does not exist."""
    one = entries("a", "https://a1:1", token="a1")
    two = entries("a", "https://a2:2", token="a2")
    two["contexts"] += entries("b", "")["contexts"]
    three = entries("b", "https://b3:3", tokenFile="../tokens/b")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "b").write_text("b3")
    files = [
        write(tmp_path / "1" / "config", **one),
        tmp_path / "missing",
        write(tmp_path / "2" / "config", **two, **{"current-context": "a"}),
        write(tmp_path / "3" / "config", **three, **{"current-context": "b"}),
    ]
    return os.pathsep.join(map(str, files))


@pytest.mark.parametrize("context", [None, "a", "b"])
def test_several_files_mean_what_they_mean_to_the_official_client(several: str, context: str | None) -> None:
    theirs = Configuration()
    official.load_kube_config(  # type: ignore[no-untyped-call]  # the library has no types
        config_file=several, context=context, client_configuration=theirs
    )
    files = kubeconfig.paths(None, {"KUBECONFIG": several})
    ours = access.from_kubeconfig(kubeconfig.read(files, context), None, {}, allow_insecure=False)
    assert str(ours.server).rstrip("/") == theirs.host
    assert [(k, v.reveal()) for k, v in ours.headers] == [("Authorization", v) for v in theirs.api_key.values()]


def test_the_given_file_comes_before_the_environment(several: str, tmp_path: Path) -> None:
    assert kubeconfig.paths(tmp_path / "1" / "config", {"KUBECONFIG": several}) == (tmp_path / "1" / "config",)


def test_the_default_file_is_the_users(tmp_path: Path) -> None:
    file = write(tmp_path / ".kube" / "config")
    assert kubeconfig.paths(None, {"HOME": str(tmp_path)}) == (file,)


WRONG: dict[str, tuple[str | bytes, str]] = {
    "not yaml": ("a: [1,\nb: 2", "line 2"),
    "tab": ("contexts:\n\t- a", "line 2"),
    "empty": ("", "is empty"),
    "a list": ("- a", "top is not a mapping"),
    "a word": ("hello", "top is not a mapping"),
    "contexts no list": ("current-context: a\ncontexts: {a: b}", "contexts is not a list"),
    "context no mapping": ("current-context: a\ncontexts: [a]", "contexts[0]"),
    "context without name": ("contexts: [{context: {cluster: c}}]", "contexts[0]"),
    "cluster no mapping": ("clusters: [{name: c, cluster: 5}]", "clusters[0]"),
    "current-context no text": ("current-context: [a]", "current-context is not a text"),
    "no current context": ("contexts: [{name: a, context: {cluster: c}}]", "--context one of: a"),
    "current context gone": ("current-context: b\ncontexts: [{name: a, context: {}}]", "'b' does not exist"),
    "no contexts": ("current-context: b", "one of: none"),
    "no such cluster": ("current-context: a\ncontexts: [{name: a, context: {cluster: c}}]", "its cluster 'c'"),
    "no such user": (
        "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c}]",
        "its user 'u'",
    ),
    "no server": (
        "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c}]",
        "no server",
    ),
    "not utf-8": (b"current-context: \xff", "not YAML"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path, case: str) -> None:
    text, says = WRONG[case]
    file = tmp_path / "kubeconfig"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        kubeconfig.read((file,), None)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/nope does not exist"):
        await connect.open(tmp_path / "nope", None)
    with pytest.raises(ConfigError, match=f"KUBECONFIG names {tmp_path}/nope, which does not exist"):
        await connect.open(None, None, env={"KUBECONFIG": f"{tmp_path}/nope"})


async def test_an_absent_context_names_those_that_exist(several: str) -> None:
    with pytest.raises(ConfigError, match="no context 'c'; choose with --context one of: a, b"):
        await connect.open(None, "c", env={"KUBECONFIG": several})


async def test_without_any_configuration_all_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--kubeconfig.*KUBECONFIG.*~/.kube/config.*pod"):
        await connect.open(None, None, env={"HOME": str(tmp_path)})


async def test_a_context_without_any_kubeconfig_is_an_error_in_a_pod_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="context 'a'"):
        await connect.open(None, "a", env={"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"})


async def test_a_pod_without_its_token_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    with pytest.raises(ConfigError, match="service account of this pod: Service token file does not exist"):
        await connect.open(None, None)


def read(tmp_path: Path, *, cluster: dict[str, Any] | None = None, **user: Any) -> kubeconfig.Selected:
    members = entries("a", "https://api.example:6443", **user)
    members["clusters"][0]["cluster"].update(cluster or {})
    return kubeconfig.read((write(tmp_path / "kubeconfig", **members, **{"current-context": "a"}),), None)


def load(tmp_path: Path, *, allow_insecure: bool = False, **members: Any) -> access.Access:
    return access.from_kubeconfig(read(tmp_path, **members), None, {}, allow_insecure=allow_insecure)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        pytest.param({"cluster": {"insecure-skip-tls-verify": True}}, "insecure-skip-tls-verify", id="insecure"),
        pytest.param({"cluster": {"certificate-authority": "nope.crt"}}, "nope.crt", id="CA file missing"),
        pytest.param({"cluster": {"certificate-authority-data": "!"}}, "context 'a'", id="CA not base64"),
        pytest.param(
            {"cluster": {"certificate-authority-data": "aGk="}}, "no usable certificate", id="CA no certificate"
        ),
        pytest.param({"cluster": {"certificate-authority-data": 5}}, "context 'a'", id="CA a number"),
        pytest.param(
            {"client-certificate": "nope.crt", "client-key": "nope.key"}, "nope.crt", id="certificate missing"
        ),
        pytest.param({"tokenFile": "nope"}, "nope", id="token file missing"),
        pytest.param({"token": "two words"}, "no HTTP header carries", id="token with a blank"),
        pytest.param({"token": "l\u00f6we"}, "no HTTP header carries", id="token not ASCII"),
        pytest.param({"token": 5, "cluster": {"server": "http://h"}}, "plain http", id="token over plain http"),
        pytest.param({"cluster": {"server": "ftp://h"}}, "is not a URL", id="server of another scheme"),
        pytest.param({"cluster": {"server": "h:6443"}}, "is not a URL", id="server without scheme"),
        pytest.param({"cluster": {"server": "https://u:secret@h"}}, "is not a URL", id="server with password"),
        pytest.param({"cluster": {"proxy-url": "socks5://h:1"}}, "proxy-url", id="proxy of another sort"),
        pytest.param({"auth-provider": {"name": "gcp"}}, "holds no token", id="auth-provider without token"),
        pytest.param({"auth-provider": "gcp"}, "holds no token", id="auth-provider of a wrong shape"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_with_its_context(
    tmp_path: Path, members: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **members)
    assert says in str(caught.value)
    assert f"context 'a' of {tmp_path}/kubeconfig" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_unverified_tls_needs_its_flag_and_is_shouted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = load(tmp_path, cluster={"insecure-skip-tls-verify": True}, allow_insecure=True)
    assert found.tls is not None
    assert not found.tls.context.check_hostname
    assert "NOT VERIFIED" in caplog.text


def test_tls_verifies_by_default_and_is_not_older_than_1_2(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert found.tls is not None
    context = found.tls.context
    assert (context.verify_mode.name, context.check_hostname, context.minimum_version.name) == (
        "CERT_REQUIRED", True, "TLSv1_2",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "prefixes"),
    [
        pytest.param({"BearerToken": "Bearer xyz"}, {}, id="newer"),
        pytest.param({"authorization": "Bearer xyz"}, {}, id="older"),
        pytest.param({"authorization": "bearer xyz\n"}, {}, id="pod, lower case, newline"),
        pytest.param({"BearerToken": "xyz"}, {"BearerToken": "Bearer"}, id="prefix apart"),
        pytest.param({"authorization": "xyz"}, {"authorization": "Bearer"}, id="prefix apart, older"),
        pytest.param({"authorization": "Bearer xyz"}, {"authorization": "Bearer"}, id="prefix twice"),
        pytest.param({"authorization": "xyz"}, {}, id="no prefix"),
    ],
)
def test_the_header_is_the_same_for_every_spelling_of_the_official_client(
    keys: dict[str, str], prefixes: dict[str, str]
) -> None:
    configuration = Configuration(api_key=keys, api_key_prefix=prefixes)
    found = access._authorization(configuration, "here")
    assert found is not None
    assert found.reveal() == "Bearer xyz"


def test_unchanged_files_keep_the_tls_context(tmp_path: Path) -> None:
    first = load(tmp_path).tls
    assert first is not None
    again = access.from_kubeconfig(read(tmp_path), None, {}, allow_insecure=False, known=first)
    assert again.tls is first
