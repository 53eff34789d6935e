"""Streamer, verifier and aggregator on real parts: they keep the table true, and heal it by themselves."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from krm import frames, resources, simulator
from krm.errors import AnswerError, Code
from krm.kube import listing
from krm.merge import Key, State
from krm.resources import Resource
from krm.simulator import FaultKind
from krm.store.head import Head
from krm.store.writing import Operation, TableWriter
from krm.table.tables import Tables
from krm.workers import aggregator
from tests.chain import ROLES, Chain, running
from tests.faults.judge import Truth
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)


def churned(chain: Chain, steps: int) -> None:
    """Let ``steps`` things happen in the world, at once."""
    assert chain.simulation.churn is not None
    for _ in range(steps):
        chain.simulation.churn.step()


async def headed(chain: Chain, wanted: Callable[[Head], bool], deadline_s: float = 20.0) -> Head:
    async def head() -> Head | None:
        found = await chain.table().head()
        return found if found is not None and found.state == "ready" and wanted(found) else None

    found = await wait_until(head, deadline_s)
    assert found is not None
    return found


async def test_every_kind_is_cached_and_follows_the_cluster(redis_url: str, tmp_path: Path) -> None:
    kinds = tuple(resources.RESOURCES.values())
    async with running(redis_url, tmp_path, kinds=kinds, verify_interval_s=30.0) as chain:
        await chain.converged()
        churned(chain, 300)
        await chain.converged(deadline_s=10)
        for kind in kinds:
            head = await chain.ready(kind)
            assert head.contiguous
            assert (head.missed.added, head.missed.modified, head.missed.deleted, head.missed.ghosts) == (0, 0, 0, 0)


@pytest.mark.parametrize("role", ROLES)
async def test_a_killed_worker_is_neither_noticed_nor_loses_anything(redis_url: str, tmp_path: Path, role: str) -> None:
    async with running(redis_url, tmp_path) as chain:
        await chain.converged()
        run = (await chain.ready()).run
        await chain.kill(role)
        churned(chain, 100)
        await chain.start(role)
        await chain.converged()
        head = await chain.ready()
        assert head.run == run
        assert (head.missed.added, head.missed.modified, head.missed.deleted, head.missed.ghosts) == (0, 0, 0, 0)
        assert head.contiguous


async def test_a_table_survives_a_restart_of_everything(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as chain:
        await chain.converged()
        before = await chain.ready()
        for role in ROLES:
            await chain.stop(role)
        churned(chain, 50)
        await chain.start_all()
        await chain.converged()
        assert (await chain.ready()).run == before.run


async def test_an_emptied_redis_is_filled_again_and_never_reads_as_no_objects(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=30.0) as chain:
        await chain.converged()
        await chain.store.client.flushall()
        seen: list[int] = []

        async def full_again() -> bool:
            head = await chain.table().head()
            if head is not None and head.state == "ready":
                seen.append(head.rows)
            return bool(seen)

        await wait_until(full_again, 15)
        assert seen[0] == len(chain.truth())
        await chain.converged()


async def test_a_lost_field_of_the_table_is_found_at_the_next_start(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as chain:
        await chain.converged()
        run = (await chain.ready()).run
        await chain.stop("aggregator")
        victim = next(iter(chain.truth().values())).uid
        await chain.store.client.hdel(chain.table().keys.objects, victim)
        await chain.start("aggregator")
        await headed(chain, lambda head: head.run != run)
        await chain.converged()


async def test_silently_lost_events_are_repaired_and_counted(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=2.0) as chain:
        await chain.converged()
        pods = chain.simulation.store.kind_named("pods")
        victims = [v.parse()["metadata"] for v in chain.simulation.store.all(pods)[:3]]
        fault = chain.simulation.faults.add(FaultKind.DROP, resource="pods", count=3)
        for metadata in victims:
            chain.simulation.store.delete(pods, metadata["namespace"], metadata["name"])
        await wait_until(lambda: fault.happened == 3)
        churned(chain, 5)  # the stream goes on: what was dropped is behind it
        head = await headed(chain, lambda head: head.missed.deleted == 3)
        assert (head.missed.added, head.missed.modified, head.missed.ghosts) == (0, 0, 0)
        await chain.converged()
        lines = await chain.table().drift()
        assert {(line.kind, line.namespace, line.name) for line in lines} == {
            ("MISSED_DELETED", metadata["namespace"], metadata["name"]) for metadata in victims
        }


@pytest.mark.parametrize(
    "fault",
    [
        FaultKind.DUPLICATE,
        FaultKind.CUT_LINE,
        FaultKind.END,
        FaultKind.GARBAGE_LINE,
        FaultKind.NOT_UTF8_LINE,
        FaultKind.UNKNOWN_TYPE,
    ],
)
async def test_a_damaged_stream_costs_nothing(redis_url: str, tmp_path: Path, fault: FaultKind) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=30.0) as chain:
        await chain.converged()
        chain.simulation.faults.add(fault, resource="pods", every=7, count=5)
        churned(chain, 120)
        await chain.converged()
        head = await chain.ready()
        assert head.contiguous
        assert head.missed == type(head.missed)()


@pytest.mark.parametrize("form", ["stream", "status"])
async def test_a_gap_shows_until_a_list_closes_it(redis_url: str, tmp_path: Path, form: str) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=30.0) as chain:
        await chain.converged()
        listed = (await chain.ready()).verified_resource_version
        faults = chain.simulation.faults
        if form == "stream":
            faults.add(FaultKind.GONE, resource="pods", count=1)
        else:
            faults.add(FaultKind.STATUS, resource="pods", verb="watch", status=410, count=1)
            faults.add(FaultKind.END, resource="pods", count=1)
        churned(chain, 60)
        head = await headed(chain, lambda head: head.contiguous and head.verified_resource_version != listed)
        assert head.resource_version >= head.verified_resource_version
        churned(chain, 20)
        await chain.converged()


async def test_compacted_history_while_the_streamer_is_away_is_a_gap_not_a_loss(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=30.0) as chain:
        await chain.converged()
        await chain.kill("streamer")
        churned(chain, 200)
        chain.simulation.compact()
        await chain.start("streamer")
        await chain.converged()
        assert (await chain.ready()).contiguous


async def test_a_restored_backup_begins_another_history(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=2.0) as chain:
        await chain.converged()
        before = (await chain.ready()).epoch
        backup = chain.simulation.snapshot()
        churned(chain, 200)
        await chain.converged()
        chain.simulation.restore(backup)
        await headed(chain, lambda head: head.epoch != before)
        await chain.converged()
        churned(chain, 50)
        await chain.converged()


async def test_an_implausibly_empty_list_is_not_believed_at_once(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=250, verify_interval_s=2.0) as chain:
        await chain.converged()
        fault = chain.simulation.faults.add(FaultKind.EMPTY_LIST, resource="pods", count=1)
        await wait_until(lambda: fault.happened == 1)
        listed = (await chain.ready()).verified_at_ms
        head = await headed(chain, lambda head: head.verified_at_ms > listed)
        assert head.rows >= 200
        assert head.missed == type(head.missed)()


@pytest.mark.parametrize(
    "fault", [FaultKind.LATER_PAGE, FaultKind.TRUNCATED_LIST, FaultKind.RESET, FaultKind.GARBAGE_BODY]
)
async def test_a_list_that_breaks_off_changes_nothing(redis_url: str, tmp_path: Path, fault: FaultKind) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0, list_page_size=5) as chain:
        await chain.converged()
        broken = chain.simulation.faults.add(fault, resource="pods", verb="list", count=2, status=410, after_bytes=5000)
        await wait_until(lambda: broken.happened == 2)
        churned(chain, 40)
        await chain.converged()
        assert (await chain.ready()).missed == type((await chain.ready()).missed)()


async def test_one_forbidden_kind_does_not_stop_the_others(redis_url: str, tmp_path: Path) -> None:
    kinds: tuple[Resource, ...] = (resources.PODS, resources.SERVICES)
    async with running(redis_url, tmp_path, kinds=kinds, started=False) as chain:
        chain.simulation.faults.add(FaultKind.STATUS, resource="services", status=403, count=None)
        await chain.start_all()
        await chain.ready(resources.PODS)

        async def told() -> bool:
            status = (await chain.table(resources.SERVICES).statuses()).get("verifier")
            return status is not None and status.state == "forbidden"

        await wait_until(told)
        assert (await chain.table(resources.SERVICES).head()).state == "building"  # type: ignore[union-attr]
        churned(chain, 50)

        async def equal() -> bool:
            return await chain.stored() == chain.truth()

        await wait_until(equal)


async def test_namespaces_are_listed_and_watched_one_by_one(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, started=False) as chain:
        spaces = sorted({key[0] for key in chain.truth()})[:2]
        chain.settings = type(chain.settings).load({"namespaces": tuple(spaces), "verify_interval_s": 2.0}, {})
        await chain.start_all()
        await chain.ready()
        churned(chain, 100)

        async def equal() -> bool:
            return await chain.stored() == {key: state for key, state in chain.truth().items() if key[0] in spaces}

        await wait_until(equal)
        head = await chain.ready()
        assert {scope.scope for scope in head.scopes} == set(spaces)


async def test_two_instances_of_each_worker_write_as_one(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as chain, running(redis_url, tmp_path, started=False) as other:
        other.simulation = chain.simulation
        (tmp_path / "kubeconfig").write_text(chain.simulation.kubeconfig())
        await chain.ready()
        await other.start_all()
        churned(chain, 60)
        await chain.converged()
        for role in ROLES:
            await chain.kill(role)
        churned(chain, 60)
        await chain.converged()
        assert await chain.proven()


@pytest.mark.parametrize("which", ["streamed", "verified", "aggregated"])
async def test_each_frame_reads_as_a_dataframe(redis_url: str, tmp_path: Path, which: frames.Which) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=30.0) as chain:
        await chain.converged()
        churned(chain, 30)
        await chain.converged()
        frame = await asyncio.to_thread(frames.read, redis_url, "pods", which)
        expected = ["namespace", "name", "uid", "resource_version", "created", "labels", "node", "phase"]
        assert [name for name in expected if name not in frame.columns] == []
        assert {"source", "time_streamed", "object"} <= set(frame.columns)
        if which == "aggregated":
            rows = zip(frame.namespace, frame.name, frame.uid, frame.resource_version, strict=True)
            assert {(ns, name): (uid, version) for ns, name, uid, version in rows} == chain.truth()
            assert set(frame.source) == {"streamed", "verified"}
            assert frame.object.map(len).min() > 500
        if which == "streamed":
            assert set(frame.event) <= {"ADDED", "MODIFIED", "DELETED"}
            assert len(frame) > 0


@pytest.mark.parametrize("kept", [True, False])
async def test_managed_fields_are_stored_where_they_are_kept(redis_url: str, tmp_path: Path, *, kept: bool) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0, keep_managed_fields=kept) as chain:
        await chain.converged()
        churned(chain, 5)
        await chain.converged()
        frame = await asyncio.to_thread(frames.read, redis_url, "pods")
        assert {*frame.source} == {"streamed", "verified"}
        assert {'"managedFields"' in text for text in frame.object} == {kept}


async def test_reading_a_frame_before_there_is_one_is_an_error(redis_url: str) -> None:
    with pytest.raises(AnswerError) as caught:
        await asyncio.to_thread(frames.read, redis_url, "pods")
    assert caught.value.code is Code.NOT_READY


async def test_events_that_overflow_the_log_are_an_honest_gap(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0, events_max=1_000) as chain:
        await chain.converged()
        await chain.kill("aggregator")
        churned(chain, 2_500)
        target = str(chain.simulation.store.rv)

        async def logged() -> bool:
            position = (await chain.workers["streamer", "pods"].writer.positions()).get("")
            return position is not None and len(position.end) == len(target) and int(position.end) > int(target) - 100

        await wait_until(logged)
        assert await chain.store.client.xlen(chain.table().keys.events) <= 1_010
        await chain.start("aggregator")
        await headed(chain, lambda head: not head.contiguous)
        await chain.workers["streamer", "pods"].writer.ask_for_list(full=False, reason="test")
        await headed(chain, lambda head: head.contiguous)
        await chain.converged()


async def test_an_entry_of_somebody_else_in_the_log_is_a_gap_that_a_list_closes(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain:
        await chain.converged()
        await chain.kill("aggregator")
        churned(chain, 20)
        await chain.store.client.xadd(chain.table().keys.events, {"hello": "world"})
        # In front of what the streamer adds now; the list that closes the gap is asked for, not waited for.
        churned(chain, 20)
        await chain.start("aggregator")
        await chain.converged()
        churned(chain, 20)
        await chain.converged()
        await headed(chain, lambda head: head.contiguous)
        assert (await chain.ready()).missed == type((await chain.ready()).missed)()

        async def trimmed() -> bool:
            entries = await chain.store.client.xrange(chain.table().keys.events)
            return all(b"hello" not in fields for _, fields in entries)

        await wait_until(trimmed)


@pytest.mark.parametrize("version", ["0", "1.5", "2026-01-01T00:00:00Z"])
async def test_a_list_whose_version_cannot_be_compared_is_never_installed(
    redis_url: str, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = listing.parse

    def other(body: bytes, where: str, **more: Any) -> tuple[listing.Page, str]:
        page, following = real(body, where, **more)
        return dataclasses.replace(page, version=version), following

    async with running(redis_url, tmp_path, started=False) as chain:
        monkeypatch.setattr(listing, "parse", other)
        await chain.start("verifier")

        async def told() -> bool:
            status = (await chain.table().statuses()).get("verifier")
            return status is not None and status.state == "failing" and "can be compared" in (status.reason or "")

        await wait_until(told)
        assert await chain.table().list_heads() == {}


async def test_a_dictionary_that_is_trained_later_is_learned_and_not_a_reason_for_whole_lists(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path, pods=250, verify_interval_s=0.5, started=False) as chain:
        await chain.start("aggregator")
        await wait_until(lambda: chain.workers["aggregator", "pods"].status.state == "running")
        await chain.start("verifier")
        await chain.start("streamer")
        await chain.converged()
        before = (await chain.ready()).verified_at_ms
        await headed(chain, lambda head: head.verified_at_ms > before + 1_500)
        assert await chain.store.client.xlen(chain.table().keys.requests) == 0

        async def repeats_no_records() -> bool:
            return bool((await chain.table().list_heads())[""].since)

        await wait_until(repeats_no_records)  # on a busy machine a list may come before the last one is in the table


async def test_two_objects_with_one_uid_cost_one_row_and_neither_table_nor_whole_lists(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=1.0) as chain:
        await chain.converged()
        before = await chain.ready()
        store, pods = chain.simulation.store, chain.simulation.store.kind_named("pods")
        first, second = (version.parse() for version in store.all(pods)[:2])
        store.delete(pods, second["metadata"]["namespace"], second["metadata"]["name"])
        second["metadata"] |= {"uid": first["metadata"]["uid"], "resourceVersion": None}
        store.create(pods, second)
        whole = chain.simulation.requests.total("list", "pods")
        for _ in range(3):  # events and lists tell of both again and again
            store.update(pods, store.get(pods, second["metadata"]["namespace"], second["metadata"]["name"]).parse())  # type: ignore[union-attr]
            listed = (await chain.ready()).verified_resource_version
            store.update(pods, store.get(pods, first["metadata"]["namespace"], first["metadata"]["name"]).parse())  # type: ignore[union-attr]
            head = await headed(chain, lambda head, listed=listed: head.verified_resource_version != listed)  # type: ignore[misc]
            assert (head.run, head.rows, head.contiguous) == (before.run, before.rows - 1, True)
        assert "two objects have one uid" in caplog.text
        assert "needs a full list" not in caplog.text
        assert chain.simulation.requests.total("list", "pods") - whole < 20
        store.delete(pods, first["metadata"]["namespace"], first["metadata"]["name"])
        await chain.converged()
        assert (await chain.ready()).run == before.run


async def test_an_entry_of_somebody_else_among_the_changes_is_passed_over_once(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain, Tables.of([chain.table()]) as tables:
        follower = tables.follower(resources.PODS)
        await chain.converged()
        churned(chain, 30)
        await chain.converged()
        await wait_until(lambda: follower.is_ready and follower.replica.seq > 5, 20)
        client, key = chain.store.client, chain.table().keys.changes
        made = {"t": "ADDED", "u": "u", "v": "1", "r": b"", "p": b"", "x": "0"}
        for entry, loads in [({"hello": "world"}, 1), ({**made, "n": 7_000_000}, 2), ({**made, "n": 1}, 3)]:
            identifier = (await client.xadd(key, entry)).decode()
            await wait_until(lambda identifier=identifier: (follower.position or ("", 0, ""))[2] == identifier, 20)  # type: ignore[misc]
            assert follower.loads == loads
        churned(chain, 30)
        await chain.converged()
        await wait_until(
            lambda: {row.uid for row in follower.replica.rows()} == {s.uid for s in chain.truth().values()}
        )
        assert follower.loads == 3


async def test_an_entry_of_somebody_else_with_the_very_next_number_is_found_and_passed_over(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain, Tables.of([chain.table()]) as tables:
        follower = tables.follower(resources.PODS)
        await chain.converged()
        await wait_until(lambda: follower.is_ready, 20)
        table, ask = chain.table(), chain.workers["verifier", "pods"].writer.ask_for_list
        whole = (await table.records_from(0))[1][0][1]

        def follows(loads: int, cursor: str = "") -> bool:
            rows = {row.key: State(row.uid, row.version) for row in follower.replica.rows()}
            is_there = follower.is_ready and follower.loads == loads and rows == chain.truth()
            return is_there and cursor in ("", follower._cursor)

        for loads, record in enumerate([b"damaged", whole], start=2):
            churned(chain, 30)
            await chain.converged()
            await wait_until(partial(follows, loads - 1), 20)
            entry = {"t": "ADDED", "u": "u", "v": "1", "r": record, "p": b"", "x": "0", "n": follower.replica.seq + 1}
            identifier = (await chain.store.client.xadd(table.keys.changes, entry)).decode()
            await wait_until(lambda: follower._cursor == identifier or follower.loads == loads, 20)  # noqa: B023
            await ask(full=False, reason="test")  # the next head is of a writer who knows nothing of it
            await wait_until(partial(follows, loads, identifier), 20)
        churned(chain, 30)
        await chain.converged()
        await wait_until(partial(follows, 3), 20)


async def test_rows_that_a_list_brings_before_the_stream_are_ahead_of_what_is_claimed_and_never_behind(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator, "SLICE", 4)
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain:
        truth = Truth(chain.simulation)
        await chain.converged()
        await chain.stop("streamer")
        writer = chain.workers["aggregator", "pods"].writer
        assert isinstance(writer, TableWriter)
        apply, ahead = writer.apply, 0
        broken: list[tuple[Key, int]] = []

        async def logged_to(version: str) -> bool:
            return (await writer.positions())[""].end == version

        async def watched(head: Head, operations: Sequence[Operation]) -> tuple[int, str, int]:
            nonlocal ahead
            done = await apply(head, operations)
            rows, claimed = await chain.stored(), int(head.resource_version)
            broken.extend((key, claimed) for key in truth.states if not truth.fits(key, rows.get(key), claimed))
            ahead += head.contiguous and any(int(row.version) > claimed for row in rows.values())
            if (
                ahead and ("streamer", "pods") not in chain._lives
            ):  # the stream comes between the slices with what the list has seen already
                await chain.start("streamer")
                await wait_until(lambda: logged_to(str(chain.simulation.store.rv)), 20)
            return done

        monkeypatch.setattr(writer, "apply", watched)
        churned(chain, 120)
        version = str(chain.simulation.store.rv)
        await chain.workers["verifier", "pods"].writer.ask_for_list(full=False, reason="test")
        await headed(chain, lambda head: head.resource_version == version)
        assert not broken
        assert ahead > 1, "it was brought in by slices"
        await chain.converged()


async def test_what_one_namespace_hears_makes_no_other_one_newer(redis_url: str, tmp_path: Path) -> None:
    server = simulator.ServerSettings(watch=simulator.WatchSettings(bookmark_interval_s=600.0))
    async with running(redis_url, tmp_path, started=False, server=server) as chain:
        spaces = sorted({key[0] for key in chain.truth()})[:2]
        chain.settings = type(chain.settings).load({"namespaces": tuple(spaces), "verify_interval_s": 600.0}, {})
        await chain.start_all()
        before = await headed(chain, lambda head: head.contiguous)
        pods = chain.simulation.store.kind_named("pods")

        async def told(namespace: str) -> Head:
            """A change there is in the table."""
            pod = next(one for one in chain.simulation.store.all(pods) if one.namespace == namespace).parse()
            pod["metadata"]["annotations"] = {"told": "once more"}
            version = str(chain.simulation.store.update(pods, pod).rv)
            return await headed(chain, lambda head: version in {scope.window_end for scope in head.scopes})

        first = await told(spaces[0])
        assert first.last_event_ms == before.last_event_ms, "the other one has heard nothing since"
        second = await told(spaces[1])
        assert (second.last_event_ms or 0) > first.verified_at_ms
