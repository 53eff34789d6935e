"""Health, metrics, pages, headers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from pathlib import Path

import pytest

from krm.api import app, server
from krm.table.freshness import State
from tests.integration.api.conftest import Running, running
from tests.sources import FilledSource
from tests.sse import event

STATIC = Path(app.__file__).parent / "static" / "graphiql"


async def text(api: Running, path: str) -> tuple[int, str]:
    async with api.client.get(api.url + path) as answer:
        return answer.status, await answer.text()


async def test_ready_means_that_every_table_that_may_be_read_is_there(api: Running) -> None:
    assert await text(api, "/healthz") == (200, "ok\n")
    assert await text(api, "/readyz") == (200, "ready\n")
    api.source.states["pods"] = State.FORBIDDEN
    assert await text(api, "/readyz") == (200, "ready\n")
    api.source.states["pods"] = State.STALE
    assert await text(api, "/readyz") == (200, "ready\n")
    api.source.states["pods"] = State.NOT_READY
    assert await text(api, "/readyz") == (503, "not ready\n")
    assert await text(api, "/healthz") == (200, "ok\n")


async def test_a_process_that_no_longer_follows_is_neither_ready_nor_healthy(api: Running) -> None:
    api.source.failed = "table pods: ..."
    assert (await text(api, "/readyz"))[0] == 503
    assert (await text(api, "/healthz"))[0] == 503


async def test_metrics_count_requests_and_tell_of_each_resource(api: Running) -> None:
    await api.ask("{ pods { totalCount } }")
    await api.ask("{ pods(first: 0) { totalCount } }")
    await api.ask("{ nope }")
    await text(api, "/some/where/else")
    _, shown = await text(api, "/metrics")
    for line in (
        'krm_http_requests_total{route="/graphql",status="200"} 2.0',
        'krm_http_requests_total{route="/graphql",status="400"} 1.0',
        'krm_http_requests_total{route="other",status="404"} 1.0',
        'krm_graphql_errors_total{code="BAD_ARGUMENT"} 1.0',
        'krm_rows{resource="pods"} 20.0',
        'krm_verified_age_seconds{resource="pods"} 1.5',
        'krm_stream_lag_seconds{resource="pods"} 0.02',
        'krm_state{resource="pods",state="SYNCED"} 1.0',
        'krm_state{resource="pods",state="STALE"} 0.0',
        'krm_missed_total{kind="deleted",resource="pods"} 3.0',
        'krm_apiserver_requests_total{resource="pods",role="streamer"} 3.0',
        'krm_apiserver_bytes_total{resource="pods",role="streamer"} 4000.0',
    ):
        assert line in shown.splitlines(), line


async def test_the_page_for_people_holds_no_data_and_runs_nothing_but_its_own_script(api: Running) -> None:
    async with api.client.get(api.url) as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert answer.status == 200
    assert "pods" not in page
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy


async def test_the_page_is_told_how_every_kind_stands(api: Running) -> None:
    api.source.states["nodes"] = State.NOT_READY
    async with api.client.get(f"{api.url}/overview") as answer:
        assert answer.content_type == "text/event-stream"
        start = await event(answer.content, "start")
        await event(answer.content, "now")  # of a look that may have been before
        now = await event(answer.content, "now")
    assert start["cluster"] == "test"
    states = {one["resource"]: (one["state"], one["rows"]) for one in now["resources"]}
    assert states["pods"] == ("SYNCED", 20)
    assert states["nodes"] == ("NOT_READY", None)


async def test_those_who_watch_do_not_hold_up_the_end(api: Running) -> None:
    async with api.client.get(f"{api.url}/overview") as answer:
        await event(answer.content, "now")
        api.uvicorn.should_exit = True
        async with asyncio.timeout(server.DRAIN_S / 2):
            assert b"event: start" not in await answer.content.read()  # to its end


@pytest.mark.parametrize("path", ["/", "/graphql", "/healthz", "/metrics", "/nothing", "/static/graphiql/page.js"])
async def test_every_answer_is_guarded(api: Running, path: str) -> None:
    async with api.client.get(api.url + path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_a_foreign_origin_gets_no_leave(api: Running) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    async with api.client.options(f"{api.url}/graphql", headers=headers) as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_graphiql_comes_from_this_origin_alone_and_as_it_was_published(api: Running) -> None:
    status, page = await text(api, "/graphql")
    assert status == 200
    links = re.findall(r'(?:src|href)="([^"]+)"(?:\s+integrity="sha384-([^"]+)")?', page)
    assert len(links) >= 8
    for link, digest in links:
        if link == "data:,":
            continue
        assert link.startswith("static/")
        async with api.client.get(f"{api.url}/{link}") as answer:
            assert answer.status == 200
            content = await answer.read()
        if digest:
            assert base64.b64encode(hashlib.sha384(content).digest()).decode() == digest
    assert "://" not in page


async def test_graphiql_can_be_switched_off(source: FilledSource) -> None:
    async with running(source, graphiql=False) as api:
        assert (await text(api, "/graphql"))[0] == 405
        assert (await api.ask("{ pods { totalCount } }"))[0] == 200


async def test_its_example_queries_are_valid(api: Running) -> None:
    examples = re.findall(r"`(.*?)`", (STATIC / "examples.js").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 5
    for query in examples:
        status, answer = await api.ask(query)
        assert status == 200, answer
        assert "errors" not in answer
