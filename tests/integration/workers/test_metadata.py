"""Verification by metadata: as true as by whole objects, for a fraction of the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from krm import frames
from krm.errors import AnswerError, Code
from krm.kube import reading
from krm.kube.connect import Cluster
from krm.merge import Key
from krm.resources import PODS
from krm.simulator import FaultKind, status
from krm.simulator.encoding import Shape
from krm.simulator.tables import shape
from krm.store.chunks import ListedRow, pack
from krm.store.compression import Compressor
from krm.store.head import Head, ListHead
from krm.store.rows import schema
from krm.workers import bodies
from tests.chain import Chain, running
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)
PERIOD_S = 1.0
DEADLINE_S = 40.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is: nothing is read by itself before the stream has passed the list."""
    monkeypatch.setattr(bodies, "PATIENCE_S", DEADLINE_S)


async def headed(chain: Chain, wanted: Callable[[Head], bool]) -> Head:
    async def head() -> Head | None:
        found = await chain.table().head()
        return found if found is not None and found.state == "ready" and wanted(found) else None

    found = await wait_until(head, DEADLINE_S)
    assert found is not None
    return found


async def verified_anew(chain: Chain) -> Head:
    """The head, once a list that began after this moment is in the table."""
    now_ms = await chain.table().now_ms()
    return await headed(chain, lambda head: head.verified_at_ms >= now_ms)


def touch(chain: Chain, key: Key, mark: str) -> None:
    kind = chain.simulation.store.kind_named("pods")
    found = next(v for v in chain.simulation.store.all(kind) if (v.namespace, v.name) == key)
    pod = found.parse()
    pod["metadata"]["annotations"] = {"touched": mark}
    chain.simulation.store.update(kind, pod)


def asked(chain: Chain, verb: str) -> int:
    return chain.simulation.requests.total(verb, "pods")


def given(chain: Chain, verb: str) -> int:
    return chain.simulation.requests.total_bytes(verb, "pods")


def missed(head: Head) -> tuple[int, int, int, int]:
    return (head.missed.added, head.missed.modified, head.missed.deleted, head.missed.ghosts)


@pytest.mark.usefixtures("patient")
async def test_lists_after_the_first_bring_no_bodies(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        first = given(chain, "list")
        for key in list(chain.truth())[:10]:
            touch(chain, key, "told")  # the stream tells of them: nothing needs to be read
        await chain.converged(DEADLINE_S)
        before, lists = given(chain, "list"), asked(chain, "list")
        head = await verified_anew(chain)
        assert (given(chain, "list") - before) / (asked(chain, "list") - lists) < 0.7 * first
        assert asked(chain, "get") == 0
        assert missed(head) == (0, 0, 0, 0)


async def listed(chain: Chain, wanted: Callable[[ListHead], bool]) -> ListHead:
    """The installed list, once it is a wanted one and the table stands for it."""

    async def found() -> ListHead | None:
        listing = (await chain.table().list_heads()).get("")
        head = await chain.table().head()
        stands = head is not None and listing is not None and listing.listing in [one.listing for one in head.scopes]
        return listing if stands and listing is not None and wanted(listing) else None

    head = await wait_until(found, DEADLINE_S)
    assert head is not None
    return head


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("mode", ["metadata", "full"])
async def test_lists_tell_what_differs_from_the_one_before(redis_url: str, tmp_path: Path, mode: str) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S, verify_mode=mode) as chain:
        await chain.converged(DEADLINE_S)
        same = await listed(chain, lambda head: bool(head.base))
        assert (same.chunks, same.rows) == (0, len(chain.truth()))
        keys = list(chain.truth())
        touch(chain, keys[0], "told")
        chain.simulation.store.delete(chain.simulation.store.kind_named("pods"), *keys[1])
        version = str(chain.simulation.store.rv)
        other = await listed(chain, lambda head: head.listed_at == version and head.chunks > 0)
        assert (other.chunks, other.rows) == (1, len(keys) - 1)
        await chain.converged(DEADLINE_S)
        assert missed(await verified_anew(chain)) == (0, 0, 0, 0)


@pytest.mark.usefixtures("patient")
async def test_an_aggregator_that_began_anew_reads_all_that_the_list_is_told_by(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        touch(chain, next(iter(chain.truth())), "told")
        version = str(chain.simulation.store.rv)
        before = await listed(chain, lambda head: head.listed_at == version and bool(head.below))
        await chain.stop("aggregator")
        asked = await chain.store.client.xlen(chain.table().keys.requests)
        await chain.start("aggregator")
        after = await listed(chain, lambda head: head.started_ms > before.started_ms)
        assert (after.base, after.below) != ("", ())
        assert await chain.store.client.xlen(chain.table().keys.requests) == asked  # no list was made for it
        assert missed(await verified_anew(chain)) == (0, 0, 0, 0)
        assert await chain.proven()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("is_moved", [False, True])
async def test_the_frame_of_a_list_that_is_told_by_what_differs_has_all_rows(
    redis_url: str, tmp_path: Path, *, is_moved: bool
) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        await listed(chain, lambda head: bool(head.base) and not head.chunks)
        if is_moved:
            keys = list(chain.truth())
            touch(chain, keys[0], "told")
            chain.simulation.store.delete(chain.simulation.store.kind_named("pods"), *keys[1])
            version = str(chain.simulation.store.rv)
            await listed(chain, lambda head: head.listed_at == version and bool(head.below))
        frame = await asyncio.to_thread(frames.read, redis_url, "pods", "verified")
        rows = zip(frame.namespace, frame.name, frame.uid, frame.resource_version, strict=True)
        assert {(namespace, name): (uid, version) for namespace, name, uid, version in rows} == chain.truth()
        assert frame.object.notna().all()


@pytest.mark.usefixtures("patient")
async def test_a_list_heals_that_has_lost_a_chunk_below_it(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        first = await listed(chain, lambda head: bool(head.below))
        await chain.store.client.delete(chain.table().keys.chunk(*first.pieces[0]))
        await listed(chain, lambda head: first.pieces[0] not in head.pieces)
        frame = await asyncio.to_thread(frames.read, redis_url, "pods", "verified")
        assert len(frame) == len(chain.truth())


@pytest.mark.parametrize("chunk", [None, pack([], Compressor(), schema(PODS))], ids=["gone", "another"])
async def test_a_list_that_has_lost_a_chunk_is_no_frame(redis_url: str, tmp_path: Path, chunk: bytes | None) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=600.0) as chain:
        await chain.converged(DEADLINE_S)
        piece = chain.table().keys.chunk(*(await listed(chain, lambda _: True)).pieces[0])
        await (chain.store.client.delete(piece) if chunk is None else chain.store.client.set(piece, chunk))
        with pytest.raises(AnswerError) as caught:
            await asyncio.to_thread(frames.read, redis_url, "pods", "verified")
        assert caught.value.code is Code.NOT_READY


@pytest.mark.usefixtures("patient")
async def test_what_the_stream_lost_is_read_by_itself_and_counted(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        fault = chain.simulation.faults.add(FaultKind.DROP, resource="pods", count=3)
        keys = list(chain.truth())
        for key in keys[:3]:
            touch(chain, key, "lost")
        await wait_until(lambda: fault.happened == 3, DEADLINE_S)
        touch(chain, keys[3], "told")  # the stream has passed what it lost
        head = await headed(chain, lambda head: head.missed.modified == 3)
        await chain.converged(DEADLINE_S)
        assert asked(chain, "get") == 3
        assert missed(head) == (0, 3, 0, 0)


@pytest.mark.parametrize("then", ["changed", "deleted", "replaced"])
async def test_an_object_that_moves_on_before_it_is_read_is_what_it_was_or_is(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        keys = list(chain.truth())
        store = chain.simulation.store
        kind = store.kind_named("pods")
        pod = next(v for v in store.all(kind) if (v.namespace, v.name) == keys[0]).parse()
        read: list[str] = []
        real = reading.get

        async def late(cluster: Cluster, path: str) -> bytes:
            if not read:
                chain.simulation.faults.add(FaultKind.DROP, resource="pods", count=1 + (then == "replaced"))
                if then == "changed":
                    touch(chain, keys[0], "once more")
                else:
                    store.delete(kind, *keys[0])
                if then == "replaced":
                    store.create(kind, {**pod, "metadata": {**pod["metadata"], "uid": "another"}})
            read.append(path)
            return await real(cluster, path)

        monkeypatch.setattr("krm.workers.bodies.reading.get", late)
        fault = chain.simulation.faults.add(FaultKind.DROP, resource="pods", count=1)
        touch(chain, keys[0], "lost")
        await wait_until(lambda: fault.happened == 1, DEADLINE_S)
        touch(chain, keys[1], "told")
        await wait_until(lambda: bool(read), DEADLINE_S)
        await chain.converged(DEADLINE_S)
        await verified_anew(chain)
        await chain.converged(DEADLINE_S)
        assert (await chain.ready()).contiguous


async def test_a_server_that_does_not_list_metadata_is_asked_for_whole_objects(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def whole_only(accept: str) -> Shape:
        found = shape(accept)
        if found is Shape.METADATA:
            refused.append(accept)
            raise status.not_acceptable()
        return found

    monkeypatch.setattr("krm.simulator.tables.shape", whole_only)
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        await verified_anew(chain)
        await lost_is_healed(chain)
        assert len(refused) == 1
        assert asked(chain, "get") == 0


async def test_whole_objects_are_listed_where_that_is_set(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S, verify_mode="full") as chain:
        await chain.converged(DEADLINE_S)
        lists, before = asked(chain, "list"), given(chain, "list")
        await verified_anew(chain)
        more = (given(chain, "list") - before) / (asked(chain, "list") - lists)
        assert more > 0.9 * before / lists
        await lost_is_healed(chain)
        assert asked(chain, "get") == 0


async def test_whole_objects_are_listed_where_most_differ(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "READS_LEAST", 2)
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        await lost_is_healed(chain, number=5)
        assert asked(chain, "get") == 0


async def test_whole_objects_are_listed_where_single_ones_may_not_be_read(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, verify_interval_s=PERIOD_S) as chain:
        await chain.converged(DEADLINE_S)
        chain.simulation.faults.add(FaultKind.STATUS, resource="pods", verb="get", status=403, count=None)
        await lost_is_healed(chain)
        assert asked(chain, "get") >= 1


async def lost_is_healed(chain: Chain, number: int = 2) -> None:
    """Changes that the stream loses are in the table after the next list."""
    fault = chain.simulation.faults.add(FaultKind.DROP, resource="pods", count=number)
    keys = list(chain.truth())
    for key in keys[:number]:
        touch(chain, key, "lost")
    await wait_until(lambda: fault.happened == number, DEADLINE_S)
    touch(chain, keys[number], "told")
    await headed(chain, lambda head: head.missed.modified == number)
    await chain.converged(DEADLINE_S)


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b"])
async def test_a_name_that_leads_elsewhere_is_not_read(name: str) -> None:
    reader: Any = bodies.Bodies(PODS, None, None, None)  # type: ignore[arg-type]  # asks nobody
    row = ListedRow("n", name, "u", "1", b"")
    assert await reader._read(row) is row
