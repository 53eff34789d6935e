"""The door of the API: who is let in. Tokens come in the Authorization header, or in a WebSocket's first message.

Nothing else says who somebody is. Cookies, Impersonate-*, X-Remote-User and X-Forwarded-* are not even read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from krm.api.bodies import Refusal
from krm.auth.callers import Caller, Callers
from krm.errors import AnswerError, Code

CHALLENGE: Final = 'Bearer realm="krm"'
RETRY_S: Final = "2"


class Door:
    """Lets callers in."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self.is_open = callers.is_open

    async def admitted(self, request: Request, *, path: str | None = None) -> Caller:
        """Who sent this request, and may get ``path`` if one is given. Raises ``Refusal`` 401, 403, 503."""
        try:
            caller = await self._callers.caller(request.headers.getlist("authorization"))
            if path is not None:
                await self._callers.check_path(caller, path)
        except AnswerError as error:
            raise turned_away(error) from error
        return caller

    async def introduced(self, payload: Any, *, anew: bool = False) -> Caller:
        """Who began a WebSocket with this payload. Raises ``AnswerError`` UNAUTHENTICATED, NOT_READY."""
        members = payload if isinstance(payload, Mapping) else {}
        given = [value for name, value in members.items() if name.lower() == "authorization"]
        return await self._callers.caller([value for value in given if isinstance(value, str)], anew=anew)


def turned_away(error: AnswerError) -> Refusal:
    """A refusal of the whole request."""
    if error.code == Code.UNAUTHENTICATED:
        return Refusal(401, str(error), error.code, {"WWW-Authenticate": CHALLENGE})
    if error.code == Code.FORBIDDEN:
        return Refusal(403, str(error), error.code)
    return Refusal(503, str(error), error.code, {"Retry-After": RETRY_S})
