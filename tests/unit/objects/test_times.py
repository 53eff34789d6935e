"""Timestamps: RFC 3339 in, aware UTC out."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.objects import times

UTC = datetime.UTC
moments = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02t03:04:05z", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5Z", datetime.datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime.datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-01-02T03:04:05+08:00", datetime.datetime(2026, 1, 1, 19, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05-00:30", datetime.datetime(2026, 1, 2, 3, 34, 5, tzinfo=UTC)),
    ],
)
def test_moment_is_read_in_utc(text: str, moment: datetime.datetime) -> None:
    found = times.parse(text)
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-1-2T03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-01-02T25:04:05Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05+99:99",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-01-02T03:04:05Z\n",
        "now",
    ],
)
def test_what_is_no_time_with_a_zone_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        times.parse(text)


@given(moments)
def test_text_of_a_moment_is_read_back(moment: datetime.datetime) -> None:
    spelled = times.text(moment)
    assert spelled.endswith("Z")
    assert times.parse(spelled) == moment


def test_milliseconds_are_shown_as_such() -> None:
    assert times.from_ms(1_767_323_045_006) == "2026-01-02T03:04:05.006Z"


def test_text_shows_microseconds_only_where_there_are_some() -> None:
    whole = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    assert times.text(whole) == "2026-01-02T02:04:05Z"
    assert times.text(whole.replace(microsecond=7)) == "2026-01-02T02:04:05.000007Z"
