"""Objects that are not as Kubernetes promises: kept with gaps, counted, and never the end of a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from krm import resources
from krm.api.live import Live
from krm.merge import State
from krm.schema import build
from krm.schema.context import Context
from krm.schema.engine import Engine, Request
from krm.schema.limits import Limits
from krm.settings import Secret
from krm.store.connect import open_store
from krm.store.reading import TableStore
from krm.store.rows import Codec, Row
from krm.table.tables import Tables
from tests.chain import ROLES, Chain, described, running
from tests.integration.bad_input import odd
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(110)

ORDINARY = 12
IN_TIME_S = 40.0
"""A stream that meets an object without a version tries it three times before it waits for a list."""


async def rows(chain: Chain) -> Sequence[Row]:
    """What is stored."""
    codec = Codec(resources.PODS)
    return [codec.decode(record) async for part in chain.table().records() for _, record in part]


async def stored(chain: Chain, *names: str) -> Mapping[str, Row]:
    """The rows by name, once they have these names among them and are all that the head speaks of."""

    async def found() -> Mapping[str, Row] | None:
        head = await chain.table().head()
        if head is None or head.state != "ready":
            return None
        there = await rows(chain)
        by_name = {row.name: row for row in there}
        is_whole = (head.rows, head.digest) == described({row.key: State(row.uid, row.version) for row in there})
        return by_name if by_name.keys() >= set(names) and is_whole else None

    return await wait_until(found, IN_TIME_S, f"{len(names)} rows")


async def counted(chain: Chain, role: str) -> int:
    status = (await chain.table().statuses()).get(role)
    return status.malformed if status is not None else 0


def all_live(chain: Chain) -> bool:
    return all(not chain._lives[role, "pods"][0].done() for role in ROLES)


@asynccontextmanager
async def asked(chain: Chain, redis_url: str) -> AsyncIterator[Any]:
    """Ask GraphQL of the chain's table."""
    store = open_store(Secret(redis_url))
    stores = [TableStore(store, chain.settings.cluster, resources.PODS)]
    tables = Tables.of(stores)
    engine = Engine(build.default(), Limits())
    try:
        async with tables:
            source = Live(tables, stores, chain.settings)
            await wait_until(lambda: str(source.freshness(resources.PODS).state) != "NOT_READY", IN_TIME_S)

            async def ask(query: str, **variables: Any) -> dict[str, Any]:
                context = Context(source=source, is_compiled=True)
                answer = await engine.answer(Request(query=query, variables=variables), context)
                assert answer.status == 200, answer.body
                found: dict[str, Any] = orjson.loads(answer.body)
                return found

            yield ask
    finally:
        await store.close()


async def test_odd_objects_of_a_list_are_rows_and_counted(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=ORDINARY, started=False) as chain:
        ordinary = {key[1] for key in chain.truth()}
        for name, item in {**odd.NAMED, **odd.UNVERSIONED}.items():
            odd.put(chain.simulation, item, name)
        await chain.start_all()
        found = await stored(chain, *ordinary, *odd.NAMED, *odd.UNVERSIONED)
        assert found.keys() == ordinary | odd.NAMED.keys() | odd.UNVERSIONED.keys()
        assert {name: found[name].version for name in odd.UNVERSIONED} == dict.fromkeys(odd.UNVERSIONED, "")
        assert found["no-uid"].uid == "default/no-uid"
        assert found["label-null"].labels == {"c": "kept"}
        # Three without a uid, four without a version, integers that do not fit a head.
        assert await wait_until(lambda: counted(chain, "verifier")) >= 7
        assert all_live(chain)


async def test_objects_without_a_name_cost_no_other_row(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=ORDINARY, started=False) as chain:
        ordinary = {key[1] for key in chain.truth()}
        for name, item in odd.NAMELESS.items():
            odd.put(chain.simulation, item, name)
        await chain.start_all()
        found = await stored(chain, *ordinary)
        assert found.keys() <= ordinary | {""}
        assert await wait_until(lambda: counted(chain, "verifier")) >= len(odd.NAMELESS)
        assert all_live(chain)


async def test_objects_that_share_a_uid_cost_no_other_row(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=ORDINARY, started=False) as chain:
        ordinary = {key[1] for key in chain.truth()}
        for name in ("twin-a", "twin-b"):
            odd.put(chain.simulation, {"metadata": odd.metadata(name, uid="one")}, name)
        await chain.start_all()
        found = await stored(chain, *ordinary)
        assert len(found.keys() & {"twin-a", "twin-b"}) == 1
        assert await wait_until(lambda: counted(chain, "verifier")) >= 1


async def test_odd_objects_of_a_watch_are_rows_and_counted(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=ORDINARY, verify_interval_s=60.0) as chain:
        ordinary = {key[1] for key in chain.truth()}
        await chain.ready()
        listed = await chain.table().list_heads()
        for name, item in odd.NAMED.items():
            odd.put(chain.simulation, item, name)
        found = await stored(chain, *ordinary, *odd.NAMED)
        assert await chain.table().list_heads() == listed  # the stream alone brought them
        assert found["large"].version
        assert await wait_until(lambda: counted(chain, "streamer")) >= 3
        assert all_live(chain)


@pytest.mark.parametrize("kinds", [odd.UNVERSIONED, odd.NAMELESS], ids=["no-version", "no-name"])
async def test_events_that_cannot_be_placed_are_a_gap_that_a_list_closes(
    redis_url: str, tmp_path: Path, kinds: Mapping[str, dict[str, Any]]
) -> None:
    async with running(redis_url, tmp_path, pods=ORDINARY) as chain:
        await chain.ready()
        ordinary = {key[1] for key in chain.truth()}
        for name, item in kinds.items():
            odd.put(chain.simulation, item, name)
        after = {"metadata": odd.metadata("after")}
        odd.put(chain.simulation, after, "after")
        found = await stored(chain, *ordinary, "after")
        assert found.keys() <= ordinary | kinds.keys() | {"after", ""}

        async def is_closed() -> bool:
            head = await chain.table().head()
            return head is not None and head.contiguous

        await wait_until(is_closed, IN_TIME_S, "the gap is closed")
        odd.put(chain.simulation, {"metadata": odd.metadata("later")}, "later")
        await stored(chain, "later")
        assert all_live(chain)


async def test_a_uid_that_comes_twice_in_a_watch_heals_with_the_next_list(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=ORDINARY) as chain:
        await chain.ready()
        ordinary = {key[1] for key in chain.truth()}
        odd.put(chain.simulation, {"metadata": odd.metadata("twin-a", uid="one")}, "twin-a")
        await stored(chain, "twin-a")
        odd.put(chain.simulation, {"metadata": odd.metadata("twin-b", uid="one")}, "twin-b")
        await wait_until(lambda: counted(chain, "verifier"), IN_TIME_S)  # a list has seen both
        odd.put(chain.simulation, {"metadata": odd.metadata("later")}, "later")
        found = await stored(chain, *ordinary, "later")
        assert len(found.keys() & {"twin-a", "twin-b"}) == 1
        assert all_live(chain)


QUERY = """{ pods(first: 500) { totalCount nodes {
    metadata { name uid resourceVersion generation creationTimestamp labels annotations ownerReferences { uid } }
    spec { priority nodeName containers { name } } status { phase startTime } requests { cpu memory gpu }
} } }"""


async def test_odd_objects_are_answered_beside_the_others(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, pods=ORDINARY, started=False) as chain:
        ordinary = {key[1] for key in chain.truth()}
        for name, item in {**odd.NAMED, **odd.UNVERSIONED, "no-metadata": odd.NAMELESS["no-metadata"]}.items():
            odd.put(chain.simulation, item, name)
        await chain.start_all()
        await stored(chain, *ordinary, *odd.NAMED)
        async with asked(chain, redis_url) as ask:
            names = {*ordinary, *odd.NAMED, *odd.UNVERSIONED}

            async def whole() -> dict[str, Any] | None:
                answer: dict[str, Any] = await ask(QUERY)
                found = {(each["metadata"] or {}).get("name") for each in answer["data"]["pods"]["nodes"]}
                return answer if found >= names else None

            answer = await wait_until(whole, IN_TIME_S)
            assert "errors" not in answer
            nodes = {(each["metadata"] or {}).get("name"): each for each in answer["data"]["pods"]["nodes"]}
            assert len(nodes["large"]["metadata"]["annotations"]["note"]) == odd.NOTE_BYTES
            assert nodes["integers"]["metadata"]["generation"] is None
            assert nodes["quantity"]["requests"] == {"cpu": None, "memory": None, "gpu": None}
            assert nodes["no-zone"]["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00"
            assert nodes["no-version"]["metadata"]["resourceVersion"] is None
            assert nodes[None]["spec"]["nodeName"] == "somewhere"
            for arguments in (
                'orderBy: { path: "metadata.creationTimestamp" }',
                'where: { path: "requests.cpu", gt: 1 }',
                'where: { path: "spec.priority", gt: 1 }',
                'labelSelector: "c=kept"',
            ):
                assert "errors" not in await ask(f"{{ pods({arguments}) {{ totalCount }} }}"), arguments
            for name in names:
                single = await ask(
                    'query Q($name: String!) { pod(namespace: "default", name: $name) { object } }', name=name
                )
                if name not in ordinary:
                    assert single["data"]["pod"]["object"]["metadata"]["name"] == name
