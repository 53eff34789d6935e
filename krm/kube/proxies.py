"""Which proxy leads to a server, as the environment says.

The rules are those of the Kubernetes command-line tools: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and
``NO_PROXY`` in either case; NO_PROXY takes names, suffixes, addresses, networks (``10.0.0.0/8``), ``host:port`` and
``*``; loopback never goes through a proxy. (The standard library's NO_PROXY knows no networks.)
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Mapping

from krm import errors


def for_server(server: str, env: Mapping[str, str]) -> str | None:
    """The URL of the proxy that leads to ``server`` (a URL), or None. Raises ``ConfigError`` for an unusable one."""
    url = urllib.parse.urlsplit(server)
    host, port = (url.hostname or "").lower(), url.port or (443 if url.scheme == "https" else 80)
    names = (f"{url.scheme}_proxy", "all_proxy")
    found = next(((name, value) for name in names if (value := _variable(env, name))), None)
    if found is None or _is_loopback(host) or _is_direct(host, port, _variable(env, "no_proxy")):
        return None
    return checked(found[1], found[0].upper())


def checked(proxy: str, origin: str) -> str:
    """``proxy`` as a URL; ``origin`` is where it was given. Raises ``ConfigError``."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0  # port may raise
    except ValueError:
        usable = False
    if not usable:
        raise errors.ConfigError(
            f"{origin}: {without_password(proxy)!r} is not a proxy that KRM can use: http://HOST:PORT or https://HOST:PORT"
        )
    return url


def without_password(url: str) -> str:
    """``url`` as it may be shown."""
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _variable(env: Mapping[str, str], name: str) -> str:
    return (env.get(name) or env.get(name.upper()) or "").strip()


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _is_direct(host: str, port: int, no_proxy: str) -> bool:
    address = _address(host)
    for entry in (e.strip().lower() for e in no_proxy.split(",")):
        if entry == "*" or (entry and _matches(host, port, address, entry)):
            return True
    return False


def _matches(host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, entry: str) -> bool:
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            return entry in (f"{host}:{port}", f"[{host}]:{port}")
    name, colon, wanted_port = entry.rpartition(":")
    if colon:
        if wanted_port != str(port):
            return False
        entry = name
    entry = entry.removeprefix("*")
    return host == entry.removeprefix(".") or host.endswith("." + entry.removeprefix("."))
