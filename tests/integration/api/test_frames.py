"""``GET /frames/{resource}``: typed Arrow columns of the rows that GraphQL answers, and errors as JSON."""

from __future__ import annotations

import datetime
import json
from typing import Any

import aiohttp
import pandas as pd
import pyarrow as pa
import pytest

from krm.query import frames
from krm.table.freshness import State
from tests.integration.api.conftest import Running, running
from tests.sources import FilledSource, pod


async def frame(api: Running, resource: str = "pods", **parameters: Any) -> pa.Table:
    status, body, kind = await get(api, resource, **parameters)
    assert (status, kind) == (200, "application/vnd.apache.arrow.stream"), body
    return pa.ipc.open_stream(body).read_all()


async def get(api: Running, resource: str, **parameters: Any) -> tuple[int, bytes, str]:
    spelled = {name: v if isinstance(v, str) else json.dumps(v) for name, v in parameters.items()}
    async with api.client.get(f"{api.url}/frames/{resource}", params=spelled) as answer:
        return answer.status, await answer.read(), answer.content_type


async def refusal(api: Running, resource: str, **parameters: Any) -> tuple[int, str, str]:
    status, body, kind = await get(api, resource, **parameters)
    assert kind == "application/json"
    error = json.loads(body)
    assert sorted(error) == ["code", "message"]
    return status, error["code"], error["message"]


def names(table: pa.Table) -> list[str]:
    found: list[str] = table["metadata.name"].to_pylist()
    return found


COLUMNS = (
    "metadata.name,metadata.creationTimestamp,metadata.generation,spec.hostIPC,spec.nodeName,requests.cpu,"
    "requests.memory,requests.gpu,spec.containers[*].image,spec.containers[0].name,metadata.labels['app'],"
    "status.podIPs,spec.containers[*].ports[*].containerPort,deployment.name"
)


async def test_columns_are_typed(api: Running) -> None:
    table = await frame(api, columns=COLUMNS)
    text = pa.dictionary(pa.int32(), pa.string())
    assert {field.name: field.type for field in table.schema} == {
        "metadata.name": pa.string(),
        "metadata.creationTimestamp": pa.timestamp("us", tz="UTC"),
        "metadata.generation": pa.int64(),
        "spec.hostIPC": pa.bool_(),
        "spec.nodeName": text,
        "requests.cpu": pa.float64(),
        "requests.memory": pa.int64(),
        "requests.gpu": pa.int64(),
        "spec.containers[*].image": pa.list_(pa.string()),
        "spec.containers[0].name": text,
        "metadata.labels['app']": text,
        "status.podIPs": pa.string(),
        "spec.containers[*].ports[*].containerPort": pa.list_(pa.int64()),
        "deployment.name": text,
    }
    assert table.to_pylist()[0] == {
        "metadata.name": "p-0",
        "metadata.creationTimestamp": datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.UTC),
        "metadata.generation": 2**40,
        "spec.hostIPC": False,
        "spec.nodeName": "node-0",
        "requests.cpu": 1.25,
        "requests.memory": 64 * 2**20,
        "requests.gpu": 1,
        "spec.containers[*].image": ["registry.example/app:0", "side:1"],
        "spec.containers[0].name": "main",
        "metadata.labels['app']": "p",
        "status.podIPs": '[{"ip":"10.0.0.0"}]',
        "spec.containers[*].ports[*].containerPort": [8080],
        "deployment.name": None,
    }


async def test_a_frame_is_a_dataframe_at_once(api: Running) -> None:
    table = (await frame(api)).to_pandas()
    assert list(table.columns) == list(frames.default(api.source.resources[0]))
    assert isinstance(table["status.phase"].dtype, pd.CategoricalDtype)
    per_node = table.groupby("spec.nodeName", observed=True)["requests.cpu"].sum()
    assert per_node.to_dict() == {"node-0": 8.75, "node-1": 8.75, "node-2": 7.5}


async def test_every_kind_has_a_frame_without_columns(api: Running) -> None:
    for resource in api.source.resources:
        table = await frame(api, resource.plural)
        assert table.num_rows == api.source.rows(resource)
        assert table.schema.field("metadata.creationTimestamp").type == pa.timestamp("us", tz="UTC")


async def test_the_list_arguments_choose_the_rows(api: Running) -> None:
    where = {"or": [{"path": "spec.nodeName", "eq": "node-1"}, {"path": "metadata.name", "eq": "p-0"}]}
    assert names(await frame(api, where=where)) == ["p-0", "p-1", "p-10", "p-13", "p-16", "p-19", "p-4", "p-7"]
    order = [{"path": "metadata.resourceVersion", "direction": "DESC"}]
    assert names(await frame(api, orderBy=order, first="3")) == ["p-19", "p-18", "p-17"]
    assert names(await frame(api, labelSelector="app=p", fieldSelector="metadata.name=p-5")) == ["p-5"]
    assert names(await frame(api, namespace="other")) == []
    assert len(names(await frame(api, namespaces="default,other"))) == 20
    assert names(await frame(api, name="p-7", columns="metadata.name")) == ["p-7"]


async def test_pages_follow_each_other_with_cursors_of_graphql(api: Running) -> None:
    order = [{"path": "spec.nodeName"}]
    first = await frame(api, orderBy=order, first="7")
    page = json.loads(first.schema.metadata[b"krm.page"])
    assert (page["totalCount"], page["rows"], page["hasNextPage"]) == (20, 7, True)
    query = '{ pods(first: 7, orderBy: [{path: "spec.nodeName"}]) { pageInfo { endCursor } } }'
    _, answer = await api.ask(query)
    second = await frame(api, orderBy=order, after=page["endCursor"])
    theirs = await frame(api, orderBy=order, after=answer["data"]["pods"]["pageInfo"]["endCursor"])
    assert names(theirs) == names(second)
    assert json.loads(second.schema.metadata[b"krm.page"])["hasNextPage"] is False
    assert names(first) + names(second) == names(await frame(api, orderBy=order))


async def test_freshness_is_graphqls(api: Running) -> None:
    fields = (
        "cluster resource state resourceVersion verifiedResourceVersion verifiedAt verifiedAgeSeconds lastEventAt"
        " streamLagSeconds contiguous epoch missed { added modified deleted ghosts } reason"
    )
    _, answer = await api.ask(f"{{ pods {{ freshness {{ {fields} }} scope {{ complete namespaces }} }} }}")
    metadata = (await frame(api)).schema.metadata
    assert json.loads(metadata[b"krm.freshness"]) == answer["data"]["pods"]["freshness"]
    assert json.loads(metadata[b"krm.scope"]) == answer["data"]["pods"]["scope"]


async def test_freshness_is_asked_for(api: Running) -> None:
    await frame(api, maxStaleness="5s", minResourceVersion="7")
    assert api.source.waited[-1] == ("pods", 5.0, "7")


async def test_an_empty_answer_has_its_columns(api: Running) -> None:
    table = await frame(api, namespace="nowhere", columns="metadata.name,requests.cpu")
    assert (table.num_rows, table.column_names) == (0, ["metadata.name", "requests.cpu"])


async def test_many_rows_come_in_batches() -> None:
    size = frames.ROWS_A_BATCH + 5
    source = FilledSource({"pods": [pod(f"p-{n:05}", number=n) for n in range(size)]})
    async with running(source) as api:
        _, body, _ = await get(api, "pods", columns="metadata.name,spec.nodeName,metadata.annotations['note']")
        batches = list(pa.ipc.open_stream(body))
        assert [batch.num_rows for batch in batches] == [frames.ROWS_A_BATCH, 5]
        table = pa.Table.from_batches(batches).to_pandas()
        assert table["metadata.name"].tolist() == [f"p-{n:05}" for n in range(size)]
        assert table["spec.nodeName"].tolist() == [f"node-{n % 3}" for n in range(size)]


ODD: dict[str, Any] = {
    "spec": {"priority": "high", "hostNetwork": 1, "terminationGracePeriodSeconds": 2**63},
    "status": {"startTime": "yesterday", "reason": 5},
}


async def test_what_is_of_the_wrong_sort_is_null_and_counted() -> None:
    source = FilledSource({"pods": [pod("odd", **ODD), pod("even", spec={"priority": 7})]})
    async with running(source) as api:
        columns = [f"spec.{name}" for name in ODD["spec"]] + [f"status.{name}" for name in ODD["status"]]
        table = await frame(api, columns=",".join(["metadata.name", *columns]))
        even, odd = table.to_pylist()
        assert (even["spec.priority"], odd) == (7, {"metadata.name": "odd", **dict.fromkeys(columns)})
        async with api.client.get(f"{api.url}/metrics") as answer:
            assert "krm_odd_values_total 5.0" in await answer.text()


async def test_amounts_are_rounded_and_bounded_as_kubernetes_does() -> None:
    def asking(name: str, **amounts: str) -> dict[str, Any]:
        return pod(name, spec={"containers": [{"name": "c", "resources": {"requests": amounts}}]})

    pods = [asking("a", cpu="100m", memory="1500m"), asking("b", cpu="1n", memory="16Ei"), asking("c")]
    async with running(FilledSource({"pods": pods})) as api:
        table = await frame(api, columns="requests.cpu,requests.memory,requests.gpu")
        assert table["requests.cpu"].to_pylist() == [0.1, 1e-9, None]
        assert table["requests.memory"].to_pylist() == [2, 2**63 - 1, None]


async def test_names_of_columns_are_the_callers_and_may_hold_commas() -> None:
    source = FilledSource({"pods": [pod("a", labels={"x,y": "1", "it's": "2"})]})
    async with running(source) as api:
        columns = r"metadata.labels['x,y'],metadata.labels['it\'s'], metadata.name"
        assert (await frame(api, columns=columns)).to_pylist() == [
            {"metadata.labels['x,y']": "1", r"metadata.labels['it\'s']": "2", "metadata.name": "a"}
        ]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"columns": "spec.nodeNam"}, "PATH_INVALID"),
        ({"columns": "]["}, "PATH_INVALID"),
        ({"columns": ""}, "BAD_ARGUMENT"),
        ({"columns": "metadata.name,metadata.name"}, "BAD_ARGUMENT"),
        ({"column": "metadata.name"}, "BAD_ARGUMENT"),
        ({"where": "{"}, "BAD_ARGUMENT"),
        ({"where": "[]"}, "BAD_ARGUMENT"),
        ({"where": {"path": "spec.nope", "eq": 1}}, "PATH_INVALID"),
        ({"where": {"path": "spec.nodeName", "like": 1}}, "BAD_ARGUMENT"),
        ({"orderBy": "metadata.name"}, "BAD_ARGUMENT"),
        ({"orderBy": [5]}, "BAD_ARGUMENT"),
        ({"orderBy": [{"path": "x"}]}, "PATH_INVALID"),
        ({"first": "1e9"}, "BAD_ARGUMENT"),
        ({"first": "0"}, "BAD_ARGUMENT"),
        ({"first": "9" * 18}, "BAD_ARGUMENT"),
        ({"after": "nonsense"}, "CURSOR_INVALID"),
        ({"labelSelector": "a==b,,c"}, "SELECTOR_INVALID"),
        ({"fieldSelector": "spec.nope=1"}, "PATH_INVALID"),
        ({"namespace": "../x"}, "BAD_ARGUMENT"),
        ({"name": "A B"}, "BAD_ARGUMENT"),
        ({"cluster": "elsewhere"}, "BAD_ARGUMENT"),
        ({"maxStaleness": "5 parsecs"}, "BAD_ARGUMENT"),
        ({"minResourceVersion": "01"}, "RV_INVALID"),
    ],
)
async def test_bad_arguments_are_refused(api: Running, parameters: dict[str, Any], code: str) -> None:
    assert (await refusal(api, "pods", **parameters))[:2] == (400, code)


async def test_a_parameter_that_is_given_twice_is_refused(api: Running) -> None:
    async with api.client.get(f"{api.url}/frames/pods?name=a&name=b") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "BAD_ARGUMENT")


async def test_a_wrong_path_names_the_nearest(api: Running) -> None:
    assert "spec.nodeName" in (await refusal(api, "pods", columns="spec.nodename"))[2]


async def test_what_is_not_cached_is_not_found(api: Running) -> None:
    status, code, message = await refusal(api, "pod s")
    assert (status, code) == (404, "KIND_UNKNOWN")
    assert "pods" in message
    async with api.client.get(f"{api.url}/frames/") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "BAD_REQUEST")
    async with api.client.post(f"{api.url}/frames/pods") as answer:
        assert (answer.status, (await answer.json())["code"]) == (405, "BAD_REQUEST")


async def test_a_table_that_is_not_ready_is_no_empty_frame(api: Running) -> None:
    api.source.states["pods"] = State.NOT_READY
    assert (await refusal(api, "pods"))[:2] == (503, "NOT_READY")


async def test_an_answer_of_too_many_rows_is_refused(source: FilledSource) -> None:
    async with running(source, max_rows=19) as api:
        status, code, message = await refusal(api, "pods")
        assert (status, code) == (400, "BAD_ARGUMENT")
        assert "KRM_MAX_ROWS" in message


async def test_a_frame_that_is_too_large_is_refused_before_its_first_byte(source: FilledSource) -> None:
    async with running(source, max_response=2_000) as api:
        for arguments in ({}, {"columns": "metadata.name,metadata.uid,metadata.annotations"}):
            status, code, message = await refusal(api, "pods", **arguments)
            assert (status, code) == (400, "BAD_ARGUMENT")
            assert message.startswith("the frame is larger than 2000 bytes (KRM_MAX_RESPONSE)")
        assert (await get(api, "pods", columns="metadata.name", first="1"))[0] == 200


async def test_a_frame_of_several_batches_is_refused_before_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROWS_A_BATCH", 10)
    pods = [pod(f"p-{number:03}") for number in range(60)]
    async with running(FilledSource({"pods": pods})) as api:
        _, whole, _ = await get(api, "pods", columns="metadata.name,spec")
    for most, expected in ((len(whole), 200), (len(whole) - 1, 400)):
        async with running(FilledSource({"pods": pods}), max_response=most) as api:
            assert (await get(api, "pods", columns="metadata.name,spec"))[0] == expected


async def test_a_frame_that_grows_too_large_is_an_error_to_every_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ROWS_A_BATCH", 10)
    notes = [{"note": "x" * (10 if number < 40 else 5_000)} for number in range(60)]
    pods = [pod(f"p-{number:03}") for number in range(60)]
    for each, note in zip(pods, notes, strict=True):
        each["metadata"]["annotations"] = note
    got = bytearray()

    async def read(url: str) -> None:
        async with api.client.get(url) as answer:
            assert answer.status == 200
            async for chunk in answer.content.iter_any():
                got.extend(chunk)

    async with running(FilledSource({"pods": pods}), max_response=30_000) as api:
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(f"{api.url}/frames/pods?columns=metadata.name,metadata.annotations")
    reader = pa.ipc.open_stream(bytes(got))
    with pytest.raises((pa.ArrowInvalid, OSError)):
        reader.read_all()
    assert (
        pa.ipc.open_stream(bytes(got[:-8])).read_all().num_rows == 40
    )  # which without the last piece would pass for the whole


async def test_requests_in_flight_are_counted_down_however_they_end(source: FilledSource) -> None:
    async with running(source, max_in_flight=1) as api:
        for _ in range(3):
            await frame(api)
            await refusal(api, "pods", columns="nope")
        assert (await api.ask("{ pods { totalCount } }"))[0] == 200
