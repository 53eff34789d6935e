"""A Redis that anybody on the network reads is warned of."""

from __future__ import annotations

import pytest

from krm.cli.serving.commands import unprotected
from krm.settings import Secret


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://redis:6379/0", True),
        ("rediss://10.0.0.1", True),
        ("redis+cluster://a:1,127.0.0.1:2", True),
        ("redis://:pw@redis:6379/0", False),
        ("rediss://user:pw@redis", False),
        ("redis://redis?password=pw", False),
        ("redis://127.0.0.1:6379", False),
        ("redis://[::1]:6379", False),
        ("redis://localhost", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_a_redis_without_a_password_is_warned_of_where_others_reach_it(url: str, is_open: bool) -> None:
    assert bool(unprotected(Secret(url))) is is_open
