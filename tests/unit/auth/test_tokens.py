"""Tokens: which header counts, what is kept of one, and for how long."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from krm.auth import tokens
from krm.auth.tokens import Tokens
from krm.errors import AnswerError, ClusterUnreachable, Code
from krm.kube.reviews import TokenVerdict, User
from krm.settings import Secret
from tests.unit.auth.test_decisions import Clock


def jwt(claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.sig"


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER   abc ", "Bearer a.b-c_d~e+/="])
def test_a_bearer_token_is_found(header: str) -> None:
    assert tokens.bearer([header]).reveal() == header.split()[1]


BAD: dict[str, list[str]] = {
    "none": [],
    "two": ["Bearer a", "Bearer b"],
    "the same twice": ["Bearer a", "Bearer a"],
    "empty": [""],
    "no token": ["Bearer"],
    "basic": ["Basic YTpi"],
    "two words": ["Bearer a b"],
    "no scheme": ["abc"],
    "controls": ["Bearer a\x00b"],
    "not ASCII": ["Bearer ä"],
    "too long": ["Bearer " + "a" * 20_000],
    "two in one": ["Bearer a, Bearer b"],
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_everything_else_is_refused_with_one_text(values: list[str]) -> None:
    with pytest.raises(AnswerError) as refused:
        tokens.bearer(values)
    assert (refused.value.code, str(refused.value)) == (Code.UNAUTHENTICATED, str(tokens.unauthenticated()))


class Asked:
    """A review that knows some tokens."""

    def __init__(self, **users: User) -> None:
        self.users = users
        self.tokens: list[str] = []
        self.fails = False

    async def __call__(self, token: Secret) -> TokenVerdict:
        self.tokens.append(token.reveal())
        if self.fails:
            raise ClusterUnreachable("down")
        user = self.users.get(token.reveal())
        return TokenVerdict(user=user, audiences=(), reason="" if user else "no")


async def refusal(kept: Tokens, token: str) -> Any:
    with pytest.raises((AnswerError, ClusterUnreachable)) as caught:
        await kept.user(Secret(token))
    return caught.value


async def test_a_user_is_kept_for_seconds_under_a_digest_and_then_asked_for_again() -> None:
    clock, asked = Clock(), Asked(t=User(name="ann"))
    kept = Tokens(asked, monotonic=clock)
    for _ in range(3):
        assert (await kept.user(Secret("t"))).name == "ann"
    assert asked.tokens == ["t"]
    assert b"t" not in kept.decisions._kept
    assert all(len(key) == 32 for key in kept.decisions._kept)
    del asked.users["t"]
    clock.now_s += tokens.HOLDS_S
    assert (await refusal(kept, "t")).code == Code.UNAUTHENTICATED
    assert tokens.HOLDS_S < 10


async def test_a_refusal_is_kept_for_two_seconds_and_a_failure_not_at_all() -> None:
    clock, asked = Clock(), Asked()
    kept = Tokens(asked, monotonic=clock)
    asked.fails = True
    assert isinstance(await refusal(kept, "t"), ClusterUnreachable)
    asked.fails = False
    for _ in range(3):
        await refusal(kept, "t")
    assert asked.tokens == ["t", "t"]
    asked.users["t"] = User(name="ann")
    clock.now_s += 2
    assert (await kept.user(Secret("t"))).name == "ann"


async def test_what_was_kept_serves_while_the_api_server_is_away_and_no_longer() -> None:
    clock, asked = Clock(), Asked(t=User(name="ann"))
    kept = Tokens(asked, monotonic=clock)
    await kept.user(Secret("t"))
    asked.fails = True
    assert (await kept.user(Secret("t"))).name == "ann"
    clock.now_s += tokens.HOLDS_S
    assert isinstance(await refusal(kept, "t"), ClusterUnreachable)


async def test_a_user_is_kept_no_longer_than_the_token_lives() -> None:
    clock = Clock()
    token = jwt({"exp": 1_003})
    asked = Asked(**{token: User(name="ann")})
    kept = Tokens(asked, monotonic=clock, wall=lambda: 1_000.0)
    await kept.user(Secret(token))
    clock.now_s += 2.9
    await kept.user(Secret(token))
    clock.now_s += 0.1
    await kept.user(Secret(token))
    assert len(asked.tokens) == 2
    late = Tokens(asked, monotonic=clock, wall=lambda: 1_004.0)
    await late.user(Secret(token))
    assert len(late.decisions) == 0


@pytest.mark.parametrize(
    ("token", "expires"),
    [
        (jwt({"exp": 5}), 5),
        (jwt({"exp": "soon"}), None),
        (jwt({}), None),
        (jwt([]), None),
        ("opaque", None),
        ("a.b.c", None),
        ("a.###.c", None),
        ("..", None),
    ],
)
def test_when_a_token_expires_is_read_where_it_says_so(token: str, expires: float | None) -> None:
    assert tokens.expires_at_s(Secret(token)) == expires
