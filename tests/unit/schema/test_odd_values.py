"""What an object holds in place of a value of its type is null where it stands and counted, never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from krm.schema.context import Context
from krm.schema.engine import Request
from tests.sources import FilledSource, pod
from tests.unit.schema.asking import engine

QUERY = """{ pods { totalCount nodes { metadata { name generation finalizers creationTimestamp }
    spec { nodeName hostNetwork priority tolerations { key tolerationSeconds } volumes { name }
        dnsConfig { options { name } } }
    status { phase podIPs { ip } } } } }"""
ODD: dict[str, tuple[dict[str, Any], list[str | int]]] = {
    "a whole number beyond 64 bits": ({"spec": {"priority": 2**63}}, ["spec", "priority"]),
    "a fraction": ({"spec": {"priority": 1.5}}, ["spec", "priority"]),
    "a text for a number": ({"spec": {"priority": "high"}}, ["spec", "priority"]),
    "a text for true or false": ({"spec": {"hostNetwork": "yes"}}, ["spec", "hostNetwork"]),
    "an object for a text": ({"status": {"phase": {"a": 1}}}, ["status", "phase"]),
    "a list for a text": ({"status": {"phase": [1]}}, ["status", "phase"]),
    "a text for a list": ({"spec": {"tolerations": "all"}}, ["spec", "tolerations"]),
    "a text among objects": ({"spec": {"volumes": [{"name": "v"}, "w"]}}, ["spec", "volumes"]),
    "a number for an object": ({"spec": {"dnsConfig": 5}}, ["spec", "dnsConfig"]),
    "a list for an object": ({"spec": {"dnsConfig": [{}]}}, ["spec", "dnsConfig"]),
    "a wrong sort inside a list": (
        {"spec": {"tolerations": [{"key": "k", "tolerationSeconds": "long"}]}},
        ["spec", "tolerations", 0, "tolerationSeconds"],
    ),
}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("more", "path"), ODD.values(), ids=ODD)
async def test_it_is_null_beside_all_other_values(more: dict[str, Any], path: list[str | int], compiled: bool) -> None:
    source = FilledSource({"pods": [pod("a-1"), pod("odd", **more), pod("z-1")]})
    answer = await engine().answer(Request(query=QUERY), Context(source=source, is_compiled=compiled))
    found = json.loads(answer.body)
    assert "errors" not in found
    assert answer.odd == 1
    first, odd, last = found["data"]["pods"]["nodes"]
    assert (first["status"]["phase"], odd["metadata"]["name"], last["metadata"]["name"]) == ("Pending", "odd", "z-1")
    value = odd
    for step in path:
        value = value[step]
    assert value is None
    assert [odd["metadata"]["creationTimestamp"], odd["spec"]["nodeName"]] == ["2026-11-23T10:00:00Z", "node-0"]


async def test_each_answer_counts_its_own() -> None:
    source = FilledSource({"pods": [pod("odd", spec={"priority": "x", "hostNetwork": "y"}), pod("even")]})
    context = Context(source=source)
    for _ in range(2):
        assert (await engine().answer(Request(query=QUERY), context)).odd == 2


async def test_our_own_failures_stay_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FilledSource({"pods": [pod("a")]})
    monkeypatch.setattr(FilledSource, "freshness", lambda *_: 1 / 0)
    answer = await engine().answer(Request(query="{ pods { totalCount } }"), Context(source=source))
    assert (answer.codes, answer.odd) == (("INTERNAL",), 0)
