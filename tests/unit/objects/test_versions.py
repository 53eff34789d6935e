"""Versions against plain integers, up to 39 digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.objects import versions

numbers = st.integers(1, 10**39 - 1)


@given(numbers, numbers)
def test_order_is_that_of_the_integers(one: int, other: int) -> None:
    assert versions.newer(str(one), str(other)) == (one > other)
    assert (versions.order(str(one)) < versions.order(str(other))) == (one < other)
    assert versions.latest(str(one), str(other)) == str(max(one, other))


@given(numbers)
def test_neighbours_are_told_apart(number: int) -> None:
    assert versions.newer(str(number), str(number - 1 or ""))
    assert not versions.newer(str(number), str(number))
    assert versions.parse(str(number)) == number


def test_no_version_is_older_than_every_other() -> None:
    assert versions.newer("1", "")
    assert not versions.newer("", "1")
    assert not versions.newer("", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "01",
        "-1",
        "+1",
        "1.5",
        "abc",
        "1 ",
        " 1",
        "1\n",
        "1e3",
        "0x1",
        "\u0661",
        "\u00b2",
        "1" * 40,
        "1" * 200,
        "1_0",
    ],
    ids=repr,
)
def test_what_no_server_gives_is_not_valid(text: str) -> None:
    assert not versions.is_valid(text)
    with pytest.raises(ValueError, match="resource version"):
        versions.parse(text)
