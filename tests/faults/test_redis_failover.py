"""Redis loses its master again and again while 200 events a second flow: no row is lost, no answer is wrong or older.

The master is killed, frozen (its connections stay open and nothing comes), or told to hand over; in a Redis Cluster the
slot of the pods is moved as well. An API replica is asked all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from redis import crc

from krm.errors import StoreError
from krm.store.reading import TableStore
from tests import redis_forms
from tests.chain import Chain, running
from tests.faults.figures import Figures
from tests.looking import Looking, looking
from tests.redis_forms import Cluster, Form, Node, Sentinels
from tests.waiting import NotInTimeError, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

ROUNDS = {"": 4, "full": 30}[os.environ.get("FAULTS_SCALE", "")]
EVENTS_A_SECOND = 200


async def told(act: Callable[..., object], *args: object) -> None:
    await asyncio.to_thread(act, *args)


async def kill(form: Form, master: Node) -> None:
    master.kill()


HAND_OVERS: Final = 5
"""How often a hand-over is asked for."""


async def freeze(form: Form, master: Node) -> None:
    master.freeze()


async def hand_over(form: Form, master: Node) -> None:
    """As before maintenance: the replica takes over when it has everything."""
    if isinstance(form, Sentinels):
        await told(form.sentinels[0].ask, "SENTINEL", "FAILOVER", redis_forms.SERVICE)
        return
    replica = await replica_of(form, master)
    for _ in range(HAND_OVERS):
        await told(replica.ask, "CLUSTER", "FAILOVER")
        with contextlib.suppress(NotInTimeError):  # Redis gives a hand-over up after five seconds, and does not say so
            await wait_until(functools.partial(asyncio.to_thread, replica.is_master), 6, "handed over")
            return


async def replica_of(form: Form, master: Node) -> Node:
    """The replica of ``master``."""

    def find() -> Node:
        for node in form.nodes:
            if node is not master:
                with node.client() as client:
                    said = client.info("replication")
                if said["role"] == "slave" and int(said["master_port"]) == master.port:
                    return node
        raise AssertionError("no replica")

    return await asyncio.to_thread(find)


End = Callable[[Form, Node], Awaitable[None]]
ENDS: list[End] = [kill, freeze, hand_over]


async def answers(table: TableStore) -> bool:
    try:
        return await table.head() is not None
    except StoreError:
        return False


async def goes_on(chain: Chain, reader: Looking, deadline_s: float = 40.0) -> float:
    """Wait until answers follow the stream again; how long that took."""
    began, before = time.monotonic(), reader.follower.head

    async def moved() -> bool:
        head = reader.follower.head
        return reader.follower.is_ready and head is not None and (before is None or head.seq > before.seq)

    await wait_until(moved, deadline_s, f"answers go on ({reader.follower.trouble})")
    return time.monotonic() - began


async def lose(form: Form, master: Node, key: str, end: End, chain: Chain, reader: Looking) -> float:
    """Let ``master`` end, and follow again later; how long after the take-over answers go on."""
    await end(form, master)
    await wait_until(functools.partial(asyncio.to_thread, form.failed_over, master, key), 60, "taken over")
    took_s = await goes_on(chain, reader, 60)
    if end is kill:
        await told(master.start)
    elif end is freeze:
        master.thaw()
    await wait_until(functools.partial(asyncio.to_thread, form.follows, master), 90, "follows")
    return took_s


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_fail_overs_at_two_hundred_events_a_second(kind: str, tmp_path: Path, figures: Figures) -> None:
    if kind == "cluster":
        figures.name("F27", "Redis Cluster loses masters (killed, frozen, handed over), its slot is moved")
    else:
        figures.name("F26", "replica promoted that lacks the last writes")
    start = redis_forms.start_sentinels if kind == "sentinel" else redis_forms.start_cluster
    rng = random.Random(5)
    with start() as form:
        async with running(form.url, tmp_path, pods=500, churn=EVENTS_A_SECOND) as chain, looking(form.url) as reader:
            await chain.ready()
            await wait_until(lambda: reader.looks > 20, 20)
            key = chain.table().keys.table
            for number in range(ROUNDS):
                end = ENDS[number % len(ENDS)] if number < len(ENDS) else rng.choice(ENDS)
                master = await asyncio.to_thread(form.master_of, key)
                took_s = await lose(form, master, key, end, chain, reader)
                figures.times += 1
                figures.seconds.append(took_s)
                print(f"{kind}: {end.__name__}, answers follow again {took_s:.1f} s after another server took over")
            if isinstance(form, Cluster):
                await move_slot(form, key)
                figures.seconds.append(await goes_on(chain, reader))
                figures.times += 1
            chain.simulation.set_churn(0)
            await wait_until(lambda: answers(chain.table()), 10, "connections are made anew")
            await chain.converged(60)
            await wait_until(lambda: reader.rows() == chain.truth(), 30, "the replica is the truth")
            figures.unflagged_stale += len(reader.broken)
            assert reader.broken == []
            print(f"{kind}: {ROUNDS} fail-overs, {reader.looks} answers looked at, 0 wrong")


async def test_rows_over_several_shards_outlive_fail_overs_and_an_emptied_master(tmp_path: Path) -> None:
    """Each loss hits another shard's server; emptied ones among them, which no replica can make good."""
    shards, rng = 4, random.Random(11)
    with redis_forms.start_cluster() as form:
        async with (
            running(form.url, tmp_path, pods=500, churn=EVENTS_A_SECOND, shards=shards) as chain,
            looking(form.url) as reader,
        ):
            assert (await chain.ready()).shards == shards
            await wait_until(lambda: reader.looks > 20, 20)
            keys = [chain.table().shard(number).objects for number in range(shards)]
            assert len({(await asyncio.to_thread(form.master_of, key)).port for key in keys}) > 1
            for number in range(ROUNDS * 2):
                key = keys[number % shards]
                master = await asyncio.to_thread(form.master_of, key)
                if number % 2:
                    await told(master.ask, "FLUSHALL")
                    print(
                        f"{shards} shards: a master emptied, answers follow {await goes_on(chain, reader, 60):.1f} s on"
                    )
                    continue
                end = ENDS[number // 2] if number // 2 < len(ENDS) else rng.choice(ENDS)
                took_s = await lose(form, master, key, end, chain, reader)
                print(f"{shards} shards: {end.__name__}, answers follow {took_s:.1f} s on")
            chain.simulation.set_churn(0)
            await wait_until(lambda: answers(chain.table()), 10, "connections are made anew")
            await chain.converged(60)
            await wait_until(lambda: reader.rows() == chain.truth(), 30, "the replica is the truth")
            assert reader.broken == []
            print(f"{shards} shards: {ROUNDS * 2} losses, {reader.looks} answers looked at, 0 wrong")


async def move_slot(form: Cluster, key: str) -> None:
    """Move the slot of ``key`` to another primary, key by key, while it is used."""

    def move() -> None:
        source = form.master_of(key)
        target = next(node for node in form.nodes if node.is_master() and node is not source)
        slot = crc.key_slot(key.encode())
        ids = {node.port: node.ask("CLUSTER", "MYID").decode() for node in (source, target)}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            auth = ["AUTH", redis_forms.PASSWORD]
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, *auth, "KEYS", *keys)
        for node in form.nodes:
            if node.is_master():
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])

    await asyncio.to_thread(move)
