"""Who answers a call of `krm_client.kubernetes`: KRM or the API server; and that a program reads what it wrote.

One session a process and setting of the environment. KRM stands for one cluster, that of the address at which the
program's first API object talks; API objects of other addresses talk to theirs as ever.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from krm_client import errors
from krm_client.client import KrmClient
from krm_client.dropin.places import Asked, Beginning, Places
from krm_client.dropin.written import Deleted, Written
from krm_client.errors import KrmConnectError, KrmError
from krm_client.facade import FacadeMethod, MethodSpec
from krm_client.operations import Listed, Operation, Operations
from krm_client.registry import ClientResource

log = logging.getLogger(__name__)

T = TypeVar("T")
Direct = Callable[[], Any]
"""The official call, to the API server."""

_ASKS_OTHERWISE = (
    "watch",
    "send_initial_events",
    "shard_selector",
    "_headers",
    "_request_auth",
    "_content_type",
    "_host_index",
)
"""Arguments with which a call asks for what only the API server has."""

_NOT_HELD_S = 60.0
"""How long a kind that KRM does not hold is asked of the API server at once."""
_GONE_WITHIN_S = 2.0
"""As long as KRM waits for a version."""
_FIRST_LOOK_S = 0.02
_LONGEST_LOOK_S = 0.2
_UIDS_A_QUERY = 500
_MOST_SESSIONS = 16
_VARIABLES = ("KRM_URL", "KRM_TOKEN", "KRM_TOKEN_FILE", "KRM_CA_FILE", "KRM_FALLBACK")


class Session:
    """Reads of one process through one KRM."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.krm = KrmClient(env=env)
        self.settings = self.krm.settings
        self.operations = Operations(self.settings)
        self.places = Places()
        self.written = Written()
        self._cluster: dict[str, str] = {}
        self._not_held: dict[str, float] = {}

    def stands_for(self, host: str) -> bool:
        """Whether KRM answers for the cluster at this address."""
        if not self._cluster:
            log.info("KRM answers for a cluster", extra={"cluster": host, "krm": self.krm.url})
        # In one step: of two threads that begin at once with two clusters, one decides for both.
        return self._cluster.setdefault("host", host) == host

    def holds(self, kind: ClientResource) -> bool:
        """Whether KRM has the kind, as far as is known."""
        return time.monotonic() >= self._not_held.get(kind.plural, 0.0)

    def read(self, spec: MethodSpec, given: dict[str, Any], direct: Direct) -> Any:
        """Answer an official list or read."""
        if given.get("async_req"):
            return _refuse_async(spec)
        if self.is_for_api_server(spec, given):
            return self._from_api_server(spec, direct)
        method = FacadeMethod(spec, self.operations, self._run)
        try:
            return self._from_krm(spec, method, given)
        except KrmError as error:
            if not self.is_passed_on(spec.resource, error, given):
                raise
            return self._from_api_server(spec, direct)

    def is_for_api_server(self, spec: MethodSpec, given: Mapping[str, Any]) -> bool:
        """Whether KRM does not have what these arguments ask for."""
        return (
            any(given.get(name) for name in _ASKS_OTHERWISE)
            or given.get("resource_version_match") == "Exact"
            or self.places.is_of_api_server(given.get("_continue"))
            or not self.holds(spec.resource)
        )

    def is_passed_on(self, kind: ClientResource, error: KrmError, given: Mapping[str, Any]) -> bool:
        """Whether the API server is asked after KRM's error: where KRM does not hold the kind, or it may fall back."""
        if error.code == "KIND_UNKNOWN":
            self._not_held[kind.plural] = time.monotonic() + _NOT_HELD_S
            return True
        if not self.settings.falls_back or given.get("_continue") or not _is_down_or_stale(error):
            return False
        log.warning("the API server is asked instead of KRM", extra={"resource": kind.plural, "reason": str(error)})
        return True

    def asked(self, spec: MethodSpec, given: Mapping[str, Any]) -> Asked:
        """What a list was asked for; a watch with the same may go on from it."""
        filters = (given.get("namespace"), given.get("label_selector"), given.get("field_selector"))
        return (spec.resource.plural, *(text or "" for text in filters))

    def listed(self, spec: MethodSpec, given: Mapping[str, Any]) -> Listed:
        """A list's objects as JSON, and where a watch goes on."""
        self._settle(spec.resource, given.get("namespace"), None)
        arguments = {
            "namespace": given.get("namespace"),
            "labelSelector": given.get("label_selector") or None,
            "fieldSelector": given.get("field_selector") or None,
            "minResourceVersion": self.written.floor(spec.resource),
        }
        return self._run(self.operations.listing(spec.resource, arguments, raw=True))

    def renew_locks(self) -> None:
        self.written.renew_lock()

    def _run(self, operation: Operation[T]) -> T:
        return self.krm.run(operation)

    def _from_krm(self, spec: MethodSpec, method: FacadeMethod, given: dict[str, Any]) -> Any:
        checked = method.bind((), given)
        self._settle(spec.resource, checked.get("namespace"), checked.get("name"))
        traced = self._run(method.traced(checked, self.written.floor(spec.resource)))
        if traced.listed is not None:
            self._note(spec, checked, traced.listed, traced.result)
        return traced.result

    def _note(self, spec: MethodSpec, given: Mapping[str, Any], listed: Listed, result: Any) -> None:
        """Remember where a list began; its later pages bear the version of the first, as the API server's do."""
        token = given.get("_continue")
        if token:
            beginning = self.places.beginning_of(token)
        elif listed.version and listed.place:
            beginning = Beginning(version=listed.version, place=listed.place)
        else:
            beginning = None
        if beginning is not None:
            self.places.saw(self.asked(spec, given), beginning.version, beginning.place)
            if listed.following:
                self.places.pages_from(listed.following, beginning)
        if token and given.get("_preload_content", True):
            # Without a beginning there is no version that a watch could go on from without a gap.
            result.metadata.resource_version = beginning.version if beginning is not None else None

    def _from_api_server(self, spec: MethodSpec, direct: Direct) -> Any:
        result = direct()
        following = getattr(getattr(result, "metadata", None), "_continue", None) if spec.is_list else None
        if isinstance(following, str) and following:
            self.places.belongs_to_api_server(following)
        return result

    def _settle(self, kind: ClientResource, namespace: str | None, name: str | None) -> None:
        """Wait until KRM has seen the program's own deletions. Raises ``KrmStale``."""
        waiting = self.written.must_be_gone(kind, namespace, name)
        deadline = time.monotonic() + _GONE_WITHIN_S
        pause_s = _FIRST_LOOK_S
        while waiting:
            there = self._still_there(kind, waiting, name)
            self.written.has_gone(kind, {one.uid for one in waiting} - there)
            waiting = [one for one in waiting if one.uid in there]
            if not waiting:
                return
            if time.monotonic() + pause_s > deadline:
                shown = waiting[0]
                raise errors.KrmStale(
                    f'{kind.qualified_plural} "{shown.name}" was deleted, and KRM has not seen it yet',
                    code="STALE_REPLICA",
                )
            time.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 (jitter)
            pause_s = min(pause_s * 2, _LONGEST_LOOK_S)

    def _still_there(self, kind: ClientResource, waiting: list[Deleted], name: str | None) -> set[str]:
        """Which uids KRM shows; a single name is read, which takes no more than the right to get it.

        Not as of before they were made: then they would seem to have gone.
        """
        floor = self.written.floor(kind)
        if name is not None:
            one = waiting[0]
            place = {"namespace": one.namespace} if kind.namespaced else {}
            arguments = {"name": name, **place, "minResourceVersion": floor}
            try:
                found = self._run(self.operations.reading(kind, arguments))
            except errors.KrmNotFound:
                return set()
            return {found.metadata.uid}
        there: set[str] = set()
        namespaces = {one.namespace for one in waiting}
        for namespace in namespaces:
            uids = [one.uid for one in waiting if one.namespace == namespace]
            for start in range(0, len(uids), _UIDS_A_QUERY):
                where = {"path": "metadata.uid", "in": uids[start : start + _UIDS_A_QUERY]}
                found = self.krm.list(
                    kind.plural,
                    namespace=namespace,
                    fields=["metadata.uid"],
                    where=where,
                    min_resource_version=floor,
                )
                there.update(one.metadata.uid for one in found)
        return there


def _refuse_async(spec: MethodSpec) -> Any:
    from kubernetes.client.exceptions import ApiTypeError

    raise ApiTypeError(
        f"Argument 'async_req' of method {spec.name} is not offered where KRM answers: use a thread, or AsyncKrmClient"
    )


def _is_down_or_stale(error: KrmError) -> bool:
    down = (KrmConnectError, errors.KrmTimeout, errors.KrmNotReady, errors.KrmStale, errors.KrmProtocolError)
    return isinstance(error, down)


_sessions: dict[tuple[str | None, ...], Session] = {}
_making = threading.Lock()


def current() -> Session:
    """The session of the process's environment, made at its first use. Raises ``KrmUsageError``."""
    key = tuple(os.environ.get(name) for name in _VARIABLES)
    found = _sessions.get(key)
    if found is not None:
        return found
    with _making:
        if key not in _sessions:
            while len(_sessions) >= _MOST_SESSIONS:
                _sessions.pop(next(iter(_sessions)))
            _sessions[key] = Session(dict(os.environ))
        return _sessions[key]


def session_for(api: Any) -> Session | None:
    """The session that answers for an API object; None where it talks to another cluster than KRM's."""
    session = current()
    return session if session.stands_for(str(api.api_client.configuration.host)) else None


def _renew_locks() -> None:
    global _making
    _making = threading.Lock()
    for session in _sessions.values():
        session.renew_locks()


os.register_at_fork(after_in_child=_renew_locks)
