from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from krm.kube import connect
from tests.integration.kube import apiserver, certificates

Open = Callable[..., Awaitable[connect.Cluster]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.make(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.make(tmp_path_factory.mktemp("tls") / "others")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
async def connected(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens clusters for a server's URL through a kubeconfig, and closes them."""
    opened: list[connect.Cluster] = []

    async def open_(
        server: str,
        *,
        user: dict[str, Any] | None = None,
        cluster: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> connect.Cluster:
        file = apiserver.kubeconfig(tmp_path / "kubeconfig", server, user=user, cluster=cluster)
        opened.append(await connect.open(file, None, env=env or dict(os.environ), **options))
        return opened[-1]

    yield open_
    for each in opened:
        await each.close()
