"""The one place where a question meets the caller's rights: which namespaces its rows may come from.

What is allowed goes into ``krm.query`` and ``Related`` as a ``Scope``, which both apply before anything else.
"""

from __future__ import annotations

import hashlib

from krm.auth.rights import Named
from krm.errors import AnswerError, Code
from krm.query.lists import Scope
from krm.resources import Resource
from krm.schema import common
from krm.schema.context import NOTHING, Context


async def listed(context: Context, resource: Resource, named: Named) -> Scope:
    """Where the caller may list a kind, each named namespace included. Raises ``AnswerError``."""
    if named is None:
        context.source.get(resource)  # before there are rows nobody can tell in which namespaces to look for rights
    return _checked("list", resource, await context.rights.list_scope(resource, named), named)


async def watched(context: Context, resource: Resource, named: Named) -> Scope:
    """The same for watching."""
    return _checked("watch", resource, await context.rights.watch_scope(resource, named), named)


async def read(context: Context, resource: Resource, namespace: str, name: str) -> Scope:
    """The scope of one object that the caller may read. Raises ``AnswerError``."""
    named = frozenset((namespace,)) if resource.namespaced else None
    return _checked("get", resource, await context.rights.get_scope(resource, namespace, name), named)


def _checked(verb: str, resource: Resource, scope: Scope, named: Named) -> Scope:
    """A namespace that is asked for by name must be one that the caller may see, whether it exists or not."""
    refused = frozenset[str]() if named is None or scope.namespaces is None else named - scope.namespaces
    if refused:
        raise AnswerError(Code.FORBIDDEN, f"no right to {verb} {resource.plural} in the namespace {min(refused)}")
    return scope


def cached(resource: Resource, named: Named, held: frozenset[str] | None) -> None:
    """Refuses named namespaces of which there are no lists: nothing is known of them, which is not "nothing is there".

    ``held``: those of which there are, None for all. To be asked after the caller's rights. Raises ``AnswerError``
    NOT_READY.
    """
    unknown = frozenset[str]() if named is None or held is None or not resource.namespaced else named - held
    if unknown:
        raise AnswerError(
            Code.NOT_READY,
            f"{resource.plural} of the namespace {min(unknown)} are not cached: KRM_NAMESPACES names others",
        )


def shown(scope: Scope) -> common.Scope:
    """A scope as the API shows it."""
    return common.Scope(
        complete=scope.complete, namespaces=None if scope.namespaces is None else sorted(scope.namespaces)
    )


def mark(scope: Scope) -> str:
    """What a scope is, for tokens: who comes back with another one cannot go on from there."""
    if scope.namespaces is None:
        return ""
    return hashlib.sha256("/".join(sorted(scope.namespaces)).encode()).hexdigest()[:16]


class Widening:
    """Where the caller may list a kind, for what is told of the past: its namespaces may have no rows any more."""

    def __init__(self, context: Context, resource: Resource, scope: Scope, named: Named = None) -> None:
        self._context = context
        self._resource = resource
        self._refused: set[str] = set()
        self._is_fixed = scope.complete or named is not None
        self.scope = scope

    async def covers(self, namespace: str) -> bool:
        """Whether the caller may list in a namespace. Raises ``AnswerError`` NOT_READY."""
        known = self.scope.namespaces
        if known is None or namespace in known:
            return True
        if self._is_fixed or namespace in self._refused or not self._resource.namespaced:
            return False
        named = frozenset((namespace,))
        try:
            _checked("list", self._resource, await self._context.rights.list_scope(self._resource, named), named)
        except AnswerError as error:
            if error.code != Code.FORBIDDEN:
                raise
            self._refused.add(namespace)
            return False
        self.scope = Scope(namespaces=known | {namespace})
        return True


async def listed_or_nothing(context: Context, resource: Resource) -> Scope:
    """Where the caller may list a kind, which may be nowhere. Raises ``AnswerError`` NOT_READY."""
    try:
        return await context.rights.list_scope(resource)
    except AnswerError as error:
        if error.code != Code.FORBIDDEN:
            raise
        return NOTHING
