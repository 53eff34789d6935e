"""The same cluster asked by the official client and through KRM: the same objects, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as k8s
from kubernetes import config

from krm_client import KrmClient
from krm_client.facade import FACADES, specs_of
from krm_client.registry import RESOURCES
from tests.bench import stack
from tests.unit.client.oracle import difference
from tests.waiting import block_until

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, kw_only=True)
class Both:
    """The official client's APIs and KRM's client, on one cluster."""

    apis: dict[str, Any]
    krm: KrmClient


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    every = ",".join(resource.qualified_plural for resource in RESOURCES)
    folder = tmp_path_factory.mktemp("cluster")
    with (
        stack.simulated(folder, pods=60, churn=0) as kubeconfig,
        stack.served(Path(kubeconfig), resources=every) as url,
    ):
        api = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]  # official, untyped
        apis = {
            "core_v1": k8s.CoreV1Api(api),
            "apps_v1": k8s.AppsV1Api(api),
            "networking_v1": k8s.NetworkingV1Api(api),
        }
        with KrmClient(url, env={}) as krm, api:
            yield Both(apis=apis, krm=krm)


def _key(one: Any) -> tuple[str, str]:
    return one.metadata.namespace or "", one.metadata.name


def _unstored(one: Any) -> Any:
    """An object of the official client without what KRM never stores."""
    one.metadata.managed_fields = None
    annotations = one.metadata.annotations
    if annotations:
        annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return one


def _difference(facade: str, spec: Any, both: Both) -> str | None:
    """The first difference of two lists of a cluster that may still be settling."""
    theirs = getattr(both.apis[facade], spec.name)()
    ours = getattr(getattr(both.krm, facade), spec.name)()
    assert (ours.kind, ours.api_version) == (theirs.kind, theirs.api_version)
    mine, expected = sorted(ours.items, key=_key), sorted(map(_unstored, theirs.items), key=_key)
    if list(map(_key, mine)) != list(map(_key, expected)):
        return "other objects"
    found = (difference(one, official, str(_key(one))) for one, official in zip(mine, expected, strict=True))
    return next((different for different in found if different), None)


_LISTS = [(facade, spec) for facade in FACADES for spec in specs_of(facade) if spec.is_list and not spec.required]


@pytest.mark.parametrize(("facade", "spec"), _LISTS, ids=[spec.name for _, spec in _LISTS])
def test_every_object_of_every_kind_is_the_same(facade: str, spec: Any, both: Both) -> None:
    block_until(lambda: _difference(facade, spec, both) is None, 60, f"{spec.name} is the same")


def test_one_object_is_the_same(both: Both) -> None:
    first = both.apis["core_v1"].list_pod_for_all_namespaces(limit=1).items[0].metadata

    def is_same() -> bool:
        theirs = both.apis["core_v1"].read_namespaced_pod(first.name, first.namespace)
        ours = both.krm.core_v1.read_namespaced_pod(first.name, first.namespace)
        return difference(ours, _unstored(theirs)) is None

    block_until(is_same, 60, "one pod is the same")


def test_selectors_choose_the_same(both: Both) -> None:
    labels = both.apis["core_v1"].list_pod_for_all_namespaces(limit=1).items[0].metadata.labels
    selector = ",".join(f"{key}={value}" for key, value in labels.items())

    def are_same(**selectors: Any) -> bool:
        theirs = both.apis["core_v1"].list_pod_for_all_namespaces(**selectors).items
        ours = both.krm.core_v1.list_pod_for_all_namespaces(**selectors).items
        return sorted(map(_key, ours)) == sorted(map(_key, theirs)) != []

    block_until(lambda: are_same(label_selector=selector), 60, selector)
    block_until(lambda: are_same(field_selector="status.phase=Running"), 60, "the same pods run")
