"""What is wrong with a request is said with a stable code, over a real API whose tables real workers keep.

What is refused before GraphQL (bodies, headers, methods, deadlines) is tested one by one beside the API's other tests;
here each sort of bad input goes the whole way, and afterwards the same API must still answer what is right.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from krm import resources
from krm.api import app, http, server
from krm.api.live import Live
from krm.settings import Settings
from krm.store.connect import open_store
from krm.store.reading import TableStore
from krm.table.tables import Tables
from tests import chain
from tests.servers import RedisServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

KINDS = (resources.PODS, resources.NODES)
PODS = 20
JSON = "Content-Type: application/json"


@dataclass
class Api:
    port: int
    client: aiohttp.ClientSession

    async def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and the decoded answer, which must be JSON."""
        async with self.client.post(
            f"http://127.0.0.1:{self.port}/graphql",
            data=body,
            headers={"Content-Type": "application/json", **(headers or {})},
        ) as answer:
            assert answer.content_type == "application/json", await answer.text()
            found: dict[str, Any] = await answer.json()
            return answer.status, found

    async def ask(self, query: str, **variables: Any) -> tuple[int, dict[str, Any]]:
        return await self.post(json.dumps({"query": query, "variables": variables}).encode())

    async def refusal(self, query: str, **variables: Any) -> tuple[int, str, str]:
        """Status, code and text of the only error."""
        status, answer = await self.ask(query, **variables)
        (error,) = answer["errors"]
        assert set(error["extensions"]) == {"code"}, error
        return status, error["extensions"]["code"], error["message"]

    async def send(self, *pieces: bytes) -> bytes:
        """What comes back over a bare socket until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One API over one filled chain for all of this file."""
    redis_server.empty()
    folder: Path = tmp_path_factory.mktemp("bad-input")
    async with chain.running(
        redis_server.url, folder, pods=PODS, kinds=KINDS, verify_interval_s=30.0, resources=KINDS, port=0
    ) as running:
        settings: Settings = running.settings
        store = open_store(settings.require_redis())
        stores = [TableStore(store, settings.cluster, kind) for kind in KINDS]
        try:
            async with Tables.of(stores) as tables:
                live = Live(tables, stores, settings)
                made = app.create(settings, live)
                listening = server.listen(settings)
                uvicorn = http.Server(server.configuration(settings, made), made.state.api.stop)
                life = asyncio.create_task(uvicorn.serve(sockets=[listening]))
                await wait_until(lambda: uvicorn.started and all(live.rows(kind) for kind in KINDS), 30)
                async with aiohttp.ClientSession() as client:
                    yield Api(listening.getsockname()[1], client)
                uvicorn.should_exit = True
                await life
        finally:
            await store.close()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _api_is_well(api: Api, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """After each test the same API answers, and no fault of its own is in the log."""
    yield
    assert await api.ask("{ pods { totalCount } }") == (200, {"data": {"pods": {"totalCount": PODS}}})
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info] == []


# -- bodies (B1 to B4) -----------------------------------------------------------------------------------------

GOOD = b'{"query": "{ pods { totalCount } }"}'
BODIES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "not JSON"),
    "null": (b"null", "object"),
    "number": (b"5", "object"),
    "not a number": (b'{"query": "{ a }", "variables": {"first": NaN}}', "not JSON"),
    "invalid UTF-8": (b'{"query": "\xff\xfe"}', "not JSON"),
    "UTF-16": ('{"query": "{ a }"}'.encode("utf-16"), "not JSON"),
    "lone surrogate": (b'{"query": "{ a }", "variables": {"a": "\\ud800"}}', "not JSON"),
    "200k brackets": (b"[" * 200_000, "not JSON"),
    "200k objects": (b'{"query":' * 25_000, "not JSON"),
    "100k closed brackets": (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
    "batch": (b"[" + GOOD + b"]", "BATCHING_DISABLED"),
    "empty batch": (b"[]", "BATCHING_DISABLED"),
    "no query": (b"{}", "query"),
    "query is a number": (b'{"query": 5}', "query"),
    "variables are a list": (b'{"query": "{ a }", "variables": []}', "variables"),
    "variables are a text": (b'{"query": "{ a }", "variables": "{}"}', "variables"),
    "operationName is an object": (b'{"query": "{ a }", "operationName": {}}', "operationName"),
    "unknown operation": (b'{"query": "query A { pods { totalCount } }", "operationName": "B"}', "operationName"),
    "no operation chosen": (
        b'{"query": "query A { pods { totalCount } } query B { nodes { totalCount } }"}',
        "operationName",
    ),
}


@pytest.mark.parametrize(("body", "said"), BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_request_is_refused_and_told_why(api: Api, body: bytes, said: str) -> None:
    status, answer = await api.post(body)
    assert (status, [e["extensions"]["code"] for e in answer["errors"]]) == (400, ["BAD_REQUEST"])
    assert said in answer["errors"][0]["message"]
    assert "data" not in answer


async def test_bodies_beyond_the_bound_are_refused_before_they_are_read_as_json(api: Api) -> None:
    async def chunked() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"[" * 10_000

    bomb = gzip.compress(b"[" * 100_000_000)
    big = json.dumps({"query": "{ pods(name: $n) { totalCount } }", "variables": {"n": "x" * 1_000_000}}).encode()
    for body, headers in ((chunked(), {}), (bomb, {"Content-Encoding": "gzip"}), (big, {})):
        status, answer = await api.post(body, headers)  # type: ignore[arg-type]  # aiohttp takes iterators too
        assert (status, answer["errors"][0]["extensions"]["code"]) == (413, "BAD_REQUEST")
        assert "KRM_MAX_BODY" in answer["errors"][0]["message"]


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"zz\r\n{}\r\n0\r\n\r\n"], b"400"),
        ([b"-1\r\n{}\r\n0\r\n\r\n"], b"400"),
        ([b"%x\r\n" % len(GOOD), *(bytes((b,)) for b in GOOD), b"\r\n0\r\n\r\n"], b"200"),
    ],
    ids=["no size", "negative size", "byte by byte"],
)
async def test_chunked_bodies_are_taken_whole_or_refused(api: Api, pieces: list[bytes], status: bytes) -> None:
    head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nConnection: close\r\n"
    answer = await api.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n", *pieces)
    assert answer.split(b" ", 2)[1] == status
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_two_lengths_never_smuggle_a_second_request(api: Api) -> None:
    second = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for lengths in (
        f"Content-Length: {len(GOOD)}\r\nContent-Length: 0",
        f"Content-Length: {len(GOOD)}\r\nTransfer-Encoding: chunked",
        f"Content-Length: +{len(GOOD)}",
    ):
        head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n{lengths}\r\n\r\n"
        answer = await api.send(head.encode() + GOOD + second)
        assert answer.split(b" ", 2)[1] == b"400", answer[:200]
        assert b"krm_" not in answer


# -- documents (B5 to B7) --------------------------------------------------------------------------------------

DOUBLED = " ".join(f"fragment f{n} on Pod {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
DOCUMENTS: dict[str, tuple[str, str, str]] = {
    "syntax": ("{ pods {", "GRAPHQL_VALIDATION", "Syntax Error"),
    "binary": ("\x00\x01\x02", "GRAPHQL_VALIDATION", "Syntax Error"),
    "surrogate in text": ('{ pods(name: "\\ud800") { totalCount } }', "GRAPHQL_VALIDATION", "Syntax Error"),
    "unknown field": ("{ pods { nope } }", "GRAPHQL_VALIDATION", "nope"),
    "unknown argument": ("{ pods(nope: 1) { totalCount } }", "GRAPHQL_VALIDATION", "nope"),
    "unknown fragment": ("{ pods { ...Nope } }", "GRAPHQL_VALIDATION", "Nope"),
    "unknown fragment deep down": ("{ pods { nodes { metadata { ...Nope } } } }", "GRAPHQL_VALIDATION", "Nope"),
    "unknown type": ("query Q($a: Nope) { pods { totalCount } }", "GRAPHQL_VALIDATION", "Nope"),
    "fragment of itself": (
        "{ pods { nodes { ...A } } } fragment A on Pod { ...B } fragment B on Pod { ...A }",
        "GRAPHQL_VALIDATION",
        "within itself",
    ),
    "only a fragment": ("fragment A on Pod { kind }", "GRAPHQL_VALIDATION", "never used"),
    "a type definition": ("type A { a: Int }", "GRAPHQL_VALIDATION", ""),
    "mutation": ("mutation { deletePods }", "GRAPHQL_VALIDATION", ""),
    "subscription by POST": ("subscription { pods { type } }", "BAD_REQUEST", "WebSocket"),
    "depth of 50": ("{ pods " + "{ nodes " * 50 + "}" * 50 + "}", "QUERY_TOO_COMPLEX", "KRM_MAX_DEPTH"),
    "4,000 levels": ("{a" * 4_000, "QUERY_TOO_COMPLEX", "KRM_MAX_DEPTH"),
    "tokens": ("{ pods { " + "kind " * 10_001 + "} }", "QUERY_TOO_COMPLEX", "KRM_MAX_TOKENS"),
    "aliases": (
        "{" + " ".join(f"a{n}: pods {{ totalCount }}" for n in range(1_000)) + "}",
        "QUERY_TOO_COMPLEX",
        "KRM_MAX_ALIASES",
    ),
    "equal fields": ("{" + "pods { totalCount } " * 1_000 + "}", "QUERY_TOO_COMPLEX", "KRM_MAX_EQUAL_FIELDS"),
    "directives": ("{ pods " + "@skip(if: false) " * 1_000 + "{ totalCount } }", "QUERY_TOO_COMPLEX", "directives"),
    "doubled fragments": (
        "{ pods { nodes { ...f0 } } } " + DOUBLED + " fragment f40 on Pod { kind }",
        "QUERY_TOO_COMPLEX",
        "KRM_MAX_FIELDS",
    ),
    "nested values": ("{ pods(where: " + "{not: " * 500 + "{}" + "}" * 500 + ") { totalCount } }", "", "nested"),
}


@pytest.mark.parametrize(("text", "code", "said"), DOCUMENTS.values(), ids=DOCUMENTS)
async def test_a_document_that_must_not_run_is_refused_whole(api: Api, text: str, code: str, said: str) -> None:
    status, answer = await api.ask(text)
    assert status == 400
    assert "data" not in answer
    assert {e["extensions"]["code"] for e in answer["errors"]} == {code or "QUERY_TOO_COMPLEX"}
    assert any(said in e["message"] for e in answer["errors"])
    assert len(json.dumps(answer)) < 20_000


# -- arguments (B8 to B17) -------------------------------------------------------------------------------------

LIST = """query Q($first: Int, $after: String, $labels: String, $fields: String, $name: String, $namespace: String,
    $namespaces: [String!], $where: Filter, $order: [Order!], $age: Duration, $version: String, $cluster: String) {
  pods(first: $first, after: $after, labelSelector: $labels, fieldSelector: $fields, name: $name,
    namespace: $namespace, namespaces: $namespaces, where: $where, orderBy: $order, maxStaleness: $age,
    minResourceVersion: $version, cluster: $cluster) { totalCount }
}"""

NAMES = ["..", "a/b", "\x07", "a\x00b", "a\nb", "*", "x" * 300, "Upper", "", "a..b", "-a", "\u202eabc", "é"]
ARGUMENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "first 0": ({"first": 0}, "BAD_ARGUMENT", "from 1 to 200000"),
    "first -1": ({"first": -1}, "BAD_ARGUMENT", "from 1 to 200000"),
    "first beyond": ({"first": 200_001}, "BAD_ARGUMENT", "from 1 to 200000"),
    "cursor is text": ({"after": "abc"}, "CURSOR_INVALID", "start again"),
    "cursor is empty": ({"after": ""}, "CURSOR_INVALID", "start again"),
    "cursor is long": ({"after": "A" * 60_000}, "CURSOR_INVALID", "start again"),
    "empty requirement": ({"labels": "a==b,,c"}, "SELECTOR_INVALID", "position 5"),
    "empty set": ({"labels": "a in ("}, "SELECTOR_INVALID", "position"),
    "only a bang": ({"labels": "!"}, "SELECTOR_INVALID", "position 1"),
    "10 kB of selector": ({"labels": "a=b,," * 2_000}, "SELECTOR_INVALID", "position"),
    "field selector without a value": ({"fields": "metadata.name"}, "SELECTOR_INVALID", "position"),
    "field selector of no field": ({"fields": "spec.nodename=x"}, "PATH_INVALID", "spec.nodeName"),
    "field selector of an object": ({"fields": "spec=x"}, "SELECTOR_INVALID", "single value"),
    "path of no field": ({"where": {"path": "spec.nope", "exists": True}}, "PATH_INVALID", "spec."),
    "order of no field": ({"order": [{"path": "nope"}]}, "PATH_INVALID", "nope"),
    "no pattern": ({"where": {"path": "metadata.name", "matches": "(a"}}, "BAD_ARGUMENT", "RE2"),
    "backreference": ({"where": {"path": "metadata.name", "matches": r"(a)\1"}}, "BAD_ARGUMENT", "RE2"),
    "version 0": ({"version": "0"}, "RV_INVALID", "minResourceVersion"),
    "version 01": ({"version": "01"}, "RV_INVALID", "minResourceVersion"),
    "version abc": ({"version": "abc"}, "RV_INVALID", "minResourceVersion"),
    "version 1.5": ({"version": "1.5"}, "RV_INVALID", "minResourceVersion"),
    "version empty": ({"version": ""}, "RV_INVALID", "minResourceVersion"),
    "version of 200 digits": ({"version": "9" * 200}, "RV_INVALID", "minResourceVersion"),
    "version in Arabic digits": ({"version": "\u0661\u0662"}, "RV_INVALID", "minResourceVersion"),
    "version not reached": ({"version": "9" * 39}, "STALE_REPLICA", ""),
    "age negative": ({"age": "-1s"}, "BAD_ARGUMENT", "DURATION_INVALID"),
    "age in parsecs": ({"age": "5 parsecs"}, "BAD_ARGUMENT", "DURATION_INVALID"),
    "age without a unit": ({"age": "5"}, "BAD_ARGUMENT", "DURATION_INVALID"),
    "age of ages": ({"age": "9999999h"}, "BAD_ARGUMENT", "DURATION_INVALID"),
    "age empty": ({"age": ""}, "BAD_ARGUMENT", "DURATION_INVALID"),
    **{f"name {n[:6]!a}": ({"name": n}, "BAD_ARGUMENT", "NAME_INVALID") for n in NAMES},
    **{f"namespace {n[:6]!a}": ({"namespace": n}, "BAD_ARGUMENT", "NAME_INVALID") for n in NAMES},
    **{f"namespaces {n[:6]!a}": ({"namespaces": ["a", n]}, "BAD_ARGUMENT", "NAME_INVALID") for n in NAMES},
}


@pytest.mark.parametrize(("variables", "code", "said"), ARGUMENTS.values(), ids=ARGUMENTS)
async def test_a_wrong_argument_is_an_error_at_its_field(
    api: Api, variables: dict[str, Any], code: str, said: str
) -> None:
    status, answer = await api.ask(LIST, **variables)
    assert status == 200
    assert answer["data"] == {"pods": None}
    (error,) = answer["errors"]
    assert (error["extensions"]["code"], error["path"]) == (code, ["pods"])
    assert said in error["message"]
    assert len(error["message"]) <= 610


@pytest.mark.parametrize("first", ["2147483648", "1e308", "1.5", "true", '"5"'])
async def test_a_number_that_graphql_refuses_is_invalid(api: Api, first: str) -> None:
    assert (await api.refusal(f"{{ pods(first: {first}) {{ totalCount }} }}"))[:2] == (400, "GRAPHQL_VALIDATION")
    status, answer = await api.post(f'{{"query": {json.dumps(LIST)}, "variables": {{"first": {first}}}}}'.encode())
    assert (status, answer["errors"][0]["extensions"]["code"]) == (400, "GRAPHQL_VALIDATION")


HOSTILE = ["a\x00", "a\u202eb", "a\u2066b", "x" * 100_000]


@pytest.mark.parametrize("text", HOSTILE, ids=["NUL", "override", "isolate", "100 kB"])
async def test_hostile_text_is_refused_in_every_argument(api: Api, text: str) -> None:
    for variables in (
        {"labels": text},
        {"fields": text},
        {"after": text},
        {"order": [{"path": text}]},
        {"where": {"path": text, "exists": True}},
        {"where": {"path": "metadata.name", "eq": text}},
        {"where": {"path": "metadata.name", "in": ["a", text]}},
        {"where": {"path": "metadata.name", "matches": text}},
        {"where": {"path": "metadata.labels", "eq": {text: "a"}}},
        {"where": {"not": {"or": [{"path": "metadata.name", "contains": text}]}}},
    ):
        status, code, said = await api.refusal(LIST, **variables)
        assert (status, code) == (200, "BAD_ARGUMENT"), variables
        assert "ARGUMENT_INVALID" in said
    # What is held against something that is known is refused as unknown, and never repeated whole.
    for variables in ({"cluster": text}, {"version": text}, {"age": text}, {"name": text}, {"namespace": text}):
        status, code, said = await api.refusal(LIST, **variables)
        assert status == 200
        assert code in ("BAD_ARGUMENT", "RV_INVALID"), variables
        assert len(said) <= 610


@pytest.mark.parametrize(
    "query",
    [
        "query Q($t: String!) { changes(resource: $t) { totalCount } }",
        "query Q($t: String!) { drift(resource: $t) { totalCount } }",
        "query Q($t: String!) { freshness(resources: [$t]) { state } }",
    ],
    ids=["changes", "drift", "freshness"],
)
@pytest.mark.parametrize("kind", ["poods", "", "pods.v1", "secrets", "services", *HOSTILE])
async def test_a_kind_that_is_not_served_is_unknown(api: Api, query: str, kind: str) -> None:
    status, code, said = await api.refusal(query, t=kind)
    assert status == 200
    assert code in ("KIND_UNKNOWN", "BAD_ARGUMENT") if kind in HOSTILE else code == "KIND_UNKNOWN"
    if kind == "poods":
        assert "pods" in said.replace("poods", "")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ('{ changes(resource: "pods", since: "-5m") { totalCount } }', "BAD_ARGUMENT"),
        ('{ changes(resource: "pods", since: "soon") { totalCount } }', "BAD_ARGUMENT"),
        ('{ changes(resource: "pods", after: "x") { totalCount } }', "CURSOR_INVALID"),
        ('{ changes(resource: "pods", first: 0) { totalCount } }', "BAD_ARGUMENT"),
        ('{ changes(resource: "pods", labelSelector: "!") { totalCount } }', "SELECTOR_INVALID"),
        ('{ drift(after: "x") { totalCount } }', "CURSOR_INVALID"),
        ("{ drift(first: -1) { totalCount } }", "BAD_ARGUMENT"),
        ('{ pods { groupBy(paths: ["nope"]) { count } } }', "PATH_INVALID"),
        ("{ pods { groupBy(paths: []) { count } } }", "BAD_ARGUMENT"),
        ('{ pods { groupBy(paths: ["metadata.namespace"], first: 0) { count } } }', "BAD_ARGUMENT"),
        ('{ pods { groupBy(paths: ["metadata.namespace"]) { sum(path: "metadata.name") } } }', "BAD_ARGUMENT"),
        ("{ nodes { nodes { pods(first: 0) { kind } } } }", "BAD_ARGUMENT"),
        ('{ nodes { nodes { pods(labelSelector: "!") { kind } } } }', "SELECTOR_INVALID"),
        ('{ pod(namespace: "..", name: "a") { kind } }', "BAD_ARGUMENT"),
        ('{ pod(namespace: "a", name: "\\u0000") { kind } }', "BAD_ARGUMENT"),
        ('{ node(name: "*") { kind } }', "BAD_ARGUMENT"),
        ("{ services { totalCount } }", "KIND_UNKNOWN"),
    ],
)
async def test_a_wrong_argument_elsewhere_has_its_code_too(api: Api, query: str, code: str) -> None:
    status, answer = await api.ask(query)
    assert status == 200
    assert {e["extensions"]["code"] for e in answer["errors"]} == {code}, answer


async def test_cursors_of_others_and_changed_ones_are_refused(api: Api) -> None:
    page = "query Q($after: String) { pods(first: 3, after: $after%s) { pageInfo { endCursor } totalCount } }"
    _, answer = await api.ask(page % "")
    cursor = answer["data"]["pods"]["pageInfo"]["endCursor"]
    assert (await api.ask(page % "", after=cursor))[1]["data"]["pods"]["totalCount"] == PODS
    other = ', orderBy: { path: "spec.nodeName" }'
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for query, given in ((page % other, cursor), (page % "", changed), (page % "", cursor + "="), (page % "", "é")):
        status, code, said = await api.refusal(query, after=given)
        assert (status, code) == (200, "CURSOR_INVALID")
        assert "start again" in said
    _, code, _ = await api.refusal("query Q($c: String) { nodes(after: $c) { totalCount } }", c=cursor)
    assert code == "CURSOR_INVALID"


async def test_a_pattern_that_others_backtrack_on_is_answered(api: Api) -> None:
    status, answer = await api.ask(
        LIST, where={"path": "metadata.name", "matches": "^(([a-z0-9-])+.)+[A-Z]([a-z])+$|(a+)+$|(x|x)*y"}
    )
    assert status == 200
    assert "errors" not in answer


# -- HTTP itself (B18, B21) ------------------------------------------------------------------------------------

LENGTH = f"Content-Length: {len(GOOD)}"
UPGRADE = "Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13"
SUBPROTOCOL = "Sec-WebSocket-Protocol: graphql-transport-ws"
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
REQUESTS: dict[str, tuple[str, bytes, set[bytes]]] = {
    "form": (f"POST /graphql HTTP/1.1|Content-Type: application/x-www-form-urlencoded|{LENGTH}", GOOD, {b"415"}),
    "no type": (f"POST /graphql HTTP/1.1|{LENGTH}", GOOD, {b"415"}),
    "query in the URL": ("GET /graphql?query={pods{totalCount}} HTTP/1.1", b"", {b"405"}),
    "PUT": (f"PUT /graphql HTTP/1.1|{JSON}|{LENGTH}", GOOD, {b"405"}),
    "TRACE": ("TRACE /graphql HTTP/1.1", b"", {b"405"}),
    "unknown method": ("BREW /graphql HTTP/1.1", b"", {b"400", b"405"}),
    "two slashes": (f"POST //graphql HTTP/1.1|{JSON}|{LENGTH}", GOOD, {b"404"}),
    "a slash at the end": (f"POST /graphql/ HTTP/1.1|{JSON}|{LENGTH}", GOOD, {b"404"}),
    "upwards": ("GET /static/../../settings.py HTTP/1.1", b"", {b"404"}),
    "upwards, escaped": ("GET /static/%2e%2e%2f%2e%2e%2fsettings.py HTTP/1.1", b"", {b"404"}),
    "NUL in the path": ("GET /static/a%00b HTTP/1.1", b"", {b"400", b"404"}),
    "long path": ("GET /" + "a" * 70_000 + " HTTP/1.1", b"", {b"400", b"404", b"414", b"431"}),
    "header of 64 kB": ("GET /healthz HTTP/1.1|X-Large: " + "y" * 66_000, b"", {b"400", b"431"}),
    "10,000 headers": ("GET /healthz HTTP/1.1|" + "|".join(f"X-{n}: y" for n in range(10_000)), b"", {b"400", b"431"}),
    "header without a colon": ("GET /healthz HTTP/1.1|nonsense", b"", {b"400"}),
    "HTTP/1.0": (f"POST /graphql HTTP/1.0|{JSON}|{LENGTH}", GOOD, {b"200"}),
    "HTTP/0.9": ("GET /healthz", b"", {b"200", b"400"}),
    "HTTP/2": ("PRI * HTTP/2.0", b"SM\r\n\r\n", {b"400", b"404", b"405", b"505"}),
    "two tokens": (
        f"POST /graphql HTTP/1.1|{JSON}|{LENGTH}|Authorization: Bearer a|Authorization: Bearer b",
        GOOD,
        {b"200"},
    ),
    "token is nonsense": (f"POST /graphql HTTP/1.1|{JSON}|{LENGTH}|Authorization: \xff\xfe", GOOD, {b"200"}),
    "upgrade on POST": (
        f"POST /graphql HTTP/1.1|{JSON}|{LENGTH}|{UPGRADE}|{KEY}",
        GOOD,
        {b"400"},
    ),
    "upgrade with a large header": (
        f"GET /graphql HTTP/1.1|{UPGRADE}|X-Large: {'y' * 10_000}|{KEY}",
        b"",
        {b"400"},
    ),
    "upgrade without a key": ("GET /graphql HTTP/1.1|Connection: Upgrade|Upgrade: websocket", b"", {b"400", b"426"}),
    "upgrade elsewhere": (
        f"GET /metrics HTTP/1.1|{UPGRADE}|{KEY}",
        b"",
        {b"400", b"403", b"404"},
    ),
}


@pytest.mark.parametrize(("head", "body", "statuses"), REQUESTS.values(), ids=REQUESTS)
async def test_odd_http_is_answered_with_a_status_of_its_own(
    api: Api, head: str, body: bytes, statuses: set[bytes]
) -> None:
    first, *headers = head.split("|")
    close = [] if any(h.startswith("Connection:") for h in headers) else ["Connection: close"]
    lines = [first, "Host: localhost", *headers, *close, "", ""]
    answer = await api.send("\r\n".join(lines).encode("latin-1") + body)
    assert answer.split(b" ", 2)[1] in statuses, answer[:300]
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "localhost@evil.example", "\xff", "a b", "x" * 5_000],
)
async def test_a_host_that_is_not_this_machine_is_refused(api: Api, host: str) -> None:
    """Else a page on the internet could have its own name lead to this machine, and read the cluster."""
    for head, body in (
        (f"POST /graphql HTTP/1.1|Host: {host}|{JSON}|{LENGTH}|Connection: close", GOOD),
        (f"GET / HTTP/1.1|Host: {host}|Connection: close", b""),
        (
            f"GET /graphql HTTP/1.1|Host: {host}|Origin: http://{host}|{UPGRADE}|{KEY}|{SUBPROTOCOL}",
            b"",
        ),
    ):
        answer = await api.send((head.replace("|", "\r\n") + "\r\n\r\n").encode("latin-1") + body)
        assert answer.split(b" ", 2)[1] in (b"400", b"403"), answer[:300]
        assert b"totalCount" not in answer


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "krm.localhost", "10.0.0.1"]
)
async def test_every_name_of_this_machine_is_answered(api: Api, host: str) -> None:
    head = f"POST /graphql HTTP/1.1\r\nHost: {host}\r\n{JSON}\r\n{LENGTH}\r\nConnection: close\r\n\r\n"
    assert (await api.send(head.encode() + GOOD)).split(b" ", 2)[1] == b"200"
