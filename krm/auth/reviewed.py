"""``KRM_AUTH=kubernetes``: from the headers of a request to a caller with rights. One ``Reviewed`` an API process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from krm.auth import tokens
from krm.auth.callers import Caller
from krm.auth.outage import Outage
from krm.auth.permissions import Known, Permissions, UserRights
from krm.auth.tokens import Tokens
from krm.errors import AnswerError, ClusterError, Code
from krm.kube import connect, reviews
from krm.kube.connect import Cluster
from krm.kube.reviews import Action, PathAction, TokenVerdict, User
from krm.settings import Secret

log = logging.getLogger(__name__)

REVIEW_S: Final = 5.0


class Reviewed:
    """``KRM_AUTH=kubernetes``: the API server says who callers are and what they may."""

    is_open = False

    def __init__(self, cluster: Cluster, known: Known, *, audience: str | None = None) -> None:
        self._cluster = cluster
        self._audiences = (audience,) if audience else ()
        self._outage = Outage()
        self.tokens = Tokens(self._whose)
        self.permissions = Permissions(self._may, known, self._outage)

    async def caller(self, authorization: Sequence[str], *, anew: bool = False) -> Caller:
        """By TokenReview."""
        token = tokens.bearer(authorization)
        user = await self._outage.told(self.tokens.user(token, anew=anew))
        rights = UserRights(self.permissions, user)
        return Caller(rights=rights, key=rights.key, expires_at_s=tokens.expires_at_s(token))

    async def check_path(self, caller: Caller, path: str) -> None:
        """By SubjectAccessReview."""
        if not isinstance(caller.rights, UserRights) or not await caller.rights.may_read(path):
            raise AnswerError(Code.FORBIDDEN, f"no right to get {path}")

    async def check_own_rights(self) -> None:
        """Say it in the log if nobody could ever be let in."""
        for group, resource in (
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
        ):
            action = Action(verb="create", group=group, resource=resource)
            try:
                allowed = (await reviews.self_subject_access_review(self._cluster, action, timeout_s=REVIEW_S)).allowed
            except ClusterError as error:
                log.warning("the API server cannot be asked about callers yet", extra={"reason": str(error)})
                return
            if not allowed:
                log.error(
                    "no caller can be let in: the API's service account lacks the right to create reviews",
                    extra={"resource": f"{resource}.{group}"},
                )

    async def close(self) -> None:
        """End what is under way."""
        await self.tokens.decisions.close()
        await self.permissions.decisions.close()

    async def _whose(self, token: Secret) -> TokenVerdict:
        return await reviews.token_review(self._cluster, token, audiences=self._audiences, timeout_s=REVIEW_S)

    async def _may(self, user: User, action: Action | PathAction) -> bool:
        return (await reviews.subject_access_review(self._cluster, user, action, timeout_s=REVIEW_S)).allowed


def check(kubeconfig: Path | None, context: str | None) -> None:
    """Raises ``ConfigError`` where no cluster could be asked. Must be called without a running event loop."""

    async def opened() -> None:
        await (await connect.open(kubeconfig, context)).close()

    asyncio.run(opened())


@asynccontextmanager
async def reviewed(
    kubeconfig: Path | None, context: str | None, known: Known, *, audience: str | None
) -> AsyncIterator[Reviewed]:
    """Reviews by the cluster that the official client would find. Raises ``ConfigError``."""
    cluster = await connect.open(kubeconfig, context)
    try:
        callers = Reviewed(cluster, known, audience=audience)
        await callers.check_own_rights()
        try:
            yield callers
        finally:
            await callers.close()
    finally:
        await cluster.close()
