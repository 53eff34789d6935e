"""Who is let in: real HTTP and WebSockets in front, a simulated API server with real reviews behind."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from krm import simulator
from krm.api import sockets
from krm.auth import reviewed
from tests.integration.auth.conftest import USERS, Secured, cluster_with_users
from tests.sources import FilledSource, pod
from tests.sse import event
from tests.waiting import wait_until

COUNT = "{ pods { totalCount scope { complete namespaces } } }"
BODY = json.dumps({"query": COUNT}).encode()


async def raw(door: Secured, *headers: str, target: str = "POST /graphql") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what is answered to a request with just these headers."""
    body = BODY if target.startswith("POST") else b""
    head = [f"{target} HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Connection: close"]
    sent = "\r\n".join([*head, f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body
    top, _, rest = (await door.api.send(sent)).partition(b"\r\n\r\n")
    status, *lines = top.decode().split("\r\n")
    named = [line.partition(": ") for line in lines]
    return int(status.split()[1]), {name.lower(): value for name, _, value in named}, rest


UNKNOWN: dict[str, list[str]] = {
    "no token": [],
    "an unknown token": ["Authorization: Bearer nobodys"],
    "a token for another audience": ["Authorization: Bearer eve-token"],
    "basic": ["Authorization: Basic " + base64.b64encode(b"admin:admin-token").decode()],
    "no scheme": ["Authorization: admin-token"],
    "two headers": ["Authorization: Bearer admin-token", "Authorization: Bearer nobodys"],
    "twice the same": ["Authorization: Bearer admin-token", "Authorization: Bearer admin-token"],
    "in a cookie": ["Cookie: Authorization=Bearer%20admin-token; token=admin-token"],
    "under another name": ["X-Authorization: Bearer admin-token", "Proxy-Authorization: Bearer admin-token"],
    "somebody says so": ["X-Remote-User: admin", "X-Remote-Group: system:masters", "X-Forwarded-User: admin"],
    "impersonated": ["Impersonate-User: admin", "Impersonate-Group: system:masters"],
    "upgrade on POST": ["Upgrade: websocket", "Connection: Upgrade"],
}


@pytest.mark.parametrize("headers", UNKNOWN.values(), ids=UNKNOWN)
async def test_whoever_is_not_known_gets_the_same_401(door: Secured, headers: list[str]) -> None:
    status, named, body = await raw(door, *headers)
    assert (status, named["www-authenticate"]) == (401, 'Bearer realm="krm"')
    assert json.loads(body) == {
        "errors": [
            {
                "message": "a valid bearer token is needed (Authorization: Bearer TOKEN)",
                "extensions": {"code": "UNAUTHENTICATED"},
            }
        ]
    }


async def test_a_token_that_stands_in_the_url_is_none(door: Secured) -> None:
    assert (await raw(door, target="POST /graphql?token=admin-token&access_token=admin-token"))[0] == 401


async def test_what_others_say_about_a_caller_changes_nothing(door: Secured) -> None:
    door.grant("ann", "pods", namespace="team-1")
    _, plain = await door.ask(COUNT)
    claims = {"Impersonate-User": "admin", "Impersonate-Group": "system:masters", "X-Remote-User": "admin"}
    _, claimed = await door.ask(COUNT, **claims, Cookie="token=admin-token")
    assert plain == claimed
    assert plain["data"]["pods"] == {"totalCount": 3, "scope": {"complete": False, "namespaces": ["team-1"]}}


ROUTES = {
    "/healthz": 200,
    "/readyz": 200,
    "/": 200,
    "/graphql": 200,
    "/static/graphiql/index.html": 200,
    "/metrics": 401,
    "/overview": 401,
    "/frames/pods": 401,
    "/frames/nothing": 401,
    "/nothing": 404,
    "/static/": 404,
}


@pytest.mark.parametrize(("path", "status"), ROUTES.items())
async def test_without_a_token_no_path_shows_data(door: Secured, path: str, status: int) -> None:
    found, text = await door.get(path, token="")
    assert found == status
    assert ">SYNCED<" not in text
    assert "team-" not in text
    assert "krm_rows" not in text


async def test_every_route_of_the_application_is_among_those(door: Secured) -> None:
    application: Any = door.api.uvicorn.config.app
    paths = {getattr(route, "path", "") for route in application.routes}
    known = {path.replace("/frames/pods", "/frames/{resource}") for path in ROUTES} | {"/static"}
    assert paths <= known


async def test_no_origin_is_let_in_by_a_browser(door: Secured) -> None:
    for origin in ("https://elsewhere.example", "null"):
        head = (
            f"Origin: {origin}",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization",
        )
        for target in ("OPTIONS /graphql", "POST /graphql"):
            status, named, _ = await raw(door, *head, "Authorization: Bearer admin-token", target=target)
            assert not [name for name in named if name.startswith("access-control")]
            assert status == (405 if target.startswith("OPTIONS") else 200)


async def test_rights_decide_what_is_shown(door: Secured) -> None:
    door.grant("ann", "pods", namespace="team-1")
    status, admin = await door.ask(COUNT, "admin-token")
    assert (status, admin["data"]["pods"]) == (200, {"totalCount": 9, "scope": {"complete": True, "namespaces": None}})
    status, bob = await door.ask(COUNT, "bob-token")
    assert (status, bob["errors"][0]["extensions"]["code"]) == (200, "FORBIDDEN")
    hidden = await door.ask('{ pods(namespace: "team-2") { totalCount } }')
    nowhere = await door.ask('{ pods(namespace: "nowhere") { totalCount } }')
    assert json.dumps(hidden).replace("team-2", "nowhere") == json.dumps(nowhere)
    assert nowhere[1]["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_one_object_needs_the_right_to_get_it(door: Secured) -> None:
    door.grant("ann", "pods", namespace="team-1", verbs=["get"])
    status, found = await door.ask('{ pod(namespace: "team-1", name: "p-1") { metadata { name } } }')
    assert (status, found["data"]["pod"]) == (200, {"metadata": {"name": "p-1"}})
    for namespace, name in (("team-2", "p-2"), ("team-2", "none")):
        _, refused = await door.ask(f'{{ pod(namespace: "{namespace}", name: "{name}") {{ kind }} }}')
        assert refused["errors"][0]["message"] == "no right to get pods in the namespace team-2"
    assert (await door.ask(COUNT))[1]["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_what_is_taken_away_is_not_shown_once_the_decision_is_old(door: Secured) -> None:
    door.grant("ann", "pods")
    assert (await door.ask(COUNT))[1]["data"]["pods"]["totalCount"] == 9
    door.revoke("ann")
    door.forget()
    assert (await door.ask(COUNT))[1]["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    del door.cluster.access.tokens["ann-token"]
    door.forget()
    assert (await door.ask(COUNT))[0] == 401


async def test_frames_metrics_and_the_page_have_the_same_rights(door: Secured) -> None:
    door.grant("ann", "pods", namespace="team-1")
    assert (await door.get("/frames/pods?namespace=team-2"))[0] == 403
    assert (await door.get("/frames/nodes"))[0] == 403
    assert (await door.get("/frames/pods", raw=True))[0] == 200
    assert (await door.get("/metrics"))[0] == 403
    assert (await door.get("/metrics", "nobodys"))[0] == 401
    assert (await door.get("/overview", "nobodys"))[0] == 401
    assert "krm_rows" in (await door.get("/metrics", "admin-token"))[1]
    assert await objects(door, "ann-token") == {"pods": 3, "nodes": None}
    assert await objects(door, "admin-token") == {"pods": 9, "nodes": 1}


async def objects(door: Secured, token: str) -> dict[str, int | None]:
    """How many pods and nodes the page shows to a caller."""
    headers = {"Authorization": f"Bearer {token}"}
    async with door.api.client.get(f"{door.api.url}/overview", headers=headers) as answer:
        now = await event(answer.content, "now")
    return {one["resource"]: one["rows"] for one in now["resources"] if one["resource"] in ("pods", "nodes")}


async def test_the_page_shows_a_person_what_their_token_may_list(door: Secured, page: Page) -> None:
    page.set_default_timeout(60_000)
    door.grant("ann", "pods", namespace="team-1")
    await page.goto(door.api.url)
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Token").fill("nobodys")
    await dialog.get_by_role("button", name="Sign in").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("not valid", timeout=60_000)
    await dialog.get_by_label("Token").fill("ann-token")
    await dialog.get_by_role("button", name="Sign in").click()
    await expect(page.locator('tr[data-resource="pods"] td').nth(1)).to_have_text("3", timeout=60_000)
    await expect(page.locator('tr[data-resource="nodes"] td').nth(1)).to_have_text("–")  # noqa: RUF001
    await page.locator('tr[data-resource="pods"] a').click()
    await expect(page.locator(".summary")).to_contain_text("only of the namespaces that you may list: team-1")
    await expect(page.locator("table.rows tbody tr")).to_have_count(3)
    await page.get_by_role("link", name="nodes").click()
    await expect(page.get_by_role("alert")).to_contain_text("no right to list nodes")
    assert "team-2" not in await page.content()
    assert await page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert "team-1" not in await page.content()


async def test_an_api_server_that_says_nothing_lets_nobody_in(door: Secured) -> None:
    door.grant("ann", "pods")
    door.cluster.faults.add("status", status=500, count=None)
    status, body = await door.ask(COUNT)
    assert (status, body["errors"][0]["extensions"]["code"]) == (503, "NOT_READY")
    assert (await door.get("/frames/pods"))[0] == 503
    door.cluster.faults.clear()
    assert (await door.ask(COUNT))[1]["data"]["pods"]["totalCount"] == 9
    door.callers.permissions.decisions._kept.clear()
    door.cluster.faults.add("status", status=500, count=None)
    status, body = await door.ask(COUNT)
    assert (status, body["errors"][0]["extensions"]["code"]) == (200, "NOT_READY")
    assert (await door.ask("{ freshness { state } }"))[0] == 200


async def test_a_caller_is_counted_by_name_and_not_by_connection(
    door: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.grant("ann", "pods")
    door.grant("bob", "pods")
    door.api.uvicorn.config.app.state.api.flights._most = 2  # type: ignore[union-attr]
    go, waiting = asyncio.Event(), []
    plain_wait = door.api.source.wait

    async def wait(*arguments: Any, **more: Any) -> Any:
        waiting.append(1)
        await go.wait()
        return await plain_wait(*arguments, **more)

    monkeypatch.setattr(door.api.source, "wait", wait)
    first = [asyncio.create_task(door.ask(COUNT)) for _ in range(2)]
    await wait_until(lambda: len(waiting) == 2)
    assert (await door.ask(COUNT))[0] == 429
    other = asyncio.create_task(door.ask(COUNT, "bob-token"))
    await wait_until(lambda: len(waiting) == 3)
    go.set()
    assert [status for status, _ in await asyncio.gather(*first, other)] == [200, 200, 200]


async def test_the_audience_that_is_asked_for_decides(tmp_path: Path) -> None:
    source = FilledSource({"pods": [pod("p")]})
    async with (
        cluster_with_users(tmp_path) as (_, kubeconfig),
        reviewed.reviewed(kubeconfig, None, source, audience="https://elsewhere") as callers,
    ):
        assert (await callers.caller(["Bearer eve-token"])).key
        with pytest.raises(Exception, match="a valid bearer token is needed"):
            await callers.caller(["Bearer admin-token"])


async def test_an_account_that_may_not_review_says_so_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with simulator.serve(auth=True, tokens=USERS) as cluster:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig("bob-token"))
        async with reviewed.reviewed(kubeconfig, None, FilledSource(), audience=None):
            assert len([r for r in caplog.records if "no caller can be let in" in r.message]) == 2


# -- WebSockets ------------------------------------------------------------------------------------------------------

WATCH = "subscription { pods { type object { metadata { name namespace } } } }"


def subscribe(query: str) -> dict[str, Any]:
    return {"type": "subscribe", "id": "1", "payload": {"query": query}}


async def closed_with(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        continue
    return socket.close_code


PAYLOADS: list[object] = [
    None,
    {},
    [],
    {"authorization": 5},
    {"authorization": "Bearer nobodys"},
    {"token": "admin-token"},
]
PAYLOADS.append({"authorization": "Bearer admin-token", "Authorization": "Bearer admin-token"})


@pytest.mark.parametrize("payload", PAYLOADS, ids=map(str, PAYLOADS))
async def test_a_socket_without_a_valid_token_is_closed(door: Secured, payload: object) -> None:
    assert await asyncio.wait_for(closed_with(await door.socket(payload)), 5) == 4401


async def test_a_header_is_no_substitute_for_the_first_message(door: Secured) -> None:
    socket = await door.api.client.ws_connect(
        f"{door.api.url}/graphql",
        protocols=["graphql-transport-ws"],
        headers={"Authorization": "Bearer admin-token"},
    )
    await socket.send_json({"type": "connection_init"})
    assert await asyncio.wait_for(closed_with(socket), 5) == 4401


async def watching(door: Secured, token: str = "ann-token") -> aiohttp.ClientWebSocketResponse:
    socket = await door.socket({"authorization": f"Bearer {token}"})
    assert (await socket.receive_json(timeout=5))["type"] == "connection_ack"
    await socket.send_json(subscribe(WATCH))
    return socket


async def events(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        data = (await socket.receive_json(timeout=10))["payload"]["data"]["pods"]
        found.append((data["type"], data["object"]["metadata"]["name"] if data["object"] else ""))
    return found


async def test_a_subscription_shows_what_may_be_watched(door: Secured) -> None:
    door.grant("ann", "pods", namespace="team-1")
    socket = await watching(door)
    assert {name for _, name in await events(socket, 3)} == {"p-1", "p-4", "p-7"}
    door.api.source.change("pods", pod("hidden", "team-2"))
    door.api.source.change("pods", pod("seen", "team-1"))
    assert await events(socket, 1) == [("ADDED", "seen")]
    await socket.close()


async def test_a_subscription_ends_when_the_right_goes_and_the_socket_when_the_token_goes(
    door: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("krm.auth.permissions.UserRights.renewed_s", 0.05)
    monkeypatch.setattr(sockets, "REVIEW_EVERY_S", 0.05)
    monkeypatch.setattr(sockets, "REVIEW_LEAST_S", 0.05)
    door.grant("ann", "pods")
    socket = await watching(door)
    await events(socket, 9)
    door.revoke("ann")
    door.forget()
    refused = await socket.receive_json(timeout=10)
    assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "FORBIDDEN")
    del door.cluster.access.tokens["ann-token"]
    assert await asyncio.wait_for(closed_with(socket), 10) == 4401


async def test_a_socket_survives_an_api_server_that_is_away_for_a_moment(
    door: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "REVIEW_EVERY_S", 0.05)
    monkeypatch.setattr(sockets, "REVIEW_LEAST_S", 0.05)
    monkeypatch.setattr(sockets, "REVIEWS", 1_000)
    door.grant("ann", "pods")
    socket = await watching(door)
    await events(socket, 9)
    fault = door.cluster.faults.add("status", status=503, count=3)
    await wait_until(lambda: fault.is_spent)
    door.api.source.change("pods", pod("later", "team-1"))
    assert await events(socket, 1) == [("ADDED", "later")]
    await socket.close()
