"""What is never stored: taken out of an object before its first byte reaches Redis, absent rather than masked.

``metadata.managedFields`` (unless kept), the last-applied-configuration annotation, ``data`` and ``stringData`` of
Secrets, and the paths of ``KRM_REDACT``. Everything else stays the bytes that the API server sent:
the parts of an object that lose nothing are passed through unparsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from krm import errors
from krm.objects import paths
from krm.objects.paths import Step
from krm.resources import Resource

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

Parts = dict[str, msgspec.Raw]
_parts = msgspec.json.Decoder(Parts)
_encoder = msgspec.json.Encoder()


class Cleaner:
    """Makes what is stored out of what the API server sent, for one kind."""

    def __init__(self, resource: Resource, *, keep_managed_fields: bool = False, redact: Iterable[str] = ()) -> None:
        self._kind = _encoder.encode(resource.kind)
        self._api_version = _encoder.encode(resource.api_version)
        self._keep_managed_fields = keep_managed_fields
        self._dropped = ("data", "stringData") if (resource.group, resource.kind) == ("", "Secret") else ()
        self._paths = [_path(text) for text in redact]

    def clean(self, raw: bytes | msgspec.Raw) -> bytes:
        """JSON text of the object without what is never stored, and with its kind, which items of lists lack.

        Raises ``errors.BadData`` for what is not a JSON object in UTF-8.
        """
        try:
            parts = _parts.decode(raw)
            metadata = _object(parts.get("metadata"))
            if metadata is not None:
                self._clean_metadata(metadata)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.BadData(f"not a JSON object as the Kubernetes API has them: {error}") from error
        whole: dict[str, Any] = {"kind": msgspec.Raw(self._kind), "apiVersion": msgspec.Raw(self._api_version)}
        whole |= parts
        for name in self._dropped:
            whole.pop(name, None)
        if metadata is not None:
            whole["metadata"] = metadata
        text = _encoder.encode(whole)
        if not text.isascii():
            _check_utf8(text)
        return self._redact(text) if self._paths else text

    def _clean_metadata(self, metadata: Parts) -> None:
        if not self._keep_managed_fields:
            metadata.pop("managedFields", None)
        annotations = _object(metadata.get("annotations"))
        if annotations is not None and annotations.pop(LAST_APPLIED, None) is not None:
            metadata["annotations"] = msgspec.Raw(_encoder.encode(annotations))

    def _redact(self, text: bytes) -> bytes:
        # The standard library's parser, for it alone keeps integers of any size.
        try:
            obj = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise errors.BadData(f"not JSON: {error}") from error
        for steps in self._paths:
            _remove(obj, steps)
        return json.dumps(obj, separators=(",", ":")).encode()


def _object(raw: msgspec.Raw | None) -> Parts | None:
    """The members of a JSON object; None for what is none, which is then kept as it is."""
    if raw is None:
        return None
    return _parts.decode(raw) if bytes(raw)[:1] == b"{" else None


def _path(text: str) -> tuple[Step, ...]:
    try:
        return paths.parse(text).steps
    except paths.PathError as error:
        raise errors.ConfigError(f"KRM_REDACT={text!r} is not a path: {error}") from error


def _check_utf8(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise errors.BadData(f"not UTF-8: {error}") from error


def _remove(obj: Any, steps: tuple[Step, ...]) -> None:
    step, rest = steps[0], steps[1:]
    if step is paths.ANY:
        keys: Iterable[Any] = range(len(obj)) if isinstance(obj, list) else list(obj) if isinstance(obj, dict) else ()
    elif isinstance(step, int):
        keys = (step,) if isinstance(obj, list) and step < len(obj) else ()
    else:
        keys = (step,) if isinstance(obj, dict) and step in obj else ()
    for key in sorted(keys, reverse=True) if not rest else keys:
        if rest:
            _remove(obj[key], rest)
        else:
            del obj[key]
