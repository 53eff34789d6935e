"""Who asks, and what may they: the API server's reviews of tokens and of access.

Everything here fails closed: a result says yes only where the API server said so in as many words; every other answer
is a no or an error. Nothing is cached here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from krm import errors
from krm.kube import failures, reading
from krm.kube.connect import Cluster
from krm.settings import Secret

_TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_SELF_ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, kw_only=True)
class User:
    """Who the API server says somebody is."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class TokenVerdict:
    """The API server's opinion of a token."""

    user: User | None
    """Whose it is; None: the token is not valid (here)."""
    audiences: tuple[str, ...]
    """For which of the asked audiences it is."""
    reason: str
    """Why it is not valid; empty if it is."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """What somebody wants to do with a resource; an empty namespace means all of them."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True, kw_only=True)
class PathAction:
    """What somebody wants to do with a path that is no resource, such as ``/metrics``."""

    verb: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """May they?"""

    allowed: bool
    reason: str
    error: str
    """What went wrong while the API server decided; it may have decided all the same."""


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: _User | None = None
    audiences: list[str] | None = None
    error: str = ""


class _TokenReview(msgspec.Struct, tag="TokenReview", tag_field="kind"):
    status: _TokenStatus


class _AccessStatus(msgspec.Struct):
    allowed: bool
    denied: bool = False
    reason: str = ""
    error: str = msgspec.field(name="evaluationError", default="")


class _AccessReview(msgspec.Struct, tag="SubjectAccessReview", tag_field="kind"):
    status: _AccessStatus


class _SelfAccessReview(msgspec.Struct, tag="SelfSubjectAccessReview", tag_field="kind"):
    status: _AccessStatus


_T = TypeVar("_T")


async def token_review(
    cluster: Cluster, token: Secret | str, *, audiences: Sequence[str] = (), timeout_s: float = 5.0
) -> TokenVerdict:
    """Whose ``token`` is, for one of ``audiences`` (none: the API server's own).

    An API server that does not say for which of the asked audiences the token is does not know of audiences: a no.
    Raises ``ClusterError`` if it could not be asked.
    """
    text = token.reveal() if isinstance(token, Secret) else token
    spec: dict[str, Any] = {"token": text}
    if audiences:
        spec["audiences"] = list(audiences)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    status = (await _review(cluster, _TOKENS, review, _TokenReview, timeout_s)).status
    confirmed = tuple(a for a in status.audiences or () if not audiences or a in audiences)
    reason = ""
    if not status.authenticated or status.error:
        reason = failures.clean(status.error) or "the token is not valid"
    elif status.user is None or not status.user.username:
        reason = "the token belongs to nobody"
    elif audiences and not confirmed:
        reason = "the token is not for the asked audience"
    if reason or status.user is None:
        return TokenVerdict(user=None, audiences=(), reason=reason)
    return TokenVerdict(user=_user(status.user), audiences=confirmed, reason="")


async def subject_access_review(
    cluster: Cluster, user: User, action: Action | PathAction, *, timeout_s: float = 5.0
) -> Decision:
    """Whether ``user`` may do ``action``. Raises ``ClusterError`` if the API server could not be asked."""
    spec = {
        "user": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {k: list(v) for k, v in user.extra.items()},
        **_attributes(action),
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    return _decision((await _review(cluster, _ACCESS, review, _AccessReview, timeout_s)).status)


async def self_subject_access_review(
    cluster: Cluster, action: Action | PathAction, *, timeout_s: float = 5.0
) -> Decision:
    """Whether we ourselves may do ``action``. Raises ``ClusterError`` if the API server could not be asked."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": _attributes(action),
    }
    return _decision((await _review(cluster, _SELF_ACCESS, review, _SelfAccessReview, timeout_s)).status)


def _attributes(action: Action | PathAction) -> dict[str, dict[str, str]]:
    if isinstance(action, PathAction):
        return {"nonResourceAttributes": {"verb": action.verb, "path": action.path}}
    named = {
        "verb": action.verb,
        "group": action.group,
        "resource": action.resource,
        "subresource": action.subresource,
        "namespace": action.namespace,
        "name": action.name,
    }
    return {"resourceAttributes": {k: v for k, v in named.items() if v}}


def _decision(status: _AccessStatus) -> Decision:
    return Decision(
        allowed=status.allowed and not status.denied,
        reason=failures.clean(status.reason),
        error=failures.clean(status.error),
    )


def _user(found: _User) -> User:
    extra = {k: tuple(v) for k, v in (found.extra or {}).items()}
    return User(name=found.username, uid=found.uid, groups=tuple(found.groups or ()), extra=extra)


async def _review(cluster: Cluster, path: str, review: object, kind: type[_T], timeout_s: float) -> _T:
    asked = msgspec.json.encode(review)
    answered = await reading.document(cluster, "POST", path, timeout_s=timeout_s, body=asked)
    try:
        return msgspec.json.decode(answered, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Not chained with the body: it repeats the token.
        raise errors.BadData(f"post {path}: the answer is not the review ({failures.clean(str(error))})") from error
