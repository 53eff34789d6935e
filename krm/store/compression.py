"""Compression of bodies: zstd, with a dictionary trained on the objects of one kind where there are enough of them.

Objects of a kind resemble each other, so a dictionary makes them three to four times smaller than zstd alone.
A dictionary is known by the id inside it; bodies name the one they need.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import zstandard

from krm.errors import CorruptData
from krm.store.envelope import MAX_BODY, Compression

LEVEL: Final = 1
DICTIONARY_BYTES: Final = 110 * 1024
MIN_SAMPLES: Final = 64
MAX_SAMPLES: Final = 1_500


_FEW: Final = 4
"""Bodies for which it is not worth while to decompress them together."""
MAX_AT_ONCE: Final = 64 * 2**20
"""Bytes that are decompressed together at most."""

Compressed = tuple[Compression, int, bytes, int]
"""How, with which dictionary, the compressed bytes, and their size once they are not."""

Text = bytes | memoryview


class MissingDictionary(CorruptData):
    """A body needs a dictionary that this process does not have (yet); ``identifier`` names it."""

    def __init__(self, identifier: int) -> None:
        super().__init__(f"compression dictionary {identifier} is not known")
        self.identifier = identifier


class Compressor:
    """Compresses with the current dictionary, decompresses with any that it was given. Not for several threads."""

    def __init__(self) -> None:
        self._plain = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        self._plain_back = zstandard.ZstdDecompressor()
        self._current: tuple[int, zstandard.ZstdCompressor] | None = None
        self._known: dict[int, zstandard.ZstdDecompressor] = {}
        self.dictionaries: dict[int, bytes] = {}
        """Every dictionary that it was given, by id."""

    @property
    def current(self) -> int:
        """Id of the dictionary in use, 0 for none."""
        return self._current[0] if self._current else 0

    def add(self, dictionary: bytes, *, use: bool) -> int:
        """Learn a dictionary, and compress with it from now on if ``use``; its id."""
        data = zstandard.ZstdCompressionDict(dictionary)
        identifier = data.dict_id()
        if identifier not in self._known:
            self._known[identifier] = zstandard.ZstdDecompressor(dict_data=data)
            self.dictionaries[identifier] = dictionary
        if use and self.current != identifier:
            data.precompute_compress(level=LEVEL)
            self._current = (identifier, zstandard.ZstdCompressor(dict_data=data, write_content_size=True))
        return identifier

    def require(self, identifier: int) -> None:
        """Raises ``MissingDictionary`` for one that it was not given; 0 stands for none."""
        if identifier and identifier not in self._known:
            raise MissingDictionary(identifier)

    def compress(self, body: bytes) -> tuple[Compression, int, bytes]:
        """(how, dictionary id, compressed bytes)."""
        if self._current is None:
            return Compression.ZSTD, 0, _exact(self._plain.compress(body))
        identifier, compressor = self._current
        return Compression.ZSTD_DICTIONARY, identifier, _exact(compressor.compress(body))

    def decompress(self, how: Compression, dictionary: int, body: bytes, size: int) -> bytes:
        """The body. Raises ``CorruptData``, ``MissingDictionary``."""
        if how is Compression.NONE:
            return body
        back = self._plain_back
        if how is Compression.ZSTD_DICTIONARY:
            known = self._known.get(dictionary)
            if known is None:
                raise MissingDictionary(dictionary)
            back = known
        try:
            # The library allots what the frame itself claims, whatever limit it is given.
            if zstandard.frame_content_size(body) != size or size > MAX_BODY:
                raise CorruptData(f"a stored body does not say that it has {size} bytes")
            return back.decompress(body, max_output_size=size)
        except zstandard.ZstdError as error:
            raise CorruptData(f"a stored body does not decompress: {error}") from error

    def decompress_all(self, bodies: Sequence[Compressed]) -> list[Text]:
        """Many bodies, in a third of the time; raises as ``decompress``."""
        if len(bodies) < _FEW or sum(size for _, _, _, size in bodies) > MAX_AT_ONCE:
            return [self.decompress(*each) for each in bodies]
        found: list[Any] = [None] * len(bodies)
        for dictionary in {dictionary for _, dictionary, _, _ in bodies}:
            places = [place for place, each in enumerate(bodies) if each[1] == dictionary]
            for place, body in zip(places, self._alike(dictionary, [bodies[place] for place in places]), strict=True):
                found[place] = body
        return found

    def _alike(self, dictionary: int, bodies: Sequence[Compressed]) -> Iterable[Text]:
        """Bodies of one dictionary; those without one may be compressed in several ways."""
        known = self._known.get(dictionary)
        if known is not None:
            # The sizes are those that the bodies' envelopes tell: what a frame itself claims is not believed.
            sizes = array("Q", [size for _, _, _, size in bodies])
            try:
                found: Any = known.multi_decompress_to_buffer(
                    [body for _, _, body, _ in bodies], decompressed_sizes=sizes.tobytes()
                )
                return map(memoryview, found)
            except zstandard.ZstdError:
                pass  # one of them is damaged: which, and how, is told below
        return [self.decompress(*each) for each in bodies]


class Packed:
    """A text that waits in memory, compressed; its ``len`` is that of the text."""

    __slots__ = ("_data", "_size")

    def __init__(self, text: bytes) -> None:
        self._data = _exact(_pack(text))
        self._size = len(text)

    def __len__(self) -> int:
        return self._size

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return len(self._data)

    def text(self) -> bytes:
        """What it was made of."""
        return _unpack(self._data)

    def pieces(self) -> Iterator[bytes]:
        """The same, as parts of answers give it."""
        yield self.text()


_pack: Final = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True).compress
_unpack: Final = zstandard.ZstdDecompressor().decompress


def _exact(compressed: bytes) -> bytes:
    # zstandard returns bytes that keep the slack of their buffer; a copy has the size that it shows.
    return bytes(memoryview(compressed))


def train(samples: Sequence[bytes]) -> bytes | None:
    """A dictionary trained on ``samples``, None if they are too few or too uniform for one."""
    if len(samples) < MIN_SAMPLES:
        return None
    try:
        return zstandard.train_dictionary(DICTIONARY_BYTES, list(samples[:MAX_SAMPLES])).as_bytes()
    except zstandard.ZstdError:
        return None
