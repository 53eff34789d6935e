"""The rights of one user: where they may list, watch and get, as the API server's authorizers decide."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

import msgspec

from krm.auth.decisions import Decisions
from krm.auth.outage import Outage
from krm.auth.rights import Named
from krm.errors import AnswerError, Code
from krm.kube.reviews import Action, PathAction, User
from krm.query.lists import EVERYTHING, Scope
from krm.resources import Resource

HOLDS_S: Final = 5.0
"""With ``RENEWED_S`` on top a right that was taken shows nothing after ten seconds, subscriptions included."""
REFUSAL_HOLDS_S: Final = 2.0
"""A right that was given works soon after."""
RENEWED_S: Final = 3.0
MOST: Final = 100_000
"""Decisions that are kept: about 30 MB."""
NAMESPACES_MAX: Final = 5_000
"""Namespaces that are asked for one by one; whoever may see some of more has to name them."""
SUMS_MAX: Final = 5_000
BATCH: Final = 64
"""Reviews of one question under way: somebody with many namespaces must not hold up the others."""

_Sum = tuple[bytes, str, str]
"""User, verb, kind."""
Review = Callable[[User, Action | PathAction], Awaitable[bool]]


class Known(Protocol):
    """What the tables hold."""

    def namespaces(self) -> Collection[str]:
        """The namespaces that have rows of any kind."""
        ...


def user_key(user: User) -> bytes:
    """Digest of all that an authorizer may look at. The uid alone would not do: certificates have none."""
    extra = sorted((name, sorted(values)) for name, values in user.extra.items())
    return hashlib.sha256(msgspec.json.encode([user.name, user.uid, sorted(user.groups), extra])).digest()


class Permissions:
    """What all users may."""

    def __init__(
        self, review: Review, known: Known, outage: Outage, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._review = review
        self._outage = outage
        self.known = known
        self.decisions: Decisions[tuple[bytes, Action | PathAction], tuple[bool]] = Decisions(
            most=MOST, monotonic=monotonic
        )
        self._monotonic = monotonic
        self.sums: OrderedDict[_Sum, tuple[frozenset[str], frozenset[str], float]] = OrderedDict()
        """Of many decisions together: where it was asked, where it is allowed, until the first of them ends to hold."""

    async def allowed(self, key: bytes, user: User, verb: str, resource: Resource) -> frozenset[str]:
        """Where ``user`` may do this, among the namespaces that have rows. Raises ``AnswerError``."""
        asked = frozenset(self.known.namespaces())
        if len(asked) > NAMESPACES_MAX:
            text = (
                f"no right to {verb} {resource.plural} everywhere, and too many namespaces to ask for each: name some"
            )
            raise AnswerError(Code.FORBIDDEN, text)
        kept = self.sums.get((key, verb, resource.qualified))
        if kept is not None and kept[0] == asked and self._monotonic() < kept[2]:
            return kept[1]
        actions = [_action(verb, resource, each) for each in sorted(asked)]
        began_s, known_s = self._monotonic(), [self.decisions.holds_until_s((key, action)) for action in actions]
        found = await self.among(key, user, actions)
        allowed = frozenset(action.namespace for action, may in zip(actions, found, strict=True) if may)
        # A decision that was known may have been replaced while others were waited for: what was used counts.
        until_s = min((self.decisions.holds_until_s((key, action)) for action in actions), default=float("-inf"))
        until_s = min([until_s, *(each if each > began_s else began_s + REFUSAL_HOLDS_S for each in known_s)])
        self.sums[key, verb, resource.qualified] = (asked, allowed, until_s)
        self.sums.move_to_end((key, verb, resource.qualified))
        if len(self.sums) > SUMS_MAX:
            self.sums.popitem(last=False)
        return allowed

    async def may(self, key: bytes, user: User, action: Action | PathAction) -> bool:
        """Whether ``user``, whose ``user_key`` is ``key``, may do this. Raises ``AnswerError``."""

        async def ask() -> tuple[tuple[bool], float]:
            allowed = await self._review(user, action)
            return (allowed,), HOLDS_S if allowed else REFUSAL_HOLDS_S

        return (await self._outage.told(self.decisions.get((key, action), ask)))[0]

    async def among(self, key: bytes, user: User, actions: Sequence[Action]) -> list[bool]:
        """The same for many."""
        known = [self.decisions.known((key, action)) for action in actions]
        open_places = [place for place, found in enumerate(known) if found is None]
        for start in range(0, len(open_places), BATCH):
            places = open_places[start : start + BATCH]
            answers = await asyncio.gather(
                *(self.may(key, user, actions[place]) for place in places), return_exceptions=True
            )
            for place, answer in zip(places, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                known[place] = (answer,)
        return [found is not None and found[0] for found in known]


class UserRights:
    """``Rights`` of one user."""

    renewed_s: float | None = RENEWED_S

    def __init__(self, permissions: Permissions, user: User) -> None:
        self._permissions = permissions
        self._user = user
        self.key = user_key(user)

    async def list_scope(self, resource: Resource, named: Named = None) -> Scope:
        """By the verb ``list``."""
        return await self._scope("list", resource, named)

    async def watch_scope(self, resource: Resource, named: Named = None) -> Scope:
        """By the verb ``watch``."""
        return await self._scope("watch", resource, named)

    async def get_scope(self, resource: Resource, namespace: str, name: str) -> Scope:
        """By the verbs ``list``, which shows every object whole, and ``get``."""
        if await self._may(_action("list", resource)):
            return EVERYTHING
        inside = [_action("list", resource, namespace)] if resource.namespaced else []
        inside += [_action("get", resource, namespace), _action("get", resource, namespace, name)]
        if not any(await self._permissions.among(self.key, self._user, inside)):
            raise _forbidden("get", resource, namespace)
        return Scope(namespaces=frozenset((namespace,)))

    async def may_read(self, path: str) -> bool:
        """Whether the user may get what is no resource, such as ``/metrics``."""
        return await self._may(PathAction(verb="get", path=path))

    async def _may(self, action: Action | PathAction) -> bool:
        return await self._permissions.may(self.key, self._user, action)

    async def _scope(self, verb: str, resource: Resource, named: Named) -> Scope:
        if await self._may(_action(verb, resource)):
            return EVERYTHING
        if not resource.namespaced:
            raise _forbidden(verb, resource, "")
        if named is None:
            allowed = await self._permissions.allowed(self.key, self._user, verb, resource)
            if not allowed:
                raise AnswerError(Code.FORBIDDEN, f"no right to {verb} {resource.plural} in any namespace")
            return Scope(namespaces=allowed)
        asked = sorted(named)
        if len(asked) > NAMESPACES_MAX:
            raise AnswerError(
                Code.FORBIDDEN, f"no right to {verb} {resource.plural} everywhere, and too many are named"
            )
        found = await self._permissions.among(self.key, self._user, [_action(verb, resource, each) for each in asked])
        for each, is_allowed in zip(asked, found, strict=True):
            if not is_allowed:
                raise _forbidden(verb, resource, each)
        return Scope(namespaces=named)


def _action(verb: str, resource: Resource, namespace: str = "", name: str = "") -> Action:
    return Action(verb=verb, group=resource.group, resource=resource.plural, namespace=namespace, name=name)


def _forbidden(verb: str, resource: Resource, namespace: str) -> AnswerError:
    where = f"in the namespace {namespace}" if namespace else "in this cluster"
    return AnswerError(Code.FORBIDDEN, f"no right to {verb} {resource.plural} {where}")
