"""A server with canned answers, and a client of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from krm_client import KrmClient
from tests.unit.client import canned


@pytest.fixture
def server() -> Iterator[canned.Server]:
    with canned.serving() as running:
        yield running


@pytest.fixture
def krm(server: canned.Server) -> Iterator[KrmClient]:
    with KrmClient(server.url, env={}) as client:
        yield client


@pytest.fixture
def free_tcp_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
