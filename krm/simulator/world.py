"""A cluster to look at: nodes, namespaces, applications with all that belongs to them, the same for the same seed.

The world fills a store once. What happens in it afterwards is `churn`'s.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from krm.simulator import kinds, manifests, pods
from krm.simulator.kinds import Json
from krm.simulator.pods import App, Place
from krm.simulator.store import Store

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The characters of which Kubernetes makes random names."""

# fmt: off
_WORDS = (
    "account", "alert", "auth", "basket", "billing", "catalog", "checkout", "config", "crawler", "export",
    "feed", "gateway", "graph", "image", "import", "index", "ingest", "inventory", "ledger", "mail", "media",
    "metrics", "notify", "order", "payment", "price", "profile", "queue", "rank", "report", "review", "route",
    "search", "session", "ship", "stock", "sync", "tax", "token", "track", "upload", "user", "video", "vote",
    "web", "worker",
)
# fmt: on
_TIERS = ("web", "api", "batch", "data", "ml")
_CPUS = ("50m", "100m", "250m", "500m", "1", "2")
_MEMORIES = ("128Mi", "256Mi", "512Mi", "1Gi", "2Gi", "4Gi")
_MACHINES = (
    ("c5.4xlarge", "16", "32Gi"),
    ("m5.8xlarge", "32", "128Gi"),
    ("r5.16xlarge", "64", "512Gi"),
)
_GPU_MACHINE = ("p4d.24xlarge", "96", "1152Gi")
_SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, kw_only=True)
class NodeFact:
    """What the scheduler of the simulated cluster knows of a node."""

    name: str
    index: int
    gpus: int


class World:
    """The content of a simulated cluster."""

    def __init__(self, *, pods: int = 500, seed: int = 1, start: datetime | None = None) -> None:
        """`start`: the time at which the cluster is as seeded (now, unless given); all timestamps lie before it."""
        self.pods = pods
        self.seed = seed
        self.start = start
        self.random = random.Random(seed)  # noqa: S311 - content, not secrets
        self.apps: list[App] = []
        self.nodes: list[NodeFact] = []
        self._next_ip = 0

    # What everything is made of

    def new_uid(self) -> str:
        """A uid from the seed."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def suffix(self, length: int) -> str:
        """Random characters of a name, from the seed."""
        return "".join(self.random.choices(NAME_ALPHABET, k=length))

    def place(self, gpus: int) -> Place:
        """A node for a pod, and an address."""
        fitting = self._gpu_nodes if gpus else self._plain_nodes
        node = fitting[self.random.randrange(len(fitting))]
        self._next_ip += 1
        number = self._next_ip
        return Place(
            node=node.name,
            node_ip=manifests.node_ip(node.index),
            zone=f"zone-{node.index % 3}",
            pod_ip=f"10.{64 + number // 62500 % 64}.{number // 250 % 250}.{number % 250 + 1}",
        )

    def new_revision(self, app: App) -> None:
        """Give an application the identity of its next replica set."""
        app.template_hash = self.suffix(10)
        app.set_uid = self.new_uid()
        app.parts = pods.shared_parts(app)

    def _before(self, at_most_s: int, at_least_s: int = 60) -> str:
        assert self.start is not None
        age = timedelta(seconds=self.random.randrange(at_least_s, at_most_s))
        return text_of(self.start - age)

    # Seeding

    def populate(self, store: Store) -> None:
        """Fill an empty store; from then on it takes its uids from the seed too."""
        if self.start is None:
            self.start = store.clock()
        self.start = self.start.astimezone(UTC).replace(microsecond=0)
        store.new_uid = self.new_uid
        names = [f"team-{index}" for index in range(max(2, min(50, self.pods // 100)))]
        store.load(kinds.NAMESPACES, self._namespaces([*_SYSTEM_NAMESPACES, *names]))
        store.load(kinds.NODES, self._nodes(max(3, min(5000, self.pods // 25))))
        self._plan_apps(names)
        store.load(kinds.DEPLOYMENTS, (manifests.deployment(app) for app in self.apps))
        store.load(kinds.REPLICA_SETS, (manifests.replica_set(app, app.replicas, app.created) for app in self.apps))
        claims = [app for app in self.apps if app.claim]
        sizes = ("1Gi", "10Gi", "100Gi")
        store.load(
            kinds.PERSISTENT_VOLUME_CLAIMS,
            [manifests.claim(app, self.new_uid(), self.random.choice(sizes)) for app in claims],
        )
        served = [app for app in self.apps if app.tier != "batch"]
        store.load(kinds.SERVICES, [manifests.service(app, self.new_uid(), self._address()) for app in served])
        public = [app for app in served if app.tier == "web"]
        store.load(kinds.INGRESSES, [manifests.ingress(app, self.new_uid()) for app in public])
        store.load(kinds.PODS, self._pods())

    def _namespaces(self, names: Sequence[str]) -> list[Json]:
        return [manifests.namespace(name, self.new_uid(), self._before(90 * 86400, 60 * 86400)) for name in names]

    def _nodes(self, count: int) -> list[Json]:
        made: list[Json] = []
        for index in range(count):
            gpus = 8 if index % 8 == 7 else 0
            self.nodes.append(NodeFact(name=f"node-{index:04d}", index=index, gpus=gpus))
            made.append(
                manifests.node(
                    name=f"node-{index:04d}",
                    index=index,
                    uid=self.new_uid(),
                    created=self._before(60 * 86400, 30 * 86400),
                    size=_GPU_MACHINE if gpus else _MACHINES[index % len(_MACHINES)],
                    gpus=gpus,
                )
            )
        self._gpu_nodes = [node for node in self.nodes if node.gpus]
        self._plain_nodes = [node for node in self.nodes if not node.gpus]
        return made

    def _plan_apps(self, namespaces: Sequence[str]) -> None:
        planned = 0
        while planned < self.pods:
            index = len(self.apps)
            replicas = min(self.random.choice((1, 2, 3, 3, 5, 5, 8, 10, 20)), self.pods - planned)
            planned += replicas
            tier = _TIERS[self.random.randrange(len(_TIERS))]
            name = f"{_WORDS[index % len(_WORDS)]}-{tier}-{index:04d}"
            app = App(
                namespace=namespaces[self.random.randrange(len(namespaces))],
                name=name,
                uid=self.new_uid(),
                tier=tier,
                replicas=replicas,
                cpu=self.random.choice(_CPUS),
                memory=self.random.choice(_MEMORIES),
                gpus=self.random.choice((1, 2, 4)) if tier == "ml" and self._gpu_nodes else 0,
                claim=f"{name}-data" if tier == "data" else "",
                has_sidecar=self.random.random() < 0.5,
                created=self._before(30 * 86400, 86400),
            )
            self.new_revision(app)
            self.apps.append(app)

    def _address(self) -> str:
        return f"10.{self.random.randrange(16)}.{self.random.randrange(256)}.{self.random.randrange(1, 255)}"

    def _pods(self) -> Iterator[Json]:
        for app in self.apps:
            for _ in range(app.replicas):
                created = self._before(86400)
                place = self.place(app.gpus)
                name = f"{app.set_name}-{self.suffix(5)}"
                while name in app.pods:
                    name = f"{app.set_name}-{self.suffix(5)}"
                app.pods.append(name)
                obj = pods.pod(app, name=name, uid=self.new_uid(), created=created)
                pods.schedule(obj, place, created)
                pods.run(obj, app.parts["containers"], place, created)
                yield obj


def text_of(at: datetime) -> str:
    """A time as the API writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
