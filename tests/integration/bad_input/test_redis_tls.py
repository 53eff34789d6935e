"""A Redis over TLS: verified unless it is said otherwise, and no refusal shows the password."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import servers
from tests.integration.store.checks import refusal

PASSWORD = "hush-hush"


@dataclass(frozen=True, kw_only=True)
class Tls:
    address: str
    authority: Path


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    """A Redis with a password, whose certificate only its own authority has signed."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=krm-test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    port = servers.free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(folder / "cert.pem")]
    options += ["--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file", str(folder / "key.pem")]
    with servers.start_redis(*options, "--user", "tester", "on", f">{PASSWORD}", "~*", "&*", "+@all"):
        yield Tls(address=f"rediss://tester:{PASSWORD}@127.0.0.1:{port}/0", authority=folder / "cert.pem")


async def test_a_certificate_of_a_named_authority_is_taken(tls: Tls) -> None:
    assert await refusal(f"{tls.address}?ssl_ca_certs={tls.authority}") == ""


async def test_a_certificate_of_nobody_known_is_refused_without_showing_the_password(tls: Tls) -> None:
    told = await refusal(tls.address)
    assert "certificate" in told.lower()
    assert PASSWORD not in told


async def test_a_wrong_password_is_refused_without_being_shown(tls: Tls) -> None:
    told = await refusal(tls.address.replace(PASSWORD, "other-hush") + f"?ssl_ca_certs={tls.authority}")
    assert "KRM_REDIS_URL" in told
    assert "hush" not in told


async def test_plain_text_to_a_port_of_tls_is_refused(tls: Tls) -> None:
    told = await refusal(tls.address.replace("rediss://", "redis://"))
    assert told
    assert PASSWORD not in told


async def test_an_authority_that_is_not_there_is_refused(tls: Tls) -> None:
    told = await refusal(f"{tls.address}?ssl_ca_certs=/nowhere/ca.pem")
    assert told
    assert PASSWORD not in told
