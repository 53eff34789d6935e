"""Every way in which a program can write an object of KRM's kinds is remembered, whatever the release."""

from __future__ import annotations

import inspect
import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration

from krm_client.dropin import session as sessions
from krm_client.dropin import writes
from krm_client.dropin.apis import CLASSES
from krm_client.kubernetes import client
from krm_client.registry import RESOURCES
from tests.unit.client import canned, generator

KINDS = {kind.method_noun: kind for kind in RESOURCES}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[sessions.Session]:
    monkeypatch.setenv("KRM_URL", "http://127.0.0.1:9")  # a write asks nothing of KRM
    sessions._sessions.clear()
    yield sessions.current()
    sessions.current().krm.close()
    sessions._sessions.clear()


@pytest.fixture
def api_client(server: canned.Server) -> Iterator[Any]:
    made: Any = ApiClient(Configuration(host=server.url))
    yield made
    made.close()


def _object(version: int, uid: str = "u", model: str = "V1Pod") -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "n", "uid": uid, "resourceVersion": str(version)}
    return {**generator.required_only(model, random.Random(1)), "metadata": metadata}


def _reply(value: Any, status: int = 200) -> canned.Reply:
    return canned.Reply(body=json.dumps(value).encode(), status=status)


def _core(api_client: Any) -> Any:
    return client.CoreV1Api(api_client)


def _methods() -> Iterator[tuple[str, str, Any]]:
    """Class, method and kind of each write whose answer tells of the object."""
    for class_name in CLASSES:
        for name in dir(getattr(client, class_name)):
            verb, _, rest = name.partition("_")
            noun = rest.removeprefix("namespaced_").removesuffix("_status").removesuffix("_scale")
            noun = noun.removesuffix("_resize").removesuffix("_ephemeralcontainers")
            if verb in ("create", "replace", "patch", "delete") and noun in KINDS:
                yield class_name, name, KINDS[noun]


METHODS = list(_methods())


def test_there_are_writes_of_every_kind() -> None:
    assert len(METHODS) > 5 * len(KINDS)
    assert {kind.plural for _, _, kind in METHODS} == {kind.plural for kind in RESOURCES}


@pytest.mark.parametrize("form", ["plain", "with_http_info", "raw", "in a thread", "with_http_info in a thread"])
def test_version_of_every_write_is_remembered(
    form: str, server: canned.Server, session: sessions.Session, api_client: Any
) -> None:
    versions = itertools.count(100)

    def changed(asked: canned.Asked) -> canned.Reply:
        model = next(kind.model for kind in KINDS.values() if f"/{kind.plural}" in asked.path)
        return _reply(_object(next(versions), model=model))

    server.answer_by(changed)
    for class_name, name, kind in METHODS:
        method = getattr(getattr(client, class_name)(api_client), name + "_with_http_info" * ("info" in form))
        answer = method(*_arguments(name, kind), **_options(form))
        if "thread" in form:
            answer = answer.get(30)
        if form == "raw":
            assert json.loads(answer.read())["metadata"]["name"] == "a"
        assert session.written.floor(kind) == str(next(versions) - 1), (class_name, name)
        assert len(server.asked) == 1
        server.asked.clear()


def _arguments(name: str, kind: Any) -> list[Any]:
    """By position, as all releases take them."""
    given: list[Any] = [] if name.startswith("create") else ["a"]
    given += ["n"] * kind.namespaced
    model = "V1Scale" if name.endswith("scale") else kind.model
    return given if name.startswith("delete") else [*given, _object(1, model=model)]


def _options(form: str) -> dict[str, Any]:
    return {
        **({"async_req": True} if "thread" in form else {}),
        **({"_preload_content": False} if form == "raw" else {}),
    }


def test_raw_answer_is_read_by_the_program_as_ever(
    server: canned.Server, session: sessions.Session, api_client: Any
) -> None:
    server.answer(_reply(_object(7)))
    answer = _core(api_client).create_namespaced_pod("n", _object(1), _preload_content=False)
    assert (answer.status, answer.reason, answer.headers["Content-Type"]) == (200, "OK", "application/json")
    assert json.loads(answer.read()) == _object(7)


def test_eviction_is_followed_by_a_look_at_the_pod(
    server: canned.Server, session: sessions.Session, api_client: Any
) -> None:
    server.answer(_reply(_object(5)), _reply({"status": "Success"}, 201), _reply(_object(9)))
    _core(api_client).create_namespaced_pod_eviction("a", "n", {"metadata": {"name": "a"}})
    assert [asked.method for asked in server.asked] == ["GET", "POST", "GET"]
    assert session.written.floor(KINDS["pod"]) == "9"
    assert session.written.must_be_gone(KINDS["pod"], "n", "a") == []


@pytest.mark.parametrize("after", [_reply({"code": 404}, 404), _reply(_object(9, uid="next"))], ids=["gone", "anew"])
def test_pod_that_is_gone_after_its_eviction_must_go(
    after: canned.Reply, server: canned.Server, session: sessions.Session, api_client: Any
) -> None:
    server.answer(_reply(_object(5)), _reply({"status": "Success"}, 201), after)
    _core(api_client).create_namespaced_pod_eviction("a", "n", {"metadata": {"name": "a"}})
    assert [one.uid for one in session.written.must_be_gone(KINDS["pod"], "n", "a")] == ["u"]


def test_eviction_by_someone_who_may_not_read_goes_on(
    server: canned.Server, session: sessions.Session, api_client: Any
) -> None:
    forbidden = _reply({"code": 403}, 403)
    server.answer(forbidden, _reply({"status": "Success"}, 201), forbidden)
    _core(api_client).create_namespaced_pod_eviction("a", "n", {"metadata": {"name": "a"}})
    assert session.written.floor(KINDS["pod"]) is None


def test_deletion_of_many_asks_once_before_and_once_after(
    server: canned.Server, session: sessions.Session, api_client: Any
) -> None:
    both, one = [_object(5, "u-1"), _object(6, "u-2")], [_object(6, "u-2")]
    for form in ("", "_with_http_info"):
        server.asked.clear()
        server.answer(_reply({"items": both}), _reply({"status": "Success"}), _reply({"items": one}))
        getattr(_core(api_client), f"delete_collection_namespaced_pod{form}")("n", label_selector="a=b")
        assert [asked.method for asked in server.asked] == ["GET", "DELETE", "GET"]
        assert [one.uid for one in session.written.must_be_gone(KINDS["pod"], "n", None)] == ["u-1"]
        session.written.has_gone(KINDS["pod"], {"u-1"})


def test_trial_writes_are_not_remembered(server: canned.Server, session: sessions.Session, api_client: Any) -> None:
    server.answer(_reply(_object(7)))
    _core(api_client).create_namespaced_pod("n", _object(1), dry_run="All")
    assert session.written.floor(KINDS["pod"]) is None


def test_overridden_methods_keep_their_signatures() -> None:
    for class_name, facade in CLASSES.items():
        official = getattr(client, class_name).__mro__[1]
        for name, method in writes.overrides(facade, official):
            assert inspect.signature(method) == inspect.signature(getattr(official, name))
