"""What a real API server answered, read by what reads it here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from krm import errors, resources
from krm.kube import discovery, listing, reading, reviews, watching
from krm.kube.connect import Cluster
from krm.resources import Resource
from krm.settings import Secret
from tests.integration.kube import apiserver
from tests.integration.kube.conftest import Open

FOLDER = Path(__file__).parent / "recordings"
PODS = "/api/v1/namespaces/team-1/pods"
ALICE = reviews.User(name="alice", groups=("devs", "system:authenticated"))


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def replay(name: str) -> apiserver.Answer:
    """The recorded answer, spelled as compactly as the API server spells."""
    response = recorded(name)["response"]
    if "stream" in response:
        lines = [json.dumps(e["event"], separators=(",", ":"), ensure_ascii=False) for e in response["stream"]]
        return apiserver.stream(*(f"{line}\n".encode() for line in lines))
    body = json.dumps(response["json"], separators=(",", ":"), ensure_ascii=False).encode()
    kept = {k.replace("-", "_"): v for k, v in response["headers"].items() if k in ("Retry-After", "Audit-Id")}
    return apiserver.answer(body, response["status"], **kept)


async def pages(cluster: Cluster, **options: Any) -> list[listing.Page]:
    return [p async for p in listing.pages(cluster, PODS, limit=2, timeout_s=10, **options)]


async def watched(cluster: Cluster) -> list[watching.WatchEvent]:
    batches = watching.watch(cluster, PODS, "1", timeout_s=3, silence_s=5)
    return [event async for batch in batches for event in batch]


async def test_pages_of_a_list(connected: Open) -> None:
    async with apiserver.running(replay("pods-list-limit-2"), replay("pods-list-continue")) as server:
        got: list[listing.Page] = []
        with pytest.raises(errors.BadData, match="followed by itself"):  # noqa: PT012 - two pages are recorded, the second repeats
            async for page in listing.pages(await connected(server.url), PODS, limit=2, timeout_s=10):
                got.append(page)
        sent = [recorded(name)["response"]["json"] for name in ("pods-list-limit-2", "pods-list-continue")]
        assert [(p.kind, p.version, p.remaining) for p in got[:2]] == [
            ("PodList", s["metadata"]["resourceVersion"], s["metadata"]["remainingItemCount"]) for s in sent
        ]
        assert [[json.loads(i) for i in p.items] for p in got[:2]] == [s["items"] for s in sent]
        assert server.requests[1].query["continue"] == sent[0]["metadata"]["continue"]


async def test_an_empty_list(connected: Open) -> None:
    async with apiserver.running(replay("pods-list-empty-or-small")) as server:
        (last,) = await pages(await connected(server.url))
        assert (last.items, last.version, last.is_last) == ([], "7655", True)


async def test_metadata_only_pages(connected: Open) -> None:
    async with apiserver.running(replay("pods-metadata-only")) as server:
        found = []
        with pytest.raises(errors.BadData, match="followed by itself"):  # noqa: PT012 - one page is recorded, and repeats
            async for page in listing.identities(await connected(server.url), PODS, limit=1, timeout_s=10):
                found += page.identities
        assert found[0] == listing.Identity(
            name="app-0001-558b96d6c9-2sczn",
            namespace="team-1",
            uid="80769b8a-4a80-452d-ac2c-c164767cf0dd",
            version="1111",
        )


async def test_a_table_is_no_list(connected: Open) -> None:
    async with apiserver.running(replay("pods-as-table")) as server:
        with pytest.raises(errors.BadData, match="Table"):
            await pages(await connected(server.url))


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("pods-list-continue-expired-410", errors.Gone, "too old to display a consistent list"),
        ("pods-list-forbidden", errors.Forbidden, 'User "alice" cannot list resource "pods"'),
        ("pods-list-anonymous", errors.Forbidden, "no credentials were sent: context 'test'"),
        ("pods-list-unauthorized", errors.Unauthorized, "does not accept the credentials from context 'test'"),
        ("unknown-resource", errors.NotFound, "could not find the requested resource"),
        ("pods-list-too-large-rv", errors.ServerFailed, "Too large resource version"),
    ],
)
async def test_refusals_of_a_list(connected: Open, name: str, kind: type[errors.KrmError], says: str) -> None:
    async with apiserver.running(replay(name)) as server:
        with pytest.raises(kind) as caught:
            await pages(await connected(server.url))
        assert says in str(caught.value)
        if kind is errors.ServerFailed:
            assert (caught.value.status, caught.value.retry_after_s) == (504, 1)  # type: ignore[attr-defined]


async def test_a_watch_of_a_life(connected: Open) -> None:
    async with apiserver.running(replay("deployments-watch-lifecycle")) as server:
        events = await watched(await connected(server.url))
        sent = [e["event"] for e in recorded("deployments-watch-lifecycle")["response"]["stream"]]
        assert [(e.type, e.version) for e in events] == [
            (e["type"], e["object"]["metadata"]["resourceVersion"]) for e in sent
        ]
        assert [json.loads(e.raw) for e in events if e.raw] == [e["object"] for e in sent if e["type"] != "BOOKMARK"]
        assert {e.type for e in events} >= {"ADDED", "MODIFIED", "DELETED"}


async def test_a_watch_from_a_version_too_old_is_gone(connected: Open) -> None:
    async with apiserver.running(replay("pods-watch-rv-too-old-410")) as server:
        with pytest.raises(errors.Gone, match=r"too old resource version: 1 \(7744\)"):
            await watched(await connected(server.url))


async def test_a_watch_from_the_future_ends_without_events(connected: Open) -> None:
    async with apiserver.running(replay("pods-watch-rv-too-large")) as server:
        assert await watched(await connected(server.url)) == []


async def test_an_object_that_is_not_there(connected: Open) -> None:
    async with apiserver.running(replay("pod-not-found")) as server:
        with pytest.raises(errors.NotFound, match='pods "nope" not found'):
            await reading.get(await connected(server.url), f"{PODS}/nope")


async def test_an_object_is_given_as_sent(connected: Open) -> None:
    body = b'{"kind":"Pod", "apiVersion":"v1","metadata":{"name":"\xc3\xa9"},"n":1.50}'
    async with apiserver.running(apiserver.answer(body)) as server:
        assert await reading.get(await connected(server.url), f"{PODS}/a") == body
        with pytest.raises(errors.BadData, match="not PartialObjectMetadata"):
            await reading.metadata(await connected(server.url), f"{PODS}/a")
        server.answers[:] = [apiserver.answer(body.replace(b'"Pod"', b'"PartialObjectMetadata"'))]
        assert await reading.metadata(await connected(server.url), f"{PODS}/a")
        accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        assert server.requests[-1].all("Accept") == [accept]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"kind":"Status","apiVersion":"v1"}',
        b'{"kind":"PodList","apiVersion":"v1"}',
        b'{"kind":"Pod","apiVersion":"v1","a":"\xff"}',
    ],
)
async def test_what_is_not_an_object_is_bad_data(connected: Open, body: bytes) -> None:
    async with apiserver.running(apiserver.answer(body)) as server:
        with pytest.raises(errors.BadData):
            await reading.get(await connected(server.url), f"{PODS}/a")


@pytest.mark.parametrize("path", ["/api/v1/pods/../secrets", "api/v1/pods"])
async def test_a_path_that_leads_elsewhere_is_refused(connected: Open, path: str) -> None:
    async with apiserver.running(apiserver.answer(b"{}")) as server:
        with pytest.raises(ValueError, match="not a path of the API"):
            await reading.get(await connected(server.url), path)
        assert server.requests == []


async def test_names_cannot_become_queries(connected: Open) -> None:
    async with apiserver.running(replay("pod-not-found")) as server:
        with pytest.raises(errors.NotFound):
            await reading.get(await connected(server.url), f"{PODS}/a?b#c%2e")
        assert server.requests[0].target == f"{PODS}/a%3Fb%23c%252e"


async def test_the_version_of_the_server(connected: Open) -> None:
    async with apiserver.running(replay("version")) as server:
        found = await discovery.version(await connected(server.url))
        assert (found.major, found.minor) == ("1", "36")


async def test_whether_a_resource_is_served(connected: Open) -> None:
    other = Resource(group="apps", plural="gadgets", singular="gadget", kind="Gadget", list_field="g", single_field="g")
    async with apiserver.running(replay("discovery-apps-v1")) as server:
        cluster = await connected(server.url)
        found = await discovery.served(cluster, resources.DEPLOYMENTS)
        assert found is not None
        assert (found.kind, found.namespaced, found.is_listable, found.is_watchable) == ("Deployment", True, True, True)
        assert await discovery.served(cluster, other) is None
        assert {r.path for r in server.requests} == {"/apis/apps/v1"}
        server.answers[:] = [replay("unknown-resource")]
        assert await discovery.served(cluster, other) is None
        server.answers[:] = [apiserver.answer({"kind": "Status"})]
        with pytest.raises(errors.BadData):
            await discovery.served(cluster, other)


async def test_a_valid_token_is_somebodys(connected: Open) -> None:
    async with apiserver.running(replay("tokenreview-valid")) as server:
        cluster = await connected(server.url)
        verdict = await reviews.token_review(cluster, Secret("alicetoken"))
        assert verdict.user == reviews.User(name="alice", uid="3", groups=("devs", "system:authenticated"))
        asked = recorded("tokenreview-valid")["request"]
        assert (server.requests[0].method, server.requests[0].path) == (asked["method"], asked["path"])
        assert json.loads(server.requests[0].body) == asked["body"]
        assert "alicetoken" not in repr(verdict)


async def test_an_invalid_token_is_nobodys(connected: Open) -> None:
    async with apiserver.running(replay("tokenreview-invalid")) as server:
        verdict = await reviews.token_review(await connected(server.url), "wrong")
        assert (verdict.user, verdict.reason) == (None, "invalid bearer token")


async def test_access_is_what_the_server_says(connected: Open) -> None:
    async with apiserver.running(replay("subjectaccessreview-allowed")) as server:
        cluster = await connected(server.url)
        action = reviews.Action(verb="list", resource="pods", namespace="team-1")
        assert (await reviews.subject_access_review(cluster, ALICE, action)).allowed
        asked = json.loads(server.requests[0].body)
        wanted = recorded("subjectaccessreview-allowed")["request"]["body"]
        assert {**asked["spec"], "uid": None, "extra": None} == {**wanted["spec"], "uid": None, "extra": None}
        server.answers[:] = [replay("subjectaccessreview-denied")]
        assert not (await reviews.subject_access_review(cluster, ALICE, action)).allowed


async def test_access_to_paths_and_ones_own_is_asked_in_their_form(connected: Open) -> None:
    def body(kind: str) -> dict[str, Any]:
        return {"kind": kind, "apiVersion": "authorization.k8s.io/v1", "status": {"allowed": True}}

    async with apiserver.running(apiserver.answer(body("SubjectAccessReview"), 201)) as server:
        cluster = await connected(server.url)
        metrics = reviews.PathAction(verb="get", path="/metrics")
        assert (await reviews.subject_access_review(cluster, ALICE, metrics)).allowed
        spec = json.loads(server.requests[0].body)["spec"]
        assert spec["nonResourceAttributes"] == {"verb": "get", "path": "/metrics"}
        server.answers[:] = [apiserver.answer(body("SelfSubjectAccessReview"), 201)]
        assert (await reviews.self_subject_access_review(cluster, metrics)).allowed
        assert server.requests[1].path.endswith("/selfsubjectaccessreviews")


async def test_a_review_survives_a_connection_that_the_server_has_closed(connected: Open) -> None:
    async def leave(writer: asyncio.StreamWriter) -> None:
        writer.close()

    allowed = apiserver.answer({"kind": "SubjectAccessReview", "status": {"allowed": True}}, 201)
    async with apiserver.running(allowed, leave, allowed, leave) as server:
        cluster = await connected(server.url)
        action = reviews.Action(verb="list", resource="pods")
        for _ in range(2):
            assert (await reviews.subject_access_review(cluster, ALICE, action)).allowed
        assert len(server.requests) == 3
        with pytest.raises(errors.ClusterUnreachable, match="closed the connection without an answer"):
            await reviews.subject_access_review(cluster, ALICE, action)


async def test_a_read_that_stays_unanswered_is_repeated_once(connected: Open) -> None:
    async def leave(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with apiserver.running(leave) as server:
        with pytest.raises(errors.ClusterUnreachable, match="closed the connection without an answer"):
            await reading.get(await connected(server.url), f"{PODS}/a")
        assert len(server.requests) == 2


def token(**status: Any) -> dict[str, Any]:
    return {"kind": "TokenReview", "status": {"authenticated": True, "user": {"username": "a"}, **status}}


@pytest.mark.parametrize(
    ("answer", "audiences", "is_somebody"),
    [
        pytest.param(token(), [], True, id="valid"),
        pytest.param(token(audiences=["krm", "x"]), ["krm", "y"], True, id="for one of the asked"),
        pytest.param(token(audiences=["x"]), ["krm"], False, id="for another audience"),
        pytest.param(token(), ["krm"], False, id="a server without audiences"),
        pytest.param(token(authenticated=False), [], False, id="not authenticated"),
        pytest.param({"kind": "TokenReview", "status": {"user": {"username": "a"}}}, [], False, id="nothing said"),
        pytest.param(token(error="broken"), [], False, id="authenticated with an error"),
        pytest.param(token(user={}), [], False, id="nobody"),
        pytest.param(token(user=None), [], False, id="no user"),
    ],
)
async def test_a_token_counts_only_if_that_was_said(
    connected: Open, answer: dict[str, Any], audiences: list[str], is_somebody: bool
) -> None:
    async with apiserver.running(apiserver.answer(answer, 201)) as server:
        verdict = await reviews.token_review(await connected(server.url), "t", audiences=audiences)
        assert (verdict.user is not None) is is_somebody
        assert (verdict.reason == "") is is_somebody
        assert json.loads(server.requests[0].body)["spec"].get("audiences", []) == audiences


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        pytest.param({"allowed": True}, True, id="allowed"),
        pytest.param({"allowed": True, "evaluationError": "one role is missing"}, True, id="allowed all the same"),
        pytest.param({"allowed": True, "denied": True}, False, id="denied"),
        pytest.param({"allowed": False, "evaluationError": "broken"}, False, id="error"),
    ],
)
async def test_access_counts_only_if_that_was_said(connected: Open, status: dict[str, Any], allowed: bool) -> None:
    body = {"kind": "SubjectAccessReview", "status": status}
    async with apiserver.running(apiserver.answer(body, 201)) as server:
        action = reviews.Action(verb="list", resource="pods")
        decision = await reviews.subject_access_review(await connected(server.url), ALICE, action)
        assert decision.allowed is allowed
        assert decision.error == status.get("evaluationError", "")


NO_REVIEWS = [
    apiserver.answer({"kind": "SubjectAccessReview"}, 201),
    apiserver.answer({"kind": "SubjectAccessReview", "status": {}}, 201),
    apiserver.answer({"kind": "SubjectAccessReview", "status": {"allowed": "true"}}, 201),
    apiserver.answer({"kind": "SubjectAccessReview", "status": {"allowed": 1}}, 201),
    apiserver.answer({"kind": "TokenReview", "status": {"authenticated": "true"}}, 201),
    apiserver.answer({"kind": "Status", "status": {"allowed": True, "authenticated": True}}, 200),
    apiserver.answer(b"true", 201),
    apiserver.answer(b'{"kind":"SubjectAccessReview","status":{"allowed":true}', 201),
    apiserver.answer({"kind": "SubjectAccessReview", "status": {"allowed": True}}, 500),
    apiserver.answer({"kind": "SubjectAccessReview", "status": {"allowed": True}}, 403),
    apiserver.answer({"kind": "SubjectAccessReview", "status": {"allowed": True}}, 302),
    apiserver.reset,
    apiserver.hang,
]


@pytest.mark.parametrize("number", range(len(NO_REVIEWS)))
@pytest.mark.parametrize("which", ["access", "token"])
async def test_no_failure_looks_like_a_yes(connected: Open, number: int, which: str) -> None:
    async with apiserver.running(NO_REVIEWS[number]) as server:
        cluster = await connected(server.url)
        action = reviews.Action(verb="list", resource="pods")
        asks: dict[str, Callable[[], Any]] = {
            "access": lambda: reviews.subject_access_review(cluster, ALICE, action, timeout_s=0.3),
            "token": lambda: reviews.token_review(cluster, "s3cr3t", timeout_s=0.3),
        }
        with pytest.raises(errors.ClusterError) as caught:
            await asks[which]()
        assert "s3cr3t" not in str(caught.value)
