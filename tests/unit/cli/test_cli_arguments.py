"""What people type after ``krm``, read or refused."""

from __future__ import annotations

from typing import Any

import pytest

from krm import resources
from krm.cli import choices
from krm.cli.reading import asking, conditions, query, targets
from krm.cli.reading.targets import Target
from krm.errors import ConfigError

PODS, SERVICES = resources.RESOURCES["pods"], resources.RESOURCES["services"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pods"], [Target(resource=PODS)]),
        (["PO,svc,Pod"], [Target(resource=PODS), Target(resource=SERVICES)]),
        (["pod", "a", "b", "a"], [Target(resource=PODS, names=("a", "b"))]),
        (
            ["po/a", "svc/b", "pods/c"],
            [Target(resource=PODS, names=("a", "c")), Target(resource=SERVICES, names=("b",))],
        ),
    ],
)
def test_targets_as_kubectl_takes_them(words: list[str], expected: list[Target]) -> None:
    assert targets.parse(words) == expected


@pytest.mark.parametrize("words", [["nope"], ["pods", ""], ["po/a", "b"], ["po/"], ["/a"], ["po/a/b"], ["pods,"], [""]])
def test_other_targets_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        targets.parse(words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status.phase=Running", {"path": "status.phase", "eq": "Running"}),
        ("status.phase == Running", {"path": "status.phase", "eq": "Running"}),
        ("status.phase != Running", {"path": "status.phase", "ne": "Running"}),
        ("spec.replicas=3", {"path": "spec.replicas", "in": [3, "3"]}),
        ("spec.replicas!=3", {"path": "spec.replicas", "notIn": [3, "3"]}),
        ("spec.x=true", {"path": "spec.x", "in": [True, "true"]}),
        ("spec.x=null", {"path": "spec.x", "in": [None, "null"]}),
        ('spec.x="3"', {"path": "spec.x", "eq": "3"}),
        ("spec.x=", {"path": "spec.x", "eq": ""}),
        ('spec.x={"a": 1}', {"path": "spec.x", "eq": {"a": 1}}),
        ("requests.cpu>500m", {"path": "requests.cpu", "gt": "500m"}),
        ("requests.cpu >= 2", {"path": "requests.cpu", "gte": "2"}),
        ("requests.cpu<2", {"path": "requests.cpu", "lt": "2"}),
        ("requests.cpu<=2", {"path": "requests.cpu", "lte": "2"}),
        ("metadata.name~^web-[0-9]+$", {"path": "metadata.name", "matches": "^web-[0-9]+$"}),
        ("spec.containers[*].image*=nginx", {"path": "spec.containers[*].image", "contains": "nginx"}),
        ("metadata.labels['a=b/c']=x=y", {"path": "metadata.labels['a=b/c']", "eq": "x=y"}),
        ('metadata.labels["a]~b"]', {"path": 'metadata.labels["a]~b"]', "exists": True}),
        ("!spec.nodeName", {"path": "spec.nodeName", "exists": False}),
        ('{"path": "a", "eq": 1}', {"path": "a", "eq": 1}),
        ("status.x=NaN", {"path": "status.x", "eq": "NaN"}),
    ],
)
def test_conditions(text: str, expected: dict[str, Any]) -> None:
    assert conditions.where([text]) == expected


def test_several_conditions_must_all_hold() -> None:
    assert conditions.where(["a=b", "c"]) == {"and": [{"path": "a", "eq": "b"}, {"path": "c", "exists": True}]}
    assert conditions.where([]) is None


@pytest.mark.parametrize("text", ["", " ", "!", "=3", "!a=b", "a<", "a~", "{", '{"a": NaN}', "!=", "{" * 100_000])
def test_other_conditions_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--where"):
        conditions.where([text])


@pytest.mark.parametrize(
    ("text", "path", "direction"),
    [
        ("metadata.name", "metadata.name", "ASC"),
        ("-metadata.name", "metadata.name", "DESC"),
        (".metadata.name", "metadata.name", "ASC"),
        ("{.metadata.name}", "metadata.name", "ASC"),
    ],
)
def test_orders(text: str, path: str, direction: str) -> None:
    assert conditions.order([text]) == [{"path": path, "direction": direction}]


@pytest.mark.parametrize("text", ["", "-", "{}", "."])
def test_an_order_needs_a_path(text: str) -> None:
    with pytest.raises(ConfigError, match="--sort-by"):
        conditions.order([text])


def test_values_of_variables_are_json_where_they_parse() -> None:
    given = ["a=1", "b=[true, null]", "c=text", 'd="1"', "e=", "f=a=b", "g=NaN", "h=" + "[" * 100_000]
    expected = {"a": 1, "b": [True, None], "c": "text", "d": "1", "e": "", "f": "a=b", "g": "NaN", "h": "[" * 100_000}
    assert query.parse_variables(given) == expected


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a b=1"], ["a=1", "a=2"]])
def test_other_variables_are_refused(pairs: list[str]) -> None:
    with pytest.raises(ConfigError, match="--var"):
        query.parse_variables(pairs)


@pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("1.5", 1.5), ("500ms", 0.5), ("1m", 60), ("0", 86_400)])
def test_timeouts(text: str, seconds: float) -> None:
    assert asking.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "5 parsecs", "1e400", "nan", "inf", "9" * 400])
def test_other_timeouts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--timeout"):
        asking.seconds(text)


@pytest.mark.parametrize(
    ("incomplete", "offered"),
    [("p", ["pods", "persistentvolumeclaims"]), ("pods,no", ["pods,nodes"]), ("x", [])],
)
def test_kinds_are_completed(incomplete: str, offered: list[str]) -> None:
    assert choices.complete_kinds(incomplete) == offered


@pytest.mark.parametrize("state", list(asking._WORDS))
def test_every_state_has_words(state: str) -> None:
    assert asking.in_words({"state": state})
    assert asking.in_words({"state": state, "reason": "because"}).endswith("(because)")


def test_a_state_of_a_newer_server_is_told_by_its_reason() -> None:
    assert asking.in_words({"state": "NEW", "reason": "because"}) == "because"
    assert asking.in_words({"state": "NEW"}) == ""


def test_an_answer_that_is_not_current_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    asking.warn_unless_synced({"state": "SYNCED", "resource": "pods"})
    assert capsys.readouterr() == ("", "")
    asking.warn_unless_synced({"state": "STALE", "resource": "pods", "verifiedAgeSeconds": 95.5})
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "krm: warning: pods is STALE, verified 95s ago: old: neither watched nor verified in time\n"
