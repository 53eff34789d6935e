"""What ``krm get`` prints of an object, against what kubectl prints of the same one."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from krm import resources
from krm.cli.printing import ages, kinds

NOW = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)
HOUR_AGO = "2026-11-23T11:00:00Z"


def cells(kind: str, manifest: dict[str, Any], *, wide: bool = False) -> dict[str, str]:
    printer = kinds.printer(resources.find(kind))
    found = (printer.wide_cells if wide and printer.wide_cells else printer.cells)(manifest, NOW)
    return dict(zip((*printer.headings, *printer.wide_headings), found, strict=True))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (10_860, "3h1m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (8 * 86_400, "8d"),
        (729 * 86_400, "729d"),
        (730 * 86_400, "2y"),
        (740 * 86_400, "2y10d"),
        (8 * 365 * 86_400, "8y"),
    ],
)
def test_ages_are_kubectls(seconds: float, shown: str) -> None:
    assert ages.human(seconds) == shown


@pytest.mark.parametrize(
    ("timestamp", "shown"), [(HOUR_AGO, "60m"), (None, "<unknown>"), ("yesterday", "<unknown>"), (7, "<unknown>")]
)
def test_an_age_that_cannot_be_told_is_unknown(timestamp: object, shown: str) -> None:
    assert ages.age(timestamp, NOW) == shown


def container(state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "main", "ready": False, "restartCount": 0, "state": state or {}, **more}


RUNNING = {"running": {"startedAt": HOUR_AGO}}
READY = container(RUNNING, ready=True)


def pod(phase: str = "Running", *statuses: dict[str, Any], spec: dict[str, Any] | None = None, **more: Any) -> Any:
    status = {"phase": phase, "containerStatuses": list(statuses), **more}
    whole = {"containers": [{"name": f"c{n}"} for n, _ in enumerate(statuses)], **(spec or {})}
    return {"metadata": {"name": "a", "creationTimestamp": HOUR_AGO}, "spec": whole, "status": status}


def deleted(manifest: Any) -> Any:
    return {**manifest, "metadata": {**manifest["metadata"], "deletionTimestamp": HOUR_AGO}}


def ended(**how: Any) -> dict[str, Any]:
    return container({"terminated": how})


INIT = {"initContainers": [{"name": "i0"}, {"name": "i1"}]}
SIDECAR = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}


@pytest.mark.parametrize(
    ("manifest", "ready", "status"),
    [
        pytest.param(pod("Running", READY), "1/1", "Running", id="running"),
        pytest.param(pod("Pending", container()), "0/1", "Pending", id="pending"),
        pytest.param(pod("Failed", container(), reason="Evicted"), "0/1", "Evicted", id="evicted"),
        pytest.param(
            pod("Running", container({"waiting": {"reason": "CrashLoopBackOff"}})),
            "0/1",
            "CrashLoopBackOff",
            id="crash",
        ),
        pytest.param(pod("Succeeded", ended(reason="Completed", exitCode=0)), "0/1", "Completed", id="completed"),
        pytest.param(pod("Failed", ended(exitCode=7)), "0/1", "ExitCode:7", id="exit-code"),
        pytest.param(pod("Failed", ended(exitCode=137, signal=9)), "0/1", "Signal:9", id="signal"),
        pytest.param(pod("Running", READY, ended(reason="OOMKilled", exitCode=137)), "1/2", "OOMKilled", id="half"),
        pytest.param(
            pod(
                "Running",
                ended(reason="Completed", exitCode=0),
                READY,
                conditions=[{"type": "Ready", "status": "True"}],
            ),
            "1/2",
            "Running",
            id="one-completed-one-ready",
        ),
        pytest.param(
            pod("Running", ended(reason="Completed", exitCode=0), READY), "1/2", "NotReady", id="completed-not-ready"
        ),
        pytest.param(deleted(pod("Running", READY)), "1/1", "Terminating", id="terminating"),
        pytest.param(deleted(pod("Succeeded", ended(reason="Completed"))), "0/1", "Completed", id="deleted-completed"),
        pytest.param(deleted(pod("Running", READY, reason="NodeLost")), "1/1", "Unknown", id="node-lost"),
        pytest.param(
            pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]),
            "0/0",
            "SchedulingGated",
            id="gated",
        ),
        pytest.param(
            pod("Pending", container(), spec=INIT, initContainerStatuses=[container(RUNNING, name="i0")]),
            "0/1",
            "Init:0/2",
            id="initialising",
        ),
        pytest.param(
            pod(
                "Pending",
                container(),
                spec=INIT,
                initContainerStatuses=[
                    container({"terminated": {"exitCode": 0}}, name="i0"),
                    container({"waiting": {"reason": "ImagePullBackOff"}}, name="i1"),
                ],
            ),
            "0/1",
            "Init:ImagePullBackOff",
            id="init-cannot-pull",
        ),
        pytest.param(
            pod("Pending", container(), spec=INIT, initContainerStatuses=[ended(exitCode=2)]),
            "0/1",
            "Init:ExitCode:2",
            id="init-failed",
        ),
        pytest.param(
            pod("Pending", container(), spec=INIT, initContainerStatuses=[ended(exitCode=2, reason="Error")]),
            "0/1",
            "Init:Error",
            id="init-failed-with-reason",
        ),
        pytest.param(
            pod(
                "Pending",
                container({"waiting": {"reason": "PodInitializing"}}),
                spec=INIT,
                initContainerStatuses=[
                    container({"terminated": {"exitCode": 0}}, name="i0"),
                    container({"waiting": {"reason": "PodInitializing"}}, name="i1"),
                ],
            ),
            "0/1",
            "Init:1/2",
            id="second-init",
        ),
        pytest.param(
            pod(
                "Running",
                READY,
                spec=SIDECAR,
                initContainerStatuses=[container(RUNNING, name="proxy", started=True, ready=True)],
            ),
            "2/2",
            "Running",
            id="sidecar",
        ),
    ],
)
def test_ready_and_status_of_a_pod_are_kubectls(manifest: Any, ready: str, status: str) -> None:
    found = cells("pods", manifest)
    assert (found["READY"], found["STATUS"]) == (ready, status)


def test_restarts_count_all_containers_and_tell_of_the_last() -> None:
    crashed = {"terminated": {"finishedAt": "2026-11-23T11:55:00Z"}}
    earlier = {"terminated": {"finishedAt": "2026-11-23T10:55:00Z"}}
    manifest = pod(
        "Running",
        container(RUNNING, restartCount=3, lastState=crashed),
        container(RUNNING, restartCount=1, lastState=earlier),
    )
    assert cells("pods", manifest)["RESTARTS"] == "4 (5m ago)"


def test_restarts_of_init_containers_are_forgotten_but_those_of_sidecars_count() -> None:
    manifest = pod(
        "Running",
        READY,
        spec={"initContainers": [*INIT["initContainers"], *SIDECAR["initContainers"]]},
        initContainerStatuses=[
            {**ended(exitCode=0), "name": "i0", "restartCount": 5},
            container(RUNNING, name="proxy", started=True, ready=True, restartCount=2),
        ],
    )
    assert cells("pods", manifest)["RESTARTS"] == "2"


def test_the_wide_columns_of_a_pod() -> None:
    manifest = pod(
        "Running",
        READY,
        spec={"nodeName": "n1", "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        podIPs=[{"ip": "10.0.0.1"}],
        conditions=[{"type": "a", "status": "True"}],
    )
    found = cells("pods", manifest)
    assert (found["IP"], found["NODE"], found["NOMINATED NODE"]) == ("10.0.0.1", "n1", "<none>")
    assert found["READINESS GATES"] == "1/2"


def made(spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    whole = {"name": "a", "creationTimestamp": HOUR_AGO, **metadata}
    return {"metadata": whole, "spec": spec or {}, "status": status or {}}


def test_a_deployment() -> None:
    template = {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]}}
    selector = {
        "matchLabels": {"z": "1", "app": "web"},
        "matchExpressions": [
            {"key": "k", "operator": "In", "values": ["b", "a"]},
            {"key": "e", "operator": "Exists"},
            {"key": "d", "operator": "DoesNotExist"},
            {"key": "n", "operator": "NotIn", "values": ["v"]},
        ],
    }
    status = {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}
    found = cells("deploy", made({"replicas": 4, "template": template, "selector": selector}, status))
    assert list(found.values()) == [
        *("a", "2/4", "3", "1", "60m", "a,b", "x:1,y:2"),
        "app=web,z=1,k in (a,b),e,!d,k notin (v)".replace("k notin", "n notin"),
    ]


@pytest.mark.parametrize(
    ("manifest", "shown"),
    [
        (
            made(
                {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Block"},
                {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
            ),
            ["a", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", "60m", "Block"],
        ),
        (made({}, {"phase": "Pending"}), ["a", "Pending", "", "", "", "", "<unset>", "60m", "<unset>"]),
        (
            made({}, {"phase": "Bound"}, deletionTimestamp=HOUR_AGO),
            ["a", "Terminating", "", "", "", "", "<unset>", "60m", "<unset>"],
        ),
    ],
    ids=["bound", "pending", "terminating"],
)
def test_a_claim(manifest: Any, shown: list[str]) -> None:
    assert list(cells("pvc", manifest).values()) == shown


PORTS = [{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}]
LONG_NAME = "very-long-name.example.com"


@pytest.mark.parametrize(
    ("manifest", "wide", "shown"),
    [
        (
            made({"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": PORTS, "selector": {"b": "2", "a": "1"}}),
            False,
            ["a", "ClusterIP", "10.0.0.1", "<none>", "80/TCP,53:30053/UDP", "60m", "a=1,b=2"],
        ),
        (made({"type": "ExternalName", "externalName": "x"}), False, ["a", "ExternalName", "<none>", "x", "<none>"]),
        (made({"type": "LoadBalancer"}), False, ["a", "LoadBalancer", "<none>", "<pending>"]),
        (
            made({"type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{"hostname": LONG_NAME}]}}),
            False,
            ["a", "LoadBalancer", "<none>", "very-long-nam..."],
        ),
        (
            made({"type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{"hostname": LONG_NAME}]}}),
            True,
            ["a", "LoadBalancer", "<none>", LONG_NAME],
        ),
        (
            made(
                {"type": "LoadBalancer", "externalIPs": ["2.2.2.2"]},
                {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}},
            ),
            False,
            ["a", "LoadBalancer", "<none>", "1.1.1.1,2.2.2.2"],
        ),
        (made({"type": "NodePort", "clusterIPs": ["None"]}), False, ["a", "NodePort", "None", "<none>"]),
    ],
)
def test_a_service(manifest: Any, wide: bool, shown: list[str]) -> None:
    assert list(cells("svc", manifest, wide=wide).values())[: len(shown)] == shown


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        ([], "*"),
        (["a", "b"], "a,b"),
        (["a", "b", "c"], "a,b,c"),
        (["a", "b", "c", "d", "e"], "a,b,c + 2 more..."),
        ([""], "*"),
    ],
)
def test_the_hosts_of_an_ingress(hosts: list[str], shown: str) -> None:
    assert cells("ing", made({"rules": [{"host": host} for host in hosts]}))["HOSTS"] == shown


def test_an_ingress() -> None:
    manifest = made(
        {"ingressClassName": "nginx", "tls": [{}], "rules": []}, {"loadBalancer": {"ingress": [{"ip": "1"}]}}
    )
    assert list(cells("ing", manifest).values()) == ["a", "nginx", "*", "1", "80, 443", "60m"]
    assert cells("ing", made())["CLASS"] == "<none>"


@pytest.mark.parametrize(
    ("conditions", "spec", "shown"),
    [
        ([{"type": "Ready", "status": "True"}], {}, "Ready"),
        ([{"type": "Ready", "status": "False"}], {}, "NotReady"),
        ([{"type": "Ready", "status": "Unknown"}], {}, "NotReady"),
        ([], {}, "Unknown"),
        ([{"type": "Ready", "status": "True"}], {"unschedulable": True}, "Ready,SchedulingDisabled"),
    ],
)
def test_the_status_of_a_node(conditions: Any, spec: Any, shown: str) -> None:
    assert cells("no", made(spec, {"conditions": conditions}))["STATUS"] == shown


def test_a_node() -> None:
    system = {"kubeletVersion": "v1.36.0", "osImage": "Debian", "containerRuntimeVersion": "containerd://1"}
    addresses = [{"type": "InternalIP", "address": "10.1.1.1"}]
    labels = {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "x": "y"}
    found = cells("no", made({}, {"nodeInfo": system, "addresses": addresses}, labels=labels))
    assert list(found.values())[2:] == [
        *("control-plane,worker", "60m", "v1.36.0", "10.1.1.1", "<none>", "Debian", "<unknown>", "containerd://1")
    ]


@pytest.mark.parametrize("kind", list(resources.RESOURCES))
@pytest.mark.parametrize(
    "manifest", [{}, {"metadata": None, "spec": 7, "status": []}, {"spec": {"rules": [3]}}], ids=str
)
def test_an_object_of_another_shape_is_printed_all_the_same(kind: str, manifest: Any) -> None:
    assert all(isinstance(cell, str) for cell in cells(kind, manifest).values())
