"""Damaged HTTP: whatever bytes come back, only our errors leave, and nothing hangs."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from krm import errors
from krm.kube import listing, watching
from krm.kube.connect import Cluster
from tests.integration.kube import apiserver
from tests.integration.kube.conftest import Open

PODS = "/api/v1/pods"
ITEM = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "é", "resourceVersion": "7"}, "spec": {"n": [1, 2.5]}}
LIST = json.dumps(apiserver.page([ITEM, ITEM], "5"), ensure_ascii=False).encode()
LINES = b"".join(
    json.dumps({"type": t, "object": ITEM}, ensure_ascii=False).encode() + b"\n"
    for t in ("ADDED", "MODIFIED", "DELETED")
)
ROUNDS = 150


def chunked(body: bytes) -> bytes:
    head = apiserver.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    pieces = (body[i : i + 100] for i in range(0, len(body), 100))
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def sized(body: bytes) -> bytes:
    return apiserver.head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}) + body


def damaged(answer: bytes, rand: random.Random) -> bytes:
    data = bytearray(answer)
    for _ in range(rand.randrange(1, 4)):
        data[rand.randrange(len(data))] ^= 1 << rand.randrange(8)
    return bytes(data[: rand.randrange(len(data))]) if rand.random() < 0.2 else bytes(data)


async def list_all(cluster: Cluster) -> None:
    async for page in listing.pages(cluster, PODS, limit=2, timeout_s=0.5):
        assert all(isinstance(json.loads(item), dict) for item in page.items)
        return  # a flipped token is followed as any other: not of interest here


async def watch_all(cluster: Cluster) -> None:
    async for batch in watching.watch(cluster, PODS, "5", timeout_s=1, silence_s=0.5):
        assert all(isinstance(json.loads(event.raw), dict) for event in batch if event.raw)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spelled", [chunked, sized], ids=["chunked", "sized"])
@pytest.mark.parametrize(("body", "use"), [(LIST, list_all), (LINES, watch_all)], ids=["list", "watch"])
async def test_flipped_bytes_of_an_answer_are_one_of_our_errors_or_valid(
    connected: Open, body: bytes, use: object, spelled: object, seed: int
) -> None:
    assert callable(use)
    assert callable(spelled)
    rand = random.Random(seed)
    whole = spelled(body)

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(damaged(whole, rand))
        await writer.drain()
        writer.close()

    async with apiserver.running(answer) as server:
        cluster = await connected(server.url)
        outcomes = set()
        for _ in range(ROUNDS):
            try:
                await use(cluster)
                outcomes.add("valid")
            except errors.ClusterError as error:
                outcomes.add(type(error).__name__)
        assert {"valid", "BadData"} <= outcomes
