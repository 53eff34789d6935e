"""An API that lets nobody in unseen, beside a simulated API server with users, roles and bindings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from krm import simulator
from krm.auth import reviewed
from krm.auth.reviewed import Reviewed
from krm.simulator import kinds
from tests.integration.api.conftest import Running, running
from tests.sources import FilledSource, node, pod

USERS = {
    "krm-token": simulator.User(name="system:serviceaccount:krm:api"),
    "admin-token": simulator.User(name="admin", groups=("system:masters",)),
    "ann-token": simulator.User(name="ann", groups=("devs",)),
    "bob-token": simulator.User(name="bob"),
    "eve-token": simulator.User(name="eve", audiences=("https://elsewhere",)),
}


@dataclass
class Secured:
    """The API, and the cluster that it asks."""

    api: Running
    cluster: simulator.Simulation
    callers: Reviewed

    def grant(self, user: str, *plurals: str, namespace: str = "", verbs: Sequence[str] = ("list", "watch")) -> None:
        """Bind a role; in a namespace, or everywhere."""
        rule = {"apiGroups": ["*"], "resources": list(plurals), "verbs": list(verbs)}
        grant(self.cluster.store, user, [rule], namespace)

    def revoke(self, user: str, namespace: str = "") -> None:
        """Take the binding away."""
        kind = kinds.ROLE_BINDINGS if namespace else kinds.CLUSTER_ROLE_BINDINGS
        self.cluster.store.delete(kind, namespace, user)

    def forget(self) -> None:
        """As if ten seconds had passed."""
        self.callers.tokens.decisions._kept.clear()
        self.callers.permissions.decisions._kept.clear()
        self.callers.permissions.sums.clear()

    async def ask(self, query: str, token: str = "ann-token", **headers: str) -> tuple[int, dict[str, Any]]:
        sent = {"Authorization": f"Bearer {token}", **headers} if token else headers
        async with self.api.client.post(f"{self.api.url}/graphql", json={"query": query}, headers=sent) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, token: str = "ann-token", *, raw: bool = False) -> tuple[int, str]:
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.api.client.get(f"{self.api.url}{path}", headers=sent) as answer:
            return answer.status, (await answer.read()).decode(errors="replace" if raw else "strict")

    async def socket(self, payload: object) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket whose first message was sent."""
        opened: aiohttp.ClientWebSocketResponse = await self.api.client.ws_connect(
            f"{self.api.url}/graphql", protocols=["graphql-transport-ws"]
        )
        await opened.send_json({"type": "connection_init", "payload": payload})
        return opened


def grant(store: simulator.Store, user: str, rules: list[dict[str, Any]], namespace: str = "") -> None:
    """A role of the user's name, bound to the user."""
    metadata = {"name": user, **({"namespace": namespace} if namespace else {})}
    role = kinds.ROLES if namespace else kinds.CLUSTER_ROLES
    binding = kinds.ROLE_BINDINGS if namespace else kinds.CLUSTER_ROLE_BINDINGS
    if store.get(role, namespace, user) is None:
        store.create(role, {"metadata": dict(metadata), "rules": rules})
    store.create(
        binding,
        {
            "metadata": dict(metadata),
            "roleRef": {"kind": role.kind, "name": user},
            "subjects": [{"kind": "User", "name": user}],
        },
    )


def grant_reviews(store: simulator.Store) -> None:
    """What the API's own account needs."""
    rules = [
        {"apiGroups": [group], "resources": [plural], "verbs": ["create"]}
        for group, plural in (
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
        )
    ]
    grant(store, "system:serviceaccount:krm:api", rules)


@asynccontextmanager
async def cluster_with_users(folder: Path) -> AsyncIterator[tuple[simulator.Simulation, Path]]:
    """A cluster, and a kubeconfig of the API's own account, which may create reviews and nothing else."""
    async with simulator.serve(auth=True, tokens=USERS) as cluster:
        grant_reviews(cluster.store)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig("krm-token"))
        yield cluster, kubeconfig


@asynccontextmanager
async def secured(folder: Path, source: FilledSource, **flags: object) -> AsyncIterator[Secured]:
    async with (
        cluster_with_users(folder) as (cluster, kubeconfig),
        reviewed.reviewed(kubeconfig, None, source, audience=None) as callers,
        running(source, callers, auth="kubernetes", **flags) as api,
    ):
        yield Secured(api, cluster, callers)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Secured]:
    """Pods in three namespaces and one node."""
    pods = [pod(f"p-{number}", f"team-{number % 3}", number=number) for number in range(9)]
    async with secured(tmp_path, FilledSource({"pods": pods, "nodes": [node("n")]})) as started:
        yield started
