"""Which cluster this is: the uid of its kube-system namespace, which no other has, nor the same one set up anew.

It begins the epoch of every list. A stream of one cluster behind a list of another would mix the two in one table.
"""

from __future__ import annotations

from typing import Final

import msgspec

from krm import errors
from krm.kube import reading
from krm.kube.connect import Cluster

KUBE_SYSTEM: Final = "/api/v1/namespaces/kube-system"


class _Metadata(msgspec.Struct):
    uid: str = ""


class _Namespace(msgspec.Struct):
    metadata: _Metadata


_namespace = msgspec.json.Decoder(_Namespace)


async def uid(cluster: Cluster) -> str:
    """The uid, "" where it may not be read. Raises ``ClusterError``."""
    try:
        return _namespace.decode(await reading.get(cluster, KUBE_SYSTEM)).metadata.uid
    except (errors.Forbidden, errors.NotFound):
        return ""
    except msgspec.DecodeError as error:
        raise errors.BadData("the kube-system namespace is not what it should be") from error


def same(uid: str, epoch: str) -> bool:
    """Whether the history ``epoch`` may be that of the cluster ``uid``: not where both are known and differ."""
    known = epoch.rpartition("/")[0]
    return not uid or not known or uid == known
