"""Every way in which a call can fail ends in its own typed error, never in an empty answer."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import ssl
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

import krm_client
from krm_client import (
    AsyncKrmClient,
    KrmAuthError,
    KrmClient,
    KrmConnectError,
    KrmError,
    KrmForbidden,
    KrmNotReady,
    KrmProtocolError,
    KrmQueryError,
    KrmSchemaMismatch,
    KrmStale,
    KrmTimeout,
    KrmTlsError,
    KrmUsageError,
)
from krm_client.calls import Pause, Policy, Send, Timeouts, exchange
from krm_client.documents import Document
from tests.unit.client import canned

DATA = Path(__file__).parent / "data"
LIST = "default"


@pytest.fixture
def tls_server() -> Iterator[canned.Server]:
    def prepare(http: ThreadingHTTPServer) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(DATA / "loopback-certificate.pem", DATA / "loopback-key.pem")
        http.socket = context.wrap_socket(http.socket, server_side=True)
        return "https"

    with canned.serving(prepare) as running:
        running.answer(canned.data({"ok": True}))
        yield running


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [
        ("BAD_REQUEST", KrmQueryError, 400),
        ("QUERY_TOO_COMPLEX", KrmQueryError, 400),
        ("UNAUTHENTICATED", KrmAuthError, 401),
        ("BAD_ARGUMENT", KrmQueryError, 400),
        ("SELECTOR_INVALID", KrmQueryError, 400),
        ("PATH_INVALID", KrmQueryError, 400),
        ("CURSOR_INVALID", KrmQueryError, 400),
        ("RV_INVALID", KrmQueryError, 400),
        ("KIND_UNKNOWN", KrmQueryError, 400),
        ("FORBIDDEN", KrmForbidden, 403),
        ("NOT_READY", KrmNotReady, 503),
        ("TOO_STALE", KrmStale, 504),
        ("STALE_REPLICA", KrmStale, 504),
        ("TIMEOUT", KrmTimeout, 504),
        ("INTERNAL", KrmProtocolError, 500),
        ("NEWER_THAN_THIS_CLIENT", KrmQueryError, 400),
    ],
)
def test_each_code_has_its_error(
    code: str, error: type[KrmError], status: int, server: canned.Server, krm: KrmClient
) -> None:
    server.answer(canned.error(code, "the reason"))
    for call in (lambda: krm.core_v1.list_namespaced_pod(LIST), lambda: krm.query("{ pods { totalCount } }")):
        with pytest.raises(error, match="the reason") as raised:
            call()
        assert raised.value.code == code
        assert isinstance(raised.value, ApiException)
        assert raised.value.status == status
        assert raised.value.body is not None
        assert json.loads(raised.value.body)["code"] == status


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (502, b"<html><h1>502 Bad Gateway</h1></html>", KrmProtocolError),
        (500, b"", KrmProtocolError),
        (404, b"<html>not found</html>", KrmProtocolError),
        (405, b'{"detail": "Method Not Allowed"}', KrmProtocolError),
        (401, b"", KrmAuthError),
        (403, b"<html>forbidden by the proxy</html>", KrmForbidden),
        (200, b"<html>a login page</html>", KrmProtocolError),
        (200, b"", KrmProtocolError),
        (200, b'{"data": {"pods": {"nodes": [', KrmProtocolError),
        (200, b'{"data": {"pods": {"nodes": []}}', KrmProtocolError),
        (200, b'\xff\xfe{"data": null}', KrmProtocolError),
        (200, b"[]", KrmProtocolError),
        (200, b"null", KrmProtocolError),
        (200, b"{}", KrmProtocolError),
        (200, b'{"data": null}', KrmProtocolError),
        (200, b'{"data": null, "errors": []}', KrmProtocolError),
        (200, b'{"data": {}}', KrmProtocolError),
        (200, b'{"data": {"pods": null}}', KrmProtocolError),
        (200, b'{"data": {"pods": {"nodes": null}}}', KrmProtocolError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_answer_that_is_none_is_an_error(
    status: int, body: bytes, error: type[KrmError], server: canned.Server, krm: KrmClient
) -> None:
    server.answer(canned.Reply(status=status, body=body))
    with pytest.raises(error):
        krm.core_v1.list_namespaced_pod(LIST)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"data": null}', b'{"data": 5}', b'{"data": {}'])
def test_answer_to_a_query_that_is_none_is_an_error(body: bytes, server: canned.Server, krm: KrmClient) -> None:
    server.answer(canned.Reply(body=body))
    with pytest.raises(KrmProtocolError):
        krm.query("{ a }")


def test_proxy_s_page_is_shown(server: canned.Server, krm: KrmClient) -> None:
    server.answer(canned.Reply(status=200, body=b"<html>a login page</html>" * 100))
    with pytest.raises(KrmProtocolError, match="a login page") as raised:
        krm.query("{ a }")
    assert len(str(raised.value)) < 400


def test_errors_beside_data_raise_with_the_part(server: canned.Server, krm: KrmClient) -> None:
    refused = {"message": "no right", "path": ["nodes"], "extensions": {"code": "FORBIDDEN"}}
    server.answer(canned.data({"pods": {"totalCount": 1}, "nodes": None}, [refused]))
    with pytest.raises(KrmQueryError, match="no right") as raised:
        krm.query("{ pods { totalCount } nodes { totalCount } }")
    assert raised.value.partial == {"pods": {"totalCount": 1}, "nodes": None}
    assert raised.value.errors == [refused]
    assert raised.value.code == "FORBIDDEN"


def test_list_with_errors_beside_whole_data_is_not_given(server: canned.Server, krm: KrmClient) -> None:
    reply = canned.listing("pods", [])
    body = json.loads(reply.body)
    body["errors"] = [{"message": "half of it is missing", "extensions": {"code": "INTERNAL"}}]
    server.answer(canned.Reply(body=json.dumps(body).encode()))
    with pytest.raises(KrmProtocolError, match="half of it"):
        krm.core_v1.list_pod_for_all_namespaces()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Cannot query field 'scope' on type 'PodConnection'.", "scope"),
        ("Unknown argument 'minResourceVersion' on field 'Query.pods'.", "minResourceVersion"),
        ("Unknown type 'Duration'.", "Duration"),
    ],
)
def test_field_that_the_server_does_not_know_is_named(
    message: str, field: str, server: canned.Server, krm: KrmClient
) -> None:
    server.answer(canned.error("GRAPHQL_VALIDATION", message, status=400))
    with pytest.raises(KrmSchemaMismatch, match=field) as raised:
        krm.core_v1.list_namespaced_pod(LIST)
    assert raised.value.field == field
    with pytest.raises(KrmQueryError, match=field):
        krm.query("{ scope }")


def test_server_that_knows_more_is_understood(server: canned.Server, krm: KrmClient) -> None:
    """A newer one answers with fields and words that this client has never heard of."""
    pod = {"metadata": {"name": "a", "newField": {"x": 1}}, "spec": {"containers": [], "newList": [1]}}
    connection = {
        "resourceVersion": "5",
        "pageInfo": {"hasNextPage": False, "endCursor": None, "new": 1},
        "scope": {"complete": True, "namespaces": None, "new": []},
        "nodes": [{"object": pod, "new": True}],
        "new": {},
    }
    server.answer(canned.Reply(body=json.dumps({"data": {"pods": connection}, "extensions": {"new": 1}}).encode()))
    listed: Any = krm.core_v1.list_namespaced_pod("default")
    assert (listed.items[0].metadata.name, listed.metadata.resource_version) == ("a", "5")
    types = [
        {"name": "Pod", "kind": "OBJECT", "fields": [{"name": "spec", "type": {"name": "PodSpec"}, "new": 1}]},
        {"name": "PodSpec", "fields": [{"name": "nodeName", "type": {"name": "String"}}, *_NEW_FIELDS]},
    ]
    server.answer(
        canned.data({"__schema": {"types": types}}), canned.data({"pods": {**connection, "nodes": [{"spec": {}}]}})
    )
    assert krm.list("pods", fields=["spec"])
    assert "spec { nodeName }" in server.asked[-1].json["query"]


_NEW_FIELDS = [{"name": "fieldOfTomorrow", "type": {"name": "TypeOfTomorrow"}}]


def test_answer_of_another_form_names_the_field(server: canned.Server, krm: KrmClient) -> None:
    body = json.loads(canned.listing("pods", []).body)
    del body["data"]["pods"]["scope"]
    server.answer(canned.Reply(body=json.dumps(body).encode()))
    with pytest.raises(KrmSchemaMismatch) as raised:
        krm.core_v1.list_namespaced_pod(LIST)
    assert raised.value.field == "scope"


def test_answer_of_another_type_names_the_field(server: canned.Server, krm: KrmClient) -> None:
    body = json.loads(canned.listing("pods", []).body)
    body["data"]["pods"]["scope"]["complete"] = "yes"
    server.answer(canned.Reply(body=json.dumps(body).encode()))
    with pytest.raises(KrmSchemaMismatch) as raised:
        krm.core_v1.list_namespaced_pod(LIST)
    assert raised.value.field == "complete"


def test_more_to_come_without_a_cursor_is_an_error(server: canned.Server, krm: KrmClient) -> None:
    body = json.loads(canned.listing("pods", []).body)
    body["data"]["pods"]["pageInfo"] = {"hasNextPage": True, "endCursor": None}
    server.answer(canned.Reply(body=json.dumps(body).encode()))
    with pytest.raises(KrmProtocolError, match="not where"):
        krm.core_v1.list_namespaced_pod(LIST)


def test_text_that_is_not_graphql_is_refused_before_it_is_sent(server: canned.Server, krm: KrmClient) -> None:
    with pytest.raises(KrmQueryError, match="Syntax Error"):
        krm.query("{ pods(")
    assert server.asked == []


def test_variables_that_are_not_json_are_refused(krm: KrmClient) -> None:
    with pytest.raises(KrmUsageError, match="variables"):
        krm.query("query ($a: JSON) { a }", {"a": object()})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_json_lacks_is_not_asked_as_null(number: float, krm: KrmClient) -> None:
    where = [{"path": "spec.priority", "in": [1, number]}]
    for ask in (
        lambda: krm.query("query ($a: JSON) { a }", {"a": number}),
        lambda: krm.list("pods", where=where),
        lambda: krm.frame("pods", where=where),
        lambda: next(krm.watch("pods", where=where)),
    ):
        with pytest.raises(KrmUsageError, match="NaN"):
            ask()


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/", "http://", "http://host:99999", "http://[::1", "krm:8000"])
def test_wrong_address_is_a_connect_error(url: str) -> None:
    with pytest.raises(KrmConnectError, match="address"):
        KrmClient(url, env={})


def test_refused_connection(free_tcp_port: int) -> None:
    with KrmClient(f"http://127.0.0.1:{free_tcp_port}", timeout=1, env={}) as krm:
        with pytest.raises(KrmConnectError, match=str(free_tcp_port)):
            krm.core_v1.list_namespaced_pod(LIST)
        assert not issubclass(KrmConnectError, ApiException)


def test_name_that_does_not_resolve() -> None:
    with (
        KrmClient("http://krm.invalid:8000", timeout=2, env={}) as krm,
        pytest.raises(KrmConnectError, match="krm"),
    ):
        krm.query("{ a }")


def test_http_spoken_to_https(tls_server: canned.Server) -> None:
    with KrmClient(tls_server.url.replace("https", "http"), timeout=2, env={}) as krm, pytest.raises(KrmConnectError):
        krm.query("{ a }")


def test_https_spoken_to_http(server: canned.Server) -> None:
    server.answer(canned.data({}))
    url = server.url.replace("http", "https")
    with KrmClient(url, timeout=2, env={}) as krm, pytest.raises(KrmTlsError, match="http instead of https"):
        krm.query("{ a }")


def test_self_signed_certificate_is_refused_with_advice(tls_server: canned.Server) -> None:
    with KrmClient(tls_server.url, env={}) as krm, pytest.raises(KrmTlsError, match="KRM_CA_FILE"):
        krm.query("{ a }")
    assert tls_server.asked == []


def test_named_authority_is_trusted(tls_server: canned.Server) -> None:
    env = {"KRM_CA_FILE": str(DATA / "loopback-certificate.pem")}
    with KrmClient(tls_server.url, env=env) as krm:
        assert krm.query("{ ok }") == {"ok": True}


async def test_awaited_client_maps_the_same_failures(tls_server: canned.Server, free_tcp_port: int) -> None:
    async with AsyncKrmClient(tls_server.url, env={}) as krm:
        with pytest.raises(KrmTlsError):
            await krm.query("{ a }")
    async with AsyncKrmClient(f"http://127.0.0.1:{free_tcp_port}", timeout=1, env={}) as krm:
        with pytest.raises(KrmConnectError):
            await krm.query("{ a }")


def test_server_that_hangs_is_a_timeout(server: canned.Server) -> None:
    release = threading.Event()
    server.answer(canned.Reply(hang=release))
    try:
        with KrmClient(server.url, timeout=0.2, env={}) as krm, pytest.raises(KrmTimeout, match="in time") as raised:
            krm.query("{ a }")
        assert isinstance(raised.value, ApiException)
        assert len(server.asked) == 1, "a question that took too long is not asked again"
    finally:
        release.set()


def test_request_timeout_of_one_call(server: canned.Server, krm: KrmClient) -> None:
    release = threading.Event()
    server.answer(canned.Reply(hang=release))
    try:
        with pytest.raises(KrmTimeout):
            krm.core_v1.list_namespaced_pod(LIST, _request_timeout=(1, 0.2))
        with pytest.raises(KrmTimeout):
            krm.core_v1.list_namespaced_pod(LIST, _request_timeout=0.2)
    finally:
        release.set()


@pytest.mark.parametrize("value", [0, -1, "5", (1,), (1, 2, 3), True])
def test_request_timeout_of_another_sort_is_refused(value: Any, krm: KrmClient) -> None:
    with pytest.raises(KrmUsageError, match="_request_timeout"):
        krm.core_v1.list_namespaced_pod(LIST, _request_timeout=value)


def test_body_that_ends_early(server: canned.Server) -> None:
    whole = canned.listing("pods", [])
    server.answer(canned.Reply(body=whole.body[:-10], cut=10))
    with KrmClient(server.url, timeout=1, env={}) as krm, pytest.raises(KrmConnectError):
        krm.core_v1.list_namespaced_pod(LIST)


def test_connection_that_breaks_is_made_anew(server: canned.Server, krm: KrmClient) -> None:
    server.answer(canned.Reply(body=b"{", cut=10), canned.data({"ok": True}))
    assert krm.query("{ ok }") == {"ok": True}
    assert len(server.asked) == 2


def test_broken_compression(server: canned.Server, krm: KrmClient) -> None:
    server.answer(canned.Reply(body=b"not gzip at all", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(KrmProtocolError, match="compression"):
        krm.query("{ a }")


def test_compressed_answer_is_read(server: canned.Server, krm: KrmClient) -> None:
    body = gzip.compress(canned.data({"ok": True}).body)
    server.answer(canned.Reply(body=body, headers={"Content-Encoding": "gzip"}))
    assert krm.query("{ ok }") == {"ok": True}


def test_server_that_asks_to_wait_is_asked_again(server: canned.Server, krm: KrmClient) -> None:
    busy = canned.error("RATE_LIMITED", status=429)
    server.answer(canned.Reply(status=429, body=busy.body, headers={"Retry-After": "0"}), canned.data({"ok": True}))
    assert krm.query("{ ok }") == {"ok": True}
    assert len(server.asked) == 2


def test_wait_that_is_longer_than_the_timeout_is_not_waited(server: canned.Server, krm: KrmClient) -> None:
    busy = canned.error("RATE_LIMITED", "too many in flight", status=429)
    server.answer(canned.Reply(status=429, body=busy.body, headers={"Retry-After": "60"}))
    with pytest.raises(KrmTimeout, match="too many in flight") as raised:
        krm.query("{ ok }")
    assert raised.value.status == 429
    assert raised.value.headers is not None
    assert raised.value.headers["retry-after"] == "60"
    assert len(server.asked) == 1


def test_server_that_stays_busy_ends_the_retries(server: canned.Server, krm: KrmClient) -> None:
    server.answer(canned.Reply(status=503, body=b"starting"))
    with pytest.raises(KrmProtocolError, match="starting"):
        krm.query("{ ok }")
    assert len(server.asked) == 4


class TestRetries:
    """The generator alone, with a clock of the test."""

    now = 0.0

    def _policy(self, *, read_s: float = 10.0, retries: int = 3) -> Policy:
        timeouts = Timeouts(connect_s=1.0, read_s=read_s)
        return Policy(timeouts=timeouts, retries=retries, clock=lambda: self.now, jitter=lambda: 1.0)

    def test_pauses_double_and_end(self) -> None:
        call = exchange(Document(text="", variables={}, field=""), self._policy())
        next(call)
        pauses = []
        for _ in range(3):
            pause = call.throw(KrmConnectError("refused"))
            assert isinstance(pause, Pause)
            pauses.append(pause.seconds)
            assert isinstance(call.send(None), Send)
        assert pauses == [0.1, 0.2, 0.4]
        with pytest.raises(KrmConnectError):
            call.throw(KrmConnectError("refused"))

    def test_deadline_ends_them_sooner(self) -> None:
        call = exchange(Document(text="", variables={}, field=""), self._policy(read_s=1.0))
        next(call)
        self.now = 0.95
        with pytest.raises(KrmConnectError):
            call.throw(KrmConnectError("refused"))

    def test_untrusted_certificate_is_not_tried_again(self) -> None:
        call = exchange(Document(text="", variables={}, field=""), self._policy())
        next(call)
        with pytest.raises(KrmTlsError):
            call.throw(KrmTlsError("self-signed"))


def test_all_named_errors_are_krm_errors() -> None:
    for name in krm_client.__all__:
        if name.endswith("Error") or name in ("KrmForbidden", "KrmNotFound", "KrmNotReady", "KrmStale", "KrmTimeout"):
            error = getattr(krm_client, name)
            assert issubclass(error, KrmError)
            made = error("a text")
            assert str(made) == "a text"
            for again in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
                assert (type(again), str(again), vars(again)) == (error, "a text", vars(made))


@pytest.mark.parametrize(
    ("name", "official"),
    [
        ("KrmNotFound", "NotFoundException"),
        ("KrmForbidden", "ForbiddenException"),
        ("KrmAuthError", "UnauthorizedException"),
    ],
)
def test_narrower_official_classes_catch_ours(name: str, official: str) -> None:
    from kubernetes.client import exceptions

    narrow = getattr(exceptions, official, exceptions.ApiException)
    assert issubclass(getattr(krm_client, name), narrow)
