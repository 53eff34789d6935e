"""Each query of docs/questions.md answers its question: held against plain Python over the demo's objects."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest
from graphql import FieldNode, OperationDefinitionNode, parse, value_from_ast_untyped

from krm.cli.reading import conditions
from krm.objects import quantities
from krm.resources import RESOURCES
from krm.simulator import World
from krm.simulator.store import Store
from tests.sources import FilledSource
from tests.unit.schema.asking import ask

ROOT: Final = Path(__file__).resolve().parents[3]
SECTIONS: Final = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", (ROOT / "docs/questions.md").read_text(), re.M | re.S)
QUERIES: Final = {title: re.findall(r"^```graphql\n(.*?)^```", text, re.M | re.S) for title, text in SECTIONS}
COMMANDS: Final = [
    (title, command)
    for title, text in SECTIONS
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    for command in block.splitlines()
]

Object = dict[str, Any]
Objects = Mapping[str, list[Object]]


@functools.cache
def world() -> Objects:
    """The demo's cluster, with something that is pending, unused or gone."""
    store = Store()
    World(pods=240, seed=1).populate(store)
    objects: dict[str, list[Object]] = {
        plural: [json.loads(v.whole()) for v in store.all(store.kind(each.group, each.version, plural) or missing())]
        for plural, each in RESOURCES.items()
    }
    claiming = next(p for p in objects["pods"] if claims(p))
    gone = {key for key in ("app", "app.kubernetes.io/name") if key in claiming["metadata"]["labels"]}
    assert gone
    objects["pods"] = [
        p
        for p in objects["pods"]
        if any(p["metadata"]["labels"].get(k) != claiming["metadata"]["labels"][k] for k in gone)
    ]
    for number, waiting in enumerate(objects["pods"][10:40:10]):
        waiting["status"]["phase"] = "Pending"
        waiting["metadata"]["creationTimestamp"] = f"2026-01-0{3 - number}T00:00:00Z"
        del waiting["spec"]["nodeName"]
    del objects["pods"][7]["metadata"]["ownerReferences"]
    for number, some in enumerate(objects["deployments"][:3]):
        some["status"] = {"unavailableReplicas": 2} if number else {"readyReplicas": 0, "unavailableReplicas": 0}
    return objects


def missing() -> Any:
    raise AssertionError("the simulator serves every kind")


# -- the oracle ------------------------------------------------------------------------------------------------


def key(obj: Object) -> tuple[str, str]:
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def claims(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes", ())
    return [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]


def amount(pod: Object, resource: str) -> Fraction:
    """Requests of the containers; the demo's pods have nothing else to count."""
    assert "initContainers" not in pod["spec"] or all(
        c.get("restartPolicy") != "Always" for c in pod["spec"]["initContainers"]
    )
    asked = [c.get("resources", {}).get("requests", {}) for c in pod["spec"]["containers"]]
    return sum((exact(v) for each in asked for k, v in each.items() if k.endswith(resource)), Fraction(0))


def exact(quantity: str | None) -> Fraction:
    return Fraction(quantities.parse(quantity).value) if quantity else Fraction(0)


def deployment(pod: Object) -> str | None:
    owner = next(iter(pod["metadata"].get("ownerReferences", ())), {"kind": "", "name": ""})
    name: str = owner["name"].removesuffix("-" + pod["metadata"]["labels"].get("pod-template-hash", ""))
    return name if owner["kind"] == "ReplicaSet" else None


def selected(service: Object) -> list[Object]:
    wanted = service["spec"].get("selector") or {}
    return [
        p
        for p in world()["pods"]
        if wanted and key(p)[0] == key(service)[0] and wanted.items() <= p["metadata"]["labels"].items()
    ]


def names(nodes: list[Object]) -> list[tuple[str, str]]:
    return [key(node) for node in nodes]


def sort_of(objects: list[Object]) -> list[tuple[str, str]]:
    return sorted(map(key, objects))


def grouped(paths: Callable[[Object], list[tuple[Any, ...]]]) -> dict[tuple[Any, ...], list[Object]]:
    groups: dict[tuple[Any, ...], list[Object]] = defaultdict(list)
    for pod in world()["pods"]:
        for values in set(paths(pod)):
            groups[values].append(pod)
    return groups


def check_image(data: Any) -> None:
    wanted = "registry.example.com/proxy:"
    pods = [p for p in world()["pods"] if any(c["image"].startswith(wanted) for c in p["spec"]["containers"])]
    assert data["pods"]["totalCount"] == len(pods) > 10
    assert names(data["pods"]["nodes"]) == sort_of(pods)[:100]


def check_node(data: Any) -> None:
    pods = [p for p in world()["pods"] if p["spec"].get("nodeName") == "node-0007"]
    assert len(pods) > 3
    assert names(data["node"]["pods"]) == sort_of(pods)


def check_pending(data: Any) -> None:
    pods = [p for p in world()["pods"] if p["status"]["phase"] == "Pending"]
    waits = [node["metadata"]["creationTimestamp"] for node in data["pods"]["nodes"]]
    assert waits == sorted(p["metadata"]["creationTimestamp"] for p in pods)
    assert len(waits) == 3


def check_claims(data: Any) -> None:
    used = {(key(p)[0], claim) for p in world()["pods"] for claim in claims(p)}
    unused = [c for c in world()["persistentvolumeclaims"] if key(c) not in used]
    assert names(data["persistentVolumeClaims"]["nodes"]) == sort_of(unused) != []


def check_services(data: Any) -> None:
    empty = [s for s in world()["services"] if s["spec"].get("selector") and not selected(s)]
    assert names(data["services"]["nodes"]) == sort_of(empty) != []


def check_unowned(data: Any) -> None:
    unowned = [p for p in world()["pods"] if not p["metadata"].get("ownerReferences")]
    assert names(data["pods"]["nodes"]) == sort_of(unowned) != []


def check_gpus(data: Any) -> None:
    pods = [p for p in world()["pods"] if amount(p, "/gpu") > 0]
    assert data["pods"]["totalCount"] == len(pods) > 3
    expected = sorted(pods, key=lambda p: (-amount(p, "/gpu"), key(p)))[:20]
    assert names(data["pods"]["nodes"]) == [key(p) for p in expected]
    shown = [node["deployment"] and node["deployment"]["metadata"]["name"] for node in data["pods"]["nodes"]]
    assert shown == [deployment(p) for p in expected]


def check_requested(data: Any) -> None:
    groups = grouped(lambda p: [(p["spec"].get("nodeName"),)])
    found = {tuple(g["values"]): g for g in data["pods"]["groupBy"]}
    assert {values: g["count"] for values, g in found.items()} == {v: len(pods) for v, pods in groups.items()}
    for values, pods in groups.items():
        for column, resource in (("cpu", "cpu"), ("memory", "memory"), ("gpu", "/gpu")):
            assert exact(found[values][column]) == sum(amount(p, resource) for p in pods)
    cpus = [exact(g["cpu"]) for g in data["pods"]["groupBy"]]
    assert cpus == sorted(cpus, reverse=True)


def check_phases(data: Any) -> None:
    groups = grouped(lambda p: [(key(p)[0], p["status"]["phase"])])
    found = [(tuple(g["values"]), g["count"]) for g in data["pods"]["groupBy"]]
    assert dict(found) == {values: len(pods) for values, pods in groups.items()}
    assert [values[0] for values, _ in found] == sorted(values[0] for values in groups)


def check_oldest(data: Any) -> None:
    groups = grouped(lambda p: [(key(p)[0], deployment(p))] if deployment(p) else [])
    ages = {values: sorted(p["metadata"]["creationTimestamp"] for p in pods) for values, pods in groups.items()}
    found = data["pods"]["groupBy"]
    assert {tuple(g["values"]): (g["oldest"], g["newest"]) for g in found} == {
        v: (a[0], a[-1]) for v, a in ages.items()
    }
    assert [g["oldest"] for g in found] == sorted(a[0] for a in ages.values())


def check_images(data: Any) -> None:
    groups = grouped(lambda p: [(c["image"],) for c in p["spec"]["containers"]])
    found = {tuple(g["values"]): (g["count"], exact(g["memory"])) for g in data["pods"]["groupBy"]}
    assert len(found) == 20
    assert found == {v: (len(groups[v]), sum(amount(p, "memory") for p in groups[v])) for v in found}
    assert sorted(c for c, _ in found.values()) == sorted(len(pods) for pods in groups.values())[-20:]


def check_deployments(data: Any) -> None:
    def is_incomplete(status: Object) -> bool:
        return status.get("unavailableReplicas", 0) > 0 or "readyReplicas" not in status

    expected = [d for d in world()["deployments"] if is_incomplete(d["status"])]
    assert names(data["deployments"]["nodes"]) == sort_of(expected) != []
    waiting = {key(p): deployment(p) for p in world()["pods"] if p["status"]["phase"] != "Running"}
    for node in data["deployments"]["nodes"]:
        mine = [name for (namespace, name), of in waiting.items() if (namespace, of) == key(node)]
        assert [p["metadata"]["name"] for p in node["pods"]] == mine


def check_changes(data: Any) -> None:
    (first, second) = data["changes"]["nodes"]
    assert (first["type"], second["type"], data["changes"]["totalCount"]) == ("MODIFIED", "DELETED", 2)
    assert [first["name"], second["name"]] == [key(p)[1] for p in world()["pods"][:2]]


CHECKS: Final[Mapping[str, Callable[[Any], None]]] = {
    "Which pods run this image?": check_image,
    "What is on this node?": check_node,
    "What is pending, for how long, and why?": check_pending,
    "Which claims does nobody mount?": check_claims,
    "Which services have no pods?": check_services,
    "Which pods does nothing manage?": check_unowned,
    "What requests the most GPUs?": check_gpus,
    "How much CPU, memory and GPU is requested on each node?": check_requested,
    "How many pods are in each phase, by namespace?": check_phases,
    "Which is the oldest pod of each deployment?": check_oldest,
    "Which images run, and how often?": check_images,
    "Which deployments are not complete?": check_deployments,
    "What changed in the last minute?": check_changes,
}


def test_every_question_has_one_query_and_a_check() -> None:
    assert {title: len(queries) for title, queries in QUERIES.items()} == dict.fromkeys(CHECKS, 1)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("title", CHECKS)
async def test_a_query_answers_its_question(title: str, compiled: bool) -> None:
    source = FilledSource(world())
    if "changed" in title:
        first, second = world()["pods"][:2]
        source.change("pods", {**first, "metadata": {**first["metadata"], "resourceVersion": "999999"}})
        source.change("pods", None, uid=second["metadata"]["uid"])
    answer = await ask(source, QUERIES[title][0], compiled=compiled)
    assert "errors" not in answer
    CHECKS[title](answer["data"])


@pytest.mark.parametrize(("title", "command"), COMMANDS, ids=[title for title, _ in COMMANDS])
def test_a_command_asks_what_the_query_asks(title: str, command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["krm", "get"]
    asked = conditions.where([words[at + 1] for at, word in enumerate(words) if word == "--where"])
    sorted_by = [words[at + 1] for at, word in enumerate(words) if word == "--sort-by"]
    (operation,) = parse(QUERIES[title][0]).definitions
    assert isinstance(operation, OperationDefinitionNode)
    (field,) = operation.selection_set.selections
    assert isinstance(field, FieldNode)
    arguments = {each.name.value: value_from_ast_untyped(each.value) for each in field.arguments or ()}
    assert meaning(asked) == meaning(arguments["where"])
    ways = [{"path": o["path"], "direction": o.get("direction", "ASC")} for o in arguments.get("orderBy", ())]
    assert (conditions.order(sorted_by) or []) == ways


def meaning(where: Any) -> frozenset[str]:
    """What is joined by "and", in one spelling: a number as text, a prefix as pattern."""
    if "and" in where:
        return frozenset().union(*map(meaning, where["and"]))
    about = {name: where[name] for name in ("path",) if name in where}
    parts = {json.dumps({**about, name: _plain(name, v)}) for name, v in where.items() if name in _PATH_MEMBERS}
    if "relation" in where:
        parts.add(json.dumps({n: where[n] for n in ("relation", "some", "none") if n in where}, sort_keys=True))
    return frozenset(
        part.replace('"startsWith": "registry.example.com', '"matches": "^registry[.]example[.]com') for part in parts
    )


_PATH_MEMBERS: Final = ("eq", "exists", "gt", "startsWith", "matches")


def _plain(member: str, value: Any) -> Any:
    return str(value) if member == "gt" else value


def test_the_editor_opens_with_them() -> None:
    examples = (ROOT / "krm/api/static/graphiql/examples.js").read_text(encoding="utf-8")
    for title, (query,) in QUERIES.items():
        assert f"`# {title}\n{query}`" in examples
