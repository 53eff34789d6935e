"""When objects came and went, as far as they tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from krm.objects import moments
from krm.objects.moments import Basis, Moment

REQUESTED = "2026-11-23T10:00:00Z"
DUE = "2026-11-23T10:00:30Z"
AT = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()


def stopped(at: str | None = "2026-11-23T10:00:02Z") -> dict[str, Any]:
    return {"name": "c", "state": {"terminated": {"exitCode": 0, **({} if at is None else {"finishedAt": at})}}}


RUNNING = {"name": "c", "state": {"running": {"startedAt": REQUESTED}}}
WAITING = {"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff"}}}


def gone(status: Any = None, **metadata: Any) -> bytes:
    given = {"deletionTimestamp": DUE, "deletionGracePeriodSeconds": 30, **metadata}
    return orjson.dumps({"metadata": {k: v for k, v in given.items() if v != "absent"}, "status": status})


def test_creation_is_the_timestamp() -> None:
    assert moments.creation(REQUESTED) == Moment(Basis.CREATION, AT)


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-11-23T10:00:00"])
def test_a_creation_that_cannot_be_read_is_unknown(text: str | None) -> None:
    assert moments.creation(text) == Moment(Basis.UNKNOWN, None)


@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        pytest.param(gone(), Moment(Basis.REQUEST, AT), id="the grace period is taken off"),
        pytest.param(
            gone(deletionTimestamp=REQUESTED, deletionGracePeriodSeconds=0),
            Moment(Basis.REQUEST, AT),
            id="without grace",
        ),
        pytest.param(
            gone(deletionTimestamp=REQUESTED, deletionGracePeriodSeconds=None),
            Moment(Basis.REQUEST, AT),
            id="null grace",
        ),
        pytest.param(gone(deletionTimestamp="absent"), Moment(Basis.UNKNOWN, None), id="gone in one step"),
        pytest.param(
            gone({"containerStatuses": [stopped()]}, deletionTimestamp="absent"),
            Moment(Basis.UNKNOWN, None),
            id="stopped but never asked to go: nobody knows when it went",
        ),
        pytest.param(
            gone({"containerStatuses": [stopped(), stopped("2026-11-23T10:00:05Z")]}),
            Moment(Basis.CONTAINER_FINISHED, AT + 5),
            id="the last container counts",
        ),
        pytest.param(
            gone({"containerStatuses": [stopped()], "initContainerStatuses": [stopped("2026-11-23T10:00:09Z")]}),
            Moment(Basis.CONTAINER_FINISHED, AT + 9),
            id="a sidecar is an init container",
        ),
        pytest.param(
            gone({"containerStatuses": [stopped()], "ephemeralContainerStatuses": [RUNNING]}),
            Moment(Basis.REQUEST, AT),
            id="one still ran",
        ),
        pytest.param(
            gone({"containerStatuses": [stopped(), WAITING, {"name": "c"}, {"name": "c", "state": {}}]}),
            Moment(Basis.CONTAINER_FINISHED, AT + 2),
            id="what never ran did not stop",
        ),
        pytest.param(
            gone({"containerStatuses": [stopped("2026-11-21T00:00:00Z")]}),
            Moment(Basis.REQUEST, AT),
            id="a job that had finished days before",
        ),
        pytest.param(gone({"containerStatuses": [stopped(None)]}), Moment(Basis.REQUEST, AT), id="no time of the end"),
        pytest.param(
            gone({"containerStatuses": [stopped("soon")]}), Moment(Basis.REQUEST, AT), id="an end that cannot be read"
        ),
        pytest.param(gone({"containerStatuses": []}), Moment(Basis.REQUEST, AT), id="no containers"),
        pytest.param(gone({"containerStatuses": "many"}), Moment(Basis.UNKNOWN, None), id="odd shape"),
        pytest.param(b"{}", Moment(Basis.UNKNOWN, None), id="no metadata"),
        pytest.param(b"not JSON", Moment(Basis.UNKNOWN, None), id="no JSON"),
    ],
)
def test_deletion(raw: bytes, moment: Moment) -> None:
    assert moments.deletion(raw) == moment


def test_percentiles_are_made_of_what_is_true_within_a_second() -> None:
    assert {Basis.CREATION, Basis.CONTAINER_FINISHED} == moments.HONEST
