"""A changed ``KRM_REDACT`` reaches what is stored already: what the new rules name is neither answered nor kept."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from krm.resources import PODS
from krm.settings import Secret
from krm.store.connect import Store, open_store
from krm.store.head import Head
from krm.store.reading import TableStore
from krm.store.rows import Codec
from krm.store.writing import OTHER_RULES, EventWriter, ListWriter, TableWriter, Writer
from krm.table.tables import Tables
from tests.chain import ROLES, Chain, running
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(90)

PATH = "spec.nodeName"


async def restart(chain: Chain, **settings: object) -> None:
    for role in ROLES:
        await chain.stop(role)
    chain.settings = dataclasses.replace(chain.settings, **settings)  # type: ignore[arg-type]
    for role in ROLES:
        await chain.start(role)


async def bodies(table: TableStore) -> list[bytes]:
    """Every object's text that is stored, wherever."""
    codec = Codec(PODS)
    known, _ = await table.dictionaries()
    for dictionary in known.values():
        codec.compressor.add(dictionary, use=False)
    client = table.store.client
    records = [record async for part in table.records() for _, record in part]
    for key in (table.keys.changes, table.keys.events):
        for _, fields in await client.xrange(key):
            records += [fields[name] for name in (b"r", b"p") if fields.get(name)]
    return [codec.body(record) for record in records] + list(known.values())


async def test_added_path_is_neither_stored_nor_answered_any_more(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, churn=20.0, verify_interval_s=1.0) as chain:
        table = chain.table()
        before = await chain.ready()
        assert any(b'"nodeName":' in body for body in await bodies(table))
        old_keys = set(await chain.store.client.keys("*verified:*"))
        async with Tables.of([table], redact=[PATH]) as strict, Tables.of([chain.table()]) as plain:
            await wait_until(lambda: plain.follower(PODS).is_ready)
            await wait_until(lambda: PATH in str(strict.follower(PODS).freshness().reason))
            assert not strict.follower(PODS).is_ready
            await restart(chain, redact=(PATH, "metadata.annotations"))

            async def renewed() -> Head | None:
                head = await chain.ready()
                return head if head.run != before.run else None

            head = await wait_until(renewed, 30)
            assert head.rules.splitlines() == ["metadata.annotations", PATH]
            await wait_until(lambda: strict.follower(PODS).is_ready, 30)
            chain.simulation.set_churn(0)
            await chain.converged(30)
            stored = await bodies(table)
            assert len(stored) > 60
            assert not any(b'"nodeName":' in body for body in stored)
            assert not old_keys & set(await chain.store.client.keys("*verified:*"))
            run = (await chain.ready()).run
            await restart(chain)  # the same rules once more: nothing is made anew
            await chain.converged(30)
            assert (await chain.ready()).run == run
            await restart(chain, redact=())  # and what may be stored again is
            await wait_until(lambda: _holds(table, b'"nodeName":'), 30)


async def _holds(table: TableStore, text: bytes) -> bool:
    head = await table.head()
    return head is not None and head.state == "ready" and any(text in body for body in await bodies(table))


async def test_workers_of_other_rules_wait_until_the_others_have_gone(redis_url: str) -> None:
    store: Store = open_store(Secret(redis_url))
    try:
        table = TableStore(store, "default", PODS)

        def writers(rules: str) -> list[Writer]:
            made: list[Writer] = [
                EventWriter(store, table),
                ListWriter(store, table),
                TableWriter(store, table, events_max=1_000, retention_s=60),
            ]
            for writer in made:
                writer.rules = rules
            return made

        old, new = writers(""), writers(PATH)
        for writer in old:
            assert await writer.acquire() == 0
        aggregator = old[2]
        assert isinstance(aggregator, TableWriter)
        run = await aggregator.begin()
        for writer in old[1:]:
            await writer.release()
        for writer in new[1:]:
            assert await writer.acquire("999") > 0  # a Lease is no way around it
            assert writer.waits_for == OTHER_RULES
        head = await table.head()
        assert head is not None
        assert head.run == run
        await old[0].release()
        for writer in new:
            assert await writer.acquire() == 0
        assert await table.head() is None
        assert await old[0].acquire() > 0
        assert old[0].waits_for == "waiting"
        for writer in (new[0], *new):
            await writer.release()
        # Two at once, of two minds: one of them writes.
        await asyncio.gather(*(writer.acquire() for writer in (*old, *new)))
        rules = await store.client.hget(table.keys.fence, "rules")
        assert rules in (b"", PATH.encode())
    finally:
        await store.close()
