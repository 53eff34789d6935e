from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from krm import errors
from krm.kube import listing
from krm.kube.connect import Cluster
from tests.integration.kube import apiserver
from tests.integration.kube.apiserver import answer, page, refusal
from tests.integration.kube.conftest import Open
from tests.waiting import wait_until

PODS = "/api/v1/pods"


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": "3"}}


WHOLE = json.dumps(page([pod("a")])).encode()


def pages(cluster: Cluster, **options: Any) -> AsyncGenerator[listing.Page]:
    return listing.pages(cluster, PODS, **{"limit": 2, "timeout_s": 10, **options})


async def failure(cluster: Cluster, **options: Any) -> tuple[int, errors.KrmError]:
    """How many pages came, and the error after them."""
    count = 0
    with pytest.raises(errors.KrmError) as caught:  # noqa: PT012 - pages come before it
        async for _ in pages(cluster, **options):
            count += 1
    return count, caught.value


async def test_a_list_is_read_page_by_page_at_one_version(connected: Open) -> None:
    answers = [answer(page([pod("a"), pod("b")], "5", "c1+/=&")), answer(page([pod("c")], "5"))]
    async with apiserver.running(*answers) as server:
        cluster = await connected(server.url)
        got = [p async for p in pages(cluster, params={"labelSelector": "a in (b,c)"})]
        assert [i for p in got for i in p.items] == [
            b'{"metadata": {"name": "%b", "resourceVersion": "3"}}' % n for n in (b"a", b"b", b"c")
        ]
        assert [p.is_last for p in got] == [False, True]
        selector = {"labelSelector": "a in (b,c)", "limit": "2"}
        assert [r.query for r in server.requests] == [selector, {**selector, "continue": "c1+/=&"}]
        assert server.requests[0].all("Accept") == ["application/json"]


async def test_metadata_only_is_asked_for_and_checked(connected: Open) -> None:
    kind = "PartialObjectMetadataList"
    async with apiserver.running(answer(page([pod("a")], kind=kind)), answer(page([pod("a")]))) as server:
        cluster = await connected(server.url)
        found = [p async for p in listing.identities(cluster, PODS, limit=2, timeout_s=10)]
        assert [one.name for p in found for one in p.identities] == ["a"]
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        assert server.requests[0].all("Accept") == [accept]
        with pytest.raises(errors.BadData, match="PodList, not a PartialObjectMetadataList"):
            await anext(listing.identities(cluster, PODS, limit=2, timeout_s=10))


async def test_a_version_that_is_compacted_on_the_way_is_gone(connected: Open) -> None:
    expired = {
        "kind": "Status",
        "metadata": {"continue": "inconsistent"},
        "message": "The provided continue parameter is too old",
        "reason": "Expired",
        "code": 410,
    }
    async with apiserver.running(answer(page([pod("a")], "5", "c1")), answer(expired, 410)) as server:
        count, error = await failure(await connected(server.url))
        assert (count, type(error)) == (1, errors.Gone)
        assert len(server.requests) == 2  # the token that came with the 410 is not used


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(page([pod("c")], "6"), id="another version"),
        pytest.param(page([pod("c")], "5", kind="NodeList"), id="another kind"),
        pytest.param(page([pod("c")], "5", "c1"), id="followed by itself"),
        pytest.param(page([], "5"), id="nothing, where more was told of"),
    ],
)
async def test_pages_that_do_not_belong_together_are_bad_data(connected: Open, second: dict[str, Any]) -> None:
    async with apiserver.running(answer(page([pod("a")], "5", "c1", remaining=1)), answer(second)) as server:
        count, error = await failure(await connected(server.url))
        assert (count, type(error)) == (1, errors.BadData)


async def test_a_last_page_without_objects_ends_a_list_of_which_no_more_was_told(connected: Open) -> None:
    async with apiserver.running(answer(page([pod("a")], "5", "c1")), answer(page([], "5"))) as server:
        assert [one.count async for one in pages(await connected(server.url))] == [1, 0]


async def test_a_packed_page_is_unpacked_and_counted_as_it_came(connected: Open) -> None:
    body = json.dumps(page([pod("a" * 100)] * 100)).encode()
    packed = gzip.compress(body)
    async with apiserver.running(answer(packed, Content_Encoding="gzip")) as server:
        cluster = await connected(server.url)
        (got,) = [p async for p in pages(cluster)]
        assert (len(got.items), got.body_bytes) == (100, len(body))
        assert cluster.bytes_received == len(packed)
        assert server.requests[0].all("Accept-Encoding") == ["gzip"]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        pytest.param(answer(gzip.compress(WHOLE)[:-4], Content_Encoding="gzip"), "cut off", id="gzip trailer cut"),
        pytest.param(answer(WHOLE, Content_Encoding="gzip"), "damaged", id="gzip garbage"),
        pytest.param(answer(WHOLE, Content_Encoding="br"), "'br'", id="packed otherwise"),
        pytest.param(answer(WHOLE + b" " * 200_000), "over 100000 bytes", id="over the bound"),
        pytest.param(
            answer(gzip.compress(WHOLE + b" " * 10_000_000), Content_Encoding="gzip"), "over 100000", id="gzip bomb"
        ),
        pytest.param(answer(b"<html>sign in</html>"), "<html>", id="web page"),
        pytest.param(answer({"kind": "Status", "status": "Success"}), "Status", id="status"),
        pytest.param(answer(WHOLE[:-1]), "not whole", id="JSON cut"),
    ],
)
async def test_what_is_not_a_whole_list_within_bounds_is_bad_data(
    connected: Open, broken: apiserver.Answer, says: str
) -> None:
    async with apiserver.running(broken) as server:
        count, error = await failure(await connected(server.url), max_page_bytes=100_000)
        assert (count, type(error)) == (0, errors.BadData)
        assert says in str(error)


async def test_a_body_that_ends_early_is_no_list(connected: Open) -> None:
    whole = json.dumps(page([])).encode()

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(apiserver.head(200, {"Content-Length": str(len(whole) + 5)}) + whole)
        await writer.drain()
        writer.close()

    for broken in (cut, apiserver.stream(whole, end="cut")):
        async with apiserver.running(broken) as server:
            count, error = await failure(await connected(server.url))
            assert (count, type(error)) == (0, errors.ClusterUnreachable)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, errors.ServerFailed),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (406, errors.ServerFailed),
        (410, errors.Gone),
        (429, errors.Throttled),
        (500, errors.ServerFailed),
        (503, errors.ServerFailed),
        (302, errors.ServerFailed),
    ],
)
async def test_a_status_means_what_it_says_and_is_not_followed(
    connected: Open, code: int, kind: type[errors.ClusterError]
) -> None:
    said = 'pods is forbidden: User "alice" cannot list resource "pods" in API group "" at the cluster scope'
    async with apiserver.running(refusal(code, said, Retry_After="7", Location="/elsewhere")) as server:
        _, error = await failure(await connected(server.url))
        assert type(error) is kind
        assert (error.status, len(server.requests)) == (code, 1)
        assert said in str(error)
        if code in (429, 503):
            assert error.retry_after_s == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize("header", ["garbage", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999999999999", "\xb2"])
async def test_any_retry_after_gives_a_bounded_wait(connected: Open, header: str) -> None:
    async with apiserver.running(refusal(429, Retry_After=header)) as server:
        _, error = await failure(await connected(server.url))
        assert isinstance(error, errors.Throttled)
        assert 0 <= error.retry_after_s <= 300


async def test_an_error_page_of_a_proxy_is_quoted(connected: Open) -> None:
    async with apiserver.running(answer(b"<html>\n<b>Bad Gateway</b>" + b"x" * 100_000, 502)) as server:
        _, error = await failure(await connected(server.url))
        assert isinstance(error, errors.ServerFailed)
    async with apiserver.running(answer(b"<html>\n<b>Bad Gateway</b>", 502)) as server:
        _, error = await failure(await connected(server.url))
        assert "status 502: <html> <b>Bad Gateway</b>" in str(error)


async def test_a_page_has_its_own_bound_of_time(connected: Open) -> None:
    slow = apiserver.stream(b'{"kind":', end="hang")
    async with apiserver.running(answer(page([pod("a")], "5", "c1")), slow) as server:
        count, error = await failure(await connected(server.url), timeout_s=3600, page_timeout_s=0.2)
        assert (count, type(error)) == (1, errors.ClusterUnreachable)
        assert "within" in str(error)


async def test_the_whole_list_has_a_bound_of_time(connected: Open) -> None:
    numbers = iter(range(10**9))

    async def another(writer: asyncio.StreamWriter) -> None:
        await answer(page([pod("a")], "5", f"c{next(numbers)}"))(writer)

    async with apiserver.running(another) as server:
        count, error = await failure(await connected(server.url), timeout_s=0.3)
        assert isinstance(error, errors.ClusterUnreachable)
        assert count >= 1


async def test_the_bound_of_a_list_counts_the_callers_time(connected: Open) -> None:
    async with apiserver.running(answer(page([pod("a")], "5", "c1"))) as server:
        slow = aiter(pages(await connected(server.url), timeout_s=0.2))
        await anext(slow)
        spent = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.25, spent.set_result, None)
        await spent
        with pytest.raises(errors.ClusterUnreachable, match=r"not whole within 0\.2 s"):
            await anext(slow)
        assert len(server.requests) <= 2, "the next page is on its way meanwhile, and no more than that"


async def test_the_next_page_is_asked_for_while_the_caller_has_the_one_before(connected: Open) -> None:
    answers = [answer(page([pod("a")], "5", "c1")), answer(page([pod("b")], "5", "c2")), answer(page([pod("c")], "5"))]
    async with apiserver.running(*answers) as server, aclosing(pages(await connected(server.url))) as found:
        first = await anext(found)
        await wait_until(lambda: len(server.requests) == 2, 20, "the second page is asked for")
        rest = [item for one in (first, await anext(found), await anext(found)) for item in one.items]
        assert [msgspec.json.decode(item)["metadata"]["name"] for item in rest] == ["a", "b", "c"]
        assert len(server.requests) == 3


async def test_a_list_that_is_left_leaves_no_request_behind(connected: Open) -> None:
    async with apiserver.running(answer(page([pod("a")], "5", "c1")), apiserver.hang) as server:
        async with aclosing(pages(await connected(server.url))) as found:
            await anext(found)
            await wait_until(lambda: len(server.requests) == 2, 20, "the second page is asked for")
        await wait_until(lambda: not [task for task in asyncio.all_tasks() if "_body" in repr(task)], 20, "it ends")


async def test_a_hanging_server_is_an_error_in_time(connected: Open) -> None:
    async with apiserver.running(apiserver.hang) as server:
        _, error = await failure(await connected(server.url), timeout_s=0.2)
        assert f"no answer from {server.url} within 0.2 s" in str(error)


@pytest.mark.parametrize("skew_s", [-3600, 0, 3600])
async def test_the_skew_of_the_servers_clock_is_told(connected: Open, skew_s: int) -> None:
    async def dated(writer: asyncio.StreamWriter) -> None:
        await answer(page([]), Date=formatdate(time.time() + skew_s, usegmt=True))(writer)

    async with apiserver.running(dated) as server:
        cluster = await connected(server.url)
        assert len([p async for p in pages(cluster)]) == 1
        skew = cluster.clock.skew()
        assert skew is not None
        assert skew.seconds == pytest.approx(skew_s, abs=skew.uncertainty_s + 0.1)


@pytest.mark.parametrize("date", [None, "yesterday"])
async def test_without_a_date_no_skew_is_made_up(connected: Open, date: str | None) -> None:
    async with apiserver.running(answer(page([]), 200, **({"Date": date} if date else {}))) as server:
        cluster = await connected(server.url)
        assert len([p async for p in pages(cluster)]) == 1
        assert cluster.clock.skew() is None


@pytest.mark.parametrize("name", ["resourceVersion", "continue", "limit", "watch", "resourceVersionMatch"])
async def test_parameters_that_would_break_consistency_are_refused(connected: Open, name: str) -> None:
    async with apiserver.running(answer(page([]))) as server:
        with pytest.raises(ValueError, match="selectors only"):
            await anext(aiter(pages(await connected(server.url), params={name: "1"})))


async def test_a_server_below_a_path_is_reached(connected: Open) -> None:
    async with apiserver.running(answer(page([]))) as server:
        cluster = await connected(f"{server.url}/k8s/clusters/c-1/")
        assert [p.is_last async for p in pages(cluster)] == [True]
        assert server.requests[0].path == f"/k8s/clusters/c-1{PODS}"
