"""Certificate authorities of a test's own, made with openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.test"


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A CA and what it has signed: a server's certificate for loopback, and a client's."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def pair(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def server_context(self, *, asks_clients: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.pair("server"))
        if asks_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context


def make(folder: Path) -> Authority:
    folder.mkdir(parents=True)
    openssl(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca "
                     "-keyout ca.key -out ca.crt")  # fmt: skip
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text(f"{_NAMES}\n" if name == "server" else "")
        openssl(folder, f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=devs/CN=test-{name} "
                         f"-keyout {name}.key -out {name}.csr")  # fmt: skip
        openssl(folder, f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
                         f"-extfile {name}.ext -out {name}.crt")  # fmt: skip
    return Authority(folder=folder)


def openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True, timeout=30)
