"""How to reach a cluster and as whom: the official client's configuration, turned into what a request needs.

The official ``kubernetes.config`` decides what a kubeconfig entry or a pod's service account means (files or inline
data, token before password, ...). Three things it leaves open are closed here: exec plugins get no terminal and a
bounded time (``krm.kube.plugin``), tokens of an ``auth-provider`` are used as stored and never renewed over unverified
TLS, and a kubeconfig that switches certificate checks off is refused unless that is asked for explicitly.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yarl
from kubernetes import config as official
from kubernetes.client import Configuration
from kubernetes.config import incluster_config

from krm.errors import ConfigError
from krm.kube import certificates, kubeconfig, plugin, proxies
from krm.settings import Secret

_LOG = logging.getLogger(__name__)
IN_CLUSTER = "the service account of this pod"
_API_KEYS = ("BearerToken", "authorization")  # the name has changed between versions of the official client


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request needs. Immutable: new credentials are a new Access."""

    server: yarl.URL
    source: str
    """Where this came from, for messages."""
    headers: tuple[tuple[str, Secret], ...]
    """Authorization and impersonation."""
    tls: certificates.Tls | None
    """None for plain http."""
    ca: str
    """What the server's certificate is checked against, for messages."""
    server_name: str | None
    proxy: str | None

    def same_credentials(self, other: Access) -> bool:
        """Whether the API server would see the same caller with the same proof."""
        mine, theirs = self.tls, other.tls
        return self.headers == other.headers and (mine and mine.fingerprint) == (theirs and theirs.fingerprint)


async def credential(selected: kubeconfig.Selected, env: Mapping[str, str]) -> plugin.Credential | None:
    """What the exec plugin of the selected user gives, None if it has none. Raises ``ConfigError``."""
    spec = selected.user.get("exec")
    if spec is None or selected.user.get("token") or selected.user.get("tokenFile"):
        return None  # the order of the official client: a token first
    return await plugin.run(
        spec, source=selected.source, cluster=selected.cluster, directory=selected.directory, env=env
    )


def from_kubeconfig(
    selected: kubeconfig.Selected,
    given: plugin.Credential | None,
    env: Mapping[str, str],
    *,
    allow_insecure: bool,
    known: certificates.Tls | None = None,
) -> Access:
    """The access that the selected entries mean; reads files. Raises ``ConfigError``.

    ``known`` is reused if nothing in it has changed, so that open connections stay usable.
    """
    user = _with_credential(selected, given)
    configuration = Configuration()
    entries = {
        "current-context": "context",
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
        "clusters": [{"name": "cluster", "cluster": dict(selected.cluster)}],
        "users": [{"name": "user", "user": user}],
    }
    try:
        official.load_kube_config_from_dict(  # type: ignore[no-untyped-call]  # the library has no types
            entries, context="context", client_configuration=configuration, persist_config=False
        )
    except _WRONG as error:
        raise ConfigError(f"{selected.source}: {_text(error)}") from error
    verify = _verifies(selected, allow_insecure)
    proxy_url = selected.cluster.get("proxy-url")
    return _access(
        configuration,
        source=selected.source,
        proxy=proxies.checked(str(proxy_url), f"{selected.source}: proxy-url") if proxy_url else None,
        impersonation=_impersonation(selected.user),
        env=env,
        verify=verify,
        allow_insecure=allow_insecure,
        known=known,
    )


def in_cluster(env: Mapping[str, str], *, known: certificates.Tls | None = None) -> Access:
    """The access of a pod's service account. Raises ``ConfigError``."""
    configuration = Configuration()
    try:
        official.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the same
    except _WRONG as error:
        raise ConfigError(f"{IN_CLUSTER}: {_text(error)}") from error
    return _access(
        configuration,
        source=IN_CLUSTER,
        proxy=None,
        impersonation=(),
        env=env,
        verify=True,
        allow_insecure=False,
        known=known,
    )


_WRONG = (official.ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError)
"""What the official loader raises at entries of a wrong shape: it does not check them."""


def own_namespace() -> str | None:
    """The namespace of the Pod that this runs in, None outside of one."""
    try:
        return Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace").read_text().strip() or None
    except OSError:
        return None


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, official.ConfigException | ValueError):
        return str(error)
    return f"an entry is not of the shape that a kubeconfig has ({type(error).__name__})"


def _with_credential(selected: kubeconfig.Selected, given: plugin.Credential | None) -> dict[str, Any]:
    """The user entry with the plugin's credential in place of the plugin."""
    user = {k: v for k, v in selected.user.items() if k not in ("exec", "auth-provider")}
    provider = selected.user.get("auth-provider")
    if provider is not None and not user.get("token"):
        settings = provider.get("config") if isinstance(provider, dict) else None
        stored = settings.get("id-token") or settings.get("access-token") if isinstance(settings, dict) else None
        if not stored:
            raise ConfigError(
                f"{selected.source}: its auth-provider holds no token; sign in again, or use an exec plugin"
            )
        user["token"] = stored
    if given is not None:
        if given.token:
            user["token"] = given.token
        if given.certificate and given.key:
            user["client-certificate-data"] = base64.b64encode(given.certificate.encode()).decode()
            user["client-key-data"] = base64.b64encode(given.key.encode()).decode()
    return user


def _verifies(selected: kubeconfig.Selected, allow_insecure: bool) -> bool:
    if not selected.cluster.get("insecure-skip-tls-verify"):
        return True
    if not allow_insecure:
        raise ConfigError(
            f"{selected.source}: its cluster says insecure-skip-tls-verify, and KRM verifies the API server; "
            "name its CA with certificate-authority"
        )
    _LOG.warning(
        "THE API SERVER IS NOT VERIFIED: anybody between may read and change all", extra={"source": selected.source}
    )
    return False


def _access(
    configuration: Any,
    *,
    source: str,
    proxy: str | None,
    impersonation: tuple[tuple[str, Secret], ...],
    env: Mapping[str, str],
    verify: bool,
    allow_insecure: bool,
    known: certificates.Tls | None,
) -> Access:
    server = _server(configuration.host, source)
    authorization = _authorization(configuration, source)
    headers = (*((("Authorization", authorization),) if authorization else ()), *impersonation)
    if server.scheme == "http" and headers and not allow_insecure and not _is_loopback(server.host or ""):
        raise ConfigError(
            f"{source}: {server} is plain http, which would show the credentials to everybody between; use https"
        )
    ca = f"the CA file {configuration.ssl_ca_cert}" if configuration.ssl_ca_cert else "the CAs of this system"
    return Access(
        server=server,
        source=source,
        headers=headers,
        tls=certificates.load(
            source,
            ca=configuration.ssl_ca_cert or None,
            certificate=configuration.cert_file or None,
            key=configuration.key_file or None,
            verify=verify,
            known=known,
        )
        if server.scheme == "https"
        else None,
        ca=ca,
        server_name=getattr(configuration, "tls_server_name", None) or None,
        proxy=proxy or proxies.for_server(str(server), env),
    )


def _server(host: object, source: str) -> yarl.URL:
    try:
        url = yarl.URL(str(host))
        usable = url.scheme in ("http", "https") and bool(url.host) and not url.query_string and not url.fragment
    except ValueError:
        usable = False
    if not usable or url.user is not None:
        shown = proxies.without_password(str(host))
        raise ConfigError(f"{source}: the server {shown!r} is not a URL such as https://HOST:6443")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _authorization(configuration: Any, source: str) -> Secret | None:
    """The header's value: one scheme, one token, whatever the loader made of it.

    Versions of the official client differ in the name of the key, in where the word Bearer comes from and in its case;
    a token file ends in a newline.
    """
    name = next((k for k in _API_KEYS if configuration.api_key.get(k)), None)
    if name is None:
        return None
    prefix = configuration.api_key_prefix.get(name) or ""
    words = f"{prefix} {configuration.api_key[name]}".split()
    scheme = "Basic" if words[0].lower() == "basic" else "Bearer"
    while words and words[0].lower() in ("bearer", "basic"):
        words.pop(0)
    if not words:
        return None
    if len(words) != 1 or not all("!" <= c <= "~" for c in words[0]):
        raise ConfigError(f"{source}: the token has characters that no HTTP header carries; is its file the right one?")
    return Secret(f"{scheme} {words[0]}")


def _impersonation(user: kubeconfig.Entry) -> tuple[tuple[str, Secret], ...]:
    # The official client ignores these, and would then act with more rights than the kubeconfig asks for.
    headers: list[tuple[str, Secret]] = []
    for key, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if value := user.get(key):
            headers.append((header, Secret(str(value))))
    headers.extend(("Impersonate-Group", Secret(str(group))) for group in user.get("as-groups") or ())
    for key, values in (user.get("as-user-extra") or {}).items():
        name = f"Impersonate-Extra-{urllib.parse.quote(str(key), safe='')}"
        headers.extend((name, Secret(str(value))) for value in values or ())
    return tuple(headers)
