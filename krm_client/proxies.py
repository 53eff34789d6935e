"""Which proxy a connection goes through: that of the environment, the same for questions and for watches.

The libraries below each read the environment by rules of their own; here is the one that holds for both. It is that
of curl: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in small letters too, networks included.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from urllib.parse import urlsplit

from krm_client.errors import KrmUsageError
from krm_client.settings import Origin


def proxy_of(origin: Origin) -> str | None:
    """The address of the proxy on the way to an origin; never one for this machine itself.

    Raises `KrmUsageError` for a proxy of a sort that cannot be used.
    """
    if origin.is_loopback:
        return None
    proxies = urllib.request.getproxies()
    address = proxies.get(origin.scheme) or proxies.get("all")
    if not address or _is_excepted(origin, proxies.get("no", "")):
        return None
    if "://" not in address:
        address = f"http://{address}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        without_password = f"{parts.scheme}://{parts.hostname or ''}"
        raise KrmUsageError(
            f"{origin.scheme.upper()}_PROXY: {without_password!r} is not the address of a proxy "
            f"like http://proxy:3128; NO_PROXY={origin.host} goes without"
        )
    return address


def shown(origin: Origin) -> str:
    """Where a connection leads, and through which proxy, for an error's text."""
    place = f"{origin.scheme}://{origin.host}:{origin.port}"
    address = proxy_of(origin)
    if address is None:
        return place
    parts = urlsplit(address)
    return f"{place} through the proxy {parts.scheme}://{parts.hostname}:{parts.port or ''}".rstrip(":")


def _is_excepted(origin: Origin, exceptions: str) -> bool:
    if urllib.request.proxy_bypass(f"{origin.host}:{origin.port}"):
        return True
    try:
        address = ipaddress.ip_address(origin.host)
    except ValueError:
        return False
    return any(address in network for network in map(_network, exceptions.split(",")) if network is not None)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip().strip("[]"), strict=False)
    except ValueError:
        return None
