"""Relations of random clusters, as fields and as filters, against plain nested loops over the raw objects."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest

from krm.resources import RESOURCES
from krm.schema import facts, looks
from krm.schema.context import Context
from krm.schema.engine import Request
from krm.schema.relations import RELATIONS
from krm.table.replica import Replica
from tests.sources import FilledSource, node, pod
from tests.unit.schema.asking import ask, engine
from tests.waiting import wait_until

CLUSTERS: Final = max(4, int(os.environ.get("KRM_TEST_CASES", "80")) // 10)
NAMESPACES: Final = ("a", "b", "c")
Object = dict[str, Any]
Objects = Mapping[str, list[Object]]


def thing(kind: str, version: str, namespace: str, name: str, spec: Object) -> Object:
    metadata = {"namespace": namespace, "name": name, "uid": f"{kind}/{namespace}/{name}", "resourceVersion": "1"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def labels(rng: random.Random) -> dict[str, str]:
    return {key: rng.choice("xyz") for key in ("app", "tier") if rng.random() < 0.8}


def cluster(rng: random.Random, size: int) -> Objects:
    names = [f"{letter}-{n}" for letter in "pq" for n in range(size)]

    def some(most: int) -> Iterator[tuple[str, str]]:
        keys = [(namespace, name) for namespace in NAMESPACES for name in names]
        return iter(rng.sample(keys, min(most, len(keys))))

    def expression() -> Object:
        operator = rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
        return {"key": rng.choice(("app", "tier")), "operator": operator, "values": rng.sample("xyz", 2)}

    def random_pod(namespace: str, name: str) -> Object:
        claims = rng.sample(names, rng.randint(0, 2))
        volumes: list[Object] = [{"name": f"v{c}", "persistentVolumeClaim": {"claimName": c}} for c in claims]
        if rng.random() < 0.2:
            volumes.append({"name": rng.choice("01"), "ephemeral": {}})
        made = pod(name, namespace, labels=labels(rng), node=f"n{rng.randrange(4)}", spec={"volumes": volumes})
        made["metadata"]["ownerReferences"] = []
        if rng.random() < 0.7:
            hash_ = rng.choice(("abc", "d"))
            made["metadata"]["labels"]["pod-template-hash"] = hash_
            owner = f"{rng.choice(names)}-{hash_ if rng.random() < 0.9 else 'other'}"
            reference = {"kind": "ReplicaSet", "name": owner, "controller": rng.random() < 0.9, "uid": "r"}
            made["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", **reference}]
        return made

    def backend() -> Object:
        return {"backend": {"service": {"name": rng.choice(names)}}}

    def ingress() -> Object:
        rules: list[Object] = [{"http": {"paths": [backend() for _ in range(rng.randint(0, 3))]}}, {"host": "h"}]
        return {"rules": rules} | ({"defaultBackend": backend()["backend"]} if rng.random() < 0.3 else {})

    def deployment() -> Object:
        return {"selector": {"matchLabels": labels(rng), "matchExpressions": [expression()][: rng.randint(0, 1)]}}

    apps, networking = "apps/v1", "networking.k8s.io/v1"
    return {
        "pods": [random_pod(*key) for key in some(4 * size)],
        "nodes": [node(f"n{n}") for n in range(3)],
        "services": [thing("Service", "v1", *key, {"selector": labels(rng)}) for key in some(2 * size)],
        "deployments": [thing("Deployment", apps, *key, deployment()) for key in some(2 * size)],
        "ingresses": [thing("Ingress", networking, *key, ingress()) for key in some(size)],
        "persistentvolumeclaims": [thing("PersistentVolumeClaim", "v1", *key, {}) for key in some(2 * size)],
    }


# -- the oracle ------------------------------------------------------------------------------------------------


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _selects(selector: Object, obj: Object) -> bool:
    has = obj["metadata"].get("labels") or {}
    meets: dict[str, Callable[[Any, Any], bool]] = {
        "In": lambda value, values: value in values,
        "NotIn": lambda value, values: value not in values,
        "Exists": lambda value, _: value is not None,
        "DoesNotExist": lambda value, _: value is None,
    }
    return all(has.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        meets[e["operator"]](has.get(e["key"]), e["values"]) for e in selector.get("matchExpressions", ())
    )


def _mounts(pod_: Object, claim: Object) -> bool:
    for volume in pod_["spec"]["volumes"]:
        generated = f"{_name(pod_)}-{volume['name']}" if "ephemeral" in volume else None
        if _name(claim) in (generated, volume.get("persistentVolumeClaim", {}).get("claimName")):
            return True
    return False


def _deploys(deployment: Object, pod_: Object) -> bool:
    hash_ = pod_["metadata"]["labels"].get("pod-template-hash")
    controlled = any(
        owner["controller"] and owner["name"] == f"{_name(deployment)}-{hash_}"
        for owner in pod_["metadata"]["ownerReferences"]
    )
    return hash_ is not None and controlled and _selects(deployment["spec"]["selector"], pod_)


def _serves(service: Object, pod_: Object) -> bool:
    wanted = service["spec"]["selector"]
    return bool(wanted) and _selects({"matchLabels": wanted}, pod_)


def _leads(ingress: Object, service: Object) -> bool:
    return f'"name": "{_name(service)}"' in json.dumps(ingress["spec"])


HOLDS: Final[Mapping[tuple[str, str], Callable[[Object, Object], bool]]] = {
    ("pods", "node"): lambda pod_, on: bool(pod_["spec"]["nodeName"] == _name(on)),
    ("pods", "persistentVolumeClaims"): _mounts,
    ("pods", "services"): lambda pod_, service: _serves(service, pod_),
    ("pods", "deployment"): lambda pod_, deployment: _deploys(deployment, pod_),
    ("deployments", "pods"): _deploys,
    ("services", "pods"): _serves,
    ("services", "ingresses"): lambda service, ingress: _leads(ingress, service),
    ("ingresses", "services"): _leads,
    ("persistentvolumeclaims", "pods"): lambda claim, pod_: _mounts(pod_, claim),
    ("nodes", "pods"): lambda on, pod_: bool(pod_["spec"]["nodeName"] == _name(on)),
}


def related(objects: Objects, plural: str, relation: str, obj: Object) -> list[Object]:
    target = RELATIONS[plural][relation].target.plural
    is_global = "nodes" in (plural, target)
    return [
        other
        for other in objects[target]
        if (is_global or other["metadata"]["namespace"] == obj["metadata"]["namespace"])
        and HOLDS[plural, relation](obj, other)
    ]


def key(obj: Object) -> tuple[str, str]:
    return (obj["metadata"].get("namespace") or "", _name(obj))


# -- tests -----------------------------------------------------------------------------------------------------


def test_every_relation_has_an_oracle() -> None:
    assert {(plural, name) for plural, each in RELATIONS.items() for name in each} == set(HOLDS)


@pytest.mark.parametrize("seed", range(CLUSTERS))
async def test_fields_and_filters_find_what_the_oracle_finds(seed: int) -> None:
    rng = random.Random(seed)
    objects = cluster(rng, rng.randint(1, 6))
    source = FilledSource(objects)
    by = engine()
    for plural, relation in HOLDS:
        inner = '{ path: "metadata.labels[\'app\']", eq: "x" }' if rng.random() < 0.5 else "{}"
        field = RESOURCES[plural].list_field
        shown = "metadata { namespace name }"
        query = f"""{{
            all: {field} {{ nodes {{ {shown} {relation} {{ {shown} }} }} }}
            some: {field}(where: {{ relation: "{relation}", some: {inner} }}) {{ totalCount nodes {{ {shown} }} }}
            none: {field}(where: {{ relation: "{relation}", none: {inner} }}) {{ totalCount nodes {{ {shown} }} }} }}"""
        data = (await ask(source, query, by=by))["data"]
        expected = {key(obj): related(objects, plural, relation, obj) for obj in objects[plural]}
        found = {key(each): each[relation] for each in data["all"]["nodes"]}
        for each, rows in found.items():
            listed = rows if isinstance(rows, list) else [] if rows is None else [rows]
            assert sorted(map(key, listed)) == sorted(map(key, expected[each])), (plural, relation)
        passing = {
            each
            for each, others in expected.items()
            if any(inner == "{}" or (o["metadata"].get("labels") or {}).get("app") == "x" for o in others)
        }
        assert list(map(key, data["some"]["nodes"])) == sorted(passing), (plural, relation)
        assert list(map(key, data["none"]["nodes"])) == sorted(expected.keys() - passing), (plural, relation)


EVERYTHING: Final = """{
    pods { nodes { node { kind } persistentVolumeClaims { kind } services { kind } deployment { kind } } }
    deployments { nodes { pods { services { kind } } } }
    services(where: { relation: "pods", none: {} }) { totalCount nodes { pods { kind } ingresses { kind } } }
    ingresses { nodes { services { pods { kind } } } }
    persistentVolumeClaims(where: { relation: "pods", none: {} }) { totalCount nodes { pods { kind } } }
    grouped: pods(orderBy: [{ path: "deployment.name" }]) { groupBy(paths: ["deployment.name"]) { values count } }
}"""


async def test_however_many_rows_each_kind_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: Counter[str] = Counter()
    walked: Counter[str] = Counter()
    take = looks.Look.__init__

    def counted(self: looks.Look, replica: Replica) -> None:
        looked[replica.resource.plural] += 1
        take(self, replica)

    monkeypatch.setattr(looks.Look, "__init__", counted)
    for method in ("rows", "get", "snapshot_named", "snapshot"):
        original = getattr(Replica, method)

        def walk(self: Replica, *args: Any, _original: Any = original, _method: str = method, **more: Any) -> Any:
            walked[f"{self.resource.plural}.{_method}"] += 1
            return _original(self, *args, **more)

        monkeypatch.setattr(Replica, method, walk)
    counts = []
    for size in (2, 20):
        source = FilledSource(cluster(random.Random(7), size))
        looked.clear()
        walked.clear()
        assert "errors" not in await ask(source, EVERYTHING, by=engine())
        counts.append((dict(looked), dict(walked)))
    assert counts[0][0] == dict.fromkeys(RESOURCES, 1)
    assert counts[1] == counts[0]


async def test_services_and_pods_are_matched_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    selects = facts.Selector.selects

    def counted(self: facts.Selector, has: Mapping[str, str]) -> bool:
        nonlocal compared
        compared += 1
        return selects(self, has)

    monkeypatch.setattr(facts.Selector, "selects", counted)
    size = 200
    objects = {
        "pods": [pod(f"p-{n}", "a", labels={"app": f"app-{n}", "tier": "x"}) for n in range(size)],
        "services": [thing("Service", "v1", "a", f"s-{n}", {"selector": {"app": f"app-{n}"}}) for n in range(size)],
    }
    query = "{ pods { nodes { services { kind } } } services { nodes { pods { kind } } } }"
    data = (await ask(FilledSource(objects), query))["data"]
    assert all(len(each["services"]) == 1 for each in data["pods"]["nodes"])
    assert all(len(each["pods"]) == 1 for each in data["services"]["nodes"])
    assert compared <= 3 * size


@pytest.mark.parametrize("arguments", ['(where: { relation: "services", some: {} })', ""])
async def test_a_subscription_follows_relations_as_they_are_at_each_change(arguments: str) -> None:
    source = FilledSource({"pods": [], "services": [thing("Service", "v1", "a", "s", {"selector": {"app": "x"}})]})
    query = f"""subscription {{ pods{arguments} {{
        type object {{ metadata {{ name }} services {{ metadata {{ name }} }} }} }} }}"""
    answers = engine().answers(Request(query=query), Context(source=source))

    async def told() -> tuple[str, list[str]]:
        found = json.loads((await asyncio.wait_for(anext(answers), 10)).body)["data"]["pods"]["object"]
        return found["metadata"]["name"], [service["metadata"]["name"] for service in found["services"]]

    waiting = asyncio.ensure_future(told())
    try:
        await wait_until(lambda: source.feeds.get("pods"))
        source.change("pods", pod("p", "a", labels={"app": "x"}))
        assert await waiting == ("p", ["s"])
        source.change("services", thing("Service", "v1", "a", "t", {"selector": {"app": "y"}}))
        source.change("pods", pod("q", "a", labels={"app": "y"}))
        assert await told() == ("q", ["t"])
    finally:
        waiting.cancel()
        await answers.aclose()
