"""The same generated cluster for every benchmark: objects as an API server sends them, and replicas of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import orjson

from krm import resources, simulator
from krm.resources import PODS, RESOURCES, Resource
from krm.simulator.store import Store
from krm.store import compression
from krm.store.rows import Codec, Row
from krm.table.replica import Replica
from tests.sources import FilledSource

SEED = 3


@lru_cache(maxsize=2)
def _objects(pods: int) -> Mapping[str, list[bytes]]:
    store = Store()
    simulator.World(pods=pods, seed=SEED).populate(store)
    found: dict[str, list[bytes]] = {}
    for resource in RESOURCES.values():
        kind = store.kind(resource.group, resource.version, resource.plural)
        assert kind is not None
        identity = {"apiVersion": resource.api_version, "kind": resource.kind}
        found[resource.plural] = [orjson.dumps({**identity, **each.parse()}) for each in store.all(kind)]
    return found


def objects(pods: int, resource: Resource = PODS) -> list[bytes]:
    """The JSON texts of all objects of a kind in a cluster of that many pods."""
    return _objects(pods)[resource.plural]


def records(texts: Sequence[bytes], codec: Codec) -> list[Row]:
    """The rows of these objects, compressed as workers do it: with a dictionary of their kind."""
    cleaned = [codec.cleaner.clean(text) for text in texts[: compression.MAX_SAMPLES]]
    dictionary = compression.train(cleaned)
    if dictionary is not None:
        codec.compressor.add(dictionary, use=True)
    return [codec.encode(text) for text in texts]


class Source(FilledSource):
    """A source with the replicas of a cluster of that many pods."""

    def __init__(self, pods: int, kinds: Sequence[Resource] = (PODS,)) -> None:
        super().__init__()
        for resource in kinds:
            replica = self.get(resource)
            made = records(objects(pods, resource), replica.codec)
            # As a replica gets them: decoded records, which share their texts.
            replica.load([replica.codec.decode(row.record) for row in made])

    def pods(self) -> Replica:
        """The replica of pods."""
        return self.get(resources.PODS)
