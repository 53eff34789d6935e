"""Lists: pages of one consistent version, continue tokens, versions, selections."""

from __future__ import annotations

import random
from typing import Any

import pytest

from krm.simulator import kinds, options
from krm.simulator.lists import Lister, Page, decode_continue, encode_continue
from krm.simulator.status import StatusError
from krm.simulator.store import Store


def make(store: Store, count: int, namespace: str = "a") -> None:
    for number in range(count):
        labels = {"even": str(number % 2 == 0).lower()}
        metadata: dict[str, Any] = {"name": f"p{number:03d}", "namespace": namespace, "labels": labels}
        store.create(kinds.PODS, {"metadata": metadata, "spec": {"nodeName": f"n{number % 3}"}, "status": {}})


def ask(lister: Lister, namespace: str = "", **query: str) -> Page:
    return lister.page(kinds.PODS, options.parse(kinds.PODS, namespace, "", query))


def names(page: Page) -> list[str]:
    return [version.name for version in page.versions]


def refused(lister: Lister, namespace: str = "", **query: str) -> StatusError:
    with pytest.raises(StatusError) as caught:
        ask(lister, namespace, **query)
    return caught.value


@pytest.mark.parametrize("namespace", ["", "a"])
@pytest.mark.parametrize("limit", [1, 2, 7, 30, 31])
def test_pages_are_of_one_version_whatever_happens_between_them(namespace: str, limit: int) -> None:
    store, source = Store(), random.Random(3)
    make(store, 30)
    make(store, 5, "b")
    lister = Lister(store)
    before = names(ask(lister, namespace))
    page = ask(lister, namespace, limit=str(limit))
    found, rv, counted = names(page), page.rv, [page.remaining]
    while page.continue_token:
        victim = source.choice(store.all(kinds.PODS))
        store.delete(kinds.PODS, victim.namespace, victim.name)
        make(store, 1, f"c{store.rv}")
        page = ask(lister, namespace, limit=str(limit), **{"continue": page.continue_token})
        assert page.rv == rv
        counted.append(page.remaining)
        found += names(page)
    assert found == before
    assert [left for left in counted if left is not None] == list(range(len(before) - limit, 0, -limit))


def test_pages_of_a_selection_do_not_count_what_remains() -> None:
    store = Store()
    make(store, 20)
    lister = Lister(store)
    page = ask(lister, limit="3", labelSelector="even=true")
    assert names(page) == ["p000", "p002", "p004"]
    assert page.remaining is None
    assert page.continue_token
    rest = ask(lister, labelSelector="even=true", **{"continue": page.continue_token})
    assert names(rest) == [f"p{number:03d}" for number in range(6, 20, 2)]


def test_a_token_of_a_compacted_version_is_answered_with_the_inconsistent_one() -> None:
    store = Store()
    make(store, 10)
    lister = Lister(store)
    page = ask(lister, limit="4")
    make(store, 1, "b")
    store.compact()
    error = refused(lister, **{"continue": page.continue_token})
    assert (error.code, error.body["reason"]) == (410, "Expired")
    token = error.body["metadata"]["continue"]
    assert decode_continue(token).rv == -1
    rest = ask(lister, **{"continue": token})
    assert rest.rv == store.rv
    assert names(rest) == [*(f"p{number:03d}" for number in range(4, 10)), "p000"]


def test_versions_are_answered_as_the_match_asks() -> None:
    store = Store()
    make(store, 5)
    lister, then = Lister(store), store.rv
    make(store, 1, "b")
    assert len(names(ask(lister, resourceVersion=str(then), resourceVersionMatch="Exact"))) == 5
    assert len(names(ask(lister, resourceVersion=str(then), resourceVersionMatch="NotOlderThan"))) == 6
    assert len(names(ask(lister, resourceVersion=str(then)))) == 6
    assert ask(lister, resourceVersion=str(then), limit="9").rv == then
    assert len(names(ask(lister, resourceVersion="0", limit="2"))) == 6
    assert ask(lister).rv == store.rv


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ({"resourceVersion": "999"}, 504, "Too large resource version: 999, current: 2"),
        ({"resourceVersion": "999", "resourceVersionMatch": "Exact"}, 504, "Too large resource version"),
        ({"resourceVersion": "abc"}, 400, 'parsing "abc": invalid syntax'),
        ({"resourceVersion": "-1"}, 400, "invalid syntax"),
        ({"limit": "many"}, 400, "invalid syntax"),
        ({"limit": "-1"}, 422, "must be non-negative"),
        ({"resourceVersionMatch": "Exact"}, 422, "forbidden unless resourceVersion is provided"),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422, 'is forbidden for resourceVersion "0"'),
        ({"resourceVersionMatch": "Near", "resourceVersion": "1"}, 422, "supported values"),
        ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
        ({"continue": "x", "resourceVersion": "1"}, 400, "not allowed when using continue"),
        ({"continue": "!!!"}, 400, "continue key is not valid"),
        ({"continue": encode_continue(5000, "/a/b")}, 504, "Too large resource version"),
        ({"continue": encode_continue(1, "/../b")}, 400, "continue key is not valid"),
        ({"labelSelector": "a=b="}, 400, "unable to parse requirement"),
        ({"fieldSelector": "a=b=c"}, 400, "unescaped character"),
        ({"fieldSelector": "spec.nope=x"}, 400, "field label not supported: spec.nope"),
    ],
)
def test_requests_that_make_no_sense_are_refused(query: dict[str, str], code: int, text: str) -> None:
    store = Store()
    make(store, 1)
    error = refused(Lister(store), **query)
    assert error.code == code
    assert text in error.body["message"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=p001", ["p001"]),
        ("metadata.name!=p001", ["p000", "p002"]),
        ("spec.nodeName=n1", ["p001"]),
        ("spec.nodeName==n1,metadata.namespace=b", []),
        ("status.phase=", ["p000", "p001", "p002"]),
    ],
)
def test_field_selectors_narrow_a_list(selector: str, expected: list[str]) -> None:
    store = Store()
    make(store, 3)
    assert names(ask(Lister(store), fieldSelector=selector)) == expected


def test_a_kind_without_own_fields_names_those_that_it_has() -> None:
    with pytest.raises(StatusError) as caught:
        options.parse(kinds.DEPLOYMENTS, "", "", {"fieldSelector": "spec.replicas=1"})
    assert caught.value.body["message"] == (
        '"spec.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def test_a_restored_store_does_not_answer_from_lists_kept_before() -> None:
    store = Store()
    make(store, 4)
    snapshot = store.snapshot()
    make(store, 4, "b")
    lister = Lister(store)
    page = ask(lister, limit="2")
    store.restore(snapshot)
    lister.forget()
    make(store, 4, "c")
    rest = ask(lister, **{"continue": page.continue_token})
    assert [version.namespace for version in rest.versions] == ["a", "a", "c", "c", "c", "c"]
