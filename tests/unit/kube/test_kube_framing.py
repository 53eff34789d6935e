from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krm import errors
from krm.kube.framing import Framer

STREAMS = st.lists(st.binary(min_size=1, max_size=20).map(lambda b: b.replace(b"\n", b"_")), max_size=12)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(borders)]


def lines(framer: Framer, chunks: list[bytes]) -> list[bytes]:
    return [line for chunk in chunks for line in framer.feed(chunk)]


@settings(deadline=None)  # a loaded machine is slow, not wrong
@given(sent=STREAMS, tail=st.binary(max_size=10), places=st.lists(st.integers(0, 500), max_size=30))
def test_lines_are_the_same_wherever_the_stream_is_cut(sent: list[bytes], tail: bytes, places: list[int]) -> None:
    tail = tail.replace(b"\n", b"_")
    stream = b"".join(line + b"\n" for line in sent) + tail
    framer = Framer()
    assert lines(framer, cut(stream, places)) == [line for line in sent if line.strip()]
    assert framer.partial_bytes == len(tail)


def test_every_single_cut_of_a_short_stream() -> None:
    stream = b'{"a":1}\n\r\n{"b":2}\r\n{"c"'
    for place in range(len(stream) + 1):
        assert lines(Framer(), [stream[:place], stream[place:]]) == [b'{"a":1}', b'{"b":2}\r']


@pytest.mark.parametrize("chunk", [1, 3, 10, 100], ids="chunks of {}".format)
def test_a_line_over_the_limit_is_bad_data_after_the_lines_before_it(chunk: int) -> None:
    stream = b"first\n" + b"x" * 11 + b"\nlast\n"
    framer = Framer(max_line_bytes=10)
    got: list[bytes] = []
    with pytest.raises(errors.BadData, match="over 10 bytes"):  # noqa: PT012 - after the lines before it
        for start in range(0, len(stream), chunk):
            for line in framer.feed(stream[start : start + chunk]):
                got.append(line)
    assert got == [b"first"]
    assert framer.partial_bytes <= 10


def test_a_line_at_the_limit_passes() -> None:
    assert lines(Framer(max_line_bytes=10), [b"x" * 10 + b"\n", b"y" * 5, b"y" * 5, b"\n"]) == [b"x" * 10, b"y" * 10]


def test_memory_is_bounded_when_no_newline_ever_comes() -> None:
    framer = Framer(max_line_bytes=1000)
    with pytest.raises(errors.BadData):  # noqa: PT012 - memory is looked at on the way
        for _ in range(1000):
            assert lines(framer, [b"x" * 100]) == []
            assert framer.partial_bytes <= 1000
    assert framer.partial_bytes == 0
