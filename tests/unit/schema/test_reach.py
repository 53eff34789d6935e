"""Which kinds a question can reach over relations: those that it names, and no others are looked at for it."""

from __future__ import annotations

import pytest
from graphql import parse

from krm.resources import RESOURCES
from krm.schema import reach
from krm.table.replica import Replica
from tests.sources import FilledSource, pod
from tests.unit.schema.asking import ask


@pytest.mark.parametrize(
    ("question", "reached"),
    [
        ("{ pods { nodes { metadata { name } } } }", set()),
        ("{ a: pods { totalCount } nodes { totalCount } services { totalCount } }", set()),
        (
            '{ node(name: "n") { metadata { name } } deployment(namespace: "a", name: "b") { spec { replicas } } }',
            set(),
        ),
        ("subscription { pods { type object { metadata { name } } } }", set()),
        ("{ ... on Query { pods { totalCount } } ...F } fragment F on Query { services { totalCount } }", set()),
        ("{ pods { nodes { node { metadata { name } } } } }", {"nodes"}),
        ("{ nodes { nodes { pods { metadata { name } } } } }", {"pods"}),
        ("{ pods { nodes { ...F } } } fragment F on Pod { services { metadata { name } } }", {"services"}),
        ("fragment F on Pod { node { metadata { name } } } { pods { nodes { ...F } } }", {"nodes"}),
        ('{ persistentVolumeClaims(where: {relation: "pods", none: {}}) { totalCount } }', {"pods"}),
        ('{ pods(orderBy: [{path: "deployment.name"}]) { totalCount } }', {"deployments"}),
        ("{ pods { nodes { owners { object } } } }", set(RESOURCES)),
    ],
)
def test_only_relations_are_reached_and_all_of_them(question: str, reached: set[str]) -> None:
    assert reach.of_document(parse(question)) == reached


async def test_a_list_without_relations_looks_at_the_rows_that_it_shows_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = FilledSource({"pods": [pod(f"p-{number}", number=number) for number in range(50)]})
    taken: list[int] = []
    snapshot = Replica.snapshot

    def counted(replica: Replica, *given: object) -> object:
        found = snapshot(replica, *given)  # type: ignore[arg-type]
        taken.append(len(found))
        return found

    monkeypatch.setattr(Replica, "snapshot", counted)
    for number in range(3):
        source.change("pods", pod("p-1", number=100 + number))
        answer = await ask(source, '{ pods(namespace: "elsewhere", first: 1) { totalCount } }', compiled=True)
        assert answer["data"] == {"pods": {"totalCount": 0}}
    assert sum(taken) == 0
