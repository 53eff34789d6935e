"""The world: the same for the same seed, whole in itself, and alive in an orderly way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from krm.simulator import kinds
from krm.simulator.churn import Churn
from krm.simulator.history import EventType
from krm.simulator.store import Store
from krm.simulator.world import World

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that goes on by a fixed time with each look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=10)
        return self.now


def make(pods: int = 60, seed: int = 1) -> tuple[World, Store]:
    store = Store(clock=Clock())
    world = World(pods=pods, seed=seed, start=START)
    world.populate(store)
    return world, store


def everything(store: Store) -> list[bytes]:
    return [version.whole() for kind in store.kinds() for version in store.all(kind)]


def objects(store: Store, kind: kinds.Kind) -> list[dict[str, Any]]:
    return [version.parse() for version in store.all(kind)]


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert everything(make()[1]) == everything(make()[1])
    assert everything(make()[1]) != everything(make(seed=2)[1])


def test_the_same_seed_gives_the_same_life() -> None:
    lives = []
    for _ in range(2):
        world, store = make()
        churn = Churn(world, store)
        for _ in range(1000):
            churn.step()
        lives.append([event.version.whole() for kind in store.kinds() for event in store.collection(kind).log])
    assert lives[0] == lives[1]
    assert len(lives[0]) >= 1000


def test_all_that_a_cluster_has_is_there() -> None:
    _, store = make(pods=300)
    counts = {kind.plural: len(store.all(kind)) for kind in store.kinds()}
    assert counts["pods"] == 300
    assert counts["nodes"] == 12
    for plural in ("deployments", "replicasets", "persistentvolumeclaims", "services", "ingresses", "namespaces"):
        assert counts[plural] > 0
    names = {each["metadata"]["name"] for each in objects(store, kinds.NAMESPACES)}
    assert {"default", "kube-system", "team-0"} <= names
    gpus = [each for each in objects(store, kinds.NODES) if "nvidia.com/gpu" in each["status"]["capacity"]]
    assert gpus
    sizes = [len(version.body) for version in store.all(kinds.PODS)]
    assert 5_500 < sum(sizes) / len(sizes) < 9_000


def test_what_refers_to_something_finds_it() -> None:
    _, store = make(pods=200)
    uids = {version.uid: version.name for kind in store.kinds() for version in store.all(kind)}
    assert len(uids) == sum(len(store.all(kind)) for kind in store.kinds())
    nodes = {version.name for version in store.all(kinds.NODES)}
    claims = {version.key for version in store.all(kinds.PERSISTENT_VOLUME_CLAIMS)}
    mounted = set()
    for pod in objects(store, kinds.PODS):
        owner = pod["metadata"]["ownerReferences"][0]
        assert uids[owner["uid"]] == owner["name"]
        assert pod["spec"]["nodeName"] in nodes
        for volume in pod["spec"]["volumes"]:
            if "persistentVolumeClaim" in volume:
                mounted.add(f"{pod['metadata']['namespace']}/{volume['persistentVolumeClaim']['claimName']}")
    assert mounted == claims
    labels = [pod["metadata"]["labels"] for pod in objects(store, kinds.PODS)]
    for service in objects(store, kinds.SERVICES):
        assert any(service["spec"]["selector"].items() <= each.items() for each in labels)
    services = {version.key for version in store.all(kinds.SERVICES)}
    for ingress in objects(store, kinds.INGRESSES):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
        assert f"{ingress['metadata']['namespace']}/{backend}" in services


def test_nothing_was_created_after_the_start() -> None:
    _, store = make()
    for kind in store.kinds():
        for each in objects(store, kind):
            assert each["metadata"]["creationTimestamp"] < "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("pods", [20, 300])
def test_life_keeps_the_number_of_pods_level_and_goes_its_orderly_ways(pods: int) -> None:
    world, store = make(pods=pods)
    churn = Churn(world, store)
    for _ in range(4_000):
        churn.step()
    alive = len(store.all(kinds.PODS))
    assert pods * 0.5 < alive < pods * 1.6
    phases: dict[str, list[tuple[str, bool, bool]]] = {}
    for event in store.collection(kinds.PODS).log:
        version = event.version
        state = (version.fields["status.phase"], bool(version.fields["spec.nodeName"]))
        is_ending = b'"deletionTimestamp"' in version.body
        phases.setdefault(version.uid, []).append((event.type.value, state == ("Running", True), is_ending))
        if event.type is EventType.ADDED:
            assert state == ("Pending", False)
        if event.type is EventType.DELETED:
            assert is_ending
            assert version.parse()["metadata"]["deletionGracePeriodSeconds"] == 0
    seen = {event.type for event in store.collection(kinds.PODS).log}
    assert seen == set(EventType)
    for kind in (kinds.NODES, kinds.DEPLOYMENTS, kinds.REPLICA_SETS):
        assert store.collection(kind).log


def test_a_world_outlives_the_objects_that_somebody_else_deletes() -> None:
    world, store = make(pods=40)
    churn = Churn(world, store)
    for step in range(1500):
        churn.step()
        if step % 10 == 0 and (found := store.all(kinds.PODS)):
            store.delete(kinds.PODS, found[0].namespace, found[0].name)
        if step == 500:
            store.delete(kinds.DEPLOYMENTS, world.apps[0].namespace, world.apps[0].name)
    assert store.rv > 1500
