"""Delay samples in Redis: a bounded stream a resource, from streamers to the collector.

A sample is written in the step that writes its event, so there is one exactly when the event is in the log. The
collector takes samples as the one consumer of a group, and settles those that the delay store has: what it took and did
not settle it is given again. Its id in the stream is the sample's identity, and its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from krm.errors import CorruptData
from krm.store import scripts
from krm.store.writing import Writer

KEPT: Final = 100_000
"""Samples kept for a resource, about 20 MB, until they are collected."""
BUCKETS_S: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds. Fine up to a second, which timestamps of whole seconds add at most; the first is for the negative."""


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How late one event was received."""

    id: str = ""
    """In the stream: ``<milliseconds>-<number>``; Redis gives it."""
    event: str
    """ADDED or DELETED."""
    basis: str
    """Of ``krm.objects.moments``."""
    delay_s: float | None = None
    """Receipt by the server's clock less the moment; None where the basis tells none. May be negative."""
    skew_s: float | None = None
    """The server's clock less the streamer's, which is in ``delay_s`` already; None where it was not known."""
    version: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""

    @property
    def at_ns(self) -> int:
        """Unix nanoseconds that no other sample of the resource has: the id's milliseconds, and its number on top."""
        ms, _, number = self.id.partition("-")
        return int(ms) * 1_000_000 + int(number)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sample).decode


def entry(sample: Sample) -> tuple[str, str, int, bytes]:
    """What goes along with the events of ``EventWriter.append``."""
    return ("S", str(KEPT), 0, _encode(sample))


def decode(identifier: bytes, fields: Sequence[bytes]) -> Sample:
    """A sample out of its entry. Raises ``CorruptData``."""
    try:
        data: Mapping[bytes, bytes] = dict(zip(fields[::2], fields[1::2], strict=True))
        return msgspec.structs.replace(_decode(data[b"d"]), id=identifier.decode())
    except (KeyError, ValueError) as error:
        raise CorruptData(f"delay sample {identifier!r} does not decode: {error!r}") from error


class SampleReader(Writer):
    """The collector's: it takes samples and settles them."""

    role = "collector"

    async def take(self, most: int) -> list[tuple[str, Sample | None]]:
        """(id, sample), oldest first: again what was taken and not settled, else the next; None: lost or bad."""
        found: Any = await self._run(scripts.TAKE, [self.keys.fence, self.keys.delays], [self._holder, most])
        return [(identifier.decode(), _readable(identifier, fields)) for identifier, fields in found]

    async def settle(self, ids: Sequence[str]) -> int:
        """Forget samples that need not be taken again; how many are left."""
        return int(await self._run(scripts.SETTLE, [self.keys.fence, self.keys.delays], [self._holder, *ids]))


def _readable(identifier: bytes, fields: Sequence[bytes] | None) -> Sample | None:
    if not fields:
        return None
    try:
        return decode(identifier, fields)
    except CorruptData:
        return None
