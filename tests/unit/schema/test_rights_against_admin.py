"""For random rights and random questions: what a user is answered is what an administrator is answered of a cluster in
which there is nothing but what the user may list. In every route; of an answer only ``scope`` differs.

The administrator's side knows no rights at all; the user's goes the whole way from single decisions on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
from collections.abc import Collection, Mapping
from typing import Any, Final

import pyarrow as pa
import pytest
from starlette.datastructures import QueryParams

from krm.api import frames, overview
from krm.auth.outage import Outage
from krm.auth.permissions import Permissions, UserRights
from krm.auth.rights import AllRights
from krm.errors import AnswerError, Code
from krm.kube.reviews import Action, PathAction, User
from krm.resources import RESOURCES, Resource
from krm.schema.context import Context
from krm.schema.engine import Request
from krm.schema.relations import RELATIONS
from krm.store.head import DriftLine
from tests.sources import FilledSource
from tests.unit.schema.asking import ask, engine
from tests.unit.schema.test_relations_against_oracle import NAMESPACES, Object, Objects, cluster
from tests.waiting import wait_until

WORLDS: Final = max(4, int(os.environ.get("KRM_TEST_CASES", "80")) // 12)
QUESTIONS: Final = 12
ENGINE: Final = engine()
RIGHTLESS: Final = "empty"
"""A namespace that holds nothing."""


class World:
    """A cluster with some history, what one user may list in it, and the same cluster without the rest."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.objects = cluster(self.rng, 3)
        self._own()
        self.grants: dict[str, set[str]] = {plural: self._granted(each) for plural, each in RESOURCES.items()}
        self.source = FilledSource(self.objects)
        self.steps = [step for _ in range(25) if (step := self._step()) is not None]
        for step in self.steps:
            self.source.change(*step[:2], uid=step[2])
        self._drift()
        self.restricted = self._restricted()
        permissions = Permissions(self._review, self.source, Outage())
        self.rights = UserRights(permissions, User(name="ann"))

    def _own(self) -> None:
        """Let pods reference all sorts of objects, those of other namespaces too."""
        for each in self.objects["pods"]:
            owner = self.rng.choice(self.objects[self.rng.choice(list(RESOURCES))])
            reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": False}
            key = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
            each["metadata"]["ownerReferences"].append(reference | key)

    def _granted(self, resource: Resource) -> set[str]:
        if self.rng.random() < 0.25:
            return {""}
        if not resource.namespaced or self.rng.random() < 0.15:
            return set()
        return {each for each in (*NAMESPACES, RIGHTLESS) if self.rng.random() < 0.5}

    def _step(self) -> tuple[str, Object | None, str] | None:
        """One change of the full cluster."""
        plural = self.rng.choice([each for each in RESOURCES if self.objects[each]])
        obj = self.rng.choice(self.objects[plural])
        uid = obj["metadata"]["uid"]
        if self.rng.random() < 0.2:
            self.objects[plural].remove(obj)
            return plural, None, uid
        changed: Object = json.loads(json.dumps(obj))
        changed["metadata"]["resourceVersion"] = str(int(obj["metadata"]["resourceVersion"]) + 1)
        changed["metadata"]["labels"] = {"app": self.rng.choice("xyz")}
        self.objects[plural][self.objects[plural].index(obj)] = changed
        return plural, changed, uid

    def _drift(self) -> None:
        for number in range(30):
            plural = self.rng.choice(list(RESOURCES))
            namespace = self.rng.choice(NAMESPACES) if RESOURCES[plural].namespaced else ""
            line = DriftLine(
                id=f"{number}-0",
                kind="GHOST",
                namespace=namespace,
                name=f"n-{number}",
                uid=f"u-{number}",
                version="1",
                at_ms=number,
                lived_s=None,
            )
            self.source.drifts.setdefault(plural, []).append(line)

    def may(self, plural: str, namespace: str) -> bool:
        return bool({"", namespace} & self.grants[plural])

    def listable(self, plural: str) -> bool:
        """Whether a question for all namespaces is answered."""
        held = {each["metadata"]["namespace"] for kind in self.objects.values() for each in kind if _namespace(each)}
        return "" in self.grants[plural] or bool(held & self.grants[plural])

    def _restricted(self) -> FilledSource:
        left = {
            plural: [each for each in kind if self.may(plural, _namespace(each))]
            for plural, kind in self.objects.items()
        }
        source = FilledSource(left)
        for plural, log in self.source.log.items():
            codec = self.source.get(RESOURCES[plural]).codec
            source.log[plural] = [each for each in log if self.may(plural, codec.decode(each.record).namespace)]
        for plural, lines in self.source.drifts.items():
            source.drifts[plural] = [line for line in lines if self.may(plural, line.namespace)]
        for plural, kind in self.source._replicas.items():
            source._replicas[plural].seq = kind.seq
        return source

    async def _review(self, _user: User, action: Action | PathAction) -> bool:
        assert isinstance(action, Action)
        assert action.verb in ("list", "watch", "get")
        return action.verb != "get" and self.may(action.resource, action.namespace)

    def user(self) -> Context:
        return Context(source=self.source, rights=self.rights, is_compiled=self.rng.random() < 0.7)

    def admin(self) -> Context:
        return Context(source=self.restricted, rights=AllRights(), is_compiled=self.rng.random() < 0.7)

    # -- questions -------------------------------------------------------------------------------------------------

    def question(self) -> tuple[Resource, str | None, str]:
        """A kind, the namespace that is named, and a query."""
        resource = RESOURCES[self.rng.choice(list(RESOURCES))]
        arguments, named = self._list_arguments(resource)
        spelled = f"({', '.join(arguments)})" if arguments else ""
        fields = ["totalCount", "pageInfo { hasNextPage endCursor }", f"nodes {{ {self._fields(resource, 2)} }}"]
        fields += [f"edges {{ cursor node {{ {self._fields(resource, 1)} }} }}"] * self.rng.randrange(2)
        fields += [self._groups(resource)] * self.rng.randrange(2)
        return resource, named, f"{{ found: {resource.list_field}{spelled} {{ {' '.join(fields)} }} }}"

    def _list_arguments(self, resource: Resource) -> tuple[list[str], str | None]:
        rng, arguments, named = self.rng, [], None
        if resource.namespaced and rng.random() < 0.4:
            named = rng.choice((*NAMESPACES, RIGHTLESS, "nowhere"))
            arguments.append(f'namespace: "{named}"')
        if rng.random() < 0.3:
            arguments.append(f'labelSelector: "app {rng.choice(("in (x,y)", "notin (x)"))}"')
        if rng.random() < 0.5:
            arguments.append(f"where: {self._filter(resource, 2)}")
        if rng.random() < 0.4:
            order = rng.choice(self._paths(resource))
            arguments.append(f'orderBy: [{{ path: "{order}", direction: {rng.choice(("ASC", "DESC"))} }}]')
        if rng.random() < 0.4:
            arguments.append(f"first: {rng.randrange(1, 5)}")
        return arguments, named

    def _paths(self, resource: Resource) -> list[str]:
        paths = ["metadata.name", "metadata.namespace", "metadata.labels['app']"]
        return [*paths, "deployment.name", "spec.nodeName", "requests.cpu"] if resource.plural == "pods" else paths

    def _filter(self, resource: Resource, depth: int) -> str:
        rng = self.rng
        relations = RELATIONS[resource.plural]
        if relations and depth and rng.random() < 0.5:
            relation = relations[rng.choice(list(relations))]
            member = rng.choice(("some", "none"))
            return f'{{ relation: "{relation.name}", {member}: {self._filter(relation.target, depth - 1)} }}'
        if depth and rng.random() < 0.2:
            return f"{{ not: {self._filter(resource, depth - 1)} }}"
        path = rng.choice(self._paths(resource))
        value = rng.choice(('"x"', '"a"', '"p-1"', '"n1"'))
        return f'{{ path: "{path}", {rng.choice(("exists: true", f"ne: {value}", f"gte: {value}", "exists: false"))} }}'

    def _fields(self, resource: Resource, depth: int) -> str:
        fields = ["metadata { namespace name uid }"]
        for relation in RELATIONS[resource.plural].values():
            if self.rng.random() < 0.5 and depth:
                where = "" if relation.is_single else f"(where: {self._filter(relation.target, 1)})"
                where *= self.rng.randrange(2)
                fields.append(f"{relation.name}{where} {{ {self._fields(relation.target, depth - 1)} }}")
        if resource.plural == "pods":
            fields.append("owners { name object }")
        if self.rng.random() < 0.3:
            fields.append("object")
        return " ".join(fields)

    def _groups(self, resource: Resource) -> str:
        path, of = self.rng.choice(self._paths(resource)), self.rng.choice(self._paths(resource))
        aggregate = "sum" if of == "requests.cpu" else self.rng.choice(("min", "max"))
        return f'groupBy(paths: ["{path}"]) {{ values count {aggregate}(path: "{of}") }}'

    def changes(self) -> tuple[Resource, str | None, str]:
        resource = RESOURCES[self.rng.choice(list(RESOURCES))]
        arguments, named = [f'resource: "{resource.name}"', f"first: {self.rng.randrange(1, 12)}"], None
        if resource.namespaced and self.rng.random() < 0.4:
            named = self.rng.choice((*NAMESPACES, RIGHTLESS, "nowhere"))
            arguments.append(f'namespace: "{named}"')
        if self.rng.random() < 0.5:
            arguments.append(f"where: {self._filter(resource, 1)}")
        fields = "totalCount pageInfo { hasNextPage endCursor } nodes { at type namespace name object previous }"
        return resource, named, f"{{ found: changes({', '.join(arguments)}) {{ {fields} }} }}"


def _namespace(obj: Object) -> str:
    return str(obj["metadata"].get("namespace", ""))


def _is_refused(world: World, resource: Resource, named: str | None) -> bool:
    return not (world.listable(resource.plural) if named is None else world.may(resource.plural, named))


def _without_moment(value: Any, name: str = "") -> Any:
    """Cursors also say of which moment and which rights they are; of a cursor the place alone counts here."""
    if isinstance(value, Mapping):
        return {key: _without_moment(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_moment(each) for each in value]
    if name not in ("cursor", "endCursor") or value is None:
        return value
    payload = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))[9:])
    return payload[:-1] if isinstance(payload[-1], list) and len(payload[-1]) == 4 else payload


async def _compare(world: World, resource: Resource, named: str | None, query: str) -> Mapping[str, Any] | None:
    """Hold both answers against each other; the answer, if it is none that was refused."""
    mine = await ask(world.source, query, by=ENGINE, context=world.user())
    if _is_refused(world, resource, named):
        assert mine["data"] == {"found": None}, query
        assert [each["extensions"]["code"] for each in mine["errors"]] == ["FORBIDDEN"], query
        return None
    admins = await ask(world.restricted, query, by=ENGINE, context=world.admin())
    assert _without_moment(mine) == _without_moment(admins), query
    found: Mapping[str, Any] = mine["data"]["found"]
    return found


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_lists_groups_relations_and_pages(seed: int) -> None:
    world = World(seed)
    for _ in range(QUESTIONS):
        resource, named, query = world.question()
        for _ in range(4):
            found = await _compare(world, resource, named, query)
            if not found or not found["pageInfo"]["hasNextPage"]:
                break
            query = _next(query, resource.list_field, found["pageInfo"]["endCursor"])


def _next(query: str, field: str, cursor: str) -> str:
    head, _, rest = query.partition(f"found: {field}(")
    before, _, other = rest.partition('after: "')
    rest = rest if not other else before + other.partition('", ')[2]
    return f'{head}found: {field}(after: "{cursor}", {rest}'


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_changes_and_drift(seed: int) -> None:
    world = World(seed)
    for _ in range(QUESTIONS // 2):
        resource, named, query = world.changes()
        found = await _compare(world, resource, named, query)
        if found and found["pageInfo"]["hasNextPage"]:
            await _compare(world, resource, named, _next(query, "changes", found["pageInfo"]["endCursor"]))
    fields = "totalCount pageInfo { hasNextPage endCursor } nodes { at resource namespace name uid }"
    everything = f"{{ found: drift(first: 7) {{ {fields} }} }}"
    assert await ask(world.source, everything, by=ENGINE, context=world.user()) == await ask(
        world.restricted, everything, by=ENGINE, context=world.admin()
    )
    for resource in RESOURCES.values():
        await _compare(world, resource, None, f'{{ found: drift(resource: "{resource.name}") {{ {fields} }} }}')


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_single_objects(seed: int) -> None:
    world = World(seed)
    for _ in range(QUESTIONS):
        resource = RESOURCES[world.rng.choice(list(RESOURCES))]
        namespace = world.rng.choice((*NAMESPACES, RIGHTLESS)) if resource.namespaced else ""
        known = [each["metadata"]["name"] for each in world.objects[resource.plural]]
        key = [f'namespace: "{namespace}"'] * resource.namespaced + [f'name: "{world.rng.choice((*known, "none"))}"']
        query = f"{{ found: {resource.single_field}({', '.join(key)}) {{ {world._fields(resource, 2)} }} }}"
        await _compare(world, resource, namespace, query)


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_frames_and_the_page_for_people(seed: int) -> None:
    world = World(seed)
    for _ in range(QUESTIONS // 2):
        resource = RESOURCES[world.rng.choice(list(RESOURCES))]
        columns = ["metadata.name", *world.rng.sample(world._paths(resource), 2)]
        given = {"columns": ",".join(dict.fromkeys(columns))}
        if world.rng.random() < 0.4 and resource.namespaced:
            given["namespace"] = world.rng.choice((*NAMESPACES, "nowhere"))
        if world.rng.random() < 0.4:
            relations = list(RELATIONS[resource.plural])
            given["where"] = json.dumps({"relation": world.rng.choice(relations), "some": {}})
        if _is_refused(world, resource, given.get("namespace")):
            with pytest.raises(AnswerError) as refused:
                await _frame(world.user(), resource, given)
            assert refused.value.code == Code.FORBIDDEN
        else:
            assert await _frame(world.user(), resource, given) == await _frame(world.admin(), resource, given)
    shown = await overview.counts(world.source, world.user().rights)
    plain = await overview.counts(world.restricted, world.admin().rights)
    assert shown == {plural: count if world.listable(plural) else None for plural, count in plain.items()}


async def _frame(context: Context, resource: Resource, given: Mapping[str, str]) -> tuple[Any, Any]:
    bounds = frames.Bounds(30.0, 2**30)
    stream = await frames.opened(context, resource.name, frames.question(QueryParams(given)), bounds)
    body = b"".join([piece async for piece in stream.pieces()])
    table = pa.ipc.open_stream(body).read_all()
    metadata = {name: value for name, value in table.schema.metadata.items() if name != b"krm.scope"}
    return table.to_pylist(), metadata | {b"krm.page": _without_moment(json.loads(metadata[b"krm.page"]))}


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_subscriptions(seed: int) -> None:
    world = World(seed)
    resource = RESOURCES[world.rng.choice([each for each in RESOURCES if world.listable(each)] or ["pods"])]
    where = world._filter(resource, 1)
    fields = f"type object {{ {world._fields(resource, 1)} }}"
    query = (
        f"subscription {{ found: {resource.list_field}"
        f'(where: {{ or: [{where}, {{ path: "metadata.name", eq: "end" }}] }}) {{ {fields} }} }}'
    )
    if not world.listable(resource.plural):
        answer = await anext(ENGINE.answers(Request(query=query), world.user()))
        assert answer.codes == ("FORBIDDEN",)
        return
    steps = [step for _ in range(20) if (step := world._step()) is not None and step[0] == resource.plural]
    steps.append((resource.plural, _end(world, resource), ""))
    seen = [
        await _events(context, query, source, [step for step in steps if everything or _is_visible(world, step)])
        for context, source, everything in (
            (world.user(), world.source, True),
            (world.admin(), world.restricted, False),
        )
    ]
    assert seen[0] == seen[1], query


def _is_visible(world: World, step: tuple[str, Object | None, str]) -> bool:
    plural, obj, uid = step
    return world.may(plural, _namespace(obj) if obj is not None else uid.split("/")[1] if "/" in uid else _of(uid))


def _of(uid: str) -> str:
    """The namespace of a pod (``uid-NAMESPACE-NAME``); nodes have none."""
    return uid.split("-")[1] if uid.count("-") > 1 else ""


def _end(world: World, resource: Resource) -> Object:
    """An object that ends the observation; in a namespace that may be seen."""
    held: Collection[str] = {_namespace(each) for kind in world.objects.values() for each in kind}
    namespace = next(
        each for each in sorted(held) if world.may(resource.plural, each) and bool(each) == resource.namespaced
    )
    metadata = {"name": "end", "uid": "end", "resourceVersion": "9"} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": {"selector": {}}}


async def _events(context: Context, query: str, source: FilledSource, steps: list[Any]) -> list[Any]:
    """What a subscriber hears up to the object ``end``."""
    plural = steps[-1][0]
    answers = ENGINE.answers(Request(query=query), context)
    heard: list[Any] = []
    following = asyncio.ensure_future(_hear(answers, heard))
    await wait_until(lambda: bool(source.feeds.get(plural)))
    for plural, obj, uid in steps:
        source.change(plural, obj, uid=uid)
        for _ in range(3):
            await asyncio.sleep(0)
    await asyncio.wait_for(following, 20)
    await answers.aclose()
    return heard


async def _hear(answers: Any, heard: list[Any]) -> None:
    async for answer in answers:
        body = json.loads(answer.body)
        event = body["data"]["found"]
        heard.append(body)
        if event["object"] and event["object"]["metadata"]["name"] == "end":
            return


def test_the_worlds_differ_in_what_may_be_seen() -> None:
    worlds = [World(seed) for seed in range(12)]
    listable = [world.listable(plural) for world in worlds for plural in RESOURCES]
    assert 0.3 < sum(listable) / len(listable) < 0.95
    hidden = [sum(map(len, world.objects.values())) - _held(world.restricted) for world in worlds]
    assert min(hidden) > 0
    objects: Objects = worlds[0].objects
    assert all(objects.values())


def _held(source: FilledSource) -> int:
    return sum(source.rows(resource) for resource in RESOURCES.values())
