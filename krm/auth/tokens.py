"""Bearer tokens: taken out of what a client sent, and turned into users by the API server.

Tokens are kept nowhere: what is remembered of one is its SHA-256 digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from krm.auth.decisions import Decisions
from krm.errors import AnswerError, Code
from krm.kube.reviews import TokenVerdict, User
from krm.settings import Secret

HOLDS_S: Final = 8.0
"""A token that is revoked opens nothing after ten seconds, the time of a review included."""
REFUSAL_HOLDS_S: Final = 2.0
"""A token that is not known yet (an API server that lags) works soon after."""
MOST: Final = 10_000
LONGEST: Final = 16_384
"""Characters; tokens with many audiences and claims have some thousand."""

_BEARER: Final = re.compile(r"bearer +([\x21-\x7e]+) *", re.IGNORECASE | re.ASCII)

Review = Callable[[Secret], Awaitable[TokenVerdict]]


def unauthenticated() -> AnswerError:
    """One text for every reason, so that nobody learns from it how near a guess was."""
    return AnswerError(Code.UNAUTHENTICATED, "a valid bearer token is needed (Authorization: Bearer TOKEN)")


def bearer(values: Sequence[str]) -> Secret:
    """The token in the Authorization headers of a request. Raises ``AnswerError`` UNAUTHENTICATED.

    Of two headers one may be somebody else's: both are refused.
    """
    found = _BEARER.fullmatch(values[0]) if len(values) == 1 and len(values[0]) <= LONGEST else None
    if found is None:
        raise unauthenticated()
    return Secret(found[1])


class _Claims(msgspec.Struct):
    exp: float | None = None


def expires_at_s(token: Secret) -> float | None:
    """When a JSON Web Token expires (unix seconds), as it says itself; None for tokens of another form.

    It is not verified: this only shortens how long the API server's answer is kept.
    """
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims).exp
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        return None


class Tokens:
    """Whose tokens are."""

    def __init__(
        self,
        review: Review,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._review = review
        self._wall = wall
        self.decisions: Decisions[bytes, TokenVerdict] = Decisions(most=MOST, monotonic=monotonic)

    async def user(self, token: Secret, *, anew: bool = False) -> User:
        """Whose ``token`` is. Raises ``AnswerError`` UNAUTHENTICATED, and ``ClusterError`` if nobody could be asked."""

        async def ask() -> tuple[TokenVerdict, float]:
            verdict = await self._review(token)
            return verdict, self._holds_s(token, verdict)

        digest = hashlib.sha256(token.reveal().encode()).digest()
        verdict = await self.decisions.get(digest, ask, anew=anew)
        if verdict.user is None:
            raise unauthenticated()
        return verdict.user

    def _holds_s(self, token: Secret, verdict: TokenVerdict) -> float:
        if verdict.user is None:
            return REFUSAL_HOLDS_S
        expires = expires_at_s(token)
        return HOLDS_S if expires is None else min(HOLDS_S, expires - self._wall())
