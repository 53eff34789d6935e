"""The official Kubernetes client at work on the simulated API server: what people will point at it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from krm import simulator
from tests.contract.asking import QUICK

T = TypeVar("T")


def api_of(sim: simulator.Simulation) -> client.ApiClient:
    settings = client.Configuration(host=sim.url)
    settings.proxy = None
    return client.ApiClient(settings)


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """The official client blocks: it works in a thread while the server runs here."""
    return await asyncio.wait_for(asyncio.to_thread(work, *arguments), 60)


def work_through(api: client.ApiClient) -> None:
    # The client's types differ between its versions; what matters here is what it gets at run time.
    core: Any = client.CoreV1Api(api)
    apps: Any = client.AppsV1Api(api)
    # List, in pages and by selection
    pods = core.list_pod_for_all_namespaces().items
    assert len(pods) == 40
    page = core.list_pod_for_all_namespaces(limit=15)
    assert page.metadata.remaining_item_count == 25
    rest = core.list_pod_for_all_namespaces(_continue=page.metadata._continue)
    assert [each.metadata.uid for each in [*page.items, *rest.items]] == [each.metadata.uid for each in pods]
    node = pods[0].spec.node_name
    on_node = core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}").items
    assert {each.spec.node_name for each in on_node} == {node}
    assert core.read_node(node).status.capacity["cpu"]
    deployment = apps.list_deployment_for_all_namespaces().items[0]
    assert deployment.spec.template.spec.containers[0].resources.requests
    # Create, read, patch, replace, delete
    core.create_namespace({"metadata": {"name": "mine"}})
    body = client.V1Pod(
        metadata=client.V1ObjectMeta(name="p", labels={"app": "p"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="busybox")]),
    )
    made = core.create_namespaced_pod("mine", body)
    assert made.status.phase == "Pending"
    patched = core.patch_namespaced_pod("p", "mine", {"metadata": {"labels": {"more": "1"}}})
    assert patched.metadata.labels == {"app": "p", "more": "1"}
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    assert core.patch_namespaced_pod_status("p", "mine", status).status.phase == "Running"
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_pod("p", "mine", made)
    assert conflict.value.status == 409
    claim = {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    assert core.create_namespaced_persistent_volume_claim("mine", claim).status.phase == "Pending"
    assert core.delete_namespaced_pod("p", "mine").metadata.name == "p"
    with pytest.raises(ApiException) as missing:
        core.read_namespaced_pod("p", "mine")
    assert (missing.value.status, missing.value.reason) == (404, "Not Found")
    core.delete_namespace("mine")
    assert "mine" not in [each.metadata.name for each in core.list_namespace().items]


async def test_the_official_client_reads_and_writes() -> None:
    async with simulator.serve(world=simulator.World(pods=40), settings=QUICK) as sim:
        await in_thread(work_through, api_of(sim))


def watch_for(api: client.ApiClient, rv: str) -> list[tuple[str, str]]:
    core: Any = client.CoreV1Api(api)
    stream: Any = watch.Watch()  # type: ignore[no-untyped-call]  # the client does not annotate it
    events = stream.stream(core.list_namespaced_config_map, "default", resource_version=rv, timeout_seconds=1)
    return [(event["type"], event["object"].metadata.name) for event in events]


async def test_the_official_client_watches() -> None:
    async with simulator.serve(world=simulator.World(pods=5), settings=QUICK) as sim:
        rv = str(sim.store.rv)
        watching = asyncio.create_task(in_thread(watch_for, api_of(sim), rv))
        core: Any = client.CoreV1Api(api_of(sim))
        await in_thread(core.create_namespaced_config_map, "default", {"metadata": {"name": "c"}, "data": {"k": "v"}})
        await in_thread(core.patch_namespaced_config_map, "c", "default", {"data": {"k": "w"}})
        await in_thread(core.delete_namespaced_config_map, "c", "default")
        assert await watching == [("ADDED", "c"), ("MODIFIED", "c"), ("DELETED", "c")]


async def test_the_official_client_authenticates_over_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    arguments = [*command.split(), "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, arguments, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    tokens = {"secret": simulator.User(name="root", groups=("system:masters",))}
    async with simulator.serve(tls=context, auth=True, tokens=tokens) as sim:
        assert sim.url.startswith("https://")
        path = tmp_path / "kubeconfig"
        text = sim.kubeconfig("secret").replace(
            "insecure-skip-tls-verify: true", f"certificate-authority: {certificate}"
        )
        path.write_text(text)

        def nodes() -> list[str]:
            api: Any = config.new_client_from_config(str(path))  # type: ignore[no-untyped-call]  # as above
            core: Any = client.CoreV1Api(api)
            return [each.metadata.name for each in core.list_node().items]

        assert await in_thread(nodes) == []
        path.write_text(text.replace("token: secret", "token: wrong"))
        with pytest.raises(ApiException) as refused:
            await in_thread(nodes)
        assert refused.value.status == 401
