"""Faults: to whom, how often, and what the control interface accepts."""

from __future__ import annotations

import pytest

from krm.simulator.faults import STREAM_KINDS, FaultKind, Faults


def hits(
    faults: Faults, chances: int, kind: str = "status", names: tuple[str, ...] = ("pods",), verb: str = "list"
) -> str:
    return "".join("x" if faults.take(FaultKind(kind), names, verb) is not None else "." for _ in range(chances))


def test_without_a_fault_nothing_happens() -> None:
    assert hits(Faults(), 10) == "." * 10


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "x........."),
        ({"count": 3}, "xxx......."),
        ({"count": None}, "xxxxxxxxxx"),
        ({"count": None, "every": 3}, "..x..x..x."),
        ({"count": 2, "every": 2}, ".x.x......"),
        ({"count": None, "rate": 0.0}, ".........."),
        ({"count": None, "resource": "nodes"}, ".........."),
        ({"count": None, "resource": "pods", "verb": "list"}, "xxxxxxxxxx"),
        ({"count": None, "verb": "watch"}, ".........."),
        ({"count": None, "namespace": "team-1"}, ".........."),
    ],
)
def test_a_fault_happens_as_often_and_to_whom_it_should(settings: dict[str, object], expected: str) -> None:
    faults = Faults()
    fault = faults.add("status", **settings)
    assert hits(faults, 10) == expected
    assert fault.happened == expected.count("x")


def test_a_rate_is_drawn_from_the_seed() -> None:
    drawn = []
    for seed in (1, 1, 2):
        faults = Faults(seed=seed)
        faults.add("status", count=None, rate=0.5)
        drawn.append(hits(faults, 40))
    assert drawn[0] == drawn[1] != drawn[2]
    assert 8 < drawn[0].count("x") < 32


def test_stream_faults_hit_watches_whatever_verb_they_name() -> None:
    for kind in STREAM_KINDS:
        faults = Faults()
        faults.add(kind, resource="deployments.apps")
        assert faults.any_for_stream(("deployments", "deployments.apps"))
        assert not faults.any_for_stream(("pods", "pods"))
        assert hits(faults, 1, kind, ("deployments", "deployments.apps"), "watch") == "x"
        assert not faults.any_for_stream(("deployments", "deployments.apps"))


def test_a_cut_waits_for_its_byte() -> None:
    faults = Faults()
    faults.add("cut", after_bytes=100)
    assert faults.take_after(100, ("pods",)) is None
    assert faults.take_after(101, ("pods",)) is not None
    assert faults.take_after(500, ("pods",)) is None


def test_faults_can_be_ended() -> None:
    faults = Faults()
    first = faults.add("status", count=None)
    faults.add("hang", count=None)
    faults.remove(first)
    faults.remove(first)
    assert [fault.kind for fault in faults] == [FaultKind.HANG]
    faults.clear()
    assert list(faults) == []


def test_setting_a_fault_wakes_the_streams() -> None:
    faults, woken = Faults(), []
    faults.on_change = lambda: woken.append(1)
    faults.add("end")
    assert woken == [1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "kind must be one of"),
        ({"kind": "explode"}, "kind must be one of"),
        ({"kind": "drop", "evry": 5}, "unknown settings of a fault: evry"),
        ({"kind": "drop", "happened": 5}, "unknown settings of a fault: happened"),
        ({"kind": "drop", "every": 0}, "every must"),
        ({"kind": "drop", "count": "3"}, "count must"),
        ({"kind": "drop", "rate": 2}, "rate must"),
        ({"kind": "status", "status": 42}, "status must"),
        ({"kind": "late", "delay_s": -1}, "delay_s must"),
    ],
)
def test_a_wrong_fault_is_refused_by_name(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults().add_from(spec)


def test_a_fault_from_json_shows_what_became_of_it() -> None:
    faults = Faults()
    made = faults.add_from({"kind": "drop", "resource": "pods", "every": 50, "count": None})
    shown = made.as_dict()
    assert (shown["kind"], shown["every"], shown["count"], shown["happened"]) == ("drop", 50, None, 0)
