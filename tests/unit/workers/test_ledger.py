"""The books against the rule: whatever the interleaving of events, lists, slices and restarts."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from krm import merge
from krm.merge import Event, Key, State
from krm.objects.versions import newer
from krm.store.rows import DIGEST_MODULUS, digest
from krm.store.writing import Operation
from krm.workers.ledger import AUDITS_MAX, Drift, DriftKind, Ledger, MissingRecord
from tests.unit.histories import KEYS, Shown, Truth, generate
from tests.unit.workers.aggregation import (
    EPOCH,
    NOW_MS,
    SCOPE,
    Aggregation,
    installed,
    ready,
    record_of,
)

CASES = int(os.environ.get("KRM_TEST_CASES", "20000")) // 50
X: Key = ("a", "x")
Y: Key = ("a", "y")


def play(shown: list[Shown], rng: random.Random, *, restarts: float, first_list_late: bool) -> Aggregation:
    aggregation = Aggregation(ledger=ready())
    if first_list_late:
        shown = [*shown[1:4], shown[0], *shown[4:]]
    for one in shown:
        if one.event is not None:
            aggregation.event(*one.event)
        else:
            assert one.listed is not None
            size, full, partial = rng.randint(1, 3), rng.random() < 0.3, rng.random() < 0.6
            aggregation.take(one.listed, one.listed_at, size, full=full, partial=partial)
        while rng.random() < 0.4:
            aggregation.step()
        if rng.random() < restarts:
            aggregation.restart()
    aggregation.finish()
    return aggregation


def pure(shown: list[Shown]) -> dict[Key, State]:
    """The rule, applied to everything at once: the newest list and the newest event of each key."""
    listed: Mapping[Key, State] = {}
    at = ""
    last: dict[Key, Event] = {}
    for one in shown:
        if one.event is not None:
            key, event = one.event
            if key not in last or newer(event.version, last[key].version):
                last[key] = event
        elif not newer(at, one.listed_at):
            listed, at = one.listed or {}, one.listed_at
    found = {key: merge.merged(listed, at, last, key) for key in KEYS}
    return {key: state for key, state in found.items() if state is not None}


def check(seed: int, *, loss: float, restarts: float, first_list_late: bool = False) -> Aggregation:
    _, shown, _ = generate(seed, lists_in_flight=2, loss=loss, steps=40)
    played = play(shown, random.Random(seed), restarts=restarts, first_list_late=first_list_late)
    published = played.ledger.book(SCOPE).published
    assert published == pure(shown), f"seed {seed}"
    assert played.table.rows == dict(published.values()), f"seed {seed}"
    played.table.check()
    return played


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("restarts", [0.0, 0.15], ids=["no-restart", "restarts"])
@pytest.mark.parametrize("first_list_late", [False, True], ids=["list-first", "events-first"])
def test_table_equals_the_rule_applied_to_everything(loss: float, restarts: float, first_list_late: bool) -> None:
    for seed in range(CASES):
        check(seed, loss=loss, restarts=restarts, first_list_late=first_list_late)


@given(st.integers(0, 2**40), st.floats(0, 0.5), st.sampled_from([0.0, 0.3]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_table_equals_the_rule_for_any_seed(seed: int, loss: float, restarts: float, first_list_late: bool) -> None:
    check(seed, loss=loss, restarts=restarts, first_list_late=first_list_late)


@pytest.mark.parametrize("events_max", [4, 12])
def test_books_stay_bounded_while_lists_fail_and_the_table_is_the_same(events_max: int) -> None:
    folded = 0
    for seed in range(CASES):
        _, shown, _ = generate(seed, lists_in_flight=0, loss=0.2, steps=120)
        played = Aggregation(ledger=Ledger(events_max=events_max), events_max=events_max)
        played.ledger.book(SCOPE).epoch = EPOCH
        for number, one in enumerate(shown):
            if one.event is not None:
                played.event(*one.event)
            elif number == 0:  # no other list comes
                assert one.listed is not None
                played.take(one.listed, one.listed_at, 3, full=True)
                played.finish()
            book = played.ledger.book(SCOPE)
            assert sum(len(seen) for seen in book.merged.events.values()) <= events_max
            folded += bool(book.merged.folded_to)
        in_order = [
            one
            for number, one in enumerate(shown)
            if one.event is None or one.event not in [each.event for each in shown[:number]]
        ]
        assert played.ledger.book(SCOPE).published == pure([in_order[0], *[s for s in in_order if s.event]])
    assert folded > CASES


# The audit.


def differences(shown: list[Shown]) -> list[tuple[DriftKind, Key, str]]:
    """What lists told that all events, late ones included, had not: replayed from each list to the next."""
    delivered = [one.event for one in shown if one.event is not None]
    found: list[tuple[DriftKind, Key, str]] = []
    before: Mapping[Key, State] | None = None
    since = ""
    for one in shown:
        if one.event is not None or newer(since, one.listed_at):
            continue
        assert one.listed is not None
        if before is not None:
            predicted = dict(before)
            between = [(k, e) for k, e in delivered if newer(e.version, since) and not newer(e.version, one.listed_at)]
            for key, event in sorted(between, key=lambda pair: int(pair[1].version)):
                if event.deleted:
                    predicted.pop(key, None)
                else:
                    predicted[key] = State(event.uid, event.version)
            for key in predicted.keys() | one.listed.keys():
                had, has = predicted.get(key), one.listed.get(key)
                if had == has:
                    continue
                if has is None and had is not None:
                    found.append((DriftKind.MISSED_DELETED, key, had.uid))
                elif has is not None:
                    kind = DriftKind.MISSED_ADDED if had is None else DriftKind.MISSED_MODIFIED
                    found.append((kind, key, has.uid))
        before, since = one.listed, one.listed_at
    return found


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4])
def test_each_silent_loss_is_reported_exactly_once_and_nothing_else_is(loss: float) -> None:
    reported = 0
    for seed in range(CASES):
        _, shown, _ = generate(seed, lists_in_flight=2, loss=loss, steps=40)
        if sum(one.listed is not None for one in shown) > AUDITS_MAX:
            continue  # the stream may be too far behind: see below
        played = Aggregation(ledger=ready())
        rng = random.Random(seed)
        for one in shown:
            if one.event is not None:
                played.event(*one.event)
            else:
                assert one.listed is not None
                played.take(one.listed, one.listed_at, rng.randint(1, 3), full=True, partial=rng.random() < 0.5)
            while rng.random() < 0.4:
                played.step()
        played.finish()
        found = played.drift + played.ledger.drifted(SCOPE)
        assert sorted((d.kind, d.key, d.uid) for d in found) == sorted(differences(shown)), f"seed {seed}"
        reported += len(found)
    assert (reported > 0) == (loss > 0)


def test_no_restart_invents_a_loss() -> None:
    for seed in range(CASES):
        played = check(seed, loss=0.0, restarts=0.2)
        assert not played.drift + played.ledger.drifted(SCOPE), f"seed {seed}"


def listed(ledger: Ledger, rows: Mapping[Key, State], at: str) -> list[Operation]:
    records = {key: record_of(*state) for key, state in rows.items()}
    touched = ledger.touched(SCOPE, rows, EPOCH)
    prediction = ledger.install(SCOPE, rows, at, EPOCH, patience_until_ms=100)
    assert prediction is not None
    return ledger.reconcile(SCOPE, iter(touched), records, prediction, 1_000)


def took(ledger: Ledger, key: Key, uid: str, version: str, *, deleted: bool = False) -> list[Operation]:
    return ledger.event(SCOPE, key, Event(uid, version, deleted), record_of(uid, version))


def lines(operations: list[Operation]) -> list[tuple[str, str, str, bytes]]:
    return [(one.kind, one.uid, one.version, one.record) for one in operations]


def test_difference_is_kept_open_until_the_stream_has_passed_the_list() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    ledger.book(SCOPE).merged.bookmark("10")
    listed(ledger, {X: State("u", "15")}, "20")
    assert ledger.book(SCOPE).unexplained
    assert ledger.drifted(SCOPE, NOW_MS) == []
    took(ledger, Y, "v", "21")
    assert ledger.drifted(SCOPE, NOW_MS) == [Drift(DriftKind.MISSED_MODIFIED, X, "u", "15")]
    assert ledger.drifted(SCOPE) == []


def test_event_that_is_late_but_in_time_explains_a_difference() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    listed(ledger, {X: State("u", "15")}, "20")
    assert took(ledger, X, "u", "15") == []
    assert ledger.drifted(SCOPE) == []


def test_difference_counts_as_missed_when_patience_ends() -> None:
    ledger = ready()
    listed(ledger, {}, "10")
    listed(ledger, {X: State("u", "15")}, "20")
    assert ledger.drifted(SCOPE, 99) == []
    assert ledger.drifted(SCOPE, 100) == [Drift(DriftKind.MISSED_ADDED, X, "u", "15")]


def test_stream_that_is_late_but_moves_is_waited_for() -> None:
    ledger = ready()
    listed(ledger, {}, "10")
    listed(ledger, {X: State("u", "15")}, "20")
    ledger.book(SCOPE).moved_ms = 995
    assert ledger.drifted(SCOPE, 1_000, 10) == []
    assert ledger.drifted(SCOPE, 1_005, 10) == [Drift(DriftKind.MISSED_ADDED, X, "u", "15")]


def test_open_difference_survives_the_next_list() -> None:
    ledger = ready()
    for at, rows in (("10", {X: State("u", "5")}), ("20", {}), ("30", {})):
        listed(ledger, rows, at)
    assert ledger.drifted(SCOPE, NOW_MS) == []
    assert ledger.drifted(SCOPE) == [Drift(DriftKind.MISSED_DELETED, X, "u", "5")]


def test_differences_of_a_stream_that_is_far_behind_are_reported_rather_than_kept() -> None:
    ledger = ready()
    listed(ledger, {}, "10")
    for number in range(20, 23 + AUDITS_MAX):
        listed(ledger, {X: State("u", f"{number}5")}, f"{number}9")
    assert len(ledger.drifted(SCOPE, NOW_MS)) == 3
    assert len(ledger.drifted(SCOPE)) == AUDITS_MAX


# Single steps, by hand.


def test_event_makes_an_addition_a_change_and_a_deletion() -> None:
    ledger = ready()
    assert listed(ledger, {}, "10") == []
    made = [
        took(ledger, X, "u", "11"),
        took(ledger, X, "u", "12"),
        took(ledger, X, "u", "12"),
        took(ledger, X, "u", "13", deleted=True),
        took(ledger, X, "u", "14", deleted=True),
    ]
    assert [lines(one) for one in made] == [
        [("ADDED", "u", "11", b"u@11")],
        [("MODIFIED", "u", "12", b"u@12")],
        [],
        [("DELETED", "u", "13", b"u@13")],
        [],
    ]


def test_other_uid_is_one_object_gone_and_another_come() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    assert lines(took(ledger, X, "v", "11")) == [("DELETED", "u", "11", b""), ("ADDED", "v", "11", b"v@11")]


def test_end_of_an_object_that_was_never_seen_does_not_stand_for_the_end_of_another() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    assert lines(took(ledger, X, "v", "12", deleted=True)) == [("DELETED", "u", "12", b"")]


def test_object_missing_in_a_list_ends_at_the_version_of_the_list() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    assert lines(listed(ledger, {}, "20")) == [("DELETED", "u", "20", b"")]


def test_no_key_is_passed_over_between_slices() -> None:
    ledger = ready()
    rows = {("n", str(number)): State(f"u{number}", "5") for number in range(10)}
    records = {key: record_of(*state) for key, state in rows.items()}
    prediction = ledger.install(SCOPE, rows, "10", EPOCH)
    keys = iter(rows)
    for _ in range(5):
        ledger.reconcile(SCOPE, keys, records, prediction, 2)
    assert ledger.book(SCOPE).published == rows


def test_list_without_a_record_that_the_table_lacks_is_not_installable() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    assert not ledger.lacks(SCOPE, X, State("u", "5"), "20")
    assert ledger.lacks(SCOPE, X, State("u", "15"), "20")
    took(ledger, X, "u", "25")
    assert not ledger.lacks(SCOPE, X, State("u", "15"), "20")
    rows = {Y: State("v", "15")}
    prediction = ledger.install(SCOPE, rows, "30", EPOCH)
    with pytest.raises(MissingRecord, match="a/y"):
        ledger.reconcile(SCOPE, iter(rows), {}, prediction, 10)


def test_older_list_is_refused() -> None:
    ledger = ready()
    listed(ledger, {}, "20")
    assert ledger.install(SCOPE, {X: State("u", "5")}, "10", EPOCH) is None


def test_record_of_an_event_before_the_first_list_is_the_one_published() -> None:
    ledger = ready()
    took(ledger, X, "u", "25")
    assert lines(listed(ledger, {X: State("u", "15")}, "20")) == [("ADDED", "u", "25", b"u@25")]


def test_row_of_another_history_is_written_anew_even_at_the_same_version() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5"), Y: State("v", "6")}, "10")
    prediction = ledger.install(SCOPE, {X: State("u", "5")}, "7", "uid/1")
    made = ledger.reconcile(SCOPE, iter([X, Y]), {X: b"another"}, prediction, 10)
    assert lines(made) == [("MODIFIED", "u", "5", b"another"), ("DELETED", "v", "7", b"")]
    assert ledger.drifted(SCOPE) == []


def test_events_that_come_again_after_a_restart_take_no_row_back() -> None:
    ledger = Ledger()
    ledger.load(SCOPE, X, State("u", "15"))  # written, but the cursor that was stored is behind it
    ledger.take_over(installed("10", "11"))
    assert [took(ledger, X, "u", version) for version in ("12", "13", "15")] == [[], [], []]
    assert lines(took(ledger, X, "u", "16")) == [("MODIFIED", "u", "16", b"u@16")]


def test_events_that_come_again_after_a_restart_are_part_of_what_is_predicted() -> None:
    ledger = Ledger()
    ledger.load(SCOPE, X, State("u", "25"))
    ledger.take_over(installed("10", "11"))
    listed(ledger, {X: State("u", "9")}, "12")
    for version in ("13", "15", "25"):
        took(ledger, X, "u", version)
    listed(ledger, {X: State("u", "15")}, "20")
    assert ledger.drifted(SCOPE) == []


def test_scope_has_no_head_before_its_list_is_in_the_table() -> None:
    ledger = ready()
    listed(ledger, {}, "10")
    assert ledger.scope_head(SCOPE) is None


@pytest.mark.parametrize(
    ("step", "contiguous"),
    [
        pytest.param(lambda scope: None, False, id="no-stream-yet"),
        pytest.param(lambda scope: scope.gap("10"), True, id="stream-from-the-list"),
        pytest.param(lambda scope: scope.gap("11"), False, id="stream-from-behind-it"),
    ],
)
def test_scope_is_contiguous_where_list_and_stream_meet(step: Callable[[merge.Scope], None], contiguous: bool) -> None:
    ledger = ready()
    listed(ledger, {}, "10")
    book = ledger.book(SCOPE)
    book.installed = installed("10")
    step(book.merged)
    head = ledger.scope_head(SCOPE)
    assert head is not None
    assert head.contiguous is contiguous


def test_a_gap_takes_nothing_back_of_what_the_table_had_before_it() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    book = ledger.book(SCOPE)
    book.installed = installed("10")
    book.merged.gap("10")

    def shown(books: Ledger) -> tuple[bool, str]:
        head = books.scope_head(SCOPE)
        assert head is not None
        return head.contiguous, head.complete_at

    ledger.event(SCOPE, X, Event("u", "30", deleted=False), b"r")
    assert shown(ledger) == (True, "30")
    book.merged.gap("40")
    assert shown(ledger) == (False, "30")
    ledger.event(SCOPE, X, Event("u", "45", deleted=False), b"r")
    assert shown(ledger) == (False, "30")
    restarted, stored = Ledger(), ledger.scope_head(SCOPE)
    assert stored is not None
    restarted.take_over(stored)
    assert shown(restarted) == (False, "30"), "not after a restart either"
    listed(ledger, {X: State("u", "45")}, "40")
    book.installed = installed("40")
    assert shown(ledger) == (True, "45")


def test_scope_whose_next_list_is_of_another_history_is_not_contiguous() -> None:
    ledger = ready()
    listed(ledger, {}, "10")
    book = ledger.book(SCOPE)
    book.installed = installed("10")
    book.merged.gap("10")
    ledger.install(SCOPE, {}, "5", "uid/1")
    head = ledger.scope_head(SCOPE)
    assert head is not None
    assert (head.contiguous, head.window_start, head.window_end) == (False, "", "")


def test_what_was_complete_in_another_history_counts_for_nothing() -> None:
    ledger = ready()
    stored = msgspec.structs.replace(installed("10", "17", "10"), contiguous=True)
    ledger.take_over(stored)
    ledger.install(SCOPE, {}, "5", "uid/1")
    ledger.book(SCOPE).installed = msgspec.structs.replace(installed("5"), epoch="uid/1")
    ledger.book(SCOPE).merged.gap("9")
    head = ledger.scope_head(SCOPE)
    assert head is not None
    assert (stored.complete_at, head.complete_at) == ("17", "5")


def test_truth_is_what_the_generator_says() -> None:
    truth = Truth()
    truth.write(X, "u", 5)
    truth.write(X, "u", 7, deleted=True)
    assert (truth.at("6"), truth.at("7")) == ({X: State("u", "5")}, {})


def test_key_that_an_event_changed_while_the_list_was_read_is_looked_at_again() -> None:
    ledger, key = Ledger(), ("n", "p")
    listed(ledger, {key: State("u", "5")}, "10")
    rows = {key: State("u", "5")}  # read now: nothing differs
    took(ledger, key, "u", "15")
    assert ledger.touched(SCOPE, rows, EPOCH, []) == [key]
    prediction = ledger.install(SCOPE, rows, "20", EPOCH, patience_until_ms=100)
    made = ledger.reconcile(SCOPE, iter([key]), {key: record_of("u", "5")}, prediction, 10)
    assert [(one.kind, one.version) for one in made] == [("MODIFIED", "5")]  # the list decides, as always


def test_keys_that_nothing_told_of_are_not_looked_at() -> None:
    ledger = Ledger()
    rows = {("n", str(number)): State(f"u{number}", "5") for number in range(5)}
    listed(ledger, rows, "10")
    took(ledger, ("n", "1"), "u1", "11")
    took(ledger, ("n", "9"), "u9", "12")
    assert set(ledger.touched(SCOPE, rows, EPOCH, [("n", "3")])) == {("n", "1"), ("n", "3"), ("n", "9")}
    assert set(ledger.touched(SCOPE, {}, EPOCH, [])) == {*rows, ("n", "9")}
    assert set(ledger.touched(SCOPE, rows, "another", [])) == {*rows, ("n", "9")}


def test_stream_of_another_history_has_yet_to_begin() -> None:
    ledger = ready()
    listed(ledger, {X: State("u", "5")}, "10")
    book = ledger.book(SCOPE)
    book.merged.gap("10")
    book.installed = installed("10")
    head = ledger.scope_head(SCOPE)
    assert head is not None
    assert head.contiguous
    ledger.install(SCOPE, {}, "8", "uid/1")
    book.installed = msgspec.structs.replace(installed("8"), epoch="uid/1")
    head = ledger.scope_head(SCOPE)
    assert head is not None
    assert (head.contiguous, head.complete_at) == (False, "8")
    book.merged.gap("8")
    head = ledger.scope_head(SCOPE)
    assert head is not None
    assert head.contiguous


def test_what_was_read_ahead_of_the_stream_hides_nothing_that_the_stream_brings_yet() -> None:
    ledger = Ledger(events_max=4)
    ledger.book(SCOPE).epoch = EPOCH
    listed(ledger, {}, "10")
    took(ledger, Y, "v", "11")
    ledger.told(SCOPE, X, Event("u", "50", False), record_of("u", "50"))
    for version in ("12", "13", "14", "15"):
        took(ledger, Y, "v", version)  # old ones are folded meanwhile
    assert ledger.book(SCOPE).merged.folded_to
    assert lines(took(ledger, ("a", "z"), "w", "16")) == [("ADDED", "w", "16", b"w@16")]


@pytest.mark.parametrize(("start", "is_taken"), [("10", True), ("14", False)], ids=["log-is-whole", "log-begins-later"])
def test_list_older_than_rows_whose_deletions_nobody_remembers_is_refused(start: str, is_taken: bool) -> None:
    ledger = Ledger()
    ledger.take_over(installed("10", "15", "10", complete_to="15"))  # X was deleted at 14
    ledger.log_begins(SCOPE, start)
    if is_taken:
        ledger.replay(SCOPE, X, Event("u", "14", deleted=True))
    prediction = ledger.install(SCOPE, {X: State("u", "5")}, "12", EPOCH)
    assert (prediction is not None) is is_taken
    assert ledger.book(SCOPE).merged.now(X) is None
    assert ledger.install(SCOPE, {}, "15", EPOCH) is not None


# Lists that are told by what differs.


def based(ledger: Ledger, rows: Mapping[Key, State], at: str) -> list[Operation]:
    """Install a list by which the next one may tell what differs."""
    records = {key: record_of(*state) for key, state in rows.items()}
    touched = ledger.touched(SCOPE, rows, EPOCH)
    total = sum(digest(*state) for state in rows.values()) % DIGEST_MODULUS
    prediction = ledger.install(SCOPE, rows, at, EPOCH, listing=at, listed_digest=total)
    return ledger.reconcile(SCOPE, iter(touched), records, prediction, 1_000)


def test_object_that_was_left_out_for_its_uid_is_looked_at_again_though_no_list_names_it() -> None:
    ledger = ready()
    based(ledger, {X: State("u", "5")}, "10")
    both = {X: State("u", "5"), Y: State("u", "6")}
    assert based(ledger, both, "20") == []  # no server gives one uid twice
    assert ledger.book(SCOPE).published == {X: State("u", "5")}
    left = {Y: State("u", "6")}
    keys = ledger.touched_since(SCOPE, left, [X])
    assert keys == [X, Y]  # what has gone comes first: its uid may be another's
    prediction = ledger.install(SCOPE, left, "30", EPOCH)
    ledger.reconcile(SCOPE, iter(keys), {Y: b"u@6"}, prediction, 1_000)
    assert ledger.book(SCOPE).published == left
    assert ledger.touched_since(SCOPE, left, []) == []


def test_list_is_a_base_as_long_as_the_books_hold_it_row_by_row() -> None:
    ledger = Ledger(events_max=4)
    ledger.book(SCOPE).epoch = EPOCH
    assert not ledger.is_base(SCOPE, "", EPOCH)
    based(ledger, {X: State("u", "5")}, "10")
    assert ledger.is_base(SCOPE, "10", EPOCH)
    assert not ledger.is_base(SCOPE, "9", EPOCH)
    assert not ledger.is_base(SCOPE, "10", "uid/1")
    for version in range(11, 16):
        took(ledger, X, "u", str(version))
    assert ledger.book(SCOPE).merged.folded_to
    assert not ledger.is_base(SCOPE, "10", EPOCH)  # events are folded into it


def test_rows_that_stand_in_for_a_list_are_no_base() -> None:
    ledger = Ledger()
    ledger.load(SCOPE, X, State("u", "5"))
    ledger.take_over(msgspec.structs.replace(installed("10"), listing="l"))
    assert not ledger.is_base(SCOPE, "l", EPOCH)
