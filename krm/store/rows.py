"""Row records: one object as it travels through every key, from the worker that received it to the API replica.

A record is made once, by whoever received the object, and is never rewritten. Its head (key, uid, version, labels,
derived columns) is read without touching the body, which is the object's JSON text, compressed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from sys import intern
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from krm import errors
from krm.objects import derived, versions
from krm.objects.projections import Look
from krm.objects.redact import Cleaner, Seen
from krm.resources import Resource
from krm.store import envelope
from krm.store.compression import Compressor, Text
from krm.store.envelope import Envelope

DIGEST_MODULUS: Final = 2**64


class Row(NamedTuple):
    """One object, as a row of the dataframe."""

    namespace: str
    """Empty for objects that have none."""
    name: str
    uid: str
    version: str
    """Its resourceVersion; empty where the API server gave none."""
    created: str | None
    labels: Mapping[str, str]
    owners: tuple[str, ...]
    """uids of the owners that it references."""
    columns: tuple[Any, ...]
    """The derived columns, in the order of ``resource.columns``."""
    time_streamed: float | None
    """Unix seconds when a streamer received it; None when a list brought it."""
    record: bytes
    """The row record itself."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)"""
        return (self.namespace, self.name)


class _Head(msgspec.Struct, array_like=True):
    namespace: str
    name: str
    uid: str
    version: str
    created: str | None
    labels: dict[str, str]
    owners: tuple[str, ...]
    columns: tuple[Any, ...]
    time_streamed: float | None


class _Kept(msgspec.Struct, array_like=True):
    """A head as it is read: what rows often have in common is left as bytes."""

    namespace: str
    name: str
    uid: str
    version: str
    created: str | None
    labels: msgspec.Raw
    owners: msgspec.Raw
    columns: tuple[Any, ...]
    time_streamed: float | None


class Identity(msgspec.Struct, array_like=True, gc=False):
    """Of which object a record is, and of which state of it: the beginning of its head."""

    namespace: str
    name: str
    uid: str
    version: str

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)"""
        return (self.namespace, self.name)


_MAX_SHARED: Final = 65_536
_SPARE_SHARED: Final = 1_024
_decode_labels = msgspec.msgpack.Decoder(dict[str, str]).decode
_decode_owners = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(_Kept).decode
_decode_identity = msgspec.msgpack.Decoder(Identity).decode


class Codec:
    """Makes and reads the row records of one resource."""

    def __init__(self, resource: Resource, cleaner: Cleaner | None = None) -> None:
        self.resource = resource
        self.compressor = Compressor()
        self.cleaner = cleaner or Cleaner(resource)
        self._schema = schema(resource)
        self._shared_labels: dict[bytes, Mapping[str, str]] = {}
        self._shared_owners: dict[bytes, tuple[str, ...]] = {}
        self._derive = derived.deriver(resource)
        self._derive_seen = derived.looker(resource)
        self.malformed = 0
        """Objects that lacked what every object has (uid, version, well-formed columns); kept, with gaps."""

    def encode(self, raw: bytes, *, time_streamed: float | None = None, seen: Seen | None = None) -> Row:
        """The row of an object that the API server sent. Raises ``errors.BadData`` for what is no JSON object.

        What is merely incomplete or odd is kept, with gaps, and counted in ``malformed``. ``seen``: what the cleaner
        has seen of it already.
        """
        text, look = seen or self.cleaner.look_at(raw)
        head = self._head(_loads(text), time_streamed) if look is None else self._seen(text, look, time_streamed)
        how, dictionary, body = self.compressor.compress(text)
        try:
            packed = _encode_head(head)
        except (OverflowError, UnicodeEncodeError):
            self.malformed += 1
            head = msgspec.convert(_storable(msgspec.to_builtins(head)), _Head)
            packed = _encode_head(head)
        record = envelope.seal(Envelope(how, self._schema, dictionary, packed, body, len(text)))
        return _row(head, record)

    def _seen(self, text: bytes, look: Look, time_streamed: float | None) -> _Head:
        """The same as ``_head`` of the whole object."""
        metadata = look.metadata
        is_valid = versions.is_valid(metadata.version)
        if not (is_valid and metadata.uid):
            self.malformed += 1
        return _Head(
            metadata.namespace,
            metadata.name,
            metadata.uid or f"{metadata.namespace}/{metadata.name}",
            metadata.version if is_valid else "",
            metadata.created or None,
            metadata.labels or {},
            tuple([owner.uid for owner in metadata.owners]) if metadata.owners else (),
            self._derive_seen(look, lambda: _loads(text)),
            time_streamed,
        )

    def _head(self, obj: Mapping[str, Any], time_streamed: float | None) -> _Head:
        given = obj.get("metadata")
        metadata: Mapping[str, Any] = given if isinstance(given, dict) else {}
        namespace, name = _text(metadata.get("namespace")), _text(metadata.get("name"))
        uid, version = _text(metadata.get("uid")), _text(metadata.get("resourceVersion"))
        if not (name and uid and versions.is_valid(version)):
            self.malformed += 1
        labels = metadata.get("labels")
        owners = metadata.get("ownerReferences")
        return _Head(
            namespace=namespace,
            name=name,
            # Without a uid the key is the only identity there is.
            uid=uid or f"{namespace}/{name}",
            version=version if versions.is_valid(version) else "",
            created=_text(metadata.get("creationTimestamp")) or None,
            labels={k: v for k, v in labels.items() if isinstance(v, str)} if isinstance(labels, dict) else {},
            owners=tuple(_text(o.get("uid")) for o in owners if isinstance(o, dict))
            if isinstance(owners, list)
            else (),
            columns=self._derive(obj),
            time_streamed=time_streamed,
        )

    def decode(self, record: bytes) -> Row:
        """The row of a record; the body stays compressed. Raises ``CorruptData``, ``UnknownFormat``."""
        opened = self._opened(record)
        try:
            head = _decode_head(opened.head)
            labels, owners = self._in_common(bytes(head.labels), bytes(head.owners))
        except msgspec.DecodeError as error:
            raise errors.CorruptData(f"the head of a stored row does not decode: {error}") from error
        # Rows have most of their texts in common: kept once, they take a third of the memory.
        return Row(
            intern(head.namespace),
            head.name,
            head.uid,
            head.version,
            head.created,
            labels,
            owners,
            tuple([intern(value) if type(value) is str else _shared(value) for value in head.columns]),
            head.time_streamed,
            record,
        )

    def identity(self, record: bytes) -> Identity:
        """Of which object a record is, without decoding the rest. Checks and raises as ``decode``."""
        opened = self._opened(record)
        try:
            return _decode_identity(opened.head)
        except msgspec.DecodeError as error:
            raise errors.CorruptData(f"the head of a stored row does not decode: {error}") from error

    def _opened(self, record: bytes) -> Envelope:
        opened = envelope.unseal(record)
        if opened.schema != self._schema:
            raise errors.UnknownFormat(
                f"a stored row of {self.resource.plural} has other columns than this KRM derives; workers and API"
                " must be of one version"
            )
        return opened

    def _in_common(self, labels: bytes, owners: bytes) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """Labels and owners out of a head; rows that have the same share them."""
        of_labels, of_owners = self._shared_labels.get(labels), self._shared_owners.get(owners)
        if of_labels is None:
            of_labels = {intern(key): intern(value) for key, value in _decode_labels(labels).items()}
            if len(self._shared_labels) >= _MAX_SHARED:
                self._shared_labels.clear()
            self._shared_labels[labels] = of_labels
        if of_owners is None:
            of_owners = tuple(map(intern, _decode_owners(owners)))
            if len(self._shared_owners) >= _MAX_SHARED:
                self._shared_owners.clear()
            self._shared_owners[owners] = of_owners
        return of_labels, of_owners

    def forget_unshared(self, rows: int) -> None:
        """Let go of what rows have in common where most of it must be of rows that have gone, of ``rows`` that are."""
        for shared in (self._shared_labels, self._shared_owners):
            if len(shared) > 2 * rows + _SPARE_SHARED:
                shared.clear()

    def body(self, record: bytes) -> bytes:
        """The object's JSON text. Raises ``CorruptData``, ``MissingDictionary``, ``UnknownFormat``."""
        opened = envelope.unseal(record)
        return self.compressor.decompress(opened.compression, opened.dictionary, opened.body, opened.body_size)

    def bodies(self, rows: Sequence[Row]) -> list[Text]:
        """The JSON texts of rows that came from ``decode`` or ``encode``, which are not checked again.

        Raises ``CorruptData``, ``MissingDictionary``.
        """
        return self.compressor.decompress_all([envelope.reopen(row.record) for row in rows])

    def sizes(self, rows: Sequence[Row]) -> list[int]:
        """How long each of ``bodies`` is, told without decompressing. Raises ``MissingDictionary``."""
        told = [envelope.announced(row.record) for row in rows]
        for identifier in {dictionary for dictionary, _ in told}:
            self.compressor.require(identifier)
        return [size for _, size in told]


def _shared(value: Any) -> Any:
    if isinstance(value, str):
        return intern(value)
    return tuple(map(_shared, value)) if isinstance(value, list) else value


def _row(head: _Head, record: bytes) -> Row:
    return Row(
        head.namespace,
        head.name,
        head.uid,
        head.version,
        head.created,
        head.labels,
        head.owners,
        head.columns,
        head.time_streamed,
        record,
    )


def _loads(text: bytes) -> Mapping[str, Any]:
    try:
        obj = orjson.loads(text)
    except orjson.JSONDecodeError:
        # What orjson alone refuses (lone surrogates) is an odd object, not a broken stream.
        try:
            obj = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise errors.BadData(f"not JSON: {error}") from error
    if not isinstance(obj, dict):
        raise errors.BadData("not a JSON object")
    return obj


def _storable(value: Any) -> Any:
    """``value`` with what the format of heads cannot hold (lone surrogates, larger integers) replaced or left out."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return None
    if isinstance(value, dict):
        return {_storable(name): _storable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def schema(resource: Resource) -> int:
    """A number that changes with the derived columns of ``resource``: rows of another number are not read."""
    return zlib.crc32("\n".join(f"{c.name}={c.path}" for c in resource.columns).encode()) & 0xFFFF


def digest(uid: str, version: str) -> int:
    """64 bits that stand for a row; a table's digest is their sum modulo 2**64, whatever the order."""
    return int.from_bytes(hashlib.blake2b(f"{uid}\0{version}".encode(), digest_size=8).digest(), "little")
