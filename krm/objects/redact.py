"""What is never stored: taken out of an object before its first byte reaches Redis, absent rather than masked.

``metadata.managedFields`` (unless kept), the last-applied-configuration annotation, ``data`` and ``stringData`` of
Secrets, and the paths of ``KRM_REDACT``. Everything else stays the bytes that the API server sent:
the parts of an object that lose nothing are passed through unparsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from krm import errors
from krm.objects import paths
from krm.objects.paths import Step
from krm.objects.projections import Look, Projection
from krm.resources import Resource

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

_MANAGED: Final = b',"managedFields":[{'
_SPEC: Final = b'"spec":'
_APPLIED: Final = LAST_APPLIED.encode()

Parts = dict[str, msgspec.Raw]


_parts = msgspec.json.Decoder(Parts)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_K = TypeVar("_K")
_encoder = msgspec.json.Encoder()


class Seen(NamedTuple):
    """An object as it is stored, and what was seen of it."""

    text: bytes
    look: Look


class Cleaner:
    """Makes what is stored out of what the API server sent, for one kind."""

    def __init__(self, resource: Resource, *, keep_managed_fields: bool = False, redact: Iterable[str] = ()) -> None:
        self._kind = _encoder.encode(resource.kind)
        self._api_version = _encoder.encode(resource.api_version)
        self._start = b'{"kind":%s,"apiVersion":%s,' % (self._kind, self._api_version)
        self._starts = (self._start + b'"metadata":{', b'{"metadata":{')
        self._projection = Projection(resource)
        self._keep_managed_fields = keep_managed_fields
        self._dropped = ("data", "stringData") if (resource.group, resource.kind) == ("", "Secret") else ()
        self._paths = [_path(text) for text in redact]

    def see(self, raw: bytes) -> Seen | None:
        """An object as API servers write it, without what is never stored, in one look; None where that will not do.

        The same as ``clean`` and then a look, without taking the object apart. ``raw`` must be UTF-8.
        """
        if self._dropped or self._paths or not (raw.startswith(self._starts) and raw.endswith(b"}")):
            return None
        text = raw
        start = -1 if self._keep_managed_fields else raw.find(_MANAGED)
        if start >= 0:
            # Objects in a list: it ends where one ends. What is left would be no JSON if that were not its end, as
            # a list, or a text in it, would be left open.
            end = raw.find(b"]", start)
            if raw[end - 1 : end + 2] != b"}]}" or raw.find(_SPEC, 0, start) >= 0:
                return None
            text = raw[:start] + raw[end + 1 :]
        look = self._projection.look(text)
        if look is None or (look.metadata.managed and not self._keep_managed_fields):
            return None
        # Of a member that is there twice the look has seen the last one alone: hence in the bytes, too.
        if _APPLIED in text or (look.metadata.annotations and LAST_APPLIED in look.metadata.annotations):
            return None
        if text.startswith(self._start):
            return Seen(text, look)
        # Items of lists lack their kind; where it stands behind the rest, it must not stand twice.
        return None if look.kind or look.api_version else Seen(self._start + text[1:], look)

    def look_at(self, raw: bytes) -> tuple[bytes, Look | None]:
        """``clean`` text of an object, and what is seen of it, if it is shaped as its kind should be."""
        seen = self.see(raw) if _is_utf8(raw) else None
        if seen is not None:
            return seen
        text = self.clean(raw)
        return text, self._projection.look(text)

    def clean(self, raw: bytes | msgspec.Raw) -> bytes:
        """JSON text of the object without what is never stored, and with its kind, which items of lists lack.

        Raises ``errors.BadData`` for what is not a JSON object in UTF-8.
        """
        try:
            parts = _parts.decode(raw)
            metadata = _object(parts.get("metadata"))
            if metadata is not None:
                self._clean_metadata(metadata)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise errors.BadData(f"not a JSON object as the Kubernetes API has them: {error}") from error
        whole: dict[str, Any] = {"kind": msgspec.Raw(self._kind), "apiVersion": msgspec.Raw(self._api_version)}
        whole |= parts
        for name in self._dropped:
            whole.pop(name, None)
        if metadata is not None:
            whole["metadata"] = metadata
        text = _encoder.encode(whole)
        if not _is_utf8(text):
            raise errors.BadData("an object is not UTF-8")
        return self._redact(text) if self._paths else text

    def _clean_metadata(self, metadata: Parts) -> None:
        if not self._keep_managed_fields:
            metadata.pop("managedFields", None)
        annotations = _object(metadata.get("annotations"))
        if annotations is not None and annotations.pop(LAST_APPLIED, None) is not None:
            metadata["annotations"] = msgspec.Raw(_encoder.encode(annotations))

    def _redact(self, text: bytes) -> bytes:
        for steps in self._paths:
            left = _without(text, steps)
            text = text if left is None else left
        return text


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


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without(raw: bytes, steps: tuple[Step, ...]) -> bytes | None:
    """``raw`` without what ``steps`` lead to, else as it was sent; None if there is no such thing."""
    step, rest = steps[0], steps[1:]
    if raw.startswith(b"{") and not isinstance(step, int):
        members: dict[str, msgspec.Raw] = _parts.decode(raw)
        names = list(members) if step is paths.ANY else [str(step)] if step in members else []
        return _encoder.encode(members) if _removed(members, names, rest) else None
    if raw.startswith(b"[") and not isinstance(step, str):
        items = dict(enumerate(_items.decode(raw)))
        places = list(items) if step is paths.ANY else [step] if step in items else []
        return _encoder.encode(list(items.values())) if _removed(items, places, rest) else None
    return None


def _removed(among: dict[_K, msgspec.Raw], keys: Iterable[_K], rest: tuple[Step, ...]) -> bool:
    """Take ``rest`` out of the members ``keys``, or these themselves; whether there was something."""
    found = False
    for key in keys:
        left = _without(bytes(among[key]), rest) if rest else b""
        if not rest:
            del among[key]
        elif left is not None:
            among[key] = msgspec.Raw(left)
        found = found or left is not None
    return found
