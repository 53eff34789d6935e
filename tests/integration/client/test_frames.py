"""``frame()`` against KRM's own API: typed columns, exact numbers, and errors instead of parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pandas as pd
import pytest

from krm.table.freshness import State as ServerState
from krm_client import AsyncKrmClient, KrmClient, KrmNotReady, KrmProtocolError, KrmQueryError, KrmUsageError, frames
from tests.integration.api.conftest import Running, running
from tests.sources import FilledSource, pod
from tests.unit.client import canned

LARGE = 2**53 + 1
"""Bytes: the least number that a float cannot hold."""


def _asking(name: str, memory: str | None, **more: Any) -> dict[str, Any]:
    made = pod(name, **more)
    requests = {"cpu": "250m"} if memory is None else {"cpu": "250m", "memory": memory}
    made["spec"]["containers"] = [{"name": "a", "image": "i", "resources": {"requests": requests}}]
    return made


@pytest.fixture
def source() -> FilledSource:
    pods = [_asking(f"p-{number}", str(LARGE) if number else None, number=number) for number in range(6)]
    return FilledSource({"pods": pods})


@pytest.fixture
async def api(source: FilledSource) -> AsyncIterator[Running]:
    async with running(source) as started:
        yield started


@pytest.fixture
async def krm(api: Running) -> AsyncIterator[AsyncKrmClient]:
    async with AsyncKrmClient(api.url, env={}) as client:
        yield client


async def test_columns_have_the_types_of_what_they_hold(krm: AsyncKrmClient) -> None:
    columns = ["metadata.name", "spec.nodeName", "metadata.creationTimestamp", "requests.cpu", "requests.memory"]
    frame = await krm.frame("pods", columns=columns)
    assert list(frame.columns) == columns
    assert isinstance(frame["spec.nodeName"].dtype, pd.CategoricalDtype)
    assert str(frame["metadata.creationTimestamp"].dtype) == "datetime64[us, UTC]"
    assert str(frame["requests.cpu"].dtype) == "float64"
    assert set(frame["requests.cpu"]) == {0.25}
    assert str(frame["requests.memory"].dtype) == "Int64"
    assert frame["metadata.name"].tolist() == [f"p-{number}" for number in range(6)]


async def test_numbers_are_exact_beside_missing_ones(krm: AsyncKrmClient) -> None:
    memory = (await krm.frame("pods", columns=["requests.memory"]))["requests.memory"].tolist()
    assert memory[0] is pd.NA
    assert memory[1:] == [LARGE] * 5


async def test_list_arguments_hold(krm: AsyncKrmClient) -> None:
    frame = await krm.frame(
        "po",
        columns=["metadata.name"],
        where=[{"path": "metadata.name", "ne": "p-1"}, {"path": "metadata.name", "ne": "p-2"}],
        order_by="-metadata.name",
        label_selector="app=p",
        namespaces=["default", "dev"],
        limit=2,
    )
    assert frame["metadata.name"].tolist() == ["p-5", "p-4"]
    assert frame.attrs["krm"]["page"]["totalCount"] == 4
    assert frame.attrs["krm"]["freshness"]["state"] == "SYNCED"


async def test_blocking_client_gives_the_same(api: Running, krm: AsyncKrmClient) -> None:
    def framed() -> pd.DataFrame:
        with KrmClient(api.url, env={}) as blocking:
            return blocking.frame("pods")

    pd.testing.assert_frame_equal(await asyncio.to_thread(framed), await krm.frame("pods"))


async def test_nothing_matching_is_an_empty_frame_with_its_types(krm: AsyncKrmClient) -> None:
    frame = await krm.frame("pods", namespace="nowhere", columns=["metadata.name", "requests.memory"])
    assert (len(frame), str(frame["requests.memory"].dtype)) == (0, "Int64")


async def test_of_no_namespace_is_nothing_as_in_a_list(krm: AsyncKrmClient) -> None:
    """In a URL an empty list leaves no trace, and without namespaces all are meant."""
    assert await krm.list("pods", namespaces=[]) == []
    wheres: list[Any] = [None, {"path": "metadata.name", "exists": True}, []]
    for where in wheres:
        frame = await krm.frame("pods", columns=["requests.memory"], namespaces=[], where=where)
        assert frame.empty
        assert str(frame["requests.memory"].dtype) == "Int64"
    with pytest.raises(KrmQueryError):
        await krm.frame("pods", namespaces=[], where={"path": "metadata.nme", "exists": True})


async def test_errors_are_those_of_lists(krm: AsyncKrmClient, source: FilledSource) -> None:
    with pytest.raises(KrmQueryError) as raised:
        await krm.frame("pods", columns=["spec.nonsense"])
    assert raised.value.code == "PATH_INVALID"
    with pytest.raises(KrmUsageError, match="columns"):
        await krm.frame("pods", columns="metadata.name")
    source.states["pods"] = ServerState.NOT_READY
    with pytest.raises(KrmNotReady):
        await krm.frame("pods")


def test_a_frame_that_was_cut_is_no_frame() -> None:
    with canned.serving() as server, KrmClient(server.url, env={}, timeout=2) as krm:
        for body in (b"", b"<html>", b"\xff\xff\xff\xff\x00"):
            server.answer(canned.Reply(body=body))
            with pytest.raises(KrmProtocolError):
                krm.frame("pods")
        server.answer(canned.Reply(body=b"<html>bad gateway</html>", status=502))
        with pytest.raises(KrmProtocolError, match="502"):
            krm.frame("pods")


async def test_every_cut_of_a_frame_is_noticed(api: Running) -> None:
    async with api.client.get(f"{api.url}/frames/pods") as answer:
        whole = await answer.read()
    frames.dataframe(whole)
    for end in range(0, len(whole) - 8, 97):  # the last eight bytes only say that there is no more
        with pytest.raises(KrmProtocolError):
            frames.dataframe(whole[:end])


def test_explain_shows_the_address() -> None:
    with KrmClient(env={}) as krm:
        shown = krm.explain(krm.frame, "pods", columns=["metadata.name", "requests.cpu"], namespace="a b")
    assert shown.query == "GET /frames/pods?columns=metadata.name&columns=requests.cpu&namespace=a+b"
