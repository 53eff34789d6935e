from __future__ import annotations

import pytest

from krm.errors import ConfigError
from krm.kube import proxies

P = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("server", "env", "expected"),
    [
        pytest.param("https://api.example:6443", {}, None, id="none set"),
        pytest.param("https://api.example:6443", {"HTTPS_PROXY": P}, P, id="upper case"),
        pytest.param("https://api.example:6443", {"https_proxy": P}, P, id="lower case"),
        pytest.param("https://api.example:6443", {"HTTP_PROXY": P}, None, id="of the other scheme"),
        pytest.param("http://api.example:8080", {"HTTP_PROXY": P}, P, id="plain http"),
        pytest.param("https://api.example:6443", {"ALL_PROXY": P}, P, id="for all"),
        pytest.param("https://api.example", {"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128", id="without scheme"),
        pytest.param("https://api.example", {"HTTPS_PROXY": "http://proxy"}, "http://proxy", id="without port"),
        pytest.param("https://api.example", {"HTTPS_PROXY": ""}, None, id="empty"),
        pytest.param("https://api.example", {"HTTPS_PROXY": P, "NO_PROXY": "*"}, None, id="no proxy at all"),
        pytest.param("https://api.example", {"HTTPS_PROXY": P, "NO_PROXY": "a,  api.example "}, None, id="name"),
        pytest.param("https://api.example", {"HTTPS_PROXY": P, "NO_PROXY": "example"}, None, id="suffix"),
        pytest.param("https://api.example", {"HTTPS_PROXY": P, "NO_PROXY": ".example"}, None, id="dotted suffix"),
        pytest.param("https://api.example", {"HTTPS_PROXY": P, "NO_PROXY": "*.example"}, None, id="starred suffix"),
        pytest.param("https://apiexample", {"HTTPS_PROXY": P, "NO_PROXY": ".example"}, P, id="suffix needs its dot"),
        pytest.param("https://api.example:6443", {"HTTPS_PROXY": P, "NO_PROXY": "api.example:6443"}, None, id="port"),
        pytest.param("https://api.example:6443", {"HTTPS_PROXY": P, "NO_PROXY": "api.example:1"}, P, id="other port"),
        pytest.param("https://10.96.0.1", {"HTTPS_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, None, id="network"),
        pytest.param("https://11.96.0.1", {"HTTPS_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, P, id="other network"),
        pytest.param("https://10.96.0.1", {"HTTPS_PROXY": P, "NO_PROXY": "10.96.0.1"}, None, id="address"),
        pytest.param("https://10.96.0.1", {"HTTPS_PROXY": P, "NO_PROXY": "10.96.0.1:443"}, None, id="address and port"),
        pytest.param("https://[fd00::1]:6443", {"HTTPS_PROXY": P, "NO_PROXY": "fd00::/8"}, None, id="network of IPv6"),
        pytest.param("https://127.0.0.1:6443", {"HTTPS_PROXY": P}, None, id="loopback"),
        pytest.param("https://localhost:6443", {"HTTPS_PROXY": P}, None, id="localhost"),
        pytest.param("https://[::1]:6443", {"HTTPS_PROXY": P}, None, id="loopback of IPv6"),
    ],
)
def test_the_proxy_that_the_environment_means(server: str, env: dict[str, str], expected: str | None) -> None:
    assert proxies.for_server(server, env) == expected


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "http://", "http://proxy:99999", "http://u:secret@:80"])
def test_an_unusable_proxy_is_named_without_its_password(proxy: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        proxies.for_server("https://api.example", {"HTTPS_PROXY": proxy})
    assert "secret" not in str(caught.value)
