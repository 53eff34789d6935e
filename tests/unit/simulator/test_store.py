"""The version log: one counter, states at versions, watches' positions, compaction, going back."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from krm.simulator import kinds
from krm.simulator.history import AbsentError, AlreadyExistsError, Collection, CompactedError, ConflictError, EventType
from krm.simulator.store import Store


def pod(name: str, namespace: str = "a", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running"},
    }


def content(store: Store, rv: int, namespace: str = "") -> dict[str, int]:
    return {version.key: version.rv for version in store.collection(kinds.PODS).at(rv, namespace)}


def random_history(seed: int, steps: int) -> tuple[Store, dict[int, dict[str, int]]]:
    """A store after random writes to two kinds, and what pods there were after each version."""
    source = random.Random(seed)
    store = Store()
    states: dict[int, dict[str, int]] = {store.rv: {}}
    for _ in range(steps):
        key = (source.choice("abc"), f"p{source.randrange(12)}")
        exists = store.get(kinds.PODS, *key) is not None
        state = dict(states[store.rv])
        draw = source.random()
        if draw < 0.1:
            store.create(kinds.NODES, {"metadata": {"name": f"node-{store.rv}"}})
        elif not exists:
            state[f"{key[0]}/{key[1]}"] = store.create(kinds.PODS, pod(key[1], key[0])).rv
        elif draw < 0.5:
            store.delete(kinds.PODS, *key)
            del state[f"{key[0]}/{key[1]}"]
        else:
            state[f"{key[0]}/{key[1]}"] = store.update(kinds.PODS, pod(key[1], key[0], at=str(store.rv))).rv
        states[store.rv] = state
    return store, states


@pytest.mark.parametrize("seed", range(5))
def test_every_version_can_be_listed_as_it_was(seed: int) -> None:
    store, states = random_history(seed, 300)
    for rv, expected in states.items():
        assert content(store, rv) == expected
        assert list(content(store, rv)) == sorted(expected)


def test_one_namespace_at_an_old_version_is_that_part_of_the_whole() -> None:
    store, states = random_history(1, 200)
    for rv, expected in states.items():
        assert content(store, rv, "b") == {key: at for key, at in expected.items() if key.startswith("b/")}


def test_replaying_the_log_from_any_version_gives_the_present() -> None:
    store, states = random_history(2, 200)
    collection = store.collection(kinds.PODS)
    for rv, state in states.items():
        replayed = dict(state)
        for event in collection.events_from(collection.position_after(rv), 10_000) or ():
            if event.type is EventType.DELETED:
                del replayed[event.version.key]
            else:
                replayed[event.version.key] = event.version.rv
        assert replayed == content(store, store.rv)


def test_versions_increase_over_all_kinds() -> None:
    store = Store(first_rv=10)
    versions = [
        store.create(kinds.PODS, pod("x")).rv,
        store.create(kinds.NODES, {"metadata": {"name": "n"}}).rv,
        store.update(kinds.PODS, pod("x")).rv,
        store.delete(kinds.PODS, "a", "x").rv,
    ]
    assert versions == [11, 12, 13, 14]
    assert store.rv == 14


def test_a_deleted_object_carries_the_version_of_its_deletion() -> None:
    store = Store()
    store.create(kinds.PODS, pod("x", app="web"))
    gone = store.delete(kinds.PODS, "a", "x")
    assert gone.parse()["metadata"]["resourceVersion"] == str(gone.rv) == str(store.rv)
    assert gone.labels == {"app": "web"}


def test_writes_that_the_state_does_not_allow_change_nothing() -> None:
    store = Store()
    version = store.create(kinds.PODS, pod("x"))
    with pytest.raises(AlreadyExistsError):
        store.create(kinds.PODS, pod("x"))
    with pytest.raises(AbsentError):
        store.update(kinds.PODS, pod("y"))
    with pytest.raises(AbsentError):
        store.delete(kinds.PODS, "a", "y")
    with pytest.raises(ConflictError):
        store.update(kinds.PODS, pod("x"), expected_rv=version.rv - 1)
    assert store.rv == version.rv
    assert len(store.collection(kinds.PODS).log) == 1


def test_compaction_refuses_what_lies_before_and_keeps_what_lies_after() -> None:
    store, states = random_history(3, 100)
    floor = store.compact(50)
    collection = store.collection(kinds.PODS)
    for rv, expected in states.items():
        if rv < floor:
            with pytest.raises(CompactedError) as caught:
                collection.at(rv)
            assert caught.value.floor == floor
            with pytest.raises(CompactedError):
                collection.position_after(rv)
        else:
            assert content(store, rv) == expected
            collection.position_after(rv)


def test_a_restarted_server_cannot_resume_watches_but_lists_old_versions() -> None:
    store, states = random_history(4, 50)
    store.forget()
    collection = store.collection(kinds.PODS)
    with pytest.raises(CompactedError):
        collection.position_after(store.rv - 1)
    assert collection.position_after(store.rv) == collection.end
    assert content(store, 20) == states[20]


def test_the_history_of_a_kind_is_bounded() -> None:
    store = Store(history_max=100)
    store.create(kinds.PODS, pod("x"))
    first = store.collection(kinds.PODS).end
    for _ in range(1000):
        store.update(kinds.PODS, pod("x"))
    collection = store.collection(kinds.PODS)
    assert len(collection.log) <= 110
    assert collection.end == first + 1000
    assert collection.events_from(first, 1) is None
    with pytest.raises(CompactedError):
        collection.at(store.rv - 500)


def test_restoring_a_snapshot_takes_versions_and_objects_back() -> None:
    store = Store()
    store.create(kinds.PODS, pod("old"))
    snapshot = store.snapshot()
    store.create(kinds.PODS, pod("new"))
    store.delete(kinds.PODS, "a", "old")
    store.restore(snapshot)
    assert store.rv == snapshot.rv
    assert list(content(store, store.rv)) == ["a/old"]
    assert store.create(kinds.PODS, pod("again")).rv == snapshot.rv + 1
    with pytest.raises(CompactedError):
        store.collection(kinds.PODS).position_after(snapshot.rv - 1)


def definition(plural: str = "widgets") -> dict[str, Any]:
    return {
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    }


def test_a_definition_brings_its_kind_and_takes_it_away_with_its_objects() -> None:
    store = Store()
    assert store.kind("example.com", "v1", "widgets") is None
    store.create(kinds.CUSTOM_RESOURCE_DEFINITIONS, definition())
    widgets = store.kind_named("widgets")
    store.create(
        widgets, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "a"}}
    )
    collection: Collection = store.collection(widgets)
    store.delete(kinds.CUSTOM_RESOURCE_DEFINITIONS, "", "widgets.example.com")
    assert [event.type for event in collection.log] == [EventType.ADDED, EventType.DELETED]
    assert collection.is_withdrawn
    with pytest.raises(KeyError):
        store.kind_named("widgets")


def test_restoring_brings_back_a_definition_that_was_deleted() -> None:
    store = Store()
    store.create(kinds.CUSTOM_RESOURCE_DEFINITIONS, definition())
    store.create(store.kind_named("widgets"), {"metadata": {"name": "w", "namespace": "a"}, "kind": "Widget"})
    snapshot = store.snapshot()
    store.delete(kinds.CUSTOM_RESOURCE_DEFINITIONS, "", "widgets.example.com")
    store.create(kinds.CUSTOM_RESOURCE_DEFINITIONS, definition("gadgets"))
    store.restore(snapshot)
    assert [version.name for version in store.all(store.kind_named("widgets"))] == ["w"]
    with pytest.raises(KeyError):
        store.kind_named("gadgets")


async def test_waiting_for_a_version_ends_when_it_is_reached() -> None:
    store = Store(first_rv=5)
    await store.reached(5)
    waiting = asyncio.create_task(store.reached(7))
    store.create(kinds.PODS, pod("x"))
    await asyncio.sleep(0)
    assert not waiting.done()
    store.create(kinds.PODS, pod("y"))
    await asyncio.wait_for(waiting, 1)


def test_built_in_objects_are_stored_as_items_and_custom_ones_whole_and_sorted() -> None:
    store = Store()
    built_in = store.create(kinds.PODS, {"kind": "Pod", "apiVersion": "v1", **pod("x")})
    assert built_in.body.startswith(b'{"metadata":{"name":"x","namespace":"a","uid":')
    assert built_in.whole().startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{')
    store.create(kinds.CUSTOM_RESOURCE_DEFINITIONS, definition())
    custom = store.create(
        store.kind_named("widgets"),
        {"spec": {"b": 1, "a": {"metadata": {}}}, "kind": "Widget", "metadata": {"name": "w", "namespace": "a"}},
    )
    assert custom.body.startswith(b'{"kind":"Widget","metadata":{"creationTimestamp":')
    assert b'"metadata":{"creationTimestamp"' in custom.partial()
    for version in (built_in, custom):
        start, end = version.metadata_at
        assert version.body[start:end] in version.partial()
        assert version.parse()["metadata"]["resourceVersion"] == str(version.rv)
