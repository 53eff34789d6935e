"""The merge against the truth: random schedules with loss, repetition, late lists; and rules known to be wrong.

``tests/faults/test_schedules.py`` plays a million of the schedules.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krm import merge
from krm.merge import Event, Key, Scope, State
from krm.objects.versions import newer, order
from tests.unit.histories import KEYS, Shown, Truth, generate

Table = Mapping[Key, State]
CASES = int(os.environ.get("KRM_TEST_CASES", "20000"))
X: Key = ("a", "x")


def broken(truth: Truth, shown: list[Shown], table: Table, listed_at: str) -> str | None:
    """Which promise ``table`` breaks: each row is a true state of its key at the installed list's version or later."""
    for key in KEYS:
        if table.get(key) not in truth.states(key, listed_at):
            return f"{key} is {table.get(key)}; since {listed_at} it was one of {truth.states(key, listed_at)}"
    return None


def show(scope: Scope, one: Shown) -> None:
    if one.event is not None:
        scope.see(*one.event)
    else:
        assert one.listed is not None
        scope.install(one.listed, one.listed_at)


def check(seed: int, *, lists_in_flight: int, loss: float, disorder: float = 0.0) -> None:
    """Play one schedule: after each step every promise holds; where nothing was lost, the end is the truth."""
    truth, shown, lost = generate(seed, lists_in_flight=lists_in_flight, loss=loss, disorder=disorder)
    scope = Scope()
    for one in shown:
        show(scope, one)
        found = broken(truth, shown, merge.table(scope), scope.listed_at)
        assert found is None, f"seed {seed}: {found}"
    if not lost:
        assert merge.table(scope) == truth.at(scope.complete_at or scope.listed_at), f"seed {seed}"


WORLDS = [
    pytest.param(lists, loss, disorder, id=f"{lists} in flight, loss {loss:g}, disorder {disorder:g}")
    for lists in (1, 2)
    for loss, disorder in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.1, 0.2))
]


@pytest.mark.parametrize(("lists_in_flight", "loss", "disorder"), WORLDS)
def test_rows_are_true_states_in_every_schedule(lists_in_flight: int, loss: float, disorder: float) -> None:
    for seed in range(CASES // len(WORLDS)):
        check(seed, lists_in_flight=lists_in_flight, loss=loss, disorder=disorder)


# Rules that look right. Each must break a promise in some schedule, else the test above proves nothing.


def last_received(shown: list[Shown]) -> tuple[Table, str]:
    """Whatever came last counts, lists as a whole."""
    table: dict[Key, State] = {}
    at = ""
    for one in shown:
        if one.listed is not None:
            table, at = dict(one.listed), max(at, one.listed_at, key=order)
        elif one.event is not None:
            apply(table, *one.event)
    return table, at


def by_object_version(shown: list[Shown]) -> tuple[Table, str]:
    """Per object the higher version wins; tombstones are forgotten after six steps."""
    table: dict[Key, State] = {}
    tombstones: dict[Key, tuple[str, int]] = {}
    at = ""
    for step, one in enumerate(shown):
        tombstones = {key: (v, since) for key, (v, since) in tombstones.items() if step - since < 6}
        if one.event is not None:
            key, event = one.event
            if key in table and not newer(event.version, table[key].version):
                continue
            apply(table, key, event)
            if event.deleted:
                tombstones[key] = (event.version, step)
        elif one.listed is not None:
            at = max(at, one.listed_at, key=order)
            for key, state in one.listed.items():
                known = table[key].version if key in table else tombstones.get(key, ("", 0))[0]
                if newer(state.version, known):
                    table[key] = state
            for key in [k for k in table if k not in one.listed and not newer(table[k].version, one.listed_at)]:
                del table[key]
    return table, at


def by_name(shown: list[Shown]) -> tuple[Table, str]:
    """Outer join of list and events by name: the newest event of a name, if there is one, hides the list."""
    listed: Table = {}
    at = ""
    streamed: dict[Key, Event] = {}
    for one in shown:
        if one.listed is not None and not newer(at, one.listed_at):
            listed, at = one.listed, one.listed_at
        elif one.event is not None:
            key, event = one.event
            if key not in streamed or newer(event.version, streamed[key].version):
                streamed[key] = event
    table = dict(listed)
    for key, event in streamed.items():
        if key not in listed or event.deleted or newer(event.version, listed[key].version):
            apply(table, key, event)
    return table, at


def apply(table: dict[Key, State], key: Key, event: Event) -> None:
    if event.deleted:
        table.pop(key, None)
    else:
        table[key] = State(event.uid, event.version)


@pytest.mark.parametrize("rule", [last_received, by_object_version, by_name])
def test_generated_schedules_catch_rules_that_are_wrong(rule: Callable[[list[Shown]], tuple[Table, str]]) -> None:
    for seed in range(2_000):
        truth, shown, _ = generate(seed, lists_in_flight=2, loss=0.1)
        table, at = rule(shown)
        if broken(truth, shown, table, at):
            return
    pytest.fail(f"{rule.__name__} broke no promise: the schedules prove nothing")


# Single schedules, by hand.


def scope_of(listed: Table, at: str, *events: tuple[Key, Event]) -> Scope:
    scope = Scope()
    scope.install(listed, at)
    for one in events:
        scope.see(*one)
    return scope


def test_deletion_seen_while_a_list_is_on_its_way_is_not_undone_by_it() -> None:
    scope = scope_of({}, "90", (X, Event("u", "95", False)), (X, Event("u", "105", True)))
    scope.install({X: State("u", "95")}, "100")
    assert scope.now(X) is None


def test_addition_missed_after_a_seen_deletion_comes_with_the_list() -> None:
    scope = scope_of({X: State("u", "80")}, "90", (X, Event("u", "105", True)))
    scope.install({X: State("u2", "110")}, "120")
    assert scope.now(X) == State("u2", "110")


def test_missed_delete_is_dropped_after_next_list() -> None:
    scope = scope_of({X: State("u", "80")}, "85", (X, Event("u", "90", False)))
    scope.install({}, "100")
    assert scope.now(X) is None


def test_recreated_object_is_another_one_in_an_older_list() -> None:
    scope = scope_of({}, "50", (X, Event("u2", "107", False)))
    scope.install({X: State("u1", "60")}, "100")
    assert scope.now(X) == State("u2", "107")


def test_late_duplicate_deletion_of_the_object_before_does_not_hide_its_successor() -> None:
    scope = scope_of({}, "50", (X, Event("u2", "107", False)), (X, Event("u1", "105", True)))
    assert scope.now(X) == State("u2", "107")


def test_slow_older_list_is_refused() -> None:
    scope = scope_of({X: State("u", "110")}, "120")
    assert scope.install({}, "100") is None
    assert scope.listed_at == "120"


def test_list_at_the_installed_version_verifies_it_again() -> None:
    scope = scope_of({X: State("u", "110")}, "120")
    assert scope.install({X: State("u", "110")}, "120") is not None


def test_event_at_the_lists_own_version_is_spent() -> None:
    scope = scope_of({X: State("u", "100")}, "100")
    assert not scope.see(X, Event("u", "100", True))
    assert scope.now(X) == State("u", "100")


@pytest.mark.parametrize(
    ("older", "later"),
    [("9007199254740992", "9007199254740993"), ("99", "100"), ("9" * 38, "1" + "0" * 38), ("", "1")],
)
def test_versions_compare_as_integers_of_any_size(older: str, later: str) -> None:
    scope = scope_of({X: State("u", older)}, older)
    assert scope.see(X, Event("u", later, False))
    assert not scope.see(X, Event("u", older, True))
    assert scope.now(X) == State("u", later)


def test_gap_that_is_told_late_does_not_take_back_what_is_known_to_be_missing() -> None:
    scope = Scope(listed_at="5", window_start="9", window_end="12")
    scope.gap("7")
    assert (scope.window_start, scope.window_end) == ("9", "12")


def test_gap_is_told_until_a_list_closes_it() -> None:
    scope = scope_of({}, "100")
    scope.gap("100")
    scope.bookmark("130")
    assert scope.contiguous
    assert scope.complete_at == "130"
    scope.gap("150")
    assert not scope.contiguous
    assert scope.complete_at == "100"
    scope.install({}, "150")
    assert scope.contiguous


# Folding.


@given(st.integers(0, 10**9), st.sampled_from([0.0, 0.2]))
@settings(max_examples=300, deadline=None)
def test_folding_changes_no_row_and_no_prediction(seed: int, loss: float) -> None:
    _, shown, _ = generate(seed, lists_in_flight=1, loss=loss)
    plain, folding, rng = Scope(), Scope(), random.Random(seed)
    for one in shown:
        if one.event is not None:
            if newer(one.event[1].version, folding.folded_to):  # what is later than folded events came in order
                assert folding.see(*one.event) == plain.see(*one.event)
        elif not newer(folding.folded_to, one.listed_at):
            assert one.listed is not None
            expected, found = plain.install(one.listed, one.listed_at), folding.install(one.listed, one.listed_at)
            assert (expected is None) == (found is None)
            if expected is not None and found is not None:
                assert {key: expected.of(key) for key in KEYS} == {key: found.of(key) for key in KEYS}
        if rng.random() < 0.3 and plain.listed_at:
            left = folding.fold(rng.choice([event.version for _, event in _unspent(folding)] or [folding.listed_at]))
            assert left == len(_unspent(folding))
        assert merge.table(folding) == merge.table(plain)
        assert folding.complete_at == plain.complete_at


def _unspent(scope: Scope) -> list[tuple[Key, Event]]:
    return [(key, event) for key, seen in scope.events.items() for event in seen]


def test_list_that_is_older_than_what_is_folded_is_refused() -> None:
    scope = scope_of({X: State("u", "90")}, "100", (X, Event("u", "105", True)), (("a", "y"), Event("v", "106", False)))
    assert scope.fold("105") == 1
    assert scope.install({X: State("u", "90")}, "103") is None
    assert scope.now(X) is None
    assert not scope.see(X, Event("u", "104", False))
    assert scope.install({}, "105") is not None


@given(st.integers(0, 10**9), st.sampled_from([0.0, 0.2]))
@settings(max_examples=300, deadline=None)
def test_prediction_equals_the_state_replayed_to_the_lists_version(seed: int, loss: float) -> None:
    _, shown, _ = generate(seed, lists_in_flight=1, loss=loss)
    scope, seen = Scope(), list[tuple[Key, Event]]()
    before: Table = {}
    for one in shown:
        if one.event is not None:
            if scope.see(*one.event):
                seen.append(one.event)
            continue
        assert one.listed is not None
        prediction = scope.install(one.listed, one.listed_at)
        if prediction is not None:
            expected = dict(before)
            for key, event in seen:
                if not newer(event.version, one.listed_at):
                    apply(expected, key, event)
            assert {k: s for k in KEYS if (s := prediction.of(k)) is not None} == expected
            before = one.listed
            seen = [(k, e) for k, e in seen if newer(e.version, one.listed_at)]
