"""Which version answers are of: one of each kind inside a query, never an older one for who says what was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from krm import resources
from tests import chain, servers
from tests.faults import proxy
from tests.integration.api.test_serving import serving
from tests.servers import RedisServer

pytestmark = pytest.mark.timeout(180)

OBJECTS = "metadata { uid resourceVersion }"
SEVERAL = f"""{{
  first: pods {{ resourceVersion nodes {{ {OBJECTS} }} }}
  nodes {{ resourceVersion nodes {{ {OBJECTS} pods {{ {OBJECTS} }} }} }}
  counted: pods(where: {{ path: "metadata.name", contains: "-" }}) {{ resourceVersion totalCount }}
  grouped: pods {{ groupBy(paths: ["metadata.namespace"]) {{ count }} }}
  last: pods {{ resourceVersion nodes {{ {OBJECTS} }} }}
  again: nodes {{ resourceVersion nodes {{ {OBJECTS} }} }}
}}"""


def states(nodes: list[dict[str, Any]]) -> dict[str, str]:
    return {node["metadata"]["uid"]: node["metadata"]["resourceVersion"] for node in nodes}


async def test_the_fields_of_a_query_read_one_version_of_each_kind(
    redis_url: str, tmp_path: Path, free_port: int
) -> None:
    kinds = tuple(resources.RESOURCES[name] for name in ("pods", "nodes"))
    async with (
        chain.running(redis_url, tmp_path, pods=300, churn=300.0, kinds=kinds),
        serving(redis_url, free_port, {"KRM_RESOURCES": "pods,nodes"}) as api,
    ):
        await api.ready()
        versions: set[str] = set()
        for number in range(2_000):
            if number >= 15 and len(versions) > 3:
                break
            data = (await api.ask(SEVERAL))["data"]
            pods, nodes = data["first"], data["nodes"]
            assert data["last"] == pods
            assert data["counted"] == {"resourceVersion": pods["resourceVersion"], "totalCount": len(pods["nodes"])}
            assert sum(group["count"] for group in data["grouped"]["groupBy"]) == len(pods["nodes"])
            assert states(data["again"]["nodes"]) == states(nodes["nodes"])
            related = [pod for node in nodes["nodes"] for pod in node["pods"]]
            assert states(related).items() <= states(pods["nodes"]).items()
            versions.add(pods["resourceVersion"])
        assert len(versions) > 3, "the cluster changed meanwhile"


async def test_two_replicas_never_show_a_client_less_than_it_says_that_it_has_seen(
    redis_url: str, redis_server: RedisServer, tmp_path: Path, free_port: int, other_port: int
) -> None:
    async with (
        chain.running(redis_url, tmp_path, pods=60, churn=100.0),
        proxy.to("127.0.0.1", redis_server.port) as slow,
        serving(redis_url, free_port) as prompt,
        serving(f"redis://127.0.0.1:{slow.port}/0", other_port) as late,
    ):
        await prompt.ready()
        await late.ready()
        slow.delay_s = 0.2
        seen, behind, stale = 0, 0, 0
        for number in range(30):
            api = late if number % 2 else prompt
            plain = (await api.ask("{ pods { resourceVersion } }"))["data"]["pods"]
            behind += int(plain["resourceVersion"]) < seen
            asked = f'{{ pods(minResourceVersion: "{seen or 1}") {{ resourceVersion nodes {{ {OBJECTS} }} }} }}'
            answer = await api.ask(asked)
            if answer.get("errors"):
                assert answer["errors"][0]["extensions"]["code"] == "STALE_REPLICA"
                stale += 1
                continue
            version = int(answer["data"]["pods"]["resourceVersion"])
            assert version >= seen
            seen = version
        assert behind, "without saying so it would have gone back"
        assert stale < 15, "and waiting helps"


@pytest.fixture
def other_port() -> int:
    return servers.free_port()
