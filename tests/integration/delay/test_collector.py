"""The collector against a real InfluxDB engine, and against one that misbehaves: nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from krm import influx as influxes
from krm.errors import StoreRefused
from krm.influx import Influx, Point
from krm.manifests.passwords import USERS
from krm.resources import PODS
from krm.settings import Secret
from krm.store import delays
from krm.store.connect import open_store
from krm.store.reading import TableStore
from krm.store.writing import EventWriter
from krm.workers import collector as collectors
from krm.workers import runner
from tests import servers
from tests.integration.delay.collecting import Scripted, collecting, emptied, sample, told, write
from tests.integration.delay.conftest import Database, served

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collectors tell of themselves twenty times a second: tests read what they tell."""
    monkeypatch.setattr(runner, "BEAT_S", 0.05)


COUNT = 'SELECT count("uid") AS n FROM "stream_delay"'


def names(lines: list[str]) -> list[str]:
    """The names in lines of samples."""
    return [line.split(',name="')[1].split('"')[0] for line in lines if line.startswith("stream_delay")]


async def test_thousands_of_one_second_are_as_many_points_with_all_that_was_sampled(
    database: Database, table: TableStore, streamer: EventWriter
) -> None:
    samples = [sample(f"p{number}", number / 1000) for number in range(2_500)]
    await write(streamer, samples)
    async with collecting(table, database.url, bucket=database.name):
        status = await emptied(table)
    assert (status.written, status.rejected, status.waiting) == (2_500, 0, 0)
    rows = await database.rows('SELECT * FROM "stream_delay"')
    assert sorted(row["delay_seconds"] for row in rows) == [number / 1000 for number in range(2_500)]
    one = next(row for row in rows if row["name"] == "p7")
    assert {name: value for name, value in one.items() if name != "time"} == {
        "cluster": "c",
        "resource": "pods",
        "event": "ADDED",
        "basis": "creation",
        "delay_seconds": 0.007,
        "skew_seconds": -0.1,
        "resource_version": "7",
        "namespace": "n",
        "name": "p7",
        "uid": "u",
    }


async def test_the_line_is_as_documented_at_the_time_of_its_id(table: TableStore) -> None:
    one = sample("p", 1.5, id="1790000000123-45")
    assert influxes.line(collectors.sample_point(table, one)) == (
        "stream_delay,basis=creation,cluster=c,event=ADDED,resource=pods"
        ' delay_seconds=1.5,name="p",namespace="n",resource_version="7",skew_seconds=-0.1,uid="u" 1790000000123000045'
    )
    unknown = sample("p", None, event="DELETED", basis="unknown", skew_s=None, id="1790000000123-0")
    assert influxes.line(collectors.sample_point(table, unknown)) == (
        "stream_delay,basis=unknown,cluster=c,event=DELETED,resource=pods"
        ' name="p",namespace="n",resource_version="7",uid="u" 1790000000123000000'
    )


async def test_what_is_collected_twice_is_there_once(
    database: Database, table: TableStore, streamer: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(streamer, [sample(f"p{number}") for number in range(50)])

    async def dies(*_: object) -> int:
        raise ConnectionError("died before it could settle")

    async with collecting(table, database.url, bucket=database.name) as first:
        monkeypatch.setattr(first.writer, "settle", dies)
        await told(table, "died before")
    assert await table.store.client.xlen(table.keys.delays) == 50
    assert [row["n"] for row in await database.rows(COUNT)] == [50]
    async with collecting(table, database.url, bucket=database.name):
        await emptied(table)
    assert [row["n"] for row in await database.rows(COUNT)] == [50]


async def test_nothing_is_lost_while_influxdb_is_away(
    database: Database, table: TableStore, streamer: EventWriter, free_port: int
) -> None:
    from krm.simulator.influx import WriteRoute

    await write(streamer, [sample(f"p{number}") for number in range(300)])
    async with collecting(table, f"http://127.0.0.1:{free_port}", bucket=database.name):
        status = await told(table, "cannot be reached")
        assert status.state == "failing"
        await write(streamer, [sample(f"q{number}") for number in range(300)])
        async with served(WriteRoute(database.local.url).application(), free_port):
            assert (await emptied(table)).written == 600
    assert [row["n"] for row in await database.rows(COUNT)] == [600]


REFUSALS: dict[str, tuple[web.Response | str, str]] = {
    "401": (web.Response(status=401, text='{"error":"authorization failed"}'), "does not accept KRM_INFLUX_TOKEN"),
    "403": (web.Response(status=403, text='{"message":"forbidden"}'), "does not accept KRM_INFLUX_TOKEN"),
    "404": (web.Response(status=404, headers={"X-Influxdb-Error": 'database not found: "krm"'}), "no bucket 'krm'"),
    "429": (web.Response(status=429, headers={"Retry-After": "1"}), "asks for patience"),
    "503": (web.Response(status=503, headers={"Retry-After": "Wed, 25 Nov 2020 00:00:00 GMT"}), "failed (503)"),
    "500": (web.Response(status=500, text="engine: \x1b[2Jcache maximum memory size exceeded"), "failed (500)"),
    "400": (web.Response(status=400, text='{"code":"invalid","message":"precision"}'), "refuses (400)"),
    "redirect": (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "refuses (302)"),
    "page": (web.Response(status=200, text="<html>Welcome to the hotel</html>"), "confirms no write"),
    "hang": ("hang", "cannot be reached"),
    "cut": ("cut", "cannot be reached"),
    "half": ("half", "cannot be reached"),
}


@pytest.mark.parametrize("how", sorted(REFUSALS))
async def test_a_refusal_is_told_and_costs_no_sample(how: str, table: TableStore, streamer: EventWriter) -> None:
    answer, word = REFUSALS[how]
    influx = Scripted(answer if isinstance(answer, str) else copied(answer))
    await write(streamer, [sample("a"), sample("b")])
    heard = asyncio.Event()
    timeout_s = 0.3 if how == "hang" else 10.0
    async with served(influx.application()) as url, collecting(table, url, timeout_s=timeout_s) as collector:

        async def until_heard(delay_s: float) -> None:
            assert delay_s > 0
            await collector._beat()
            await heard.wait()

        collector._linger = until_heard  # type: ignore[method-assign]
        status = await told(table, word)
        assert status.reason is not None
        assert status.reason.isprintable()
        heard.set()
        done = await emptied(table)
    assert (done.written, done.rejected) == (2, 0)
    assert set(influx.lines) == set(influx.lines[-2:])  # written again as it was, where it may have been written
    assert names(influx.lines)[-2:] == ["a", "b"]


def copied(response: web.Response) -> web.Response:
    return web.Response(status=response.status, headers=response.headers, body=response.body)


async def test_retry_after_is_obeyed(table: TableStore, streamer: EventWriter) -> None:
    influx = Scripted(web.Response(status=429, headers={"Retry-After": "2"}))
    await write(streamer, [sample("a")])
    asked: list[float] = []
    async with served(influx.application()) as url, collecting(table, url) as collector:
        linger = collector._linger

        async def noted(delay_s: float) -> None:
            asked.append(delay_s)
            await linger(0.01)

        collector._linger = noted  # type: ignore[method-assign]
        await emptied(table)
    assert len(asked) == 1
    assert 2.0 <= asked[0] <= 3.0


async def test_version_2_is_asked_with_its_organisation_bucket_token_and_precision(
    table: TableStore, streamer: EventWriter
) -> None:
    influx = Scripted()
    await write(streamer, [sample("a")])
    async with served(influx.application()) as url, collecting(table, url, bucket="bucket", token="secret"):
        await emptied(table)
    request = influx.asked[0]
    assert dict(request.query) == {"org": "org", "bucket": "bucket", "precision": "ns"}
    assert request.headers["Authorization"] == "Token secret"
    assert request.headers["Content-Encoding"] == "gzip"


async def test_one_bad_line_is_isolated_and_all_others_are_kept(
    database: Database, table: TableStore, streamer: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = influxes.line

    def spoilt(point: Point) -> str:
        return "this is no line" if point.fields.get("name") in ("p7", "p93") else plain(point)

    monkeypatch.setattr(influxes, "line", spoilt)
    await write(streamer, [sample(f"p{number}") for number in range(100)])
    async with collecting(table, database.url, bucket=database.name):
        status = await emptied(table)
    assert (status.written, status.rejected) == (98, 2)
    found = {row["name"] for row in await database.rows('SELECT "name" FROM "stream_delay"')}
    assert found == {f"p{number}" for number in range(100)} - {"p7", "p93"}


async def test_points_that_are_too_old_for_the_bucket_are_counted(
    database: Database, table: TableStore, streamer: EventWriter
) -> None:
    await database.local.query(f'CREATE RETENTION POLICY "short" ON "{database.name}" DURATION 1h REPLICATION 1')
    old = delays.entry(sample("old"))[3]
    await table.store.client.xadd(table.keys.delays, {"d": old}, id="1500000000000-0")
    await write(streamer, [sample("new")])
    async with collecting(table, database.url, bucket=f"{database.name}/short"):
        status = await emptied(table)
    assert (status.written, status.rejected) == (1, 1)
    assert [row["name"] for row in await database.rows('SELECT "name" FROM "short"."stream_delay"')] == ["new"]


async def test_a_server_that_takes_no_point_at_all_costs_none(
    database: Database, table: TableStore, streamer: EventWriter
) -> None:
    # Somebody else has written this measurement with a number for a name.
    async with influxed(database) as influx:
        await influx.write([Point(measurement="stream_delay", tags={}, fields={"name": 1.0}, at_ns=time.time_ns())])
    await write(streamer, [sample(f"p{number}") for number in range(40)])
    async with collecting(table, database.url, bucket=database.name):
        status = await told(table, "takes no point")
    assert status.rejected == 0
    assert await table.store.client.xlen(table.keys.delays) == 40


async def test_what_cannot_be_read_is_counted_and_goes(
    database: Database, table: TableStore, streamer: EventWriter
) -> None:
    await write(streamer, [sample("a")])
    await table.store.client.xadd(table.keys.delays, {"d": b"\x80"})
    async with collecting(table, database.url, bucket=database.name):
        status = await emptied(table)
    assert (status.written, status.rejected) == (1, 1)


async def test_the_rights_that_the_manifests_give_to_the_collector_are_enough(database: Database) -> None:
    with servers.start_redis() as server, redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "collector", "on", ">word", *USERS["krm-collector"].split())
        store, own = (
            open_store(Secret(server.url)),
            open_store(Secret(f"redis://collector:word@127.0.0.1:{server.port}")),
        )
        try:
            streamer = EventWriter(store, TableStore(store, "c", PODS))
            assert await streamer.acquire() == 0
            await write(streamer, [sample("a")])
            assert await own.check(writer=True) == []
            async with collecting(TableStore(own, "c", PODS), database.url, bucket=database.name):
                assert (await emptied(TableStore(store, "c", PODS))).written == 1
            with pytest.raises(StoreRefused):
                await TableStore(own, "c", PODS).records_from(0)
        finally:
            await store.close()
            await own.close()


class influxed:  # noqa: N801 - read as a context
    """A connection of the test's own."""

    def __init__(self, database: Database) -> None:
        self._influx = Influx(database.url, None, org="-", bucket=database.name)

    async def __aenter__(self) -> Influx:
        return self._influx

    async def __aexit__(self, *_: object) -> None:
        await self._influx.close()


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ODD = st.one_of(TEXTS, st.sampled_from(['"', "\\", 'a\\"b', "\n", "a\nstream_delay x=1 1", "a,b=c d", "\\\\", "ü€𝄞"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(ODD, min_size=1, max_size=8))
async def test_whatever_texts_hold_they_come_back_as_they_are(database: Database, texts: list[str]) -> None:
    await database.local.query("DROP MEASUREMENT odd", database.name)
    async with influxed(database) as influx:
        await influx.write(
            [
                Point(measurement="odd", tags={"tag": "t"}, fields={"text": text, "number": number}, at_ns=number)
                for number, text in enumerate(texts, 1)
            ]
        )
    found = await database.rows("SELECT text, number FROM odd")
    assert {row["number"]: row["text"] for row in found} == dict(enumerate(texts, 1))
