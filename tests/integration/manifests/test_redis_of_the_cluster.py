"""Redis as the manifests set it up: each part has the rights that it needs alone; the scripts of several servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources as files
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from krm.errors import StoreRefused
from krm.manifests import passwords
from krm.manifests.network import REDIS_PORT, SENTINEL_PORT
from krm.manifests.options import Options, Profile
from krm.resources import PODS
from krm.settings import Secret
from krm.store.connect import Store, open_store, translated
from krm.store.delays import SampleReader
from krm.store.head import WorkerStatus
from krm.store.reading import TableStore
from krm.store.writing import EventWriter, ListWriter, TableWriter, Writer
from tests import debian, servers
from tests.integration.store.samples import added, begun
from tests.integration.store.test_connection import READS
from tests.integration.store.test_forms import fill
from tests.waiting import block_until

WORDS: Final = {user: f"word-of-{user}" for user in passwords.USERS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisServer]:
    """A Redis with the users of the manifests."""
    path = tmp_path_factory.mktemp("users") / "users.acl"
    # The tests' own user empties it; the others are as they are.
    admin = "user tests on nopass ~* &* +@all\n"
    path.write_text(passwords.users_file(WORDS) + admin)
    with servers.start_redis("--aclfile", str(path)) as started:
        yield started


def as_user(server: servers.RedisServer, user: str) -> Store:
    return open_store(Secret(server.url.replace("unix://", f"unix://{user}:{WORDS[user]}@")))


@pytest.fixture
def admin(server: servers.RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(server.socket), username="tests", password="x") as client:
        client.flushall()
        yield client


async def test_workers_have_every_right_that_they_use(server: servers.RedisServer, admin: redis.Redis) -> None:
    store = as_user(server, "krm-workers")
    assert await store.check(writer=True) == []
    table = TableStore(store, "c", PODS)
    await fill(table)
    for name, read in READS.items():
        assert await read(table), name
    # Under other rules of what is never stored, and over several shards.
    aggregator = TableWriter(store, table, events_max=1_000, retention_s=60, shards=3)
    writers: list[Writer] = [EventWriter(store, table), ListWriter(store, table), aggregator]
    for writer in writers:
        writer.rules = "spec.nodeName"
        await store.client.hdel(table.keys.fence, "streamer", "verifier", "aggregator")
        assert await writer.acquire() == 0
    await (await begun(aggregator)).apply(added("a", "1"))
    head = await table.head()
    assert head is not None
    assert await aggregator.resume(head)
    await (await begun(aggregator)).apply(added("b", "1"))
    await store.close()


async def test_the_api_reads_everything_and_writes_nothing(server: servers.RedisServer, admin: redis.Redis) -> None:
    writing, reading = as_user(server, "krm-workers"), as_user(server, "krm-api")
    await fill(TableStore(writing, "c", PODS))
    assert await reading.check(writer=False) == []
    table = TableStore(reading, "c", PODS)
    for name, read in READS.items():
        assert await read(table), name
    with pytest.raises(StoreRefused):
        await EventWriter(reading, table).acquire()
    with pytest.raises(StoreRefused), translated():
        await reading.client.set(table.keys.table, "x")
    await writing.close()
    await reading.close()


async def test_the_collector_has_the_delays_alone(server: servers.RedisServer, admin: redis.Redis) -> None:
    writing, collecting = as_user(server, "krm-workers"), as_user(server, "krm-collector")
    await fill(TableStore(writing, "c", PODS))
    table = TableStore(collecting, "c", PODS)
    reader = SampleReader(collecting, table)
    assert await reader.acquire() == 0
    await reader.beat(WorkerStatus(role="collector"))
    assert await reader.take(10) == []
    await reader.settle([])
    await reader.release()
    assert await table.head() is not None  # which resources there are
    for refused in (
        table.list_heads(),
        table.last_change(),
        table.records_from(0),
        EventWriter(collecting, table).positions(),
    ):
        with pytest.raises(StoreRefused):
            await refused
    with pytest.raises(StoreRefused), translated():
        await collecting.client.delete(table.keys.table)
    await writing.close()
    await collecting.close()


FORBIDDEN: Final[list[tuple[str, ...]]] = [
    *(
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("DEBUG", "SLEEP", "0"),
        ("SWAPDB", "0", "1"),
    ),
    *(("ACL", "LIST"), ("SHUTDOWN",), ("REPLICAOF", "NO", "ONE"), ("GET", "other"), ("SET", "other", "x")),
    *(("SCRIPT", "FLUSH"), ("CLIENT", "KILL", "ID", "1"), ("MONITOR",), ("MODULE", "LIST"), ("SAVE",)),
]


@pytest.mark.parametrize("user", ["krm-workers", "krm-api", "krm-collector"])
@pytest.mark.parametrize("command", FORBIDDEN, ids=" ".join)
async def test_nobody_may_more(server: servers.RedisServer, user: str, command: tuple[str, ...]) -> None:
    store = as_user(server, user)
    with pytest.raises(StoreRefused), translated():
        await store.client.execute_command(*command)
    await store.close()


async def test_who_gives_no_name_may_ask_whether_it_is_there(server: servers.RedisServer) -> None:
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        assert client.ping()
        with pytest.raises(redis.ResponseError):
            client.get("krm:x")


# The scripts of several servers, each "Pod" on an address of its own.


@dataclass
class Pod:
    """One Pod of the StatefulSet: its two containers."""

    address: str
    folder: Path
    env: dict[str, str]
    secure: dict[str, Any]
    """How a client has to ask it."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        for script in ("start-redis.sh", "start-sentinel.sh"):
            place = self.folder / script
            place.mkdir(exist_ok=True)
            path = files.files("krm.manifests").joinpath("scripts", script)
            tied = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
            with (place / "log").open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        [*tied, "sh", str(path)],
                        env={**self.env, "TMPDIR": str(place), "DATA": str(place)},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)
        self.processes.clear()

    def role(self) -> dict[str, Any]:
        login: dict[str, Any] = {"username": "krm-sentinel", "password": WORDS["krm-sentinel"]}
        with redis.Redis(self.address, REDIS_PORT, **login, **self.secure) as client:
            return dict(client.info("replication"))

    def named(self) -> str | None:
        """The master, as this Pod's Sentinel names it."""
        with self.sentinel() as client:
            found: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "krm")
        return found[0].decode() if found else None

    def sentinel(self) -> redis.Redis:
        return redis.Redis(self.address, SENTINEL_PORT, socket_timeout=2, **self.secure)


def certificate(home: Path, addresses: Sequence[str]) -> str:
    """A folder as the Secret ``krm-redis-tls`` is mounted: a certificate of every server that is its own authority."""
    folder = home / "tls"
    folder.mkdir()
    names = ",".join(f"IP:{address}" for address in addresses)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=krm-redis", "-addext", f"subjectAltName={names}"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    shutil.copy(folder / "tls.crt", folder / "ca.crt")
    return str(folder)


PLAIN_AND_TLS: Final = [
    pytest.param(False, id="plain"),
    pytest.param(True, id="tls", marks=[pytest.mark.faults, pytest.mark.timeout(240)]),
]


@pytest.fixture(params=PLAIN_AND_TLS)
def three(request: pytest.FixtureRequest) -> Iterator[list[Pod]]:
    """Three Pods, not started; with TLS they listen to nothing else."""
    home = Path(tempfile.mkdtemp(prefix="krm-redis-"))
    (home / "users.acl").write_text(passwords.users_file(WORDS))
    addresses = [f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.{n}" for n in (1, 2, 3)]
    server, _ = servers.redis_program()
    cli = debian.program("redis-cli", package="redis-tools")
    pods = []
    tls = certificate(home, addresses) if request.param else ""
    secure: dict[str, Any] = {"ssl": True, "ssl_ca_certs": f"{tls}/ca.crt"} if tls else {}
    for number, address in enumerate(addresses):
        folder = home / str(number)
        folder.mkdir()
        env = {
            **server.env(),
            "PEERS": " ".join(addresses),
            "ME": address,
            "BIND": address,
            "USERS": str(home),
            "TLS": tls,
            "MAX_MEMORY": "100mb",
            "REPLICA_PASSWORD": WORDS["krm-replica"],
            "DOWN_AFTER_MS": "1000",
            "SENTINEL_PASSWORD": WORDS["krm-sentinel"],
            "CLI": str(cli.path),
            "SERVER": str(server.path),
        }
        pods.append(Pod(address, folder, env, secure))
    try:
        yield pods
    finally:
        for pod in pods:
            pod.kill()
        shutil.rmtree(home, ignore_errors=True)


def quietly(ask: Callable[[], bool]) -> bool:
    """Whether it is so; what does not answer says no."""
    try:
        return ask()
    except redis.RedisError:
        return False


async def test_scripts_make_a_master_with_replicas_that_takes_a_lost_one_back_empty(three: list[Pod]) -> None:
    for pod in three:
        pod.start()
    first, *others = three
    block_until(lambda: quietly(lambda: first.role()["connected_slaves"] == 2), 40, "two replicas")
    # A replica counts for min-replicas-to-write once it has acknowledged, up to a second after it connected.
    block_until(lambda: quietly(lambda: first.role()["min_slaves_good_slaves"] == 2), 40, "two replicas that count")
    block_until(lambda: quietly(lambda: all(p.named() == first.address for p in three)), 40, "Sentinels agree")

    def each_knows_the_others() -> bool:
        known = []
        for pod in three:
            with pod.sentinel() as client:
                told: Any = client.sentinel_master("krm")
                known.append((told["num-other-sentinels"], told["num-slaves"]))
        return known == [(2, 2)] * 3

    block_until(lambda: quietly(each_knows_the_others), 40, "Sentinels know each other")
    hosts = ",".join(f"{p.address}:{SENTINEL_PORT}" for p in three)
    query = f"?ssl_ca_certs={first.secure['ssl_ca_certs']}" if first.secure else ""
    url = Secret(f"redis+sentinel://krm-workers:{WORDS['krm-workers']}@{hosts}/krm{query}")
    store = open_store(url)
    table = TableStore(store, "c", PODS)
    await fill(table)
    first.kill()
    block_until(lambda: quietly(lambda: others[0].named() not in (None, first.address)), 40, "another master")
    first.start()
    block_until(lambda: quietly(lambda: first.role()["master_link_status"] == "up"), 40, "back as a replica")
    assert first.role()["role"] == "slave"
    await store.close()
    again = open_store(url)
    head = await TableStore(again, "c", PODS).head()
    assert head is not None
    assert head.rows == 2
    await again.close()


def test_addresses_of_the_parts_are_those_of_the_services() -> None:
    one = Options.of(Profile.HA, {}, redis_tls=True)
    made = {o["metadata"]["name"]: o["stringData"] for o in passwords.objects(one)}
    assert made["krm-redis"]["api-url"].startswith("redis+sentinel://krm-api:")
    assert made["krm-redis"]["api-url"].endswith(
        "@krm-redis-0.krm-redis:26379,krm-redis-1.krm-redis:26379,krm-redis-2.krm-redis:26379/krm"
        "?ssl_ca_certs=/etc/krm/redis-ca/ca.crt"
    )
    for url in made["krm-redis"].values():
        open_store(Secret(url))
