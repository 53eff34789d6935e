"""Bits flipped in what comes from outside: lines of a watch, pages of a list, values of Redis.

What is stored carries a checksum: a damaged value is refused, or it is the value (never another row). What the API
server sends carries none: whatever is taken is exactly what the bytes say, as a plain JSON parser reads them; a line is
never half an event, and nothing but our own errors comes out.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from krm import errors
from krm.kube import events, failures, listing
from krm.kube.events import EventType
from krm.resources import PODS
from krm.store import chunks, compression, envelope, rows
from krm.store.chunks import ListedRow
from krm.store.rows import Codec
from tests.samples import pod

PEER = failures.Peer(server="https://cluster", credentials="a file", ca="a file")
POD = orjson.dumps({"kind": "Pod", "apiVersion": "v1", **pod("a", version=12345, labels={"app": "é", "tier": "web"})})


@dataclass(frozen=True)
class Target:
    """Something to flip bits in, and what must hold of the outcome (a word that says what it was)."""

    data: bytes
    read: Callable[[bytes], str]


def targets() -> dict[str, Target]:
    """All of them."""
    codec = Codec(PODS)
    texts = [orjson.dumps(pod(f"p{n}", version=n + 1, labels={"app": str(n % 7)})) for n in range(300)]
    plain = codec.encode(texts[0]).record
    dictionary = compression.train([codec.cleaner.clean(text) for text in texts])
    if dictionary is not None:
        codec.compressor.add(dictionary, use=True)
    row = codec.encode(texts[1])
    listed = [ListedRow("default", f"p{n}", f"u{n}", str(n + 1), b"" if n % 2 else row.record) for n in range(12)]
    keys = [ListedRow("default", f"p{n}", f"u{n}", str(n + 1), b"") for n in range(40)]
    schema = rows.schema(PODS)
    page = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "77", "continue": "abc"}}
    sealed = envelope.seal_plain(b"a dictionary")
    return {
        "line of a watch": Target(b'{"type":"MODIFIED","object":' + POD + b"}", _line),
        "bookmark": Target(b'{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"777"}}}', _line),
        "page of a list": Target(orjson.dumps({**page, "items": [orjson.loads(text) for text in texts[:3]]}), _page),
        "object": Target(POD, lambda data: _object(codec, data)),
        "stored row": Target(row.record, lambda data: _same(row.record, data, lambda: _row(codec, data))),
        "stored row, plain": Target(plain, lambda data: _same(plain, data, lambda: _row(codec, data))),
        **{
            f"chunk of a list, {name}": Target(
                packed,
                lambda data, packed=packed: _same(  # type: ignore[misc]
                    packed, data, lambda: chunks.unpack(data, codec.compressor)
                ),
            )
            for name, packed in (
                ("with rows", chunks.pack(listed, codec.compressor, schema)),
                ("keys alone", chunks.pack(keys, codec.compressor, schema)),
            )
        },
        "dictionary": Target(sealed, lambda data: _same(sealed, data, lambda: envelope.unseal(data))),
    }


def play(flips: int, seed: int) -> Counter[str]:
    """Flip bits so often, in everything in turn; how often each outcome came. Raises on a broken promise."""
    rng = random.Random(seed)
    every = list(targets().items())
    outcomes: Counter[str] = Counter()
    for number in range(flips):
        name, target = every[number % len(every)]
        damaged = bytearray(target.data)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.1:
            del damaged[rng.randrange(len(damaged)) :]
        outcomes[f"{name}: {target.read(bytes(damaged))}"] += 1
    return outcomes


def _same(before: bytes, data: bytes, read: Callable[[], object]) -> str:
    try:
        read()
    except (errors.CorruptData, errors.UnknownFormat):
        return "refused"
    assert data == before, "damaged bytes were read as a row"
    return "the same"


def _row(codec: Codec, data: bytes) -> bytes:
    codec.decode(data)
    return codec.body(data)


def _line(data: bytes) -> str:
    try:
        event = events.decode(data, 1.0, PEER, "watch")
    except errors.ClusterError:
        return "refused"
    said = json.loads(data)
    if event.type is EventType.BOOKMARK:
        assert event.version == said["object"]["metadata"]["resourceVersion"]
    else:
        assert json.loads(event.raw) == said["object"], "another object than the line's"
    assert event.type.value == said["type"]
    return "as it says"


def _page(data: bytes) -> str:
    try:
        page, following = listing.parse(data, "list")
    except errors.BadData:
        return "refused"
    said = json.loads(data)
    assert [json.loads(item) for item in page.items] == (said["items"] or [])
    assert page.version == said["metadata"]["resourceVersion"]
    assert following == said["metadata"].get("continue", "")
    return "as it says"


def _object(codec: Codec, data: bytes) -> str:
    try:
        row = codec.encode(data)
    except errors.BadData:
        return "refused"
    said: dict[str, Any] = json.loads(data)
    metadata = said.get("metadata")
    named = metadata.get("name") if isinstance(metadata, dict) else None
    assert row.name == (named.encode("utf-8", "replace").decode() if isinstance(named, str) else "")
    read = codec.decode(row.record)
    assert (read.key, read.uid, read.version, read.labels, read.owners) == (
        row.key,
        row.uid,
        row.version,
        row.labels,
        row.owners,
    )
    return "as it says"
