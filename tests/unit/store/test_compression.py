"""Texts that wait in memory, compressed."""

from __future__ import annotations

import pytest

from krm.store.compression import Packed


@pytest.mark.parametrize("text", [b"", b"x", b'{"a":1}' * 10_000], ids=["empty", "short", "long"])
def test_a_packed_text_is_what_it_was_made_of(text: bytes) -> None:
    packed = Packed(text)
    assert packed.text() == text
    assert len(packed) == len(text)
    assert b"".join(packed.pieces()) == text


def test_texts_that_repeat_themselves_take_little() -> None:
    text = b'{"metadata":{"name":"p"}}' * 10_000
    assert 0 < Packed(text).memory < len(text) // 100
