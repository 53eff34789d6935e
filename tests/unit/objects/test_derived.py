"""What KRM computes of an object: what the scheduler counts for a pod, and claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from krm.objects import derived
from krm.resources import DEPLOYMENTS, PODS, RESOURCES

Requests = Mapping[str, str | int | None]


def container(restart: str | int | None = None, **requests: str | int | None) -> dict[str, Any]:
    """``memory="1Gi"``; restartable ones are sidecars."""
    made: dict[str, Any] = {"resources": {"requests": requests}}
    return made | ({"restartPolicy": "Always"} if restart else {})


def pod(*containers: object, init: object = None, **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), "initContainers": init, **spec}}


def requests(obj: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    found = dict(zip([column.name for column in PODS.columns], derived.columns(PODS, obj), strict=True))
    return found["requests.cpu"], found["requests.memory"], found["requests.gpu"]


@pytest.mark.parametrize(
    ("obj", "cpu", "memory"),
    [
        pytest.param(pod(), None, None, id="nothing-asked"),
        pytest.param(pod(container(cpu="100m"), container(cpu="1", memory="1Gi")), "1100m", "1Gi", id="containers-add"),
        pytest.param(pod(container(cpu="1"), init=[container(cpu="500m")]), "1", None, id="small-init-is-hidden"),
        pytest.param(
            pod(container(cpu="1"), init=[container(cpu="3"), container(cpu="2")]), "3", None, id="largest-init"
        ),
        pytest.param(
            pod(container(cpu="1", memory="2Gi"), init=[container(cpu="2", memory="1Gi")]),
            "2",
            "2Gi",
            id="each-resource-by-itself",
        ),
        pytest.param(
            pod(container(cpu="1"), init=[container(restart=1, cpu="2")]), "3", None, id="sidecar-stays-beside"
        ),
        pytest.param(
            pod(container(cpu="1"), init=[container(restart=1, cpu="1"), container(cpu="5")]),
            "6",
            None,
            id="init-runs-beside-sidecars-before-it",
        ),
        pytest.param(
            pod(container(cpu="1"), init=[container(cpu="5"), container(restart=1, cpu="1")]),
            "5",
            None,
            id="init-does-not-run-beside-sidecars-after-it",
        ),
        pytest.param(
            pod(
                container(cpu="1"),
                init=[container(restart=1, cpu="1"), container(restart=1, cpu="2"), container(cpu="1")],
            ),
            "4",
            None,
            id="sidecars-add-up",
        ),
        pytest.param(
            pod(container(cpu="1"), overhead={"cpu": "250m", "memory": "64Mi"}), "1250m", "64Mi", id="overhead"
        ),
        pytest.param(
            pod(container(cpu="1", memory="1Gi"), resources={"requests": {"cpu": "4"}}), "4", "1Gi", id="pod-level"
        ),
        pytest.param(
            pod(container(cpu="1"), resources={"requests": {"cpu": "500m"}}, overhead={"cpu": "1"}),
            "1500m",
            None,
            id="pod-level-and-overhead",
        ),
        pytest.param(pod(container(cpu=1, memory="128974848")), "1", "128974848", id="numbers"),
        pytest.param(pod(container(cpu="1e3Ki")), None, None, id="malformed"),
        pytest.param(pod(container(cpu=None)), None, None, id="null"),
        pytest.param(pod(container(cpu="1"), overhead={"cpu": "x"}), None, None, id="malformed-overhead"),
        pytest.param({"spec": None}, None, None, id="no-spec"),
        pytest.param({}, None, None, id="empty"),
        pytest.param(pod("text", None, 5, container(cpu="1")), "1", None, id="containers-that-are-none"),
        pytest.param({"spec": {"containers": {"a": 1}, "overhead": []}}, None, None, id="other-shapes"),
        pytest.param(pod({"resources": None}, {"resources": {"requests": "x"}}), None, None, id="other-requests"),
    ],
)
def test_requests_are_what_the_scheduler_counts(obj: dict[str, Any], cpu: str | None, memory: str | None) -> None:
    assert requests(obj)[:2] == (cpu, memory)


def test_what_is_remembered_of_requests_is_bounded_and_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "_REQUESTED", {})
    monkeypatch.setattr(derived, "_REQUESTED_MAX", 3)
    for _ in range(2):
        for milli in range(1, 10):
            assert requests(pod(container(cpu=f"{milli}m")))[0] == f"{milli}m"
    assert len(derived._REQUESTED) <= 3
    monkeypatch.setattr(derived, "_REQUESTED", {})
    many = pod(*[container(cpu="1m")] * 500)
    assert [requests(many)[0], requests(many)[0]] == ["500m", "500m"]
    assert not derived._REQUESTED, "a text of any length would be kept"


def test_gpus_of_every_vendor_add_up() -> None:
    obj = pod(container(**{"nvidia.com/gpu": 2}), container(**{"amd.com/gpu": "1", "nvidia.com/gpu-memory": "5"}))
    assert requests(obj) == (None, None, "3")


def test_pod_level_resources_replace_only_what_pods_may_ask_as_a_whole() -> None:
    whole = {"requests": {"nvidia.com/gpu": "9", "hugepages-2Mi": "4Mi"}}
    amounts = derived.pod_requests(pod(container(**{"nvidia.com/gpu": 1}), resources=whole))
    assert {name: str(amount) for name, amount in amounts.items()} == {"nvidia.com/gpu": "1", "hugepages-2Mi": "4Mi"}


@pytest.mark.parametrize(
    ("volumes", "names"),
    [
        pytest.param([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}], ["c"], id="claim"),
        pytest.param([{"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}], ["p-v"], id="ephemeral"),
        pytest.param([{"name": "v", "emptyDir": {}}], [], id="other-volume"),
        pytest.param([{"persistentVolumeClaim": {"claimName": "c"}}] * 2, ["c"], id="mounted-twice"),
        pytest.param([{"persistentVolumeClaim": None}, None, 3], [], id="malformed"),
        pytest.param(None, [], id="no-volumes"),
    ],
)
def test_claims_that_a_pod_mounts(volumes: object, names: list[str]) -> None:
    assert derived.claims(pod(volumes=volumes)) == names


def test_claims_are_told_even_where_requests_are_malformed() -> None:
    obj = pod(container(cpu="x"), volumes=[{"persistentVolumeClaim": {"claimName": "c"}}])
    assert derived.columns(PODS, obj)[-1] == ["c"]


@pytest.mark.parametrize(("value", "kept"), [(3, 3), ("a", "a"), (True, True), (None, None), ([1], None), ({}, None)])
def test_declared_columns_hold_scalars(value: object, kept: object) -> None:
    assert derived.columns(DEPLOYMENTS, {"spec": {"replicas": value}, "status": "odd"}) == (kept, None)


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda resource: resource.plural)
def test_every_kind_has_its_columns_of_an_empty_object(resource: Any) -> None:
    assert len(derived.columns(resource, {})) == len(resource.columns)
