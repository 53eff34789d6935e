"""``watch.Watch`` on top of KRM: the official events, going on without a gap, and 410 where that cannot be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes.watch
from kubernetes.client.exceptions import ApiException

from krm_client import calls, errors
from krm_client.dropin import apis
from krm_client.dropin import session as sessions
from krm_client.dropin.apis import Read
from krm_client.dropin.session import Session
from krm_client.errors import KrmError
from krm_client.facade import newer_of
from krm_client.models import objects
from krm_client.operations import PATIENCE_S
from krm_client.watches import Watch as KrmWatch

_PATIENCE_WITH_FALLBACK_S = 3.0
"""How long KRM may be away before the API server takes over; a connection that only broke is back by then."""

_FROM_NOW = (None, "", "0")
"""Versions with which a watch begins with what is there."""


_Official: Any = kubernetes.watch.Watch  # not annotated in any release


class Watch(_Official):  # type: ignore[misc]
    """As the official class; lists of KRM's kinds are followed through KRM.

    A watch from a version that KRM did not tell this process goes to the API server.
    """

    def __init__(self, return_type: Any = None) -> None:
        super().__init__(return_type)
        self._following: KrmWatch | None = None

    def stop(self) -> None:
        """End the stream, also from another thread."""
        super().stop()
        following = self._following
        if following is not None:
            following.close()

    def stream(self, func: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As the official method: events of ``func``'s list."""
        read = apis.read_of(func)
        session = sessions.session_for(read.api) if read is not None else None
        given = (
            read.given(args, {name: value for name, value in kwargs.items() if name != "deserialize"}) if read else None
        )
        if session is None or given is None or read is None or not self._is_for_krm(session, read, given):
            yield from super().stream(func, *args, **kwargs)
            return
        self._stop = False
        course = _Course(given)
        try:
            yield from self._through_krm(session, read, given, course, deserialize=kwargs.get("deserialize", True))
            return
        except KrmError as error:
            if not session.is_passed_on(read.spec.resource, error, {}):
                raise
        # What was told is told up to its version, from which the API server goes on.
        left = {} if course.version is None else {"resource_version": course.version}
        if course.deadline is not None:
            left["timeout_seconds"] = max(1, round(course.deadline - time.monotonic()))
        yield from super().stream(func, *args, **{**kwargs, **left})

    def _is_for_krm(self, session: Session, read: Read, given: Mapping[str, Any]) -> bool:
        if not read.spec.is_list or session.is_for_api_server(read.spec, {**given, "watch": None}):
            return False
        if self._raw_return_type is not None and self._raw_return_type not in _names_of(read):
            return False
        version = given.get("resource_version")
        return (
            version in _FROM_NOW or session.places.place_of(session.asked(read.spec, given), str(version)) is not None
        )

    def _through_krm(
        self, session: Session, read: Read, given: dict[str, Any], course: _Course, *, deserialize: bool
    ) -> Iterator[Any]:
        kind, asked = read.spec.resource, session.asked(read.spec, given)
        version = given.get("resource_version")
        if version in _FROM_NOW:
            listed = session.listed(read.spec, given)
            shape = objects.shape_of_single(kind.model)
            for raw in listed.items:
                shown = (
                    objects.single(shape, raw, kind=kind.kind, api_version=kind.api_version) if deserialize else None
                )
                yield _event("ADDED", shown, json.loads(bytes(raw)), deserialize=deserialize)
                if self._stop:
                    return
            course.version, course.place = listed.version, listed.place
            session.places.saw(asked, course.version, course.place)
        else:
            course.version, course.place = str(version), session.places.place_of(asked, str(version))
        self.resource_version = course.version
        if course.place is None:
            raise errors.KrmSchemaMismatch("the server's lists do not tell where to follow on: its KRM is older")
        with _following(session, read, given, course.place, course) as events:
            self._following = events
            try:
                yield from self._events(session, asked, events, course, deserialize=deserialize)
            finally:
                self._following = None

    def _events(
        self, session: Session, asked: tuple[str, ...], events: KrmWatch, course: _Course, *, deserialize: bool
    ) -> Iterator[Any]:
        while not self._stop:
            try:
                event = next(events)
            except StopIteration:
                return
            except errors.KrmQueryError as error:
                if error.code != "CURSOR_INVALID":
                    raise
                session.places.lost(asked, course.version, course.place)
                raise _expired(course.version) from error
            except TimeoutError as error:
                raise _silent(session.krm.url) from error
            if event["type"] == "RESYNC":
                session.places.lost(asked, course.version, course.place)
                raise _expired(course.version)
            raw = event["raw_object"] or {}
            version = (raw.get("metadata") or {}).get("resourceVersion")
            course.version = newer_of(course.version, version)
            for seen in {version, course.version}:
                session.places.saw(asked, seen, events.resume_token)
            course.place = session.places.place_of(asked, course.version or "") or events.resume_token
            self.resource_version = course.version
            yield _event(event["type"], event["object"], raw, deserialize=deserialize)


class _Course:
    """How far a stream has come, and when it ends."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.version: str | None = None
        self.place: str | None = None
        """Which belongs to that version."""
        seconds = given.get("timeout_seconds")
        self.deadline = time.monotonic() + seconds if seconds else None

    def left_s(self) -> float | None:
        return None if self.deadline is None else max(0.001, self.deadline - time.monotonic())


def _following(session: Session, read: Read, given: Mapping[str, Any], place: str, course: _Course) -> KrmWatch:
    timeouts = calls.timeouts_of(given.get("_request_timeout"), session.operations.policy.timeouts)
    is_limited = given.get("_request_timeout") is not None
    return session.krm.watch(
        read.spec.resource.plural,
        namespace=given.get("namespace"),
        label_selector=given.get("label_selector") or None,
        field_selector=given.get("field_selector") or None,
        min_resource_version=newer_of(course.version, session.written.floor(read.spec.resource)),
        resume_token=place,
        timeout_seconds=course.left_s(),
        patience=_PATIENCE_WITH_FALLBACK_S if session.settings.falls_back else PATIENCE_S,
        silence_seconds=timeouts.read_s if is_limited else None,
    )


def _event(kind: str, shown: Any, raw: dict[str, Any], *, deserialize: bool) -> dict[str, Any]:
    if not deserialize:
        return {"type": kind, "object": raw}
    return {"type": kind, "object": shown, "raw_object": raw}


def _names_of(read: Read) -> tuple[Any, ...]:
    from krm_client.models import generations

    model = read.spec.resource.model
    return (model, generations.model_class(model))


def _expired(version: str | None) -> ApiException:
    """As the official class says that a watch cannot go on."""
    return ApiException(status=410, reason=f"Expired: too old resource version: {version}")


def _silent(url: str) -> Exception:
    """As the official client's connection says that nothing came for the time of ``_request_timeout``."""
    from urllib3.exceptions import ReadTimeoutError

    return ReadTimeoutError(None, url, "Read timed out.")  # type: ignore[arg-type]  # there is no pool
