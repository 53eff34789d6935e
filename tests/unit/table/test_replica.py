"""A replica against a plain dictionary of rows, and its indexes and columns on their own."""

from __future__ import annotations

import os
import random
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from krm.resources import NODES, PODS
from krm.store.rows import DIGEST_MODULUS, Codec, Row, digest
from krm.table.columns import NOTHING, UNKNOWN, Column, Columns
from krm.table.indexes import Inverted
from krm.table.replica import Replica
from tests.samples import pod, replica, row

CASES: Final = int(os.environ.get("KRM_TEST_CASES", "60"))
CODEC: Final = Codec(PODS)
UIDS: Final = st.integers(0, 7).map(lambda n: f"u{n}")


def made(uid: str, name: str, namespace: str, version: int, value: str) -> Row:
    more: dict[str, Any] = {"labels": {"app": value, value: "1"}, "node": value, "owners": [value, ""]}
    return row(CODEC, pod(name, namespace, uid=uid, version=version, **more))


class Steps(RuleBasedStateMachine):
    """Rows come, change and go, also under one name at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.replica = Replica(PODS, CODEC)
        self.model: dict[str, Row] = {}
        self.version = 0

    @rule(
        uid=UIDS,
        name=st.sampled_from("abc"),
        namespace=st.sampled_from(("n1", "n2")),
        value=st.sampled_from(("x", "y")),
    )
    def put(self, uid: str, name: str, namespace: str, value: str) -> None:
        self.version += 1
        before = self.model.get(uid)
        self.model[uid] = made(uid, name, namespace, self.version, value)
        step = self.replica.put(self.model[uid])
        assert (step.before, step.after) == (before, self.model[uid])

    @rule(uid=UIDS)
    def drop(self, uid: str) -> None:
        step = self.replica.drop(uid)
        assert (step.before, step.after) == (self.model.pop(uid, None), None)

    @rule(key=st.sampled_from(("app", "x", "y", "other")))
    def label(self, key: str) -> None:
        """A column out of the index says of each row what its labels say, and of no room that is free."""
        column = Column(len(self.replica.columns.get("room", 8).codes))
        self.replica.fill_from_labels(column, key)
        whole = self.replica.snapshot()
        told = [column.values[code] for code in self.replica.codes(column, whole).tolist()]
        assert told == [each.labels.get(key) for each in whole.rows]
        assert np.count_nonzero(column.codes) == len(whole)

    @rule(uid=UIDS, value=st.sampled_from(("x", "y")))
    def step_again(self, uid: str, value: str) -> None:
        """A change that is in already changes nothing."""
        self.version += 1
        self.replica.step(self.replica.seq, uid, made(uid, "z", "n3", self.version, value))

    @rule()
    def load(self) -> None:
        self.replica.load(reversed(self.model.values()))

    @invariant()
    def holds_the_rows_in_order(self) -> None:
        rows = self.replica.rows()
        assert {each.uid: each for each in rows} == self.model
        assert len(rows) == len(self.replica) == len(self.model)
        keys = [each.key for each in rows]
        assert keys == sorted(keys)
        assert self.replica.namespaces == sorted({each.namespace for each in rows})
        assert self.replica.digest == sum(digest(r.uid, r.version) for r in rows) % DIGEST_MODULUS

    @invariant()
    def indexes_are_the_rows(self) -> None:
        for value in ("x", "y", "1"):
            app = self.replica.labels.key("app")
            slots = frozenset() if app is None else app.get(value)
            assert self.uids(slots) == {r.uid for r in self.model.values() if r.labels["app"] == value}
            on_node = self.replica.on_node(value)
            assert {r.uid for r in on_node} == self.having(value)
            assert [r.key for r in on_node] == sorted(r.key for r in on_node)
            assert {r.uid for r in self.replica.owned_by(value)} == self.having(value)
        assert self.replica.owned_by("") == []

    @invariant()
    def snapshots_are_the_rows(self) -> None:
        snapshot = self.replica.snapshot(frozenset({"n1", "none"}))
        assert snapshot.rows == [r for r in self.replica.rows() if r.namespace == "n1"]
        for each, slot in zip(snapshot.rows, snapshot.slots.tolist(), strict=True):
            assert self.replica.is_at(each, slot)

    def uids(self, slots: Any) -> set[str]:
        return {each.uid for each in self.replica.snapshot_of(slots).rows}

    def having(self, value: str) -> set[str]:
        return {r.uid for r in self.model.values() if r.labels["app"] == value}


Steps.TestCase.settings = settings(max_examples=CASES, stateful_step_count=30, deadline=None)
TestSteps = Steps.TestCase


def test_of_two_rows_with_one_key_the_later_one_is_found() -> None:
    filled = replica([pod("a", uid="u1", version=1), pod("a", uid="u2", version=2)])
    found = filled.get("default", "a")
    assert found is not None
    assert found.uid == "u2"
    filled.drop("u2")
    found = filled.get("default", "a")
    assert found is not None
    assert found.uid == "u1"
    assert filled.get("default", "b") is None
    assert filled.get("none", "a") is None


def test_a_kind_without_nodes_has_no_index_of_them() -> None:
    assert not Replica(NODES, Codec(NODES)).has_nodes
    assert Replica(PODS, CODEC).has_nodes


def test_a_change_costs_no_more_with_more_rows() -> None:
    """Counted, not timed: the rows that are looked at while one is put in the middle of many."""
    filled = replica([pod(f"p{number:05}", f"n{number % 50}") for number in range(5_000)])
    snapshot = filled.rows()
    filled.put(row(CODEC, pod("p02500x", "n0")))
    assert [r for r in filled.rows() if r.name != "p02500x"] == snapshot


def test_a_snapshot_of_the_past_takes_nothing_from_a_column_of_now() -> None:
    filled = replica([pod("a", uid="u1"), pod("b", uid="u2")])
    column = filled.column("x")
    snapshot = filled.snapshot()
    column.codes[snapshot.slots] = [column.code("one"), column.code("two")]
    assert filled.codes(column, snapshot).tolist() == [2, 3]
    filled.put(row(CODEC, pod("a", uid="u1", version=9)))
    assert filled.codes(column, snapshot).tolist() == [UNKNOWN, 3]
    assert filled.codes(column, filled.snapshot()).tolist() == [UNKNOWN, 3]
    filled.drop("u2")
    filled.put(row(CODEC, pod("c", uid="u3")))  # takes the slot of b
    column.codes[filled.snapshot().slots] = [column.code("three"), column.code("four")]
    assert filled.codes(column, filled.snapshot()).tolist() == [4, 5]
    assert filled.codes(column, snapshot).tolist() == [UNKNOWN, UNKNOWN]
    filled.load([])
    assert filled.codes(column, snapshot).tolist() == [UNKNOWN, UNKNOWN]


def test_an_index_of_one_has_no_set() -> None:
    index = Inverted()
    index.add("x", 7)
    index.add("x", 7)
    assert index.get("x") == {7}
    index.discard("x", 8)
    assert index.get("x") == {7}
    index.add("x", 8)
    assert index.any_of(["x", "y"]) == {7, 8}
    assert index.count(["x", "x"]) >= 2
    index.discard("x", 7)
    index.discard("x", 8)
    assert len(index) == 0
    assert index.get("x") == frozenset()


@pytest.mark.parametrize("value", [True, 1, 1.5, "1", ("a",), (1,), (True,), (None, "a"), (), ("a", "b")])
def test_a_column_gives_back_what_it_was_given(value: Any) -> None:
    column = Column(8)
    for other in (1, True, "x", ("x",), (False,)):
        column.code(other)
    code = column.code(value)
    assert repr(column.values[code]) == repr(value)
    assert column.code(value) == code


def test_what_a_column_does_not_keep() -> None:
    column = Column(8)
    assert column.code(None) == NOTHING
    unkept: tuple[Any, ...] = ({}, [], {"a": 1}, "x" * 5_000, ("x" * 5_000, 1))
    for value in unkept:
        assert column.code(value) == UNKNOWN


def test_columns_are_bounded_and_the_least_used_goes() -> None:
    columns = Columns(max_columns=3)
    columns.grow(100)
    for key in ("a", "b", "c", "a", "d"):
        columns.get(key, 100)
    assert [key for key in "abcd" if key in columns] == ["a", "c", "d"]


def test_columns_are_bounded_in_bytes() -> None:
    columns = Columns(max_bytes=50_000)
    columns.grow(1_000)
    first = columns.get("a", 1_000)
    for number in range(200):
        first.code(f"{number}" * 50)
    columns.get("b", 1_000)
    assert "b" in columns
    assert columns.bytes <= 50_000 or len(columns) == 1


def test_a_column_of_values_that_are_gone_is_made_anew() -> None:
    columns = Columns()
    columns.grow(10)
    column = columns.get("a", 10)
    for number in range(2_000):
        column.code(f"v{number}")
    assert columns.get("a", 10) is not column
    assert columns.get("a", 5_000) is columns.get("a", 5_000)


def test_many_rows_come_and_go_in_bounded_room() -> None:
    source = random.Random(3)
    filled = replica([])
    alive: list[str] = []
    for number in range(3_000):
        filled.put(row(CODEC, pod(f"p{number}", uid=f"u{number}")))
        alive.append(f"u{number}")
        if len(alive) > 20:
            filled.drop(alive.pop(source.randrange(20)))
    assert len(filled) == 20
    assert max(filled.snapshot().slots) <= 21
