"""The TLS side of an access: a context that verifies the API server and shows our client certificate.

A context is made anew only when a file behind it has changed: open connections belong to the context that they were
made with, and would be lost with it.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from krm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Tls:
    """A context, and what it was made of (equal fingerprints: the same files with the same content)."""

    context: ssl.SSLContext
    fingerprint: bytes


def load(
    source: str, *, ca: str | None, certificate: str | None, key: str | None, verify: bool, known: Tls | None
) -> Tls:
    """TLS from these files (``ca`` None: the system's); ``known`` if they have not changed.

    Raises ``ConfigError`` that begins with ``source`` and names the file.
    """
    digest = hashlib.sha256(b"verify" if verify else b"")
    try:
        for file in (ca, certificate, key):
            digest.update(repr(file).encode())
            digest.update(Path(file).read_bytes() if file else b"")
    except OSError as error:
        raise ConfigError(f"{source}: {error.filename}: {error.strerror}") from error
    if known is not None and known.fingerprint == digest.digest():
        return known
    return Tls(context=_context(source, ca, certificate, key, verify), fingerprint=digest.digest())


def _context(source: str, ca: str | None, certificate: str | None, key: str | None, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{source}: the CA file {ca} holds no usable certificate ({error})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Newer Pythons also demand extensions that the CAs of many clusters lack; chain, name and dates stay checked.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        try:
            # A password that is never right: a protected key is an error, not a question on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigError(
                f"{source}: the client certificate {certificate} or its key is unusable ({error})"
            ) from error
    return context
