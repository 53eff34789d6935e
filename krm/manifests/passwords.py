"""Secrets with passwords that nobody knows: made where they are applied, printed once, never stored in a repository.

Each part has a user of its own in Redis, with the rights that it needs on the keys of KRM and on nothing else.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

from krm.manifests.network import REDIS_PORT, SENTINEL_PORT
from krm.manifests.options import Options
from krm.manifests.pods import Object, named
from krm.manifests.redis import AUTHORITY, NAME, peers

READING: Final = "-@all +@read +@connection +time -@dangerous +info -randomkey"
USERS: Final = {
    "krm-workers": f"~krm:* {READING} +@write -@dangerous +info +eval +evalsha -flushall -flushdb -swapdb",
    "krm-api": f"~krm:* {READING}",
    "krm-collector": (
        f"~krm:*:delays ~krm:*:fence ~krm:*:status %R~krm:*:table {READING}"
        " +@write -@dangerous +info +eval +evalsha -flushall -flushdb -swapdb"
    ),
    "krm-replica": "-@all +psync +replconf +ping",
    "krm-sentinel": (
        "allchannels -@all +multi +slaveof +replicaof +ping +exec +subscribe +config|rewrite +role +publish +info"
        " +client|setname +client|kill +script|kill"
    ),
}


def users_file(passwords: dict[str, str]) -> str:
    """Redis' ACL file. Who gives no name may ask whether it is there, which is for probes."""
    lines = ["user default on nopass resetkeys resetchannels -@all +ping"]
    for user, rights in USERS.items():
        digest = hashlib.sha256(passwords[user].encode()).hexdigest()
        lines.append(f"user {user} on resetchannels #{digest} {rights}")
    return "\n".join(lines) + "\n"


def redis_url(options: Options, user: str, password: str) -> str:
    """``KRM_REDIS_URL`` of one part."""
    query = f"?ssl_ca_certs={AUTHORITY}/ca.crt" if options.redis_tls else ""
    login = f"{user}:{password}@"
    if options.is_highly_available:
        hosts = ",".join(f"{peer}:{SENTINEL_PORT}" for peer in peers())
        return f"redis+sentinel://{login}{hosts}/krm{query}"
    return f"redis{'s' if options.redis_tls else ''}://{login}{NAME}:{REDIS_PORT}/0{query}"


def objects(options: Options, make: Callable[[], str] = lambda: secrets.token_hex(24)) -> list[Object]:
    """The Secrets of a profile, with new passwords."""
    passwords = {user: make() for user in USERS}
    found: list[Object] = []
    if options.has_redis:
        parts = {"workers", "api"} | ({"collector"} if options.has_monitoring else set())
        urls = {f"{part}-url": redis_url(options, f"krm-{part}", passwords[f"krm-{part}"]) for part in sorted(parts)}
        found.append(_secret("krm-redis", urls))
        found.append(_secret("krm-redis-users", {"users.acl": users_file(passwords)}))
    if options.is_highly_available:
        shared = {"replica": passwords["krm-replica"], "sentinel": passwords["krm-sentinel"]}
        found.append(_secret("krm-redis-peers", shared))
    if options.has_monitoring:
        collector = make()
        words = {"admin": make(), "collector": collector, "chronograf": make()}
        found.append(_secret("krm-influxdb", {**words, "collector-token": f"collector:{collector}"}))
    return found


def _secret(name: str, data: dict[str, str]) -> Object:
    return named("v1", "Secret", name, "access", type="Opaque", stringData=data)
