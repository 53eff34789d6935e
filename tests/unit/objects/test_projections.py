"""What is read of an object through its projection is what reading all of it gives, however odd the object."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from krm.errors import BadData
from krm.objects import derived
from krm.objects.projections import Projection
from krm.resources import DEPLOYMENTS, NODES, PODS, RESOURCES, Resource
from krm.store.rows import Codec

POD: dict[str, Any] = {
    "metadata": {
        "namespace": "n",
        "name": "p",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": {"app": "web"},
        "ownerReferences": [{"uid": "o", "kind": "ReplicaSet", "controller": True}],
    },
    "spec": {
        "nodeName": "node-1",
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "1"}}},
            {"name": "b", "resources": {"limits": {"cpu": "1"}}},
        ],
        "initContainers": [
            {"name": "c", "restartPolicy": "Always", "resources": {"requests": {"cpu": "0.3"}}},
            {"name": "d", "resources": {"requests": {"cpu": 2}}},
        ],
        "resources": {"requests": {"memory": "2Gi"}},
        "overhead": {"cpu": "10m"},
        "volumes": [
            {"name": "v", "persistentVolumeClaim": {"claimName": "claim"}},
            {"name": "w", "ephemeral": {"volumeClaimTemplate": {}}},
            {"name": "x", "emptyDir": {}},
        ],
    },
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, 0.5, "", "1", "many", [], [1], [[]], {}, {"a": "b"}, "\ud800", 10**30, -1]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inside for place in places(one, (*path, key)))]


PLACES = places(POD)[1:]


def changed(changes: list[tuple[tuple[Any, ...], Any, bool]]) -> dict[str, Any]:
    """The pod with other values at some places, or without them; places that are gone are passed over."""
    pod = copy.deepcopy(POD)
    for path, value, is_left_out in changes:
        holder: Any = pod
        for key in path[:-1]:
            try:
                holder = holder[key]
            except (KeyError, IndexError, TypeError):
                break
        else:
            if isinstance(holder, dict) and is_left_out:
                holder.pop(path[-1], None)
            elif isinstance(holder, dict) or (isinstance(holder, list) and path[-1] in range(len(holder))):
                holder[path[-1]] = copy.deepcopy(value)  # a value at two places would be part of itself
    return pod


CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), ODD, st.booleans()), max_size=4)


@functools.cache
def codec_of(resource: Resource, *, whole: bool) -> Codec:
    codec = Codec(resource)
    if whole:
        codec.cleaner.see = lambda _: None  # type: ignore[method-assign, assignment]
        codec.cleaner._projection.look = lambda _: None  # type: ignore[method-assign, assignment]
    return codec


def read(resource: Resource, text: bytes, *, whole: bool) -> Any:
    codec = codec_of(resource, whole=whole)
    codec.malformed = 0
    try:
        return codec.encode(text), codec.malformed
    except BadData as error:
        return str(error)


@given(CHANGES, st.sampled_from([PODS, DEPLOYMENTS, NODES]))
@example([], PODS)
@settings(deadline=None)
def test_projected_row_is_that_of_the_whole_object(
    changes: list[tuple[tuple[Any, ...], Any, bool]], resource: Resource
) -> None:
    text = json.dumps(changed(changes), separators=(",", ":")).encode()
    assert read(resource, text, whole=False) == read(resource, text, whole=True)


@given(CHANGES)
@settings(deadline=None)
def test_requests_are_those_that_are_computed_without_remembering(
    changes: list[tuple[tuple[Any, ...], Any, bool]],
) -> None:
    pod = changed(changes)
    first, second = derived.columns(PODS, pod), derived.columns(PODS, pod)
    derived._REQUESTED.clear()
    assert first == second == derived.columns(PODS, pod)
    amounts = {**derived._computed_requests(pod), "persistentVolumeClaims": derived.claims(pod)}
    names = [column.name for column in PODS.columns]
    for name in ("requests.cpu", "requests.memory", "requests.gpu"):
        assert first[names.index(name)] == amounts.get(name)


def test_objects_of_the_right_shape_are_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(POD, separators=(",", ":")).encode()
    codec = Codec(PODS)
    codec.encode(text)
    monkeypatch.setattr("krm.store.rows._loads", None)
    assert codec.encode(text).columns == derived.columns(PODS, POD)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"nothing", b"{}", b'{"metadata":[]}', b'{"metadata":{},"spec":{"containers":[1]}}']
)
def test_what_is_shaped_otherwise_is_left_to_the_caller(text: bytes) -> None:
    assert Projection(PODS).look(text) is None


def test_every_kind_has_a_projection() -> None:
    for resource in RESOURCES.values():
        found = Projection(resource).look(b'{"metadata":{"name":"n"}}')
        assert found is not None
        assert found.metadata.name == "n"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "_REQUESTED_MAX", 3)
    for number in range(10):
        pod = {"spec": {"containers": [{"resources": {"requests": {"cpu": f"{number}"}}}]}}
        assert derived.columns(PODS, pod)[2] == f"{number}"
        assert len(derived._REQUESTED) <= 3
