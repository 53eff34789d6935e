"""What heads and heartbeats mean, case by case."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from krm.resources import PODS
from krm.store.head import Head, Missed, ScopeHead, WorkerStatus
from krm.table.feeds import RESYNC, Delta, Feed
from krm.table.freshness import Freshness, State, freshness

NOW = 1_000_000_000


def scope(**changes: Any) -> ScopeHead:
    whole = ScopeHead(
        scope="",
        epoch="e/1",
        listing="l",
        listed_at="100",
        verified_at_ms=NOW - 5_000,
        took_s=1.0,
        window_start="100",
        window_end="120",
        contiguous=True,
    )
    return msgspec.structs.replace(whole, **changes)


def head(*scopes: ScopeHead, **changes: Any) -> Head:
    whole = Head(
        run="r",
        seq=1,
        change="1-1",
        state="ready",
        rows=0,
        digest=0,
        epoch="e/1",
        scopes=scopes or (scope(),),
        missed=Missed(),
        at_ms=NOW,
        last_event_ms=NOW - 1_000,
    )
    return msgspec.structs.replace(whole, **changes)


def statuses(**changes: dict[str, Any]) -> dict[str, WorkerStatus]:
    out = {}
    for role in ("streamer", "verifier", "aggregator"):
        status = WorkerStatus(role=role, at_ms=NOW - 500, state="running", connected=True, interval_s=30.0, lag_s=0.2)
        out[role] = msgspec.structs.replace(status, **changes.get(role, {}))
    return out


def told(of: Head | None, workers: dict[str, WorkerStatus] | None = None, **more: Any) -> Freshness:
    return freshness(of, statuses() if workers is None else workers, NOW, cluster="c", resource=PODS, **more)


def test_connected_and_verified_is_synced() -> None:
    now = told(head())
    assert (now.state, now.reason) == (State.SYNCED, None)
    assert (now.resource_version, now.verified_resource_version) == ("120", "100")
    assert now.as_of_ms == NOW - 1_000
    assert now.age_s(NOW) == 1.0
    assert now.stream_lag_s == 0.2


def test_an_answer_is_of_the_later_of_list_and_event() -> None:
    assert told(head(last_event_ms=NOW - 9_000)).as_of_ms == NOW - 5_000
    assert told(head(last_event_ms=None)).as_of_ms == NOW - 5_000


@pytest.mark.parametrize(
    ("ago_s", "took_s", "state"),
    [(60, 1.0, State.SYNCED), (61, 1.0, State.SYNCED), (62, 1.0, State.STALE), (80, 30.0, State.SYNCED)],
)
def test_verified_within_two_intervals_and_the_list(ago_s: int, took_s: float, state: State) -> None:
    now = told(head(scope(verified_at_ms=NOW - ago_s * 1000, took_s=took_s)))
    assert now.state is state


def test_interval_is_the_verifiers() -> None:
    late = head(scope(verified_at_ms=NOW - 100_000))
    assert told(late).state is State.STALE
    assert told(late, statuses(verifier={"interval_s": 60.0})).state is State.SYNCED


def test_gap_is_catching_up_and_counts_only_the_list() -> None:
    now = told(head(scope(contiguous=False)))
    assert now.state is State.CATCHING_UP
    assert now.resource_version == "100"
    assert now.as_of_ms == NOW - 5_000


def test_stream_that_opens_is_catching_up_and_one_that_is_down_is_stale() -> None:
    assert told(head(), statuses(streamer={"connected": False})).state is State.CATCHING_UP
    down = {"connected": False, "state": "failing", "reason": "refused"}
    now = told(head(), statuses(streamer=down))
    assert now.state is State.STALE
    assert "refused" in (now.reason or "")


@pytest.mark.parametrize("role", ["streamer", "verifier", "aggregator"])
def test_silent_worker_is_stale_and_named(role: str) -> None:
    now = told(head(), statuses(**{role: {"at_ms": NOW - 20_000}}))
    assert now.state is State.STALE
    assert role in (now.reason or "")
    gone = statuses()
    del gone[role]
    assert told(head(), gone).state is State.STALE


def test_worst_scope_counts() -> None:
    now = told(head(scope(scope="a"), scope(scope="b", verified_at_ms=NOW - 90_000, listed_at="90", window_end="95")))
    assert now.state is State.STALE
    assert now.resource_version == "95"
    assert told(head(scope(scope="a"), scope(scope="b", contiguous=False))).state is State.CATCHING_UP


def test_no_table_is_not_ready_whatever_else() -> None:
    for now in (told(None), told(head(state="building")), told(head(), is_ready=False, trouble="loading")):
        assert now.state is State.NOT_READY
        assert now.resource_version is None
        assert now.age_s(NOW) is None
        assert now.reason


@pytest.mark.parametrize(("word", "state"), [("forbidden", State.FORBIDDEN), ("gone", State.GONE)])
def test_refusals_of_the_api_server(word: str, state: State) -> None:
    refused = statuses(verifier={"state": word, "reason": "no"})
    assert told(None, refused).state is state
    assert told(head(), refused).state is state


def test_forbidden_stream_leaves_the_verified_half() -> None:
    now = told(head(), statuses(streamer={"state": "forbidden", "connected": False, "reason": "watch"}))
    assert now.state is State.STALE
    assert now.verified_resource_version == "100"


def test_reset_history_is_told_until_the_list_of_the_new_one() -> None:
    assert told(head(scope(epoch="e/0"))).state is State.HISTORY_RESET


def test_store_away_is_stale() -> None:
    now = told(head(), trouble="Redis cannot be reached")
    assert (now.state, now.reason) == (State.STALE, "Redis cannot be reached")


def delta(seq: int) -> Delta:
    return Delta(f"{seq}-0", seq, None, None)


async def test_feed_gives_what_waits_in_order() -> None:
    feed = Feed()
    assert await feed.take(timeout_s=0.001) == []
    feed.give([delta(1), delta(2)])
    feed.give([delta(3)])
    taken = await feed.take(timeout_s=1)
    assert taken is not None
    assert [each.seq for each in taken] == [1, 2, 3]
    assert await feed.take(timeout_s=0.001) == []


async def test_feed_that_overflows_starts_again() -> None:
    feed = Feed(most=3)
    feed.give([delta(1), delta(2)])
    feed.give([delta(3), delta(4)])
    feed.give([delta(5)])
    assert await feed.take(timeout_s=1) is RESYNC
    feed.give([delta(6)])
    taken = await feed.take(timeout_s=1)
    assert taken is not None
    assert [each.seq for each in taken] == [6]


def test_it_tells_of_which_namespaces_there_are_lists() -> None:
    assert told(head(scope(scope="a"), scope(scope="b"))).namespaces == frozenset(("a", "b"))
    assert told(head()).namespaces is None
    assert told(None).namespaces is None
