"""Redis as it is run for high availability, in all its real parts on loopback, plain or with TLS.

Three Sentinels over a master and a replica; a Redis Cluster of three primaries with a replica each.

Every node is a process that can be killed, stopped (SIGSTOP) and started again at its place, as a Pod would be.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis
from redis import crc

from tests import debian, servers
from tests.waiting import block_until

START_S: Final = 30.0
PASSWORD: Final = "hush-hush"
SERVICE: Final = "krm"
DOWN_AFTER_MS: Final = 700
"""After this long without an answer, a server counts as gone."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """A certificate for loopback that is its own authority."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Tls:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "1", "-subj", "/CN=krm-test", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        return cls(folder=folder)

    @property
    def authority(self) -> Path:
        return self.folder / "cert.pem"

    def options(self, port: int) -> list[str]:
        """Of a server that listens on ``port`` with TLS only, to its replicas and in its cluster too."""
        files = ["--tls-ca-cert-file", str(self.authority), "--tls-cert-file", str(self.authority)]
        files += ["--tls-key-file", str(self.folder / "key.pem"), "--tls-auth-clients", "no"]
        return ["--port", "0", "--tls-port", str(port), "--tls-replication", "yes", "--tls-cluster", "yes", *files]


@dataclass(kw_only=True)
class Node:
    """One server; ``stop`` and ``start`` keep its place."""

    program: debian.Program
    folder: Path
    port: int
    options: list[str]
    tls: Tls | None = None
    config: list[str] = field(default_factory=list)
    """What goes before the options: a file that the server writes itself, and its mode."""
    password: str | None = PASSWORD
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        listen = self.tls.options(self.port) if self.tls else ["--port", str(self.port)]
        common = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--daemonize", "no"]
        command = [str(self.program.path), *self.config, *listen, *common, *self.options]
        self.process = servers._spawn(command, self.program, self.folder)
        block_until(self.answers, START_S, f"redis on port {self.port} answers")

    def client(self) -> redis.Redis:
        secure = {"ssl": True, "ssl_ca_certs": str(self.tls.authority)} if self.tls else {}
        return redis.Redis("127.0.0.1", self.port, password=self.password, socket_timeout=2, **secure)  # type: ignore[arg-type]

    def ask(self, *command: str | int) -> Any:
        """One command on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*command)

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise servers.ServerFailedError((self.folder / "log").read_text()[-2000:])
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """At once, as a lost machine."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        """Keep its connections and answer nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self.process is not None:
            servers.end(self.process)

    def is_master(self) -> bool:
        """Whether it answers, and as a master."""
        try:
            with self.client() as client:
                return bool(client.info("replication")["role"] == "master")
        except redis.RedisError:
            return False


@dataclass(kw_only=True)
class Form:
    """A Redis with more than one server."""

    url: str
    nodes: list[Node]
    """Those that hold data."""
    tls: Tls | None

    def master_of(self, key: str) -> Node:
        """The server that ``key`` is written to now."""
        raise NotImplementedError

    def failed_over(self, old: Node, key: str) -> bool:
        """Whether another server has taken over."""
        raise NotImplementedError

    def follows(self, node: Node) -> bool:
        """Whether ``node``, after it came back, is a replica with everything: it may take over again."""
        with node.client() as client:
            told = client.info("replication")
        return bool(told["role"] == "slave" and told["master_link_status"] == "up")


@dataclass(kw_only=True)
class Sentinels(Form):
    """A master, a replica, three Sentinels."""

    sentinels: list[Node]

    def master_of(self, key: str) -> Node:
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(node for node in self.nodes if node.port == int(port))

    def failed_over(self, old: Node, key: str) -> bool:
        return all(
            int(one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) != old.port for one in self.sentinels
        )

    def is_settled(self) -> bool:
        """Whether every Sentinel knows the others and the replica."""
        for one in self.sentinels:
            with one.client() as client:
                told = client.sentinel_master(SERVICE)
                alive = [r for r in client.sentinel_slaves(SERVICE) if not r["is_sdown"] and not r["is_disconnected"]]
            if told["num-other-sentinels"] != len(self.sentinels) - 1 or not alive:
                return False
        return True


@dataclass(kw_only=True)
class Cluster(Form):
    """Three primaries with a replica each."""

    def _map(self) -> list[tuple[int, int, int]]:
        """(first slot, last slot, port of the primary), as the first node that answers knows it."""
        for node in self.nodes:
            try:
                with node.client() as client:
                    told = client.execute_command("CLUSTER SLOTS")
            except redis.RedisError:
                continue
            return [(int(first), int(last), int(primary[1])) for first, last, primary, *_ in told]
        raise AssertionError("no node answers")

    def master_of(self, key: str) -> Node:
        slot = crc.key_slot(key.encode())
        port = next(port for first, last, port in self._map() if first <= slot <= last)
        return next(node for node in self.nodes if node.port == port)

    def failed_over(self, old: Node, key: str) -> bool:
        return all(node is old or self._says_other(node, old, key) for node in self.nodes)

    def _says_other(self, node: Node, old: Node, key: str) -> bool:
        return Cluster(url="", nodes=[node], tls=self.tls)._port_of(key) != old.port and self.state(node) == "ok"

    def _port_of(self, key: str) -> int:
        slot = crc.key_slot(key.encode())
        return next((port for first, last, port in self._map() if first <= slot <= last), 0)

    def state(self, node: Node) -> str:
        with node.client() as client:
            told = client.execute_command("CLUSTER INFO")
        return str(told["cluster_state"])


@contextmanager
def start_sentinels(*, tls: bool = False) -> Iterator[Sentinels]:
    """A master, a replica and three Sentinels, which know each other."""
    with _nodes(2, tls=tls) as (data, secure), _nodes(3, tls=tls, password=None) as (watching, _):
        for node in (*data, *watching):
            node.tls = secure
        login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
        for node in data:
            # Its file is where a Sentinel makes it a replica, so that it is one when it comes back.
            (node.folder / "conf").write_text("")
            node.config = [str(node.folder / "conf")]
            node.options = [*_KEEP_NOTHING, *login, "--repl-diskless-sync-delay", "0"]
            node.start()
        data[1].ask("REPLICAOF", "127.0.0.1", data[0].port)
        data[1].ask("CONFIG", "REWRITE")
        for node in watching:
            (node.folder / "conf").write_text(
                f"sentinel monitor {SERVICE} 127.0.0.1 {data[0].port} 2\n"
                f"sentinel auth-pass {SERVICE} {PASSWORD}\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {SERVICE} 3000\n"
            )
            node.config = [str(node.folder / "conf"), "--sentinel"]
            node.start()
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in watching)
        query = f"?ssl_ca_certs={secure.authority}" if secure else ""
        url = f"redis+sentinel://:{PASSWORD}@{hosts}/{SERVICE}{query}"
        form = Sentinels(url=url, nodes=data, sentinels=watching, tls=secure)
        block_until(form.is_settled, START_S, "the Sentinels know each other")
        yield form


@contextmanager
def start_cluster(*, tls: bool = False, replicas: bool = True) -> Iterator[Cluster]:
    """A Redis Cluster of three primaries, with a replica each unless it is said otherwise."""
    with _nodes(6 if replicas else 3, tls=tls) as (nodes, secure):
        for node in nodes:
            node.tls = secure
            bus = servers.free_port()
            cluster = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(bus)]
            cluster += ["--cluster-node-timeout", str(DOWN_AFTER_MS), "--cluster-replica-validity-factor", "0"]
            login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
            node.options = [*_KEEP_NOTHING, *cluster, *login]
            node.start()
        bounds = [(0, 5460), (5461, 10922), (10923, 16383)]
        for number, (node, (first, last)) in enumerate(zip(nodes, bounds, strict=False), 1):
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number)
        for node in nodes[1:]:
            bus = int(node.options[node.options.index("--cluster-port") + 1])
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        query = f"?ssl_ca_certs={secure.authority}" if secure else ""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3])
        form = Cluster(url=f"redis+cluster://:{PASSWORD}@{hosts}{query}", nodes=nodes, tls=secure)
        everybody = len(nodes)
        block_until(lambda: all(_known(node) == everybody for node in nodes), START_S, "the nodes know each other")
        for replica, primary in zip(nodes[3:], nodes[:3], strict=False):
            identity = primary.ask("CLUSTER", "MYID").decode()
            replica.ask("CLUSTER", "REPLICATE", identity)
        block_until(lambda: all(form.state(node) == "ok" for node in nodes), START_S, "the cluster is whole")
        block_until(lambda: all(form.follows(node) for node in nodes[3:]), START_S, "the replicas follow")
        yield form


_KEEP_NOTHING: Final = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]


def _known(node: Node) -> int:
    with node.client() as client:
        return int(client.execute_command("CLUSTER INFO")["cluster_known_nodes"])


@contextmanager
def _nodes(count: int, *, tls: bool, password: str | None = PASSWORD) -> Iterator[tuple[list[Node], Tls | None]]:
    """Places for ``count`` servers, which end with it."""
    program, _ = servers.redis_program()
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="krm-redis-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        nodes = []
        for number in range(count):
            folder = home / str(number)
            folder.mkdir()
            node = Node(program=program, folder=folder, port=servers.free_port(), options=[], password=password)
            stack.callback(node.end)
            nodes.append(node)
        yield nodes, Tls.made(home) if tls else None
