"""Against the simulated API server: a mirror made of one list and resumed watches equals the truth, whatever breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from krm import errors, resources, simulator
from krm.kube import connect, discovery, listing, reading, reviews, watching
from krm.kube.connect import Cluster
from krm.objects.versions import newer
from tests.integration.kube.certificates import Authority
from tests.integration.kube.conftest import Open
from tests.waiting import wait_until

PODS = resources.PODS.path()
ALICE = simulator.User(name="alice", uid="3", groups=("devs",))


def truth(sim: simulator.Simulation) -> dict[str, str]:
    found = sim.store.all(sim.store.kind_named("pods"))
    return {v.key: str(v.rv) for v in found}


def key(obj: Mapping[str, Mapping[str, str]]) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


class Mirror:
    """The simplest honest consumer: list, then watch from there; after a 410 list anew; else resume where it was."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.rows: dict[str, str] = {}
        self.position = ""
        self.ends: list[str] = []

    async def run(self) -> None:
        while True:
            try:
                if not self.position:
                    await self.list()
                await self.watch()
                self.ends.append("end")
            except errors.Gone:
                self.ends.append("Gone")
                self.position = ""
            except errors.ClusterError as error:
                self.ends.append(type(error).__name__)

    async def list(self) -> None:
        rows, version = {}, ""
        async for page in listing.pages(self.cluster, PODS, limit=7, timeout_s=10):
            version = page.version
            for item in page.items:
                obj = json.loads(item)
                rows[key(obj)] = obj["metadata"]["resourceVersion"]
        self.rows, self.position = rows, version

    async def watch(self) -> None:
        batches = watching.watch(self.cluster, PODS, self.position, timeout_s=2, silence_s=0.5, max_line_bytes=2**18)
        async for batch in batches:
            for event in batch:
                if event.raw:
                    self.take(event)
                if newer(event.version, self.position):
                    self.position = event.version

    def take(self, event: watching.WatchEvent) -> None:
        name = key(json.loads(event.raw))
        if not newer(event.version, self.rows.get(name, "")):
            return
        if event.type == "DELETED":
            self.rows.pop(name, None)
        else:
            self.rows[name] = event.version


STREAM_FAULTS = [
    "cut_line", "garbage_line", "not_utf8_line", "huge_line", "unknown_type", "half_open", "error", "gone", "end",
    "reset", "status", "truncated_list", "garbage_body", "later_page",
]  # fmt: skip


@pytest.mark.parametrize("fault", [None, *STREAM_FAULTS])
async def test_a_mirror_equals_the_truth_after_every_fault(connected: Open, fault: str | None) -> None:
    async with simulator.serve(world=simulator.World(pods=40, seed=1), churn=300) as sim:
        added = None
        if fault is not None:
            every = 1 if fault in ("reset", "status", "truncated_list", "garbage_body", "later_page") else 40
            size = 2**19 if fault == "huge_line" else 1024
            status = 410 if fault == "later_page" else 503
            added = sim.faults.add(fault, every=every, count=3, size=size, status=status, after_bytes=200)
        mirror = Mirror(await connected(sim.url))
        running = asyncio.create_task(mirror.run())
        try:
            await wait_until(lambda: len(mirror.rows) > 0 and (added is None or added.happened == 3), 60, "the faults")
            sim.set_churn(0)
            await wait_until(lambda: mirror.rows == truth(sim), 30, "the mirror equals the truth")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        if fault is not None:
            assert mirror.ends, "the fault was seen"


async def test_history_that_is_compacted_is_gone_as_list_and_as_watch(connected: Open) -> None:
    async with simulator.serve(world=simulator.World(pods=40, seed=1), churn=500) as sim:
        cluster = await connected(sim.url)
        pages = aiter(listing.pages(cluster, PODS, limit=5, timeout_s=10))
        first = await anext(pages)
        await wait_until(lambda: sim.store.rv > int(first.version) + 20)
        sim.compact()
        with pytest.raises(errors.Gone):  # the page that is on its way may still come, the last one never does
            assert not [page.is_last async for page in pages if page.is_last]
        with pytest.raises(errors.Gone):
            await anext(aiter(watching.watch(cluster, PODS, first.version, timeout_s=5, silence_s=5)))


async def test_initial_events_come_before_their_mark(connected: Open) -> None:
    async with simulator.serve(world=simulator.World(pods=40, seed=1)) as sim:
        seen: list[watching.WatchEvent] = []
        watch = watching.watch(await connected(sim.url), PODS, "", timeout_s=5, silence_s=5, initial_events=True)
        async for batch in watch:
            seen += batch
            if seen[-1].ends_initial:
                break
        await watch.aclose()
        assert {key(json.loads(e.raw)): e.version for e in seen[:-1]} == truth(sim)


async def test_discovery_and_single_objects(connected: Open) -> None:
    async with simulator.serve(world=simulator.World(pods=40, seed=1)) as sim:
        cluster = await connected(sim.url)
        assert (await discovery.version(cluster)).major
        for resource in resources.RESOURCES.values():
            found = await discovery.served(cluster, resource)
            assert found is not None
            assert (found.kind, found.namespaced) == (resource.kind, resource.namespaced)
            assert found.is_listable
            assert found.is_watchable
        name = next(iter(truth(sim))).split("/")
        path = f"{resources.PODS.path(name[0])}/{name[1]}"
        assert json.loads(await reading.get(cluster, path))["kind"] == "Pod"
        assert "spec" not in json.loads(await reading.metadata(cluster, path))
        with pytest.raises(errors.NotFound):
            await reading.get(cluster, f"{path}-no")


async def test_metadata_lists_have_the_same_versions(connected: Open) -> None:
    async with simulator.serve(world=simulator.World(pods=40, seed=1)) as sim:
        rows: dict[str, str] = {}
        cluster = await connected(sim.url)
        async for page in listing.identities(cluster, PODS, limit=7, timeout_s=10):
            rows |= {f"{one.namespace}/{one.name}": one.version for one in page.identities}
        assert rows == truth(sim)


@pytest.fixture
def role() -> list[tuple[str, dict[str, object]]]:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    meta = {"name": "reader", "namespace": "team-1"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}
    return [
        ("roles.rbac.authorization.k8s.io", {"metadata": dict(meta), "rules": rules}),
        (
            "rolebindings.rbac.authorization.k8s.io",
            {"metadata": dict(meta), "roleRef": reference, "subjects": [subject]},
        ),
    ]


async def test_rights_over_tls(
    connected: Open, authority: Authority, role: list[tuple[str, dict[str, object]]]
) -> None:
    admin = simulator.User(name="admin", groups=("system:masters",))
    tokens = {"a-token": ALICE, "admin-token": admin}
    ca = {"certificate-authority": str(authority.ca)}
    async with simulator.serve(auth=True, tokens=tokens, tls=authority.server_context()) as sim:
        for kind, obj in role:
            sim.store.create(sim.store.kind_named(kind), obj)
        ours = await connected(sim.url, user={"token": "admin-token"}, cluster=ca)
        verdict = await reviews.token_review(ours, "a-token")
        assert verdict.user is not None
        assert verdict.user.name == "alice"
        assert (await reviews.token_review(ours, "other")).user is None
        for namespace, allowed in (("team-1", True), ("team-2", False), ("", False)):
            action = reviews.Action(verb="list", resource="pods", namespace=namespace)
            assert (await reviews.subject_access_review(ours, verdict.user, action)).allowed is allowed
        alice = await connected(sim.url, user={"token": "a-token"}, cluster=ca)
        assert [p.is_last async for p in listing.pages(alice, resources.PODS.path("team-1"), limit=5, timeout_s=5)]
        with pytest.raises(errors.Forbidden, match='User "alice" cannot list resource "pods"'):
            await anext(aiter(listing.pages(alice, PODS, limit=5, timeout_s=5)))
        own = reviews.Action(verb="list", resource="pods", namespace="team-1")
        assert (await reviews.self_subject_access_review(alice, own)).allowed


async def test_the_kubeconfig_of_the_simulator_is_understood(tmp_path: Path) -> None:
    async with simulator.serve(world=simulator.World(pods=40, seed=1)) as sim:
        file = tmp_path / "kubeconfig"
        file.write_text(sim.kubeconfig("xyz"))
        cluster = await connect.open(file, None)
        try:
            assert cluster.server.rstrip("/") == sim.url
            assert [p async for p in listing.pages(cluster, PODS, limit=500, timeout_s=5)]
        finally:
            await cluster.close()
