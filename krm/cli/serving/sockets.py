"""Listening sockets, made before anything else: a taken port is found at once, and no other can take it later."""

from __future__ import annotations

import errno
import socket
from typing import Final

from krm.errors import ConfigError

_BACKLOG: Final = 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port`` (0: any free one). Raises ``ConfigError`` in words."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"KRM_HOST={host!r} is not an address of this machine: {error.strerror}") from error
    # localhost is both; programs that are told 127.0.0.1 must find it.
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _explained(error, host, port) from error
    return listening


def port_of(listening: socket.socket) -> int:
    """The port on which it listens."""
    return int(listening.getsockname()[1])


def _explained(error: OSError, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"port {port} on {host} is taken by another program: choose another with --port or KRM_PORT"
            f" (e.g. --port {port + 1 if port < 65535 else 8000})"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"port {port} on {host} is not for this user: choose one above 1023 with --port or KRM_PORT")
    return ConfigError(f"cannot listen on port {port} of {host} (KRM_PORT, KRM_HOST): {error.strerror}")
