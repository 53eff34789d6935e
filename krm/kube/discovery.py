"""What the API server is and what it serves."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from krm import errors
from krm.kube import failures, reading
from krm.kube.connect import Cluster
from krm.resources import Resource


@dataclass(frozen=True, kw_only=True)
class ServerVersion:
    """The API server's version, as it says."""

    major: str
    minor: str
    git_version: str


@dataclass(frozen=True, kw_only=True)
class Served:
    """How the API server serves a resource."""

    kind: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def is_listable(self) -> bool:
        """It can be listed."""
        return "list" in self.verbs

    @property
    def is_watchable(self) -> bool:
        """It can be watched."""
        return "watch" in self.verbs


class _Version(msgspec.Struct):
    major: str = ""
    minor: str = ""
    git_version: str = msgspec.field(name="gitVersion", default="")


class _Resource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool
    verbs: list[str]


class _ResourceList(msgspec.Struct, tag="APIResourceList", tag_field="kind"):
    resources: list[_Resource] | None


async def version(cluster: Cluster, *, timeout_s: float = 10.0) -> ServerVersion:
    """The API server's version. Raises ``ClusterError``."""
    body = await reading.document(cluster, "GET", "/version", timeout_s=timeout_s)
    try:
        found = msgspec.json.decode(body, type=_Version)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadData(f"get /version: the answer is not a version ({failures.clean(str(error))})") from error
    return ServerVersion(major=found.major, minor=found.minor, git_version=found.git_version)


async def served(cluster: Cluster, resource: Resource, *, timeout_s: float = 10.0) -> Served | None:
    """How the API server serves ``resource``; None if it does not. Raises ``ClusterError``."""
    path = resource.api_prefix
    try:
        body = await reading.document(cluster, "GET", path, timeout_s=timeout_s)
        listed = msgspec.json.decode(body, type=_ResourceList)
    except errors.NotFound:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadData(
            f"get {path}: the answer is no list of resources ({failures.clean(str(error))})"
        ) from error
    for found in listed.resources or ():
        if found.name == resource.plural:
            return Served(kind=found.kind, namespaced=found.namespaced, verbs=frozenset(found.verbs))
    return None
