"""Plain examples of questions and of refusals, each with its code."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from krm.errors import AnswerError, Code
from krm.query import arguments, cells, groups, lists, paths
from krm.resources import DEPLOYMENTS, NODES, PODS, RESOURCES, Resource
from krm.store.rows import Row
from krm.table.replica import Replica
from tests.samples import pod, replica, row


def names(filled: Replica, **asked: Any) -> list[str]:
    return [each.name for each in lists.run(filled, lists.parse(filled.resource, **asked)).rows]


def refused(code: Code, resource: Resource = PODS, **asked: Any) -> str:
    with pytest.raises(AnswerError) as caught:
        lists.parse(resource, **asked)
    assert caught.value.code is code
    return str(caught.value)


@pytest.fixture
def pods() -> Replica:
    return replica(
        [
            pod("a", labels={"app": "web", "tier": "x"}, node="n1", phase="Running"),
            pod("b", labels={"app": "web"}, node="n2", phase="Pending"),
            pod("c", "other", labels={"app": "db"}, node="n1", spec={"hostNetwork": True}),
            pod("d", "other"),
        ]
    )


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, -1, 2**31, 1e308, float("nan"), True, "5"])
def test_first_out_of_range_names_the_range(first: Any) -> None:
    assert "from 1 to 200000" in refused(Code.BAD_ARGUMENT, first=first)


@pytest.mark.parametrize("name", ["..", "a/b", "a\0", "a\nb", "*", "x" * 300, "A", "", "-a", "a..b", "ä"])
def test_names_that_no_object_has_are_refused(name: str) -> None:
    assert "NAME_INVALID" in refused(Code.BAD_ARGUMENT, name=name)
    assert "NAME_INVALID" in refused(Code.BAD_ARGUMENT, namespace=name)
    assert "NAME_INVALID" in refused(Code.BAD_ARGUMENT, namespaces=["ok", name])


def test_newline_at_the_end_of_a_name_is_refused() -> None:
    assert "NAME_INVALID" in refused(Code.BAD_ARGUMENT, name="a\n")


@pytest.mark.parametrize("text", ["a\0", "\ud800", "\u202e", "x" * 70_000])
def test_hostile_text_is_refused_everywhere(text: str) -> None:
    for asked in (
        {"label_selector": f"a={text}"},
        {"field_selector": f"metadata.name={text}"},
        {"where": {"path": "metadata.name", "eq": text}},
        {"where": {"path": "metadata.name", "in": [text]}},
        {"where": {"path": "metadata.name", "eq": {"k": [text]}}},
        {"order_by": [{"path": text}]},
        {"after": text},
    ):
        assert "ARGUMENT_INVALID" in refused(Code.BAD_ARGUMENT, **asked)


@pytest.mark.parametrize("selector", ["a==b,,c", "a in ()", "!", "=", "a=b=c", "a in (b", "x" * 60_000])
def test_malformed_label_selector_tells_the_position(selector: str) -> None:
    assert "position" in refused(Code.SELECTOR_INVALID, label_selector=selector)


@pytest.mark.parametrize("selector", ["spec", "=x", "a=b=c", r"metadata.name=\x"])
def test_malformed_field_selector(selector: str) -> None:
    refused(Code.SELECTOR_INVALID, field_selector=selector)


def test_field_selector_on_an_object_is_refused() -> None:
    assert "single value" in refused(Code.SELECTOR_INVALID, field_selector="spec.containers=x")


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("spec.nodename", "spec.nodeName"),
        ("phase", "status.phase"),
        ("spec.containers.image", "spec.containers[*].image"),
        ("request.cpu", "requests.cpu"),
        ("persistentVolumeClaims", "persistentVolumeClaims[*].name"),
        ("metadata.name[0]", "metadata.name"),
        ("xyzzy", "metadata"),  # nothing is like it
        ("xyzzy", "requests.cpu"),
    ],
)
def test_path_that_cannot_be_names_the_nearest(path: str, near: str) -> None:
    assert near in refused(Code.PATH_INVALID, where={"path": path, "exists": True})
    assert near in refused(Code.PATH_INVALID, order_by=[{"path": path}])
    assert near in refused(Code.PATH_INVALID, field_selector=f"{path}=x")


@pytest.mark.parametrize("path", ["", ".", "a b", "spec..nodeName", "spec.", "[*]", "spec[", "spec['a", "a" * 2_000])
def test_text_that_is_no_path(path: str) -> None:
    refused(Code.PATH_INVALID, where={"path": path, "exists": True})


@pytest.mark.parametrize(
    "spec",
    [
        {"path": "metadata.name"},
        {"eq": "x"},
        {"path": "metadata.name", "like": "x"},
        {"path": "metadata.name", "in": "x"},
        {"path": "metadata.name", "in": None},
        {"path": "metadata.name", "contains": 5},
        {"path": "metadata.name", "contains": None},
        {"path": "metadata.name", "exists": None},
        {"path": "metadata.name", "matches": "(a"},
        {"path": "metadata.name", "matches": r"(a)\1"},
        {"path": "metadata.name", "matches": "a" * 1_001},
        {"path": "metadata.name", "matches": "((a{100}){100}){100}"},
        {"and": {"path": "metadata.name", "eq": "x"}},
        {"not": None},
        {"some": {}},
        {"relation": "node"},
        {"relation": "nowhere", "some": {}},
        {"path": 5, "eq": 1},
        {"path": "metadata.name", "eq": float("nan")},
        {"or": [{"path": "metadata.name", "eq": "x"}] * 2_000},
    ],
)
def test_filters_that_mean_nothing_are_refused(spec: Mapping[str, Any]) -> None:
    refused(Code.BAD_ARGUMENT, where=spec)


def test_filter_nested_too_deep_is_refused() -> None:
    spec: dict[str, Any] = {"path": "metadata.name", "eq": "x"}
    for _ in range(200):
        spec = {"not": spec}
    refused(Code.BAD_ARGUMENT, where=spec)


def test_namespace_of_a_kind_without_one_is_refused() -> None:
    refused(Code.BAD_ARGUMENT, NODES, namespace="default")


@pytest.mark.parametrize("version", ["0", "01", "abc", "1.5", "1" * 200, "", "-1", "\u0661"])
def test_resource_versions_that_no_server_gives(version: str) -> None:
    with pytest.raises(AnswerError) as caught:
        arguments.version("minResourceVersion", version)
    assert caught.value.code is Code.RV_INVALID


@pytest.mark.parametrize("text", ["-1s", "5 parsecs", "", "5", "1e9h", "99999h"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(AnswerError, match="DURATION_INVALID") as caught:
        arguments.seconds("maxStaleness", text)
    assert caught.value.code is Code.BAD_ARGUMENT


# -- cursors ---------------------------------------------------------------------------------------------------


def test_pages_meet_without_gap_or_repetition(pods: Replica) -> None:
    seen: list[str] = []
    after = None
    for _ in range(3):
        page = lists.run(pods, lists.parse(PODS, first=2, after=after))
        seen += [each.name for each in page.rows]
        after = page.end_cursor
        if not page.has_next:
            break
    assert seen == ["a", "b", "c", "d"]
    assert page.total == 4


def test_cursor_holds_on_another_replica_and_for_another_page_size(pods: Replica) -> None:
    order = [{"path": "spec.nodeName", "direction": "DESC"}]
    cursor = lists.run(pods, lists.parse(PODS, first=2, order_by=order)).end_cursor
    other = replica([pod("b", node="n2"), pod("c", "other", node="n1"), pod("d", "other")])
    assert names(other, first=5, order_by=order, after=cursor) == ["c", "d"]


def test_cursor_of_another_question_is_refused(pods: Replica) -> None:
    cursor = lists.run(pods, lists.parse(PODS, first=2)).end_cursor
    for asked in (
        {"namespace": "default"},
        {"label_selector": "app"},
        {"field_selector": "spec.nodeName=n1"},
        {"order_by": [{"path": "metadata.name"}]},
        {"where": {"path": "spec.nodeName", "exists": True}},
        {"name": "a"},
    ):
        query = lists.parse(PODS, first=2, after=cursor, **asked)
        with pytest.raises(AnswerError) as caught:
            lists.run(pods, query)
        assert caught.value.code is Code.CURSOR_INVALID


@pytest.mark.parametrize("other", [{"path": "metadata.name"}, {"path": "spec.nodeName", "direction": "DESC"}])
def test_cursor_of_another_order_is_refused(pods: Replica, other: Mapping[str, str]) -> None:
    cursor = lists.run(pods, lists.parse(PODS, first=2, order_by=[{"path": "spec.nodeName"}])).end_cursor
    with pytest.raises(AnswerError) as caught:
        lists.run(pods, lists.parse(PODS, first=2, order_by=[other], after=cursor))
    assert caught.value.code is Code.CURSOR_INVALID


def test_cursor_of_another_kind_or_cluster_is_refused(pods: Replica) -> None:
    cursor = lists.run(pods, lists.parse(PODS, first=2)).end_cursor
    pods.cluster = "elsewhere"
    for filled in (pods, replica([], DEPLOYMENTS)):
        with pytest.raises(AnswerError) as caught:
            lists.run(filled, lists.parse(filled.resource, after=cursor))
        assert caught.value.code is Code.CURSOR_INVALID


@pytest.mark.parametrize("cursor", ["", "x", "====", "Zm9v", "é", "a b", "-" * 60])
def test_text_that_is_no_cursor(pods: Replica, cursor: str) -> None:
    with pytest.raises(AnswerError) as caught:
        lists.run(pods, lists.parse(PODS, after=cursor))
    assert caught.value.code is Code.CURSOR_INVALID


def test_every_changed_character_of_a_cursor_is_noticed(pods: Replica) -> None:
    cursor = lists.run(pods, lists.parse(PODS, first=1)).end_cursor
    assert cursor is not None
    for at, character in enumerate(cursor):
        changed = cursor[:at] + ("A" if character != "A" else "B") + cursor[at + 1 :]
        with pytest.raises(AnswerError) as caught:
            lists.run(pods, lists.parse(PODS, after=changed))
        assert caught.value.code is Code.CURSOR_INVALID
    assert base64.urlsafe_b64decode(cursor + "==")


def test_namespace_and_namespaces_mean_the_same_question(pods: Replica) -> None:
    cursor = lists.run(pods, lists.parse(PODS, namespace="default", first=1)).end_cursor
    assert names(pods, namespaces=["default"], after=cursor) == ["b"]


# -- answers ---------------------------------------------------------------------------------------------------


def test_totals_cover_all_pages(pods: Replica) -> None:
    page = lists.run(pods, lists.parse(PODS, first=1, order_by=[{"path": "metadata.name"}]))
    assert (page.total, len(page.matching), page.has_next) == (4, 4, True)


def test_scope_hides_other_namespaces(pods: Replica) -> None:
    mine = lists.Scope(namespaces=frozenset({"default"}))
    assert not mine.complete
    assert [r.name for r in lists.run(pods, lists.parse(PODS), mine).rows] == ["a", "b"]
    assert lists.run(pods, lists.parse(PODS, namespace="other"), mine).total == 0


def test_field_selector_reads_a_missing_boolean_as_false(pods: Replica) -> None:
    assert names(pods, field_selector="spec.hostNetwork=false") == ["a", "b", "d"]
    assert names(pods, field_selector="spec.hostNetwork!=false") == ["c"]
    assert names(pods, field_selector="spec.nodeName=") == ["d"]


def test_labels_are_keys_of_a_map_in_either_spelling(pods: Replica) -> None:
    for path in ("metadata.labels.app", "metadata.labels['app']"):
        assert names(pods, where={"path": path, "eq": "db"}) == ["c"]


def test_any_element_and_null() -> None:
    filled = replica(
        [
            pod("none", containers=[]),
            pod("some", containers=[{"name": "c"}, {"name": "d", "image": "i"}]),
            pod("all", containers=[{"name": "c", "image": "i"}]),
        ]
    )
    image = "spec.containers[*].image"
    assert names(filled, where={"path": image, "eq": None}) == ["none", "some"]
    assert names(filled, where={"path": image, "ne": None}) == ["all"]
    assert names(filled, where={"path": image, "exists": True}) == ["all", "some"]
    assert names(filled, where={"path": image, "exists": False}) == ["none"]
    assert names(filled, where={"path": image, "ne": "i"}) == ["none"]
    assert names(filled, where={"path": image, "notIn": ["i", "j"]}) == ["none"]


def test_true_is_not_one() -> None:
    filled = replica(
        [pod("n", spec={"priority": 1}), pod("t", spec={"priority": True}), pod("s", spec={"priority": "1"})]
    )
    assert names(filled, where={"path": "spec.priority", "eq": 1}) == ["n"]
    assert names(filled, where={"path": "spec.priority", "eq": True}) == ["t"]
    assert names(filled, where={"path": "spec.priority", "in": ["1"]}) == ["s"]
    assert names(filled, where={"path": "spec.priority", "gte": 1}) == ["n", "s"]


def test_objects_and_long_texts_are_compared_though_not_kept() -> None:
    long = "x" * 5_000
    filled = replica([pod("a", labels={"k": "v"}), pod("b", spec={"schedulerName": long}), pod("c")])
    for _ in range(2):
        assert names(filled, where={"path": "metadata.labels", "eq": {"k": "v"}}) == ["a"]
        assert names(filled, where={"path": "spec.schedulerName", "startsWith": "xx"}) == ["b"]
    assert filled.columns.bytes < 20_000


def test_pattern_that_others_backtrack_on_is_quick(pods: Replica) -> None:
    filled = replica([pod("a", spec={"schedulerName": "a" * 5_000 + "b"})])
    assert names(filled, where={"path": "spec.schedulerName", "matches": "(a+)+$"}) == []


def test_derived_columns_are_paths() -> None:
    container = {"name": "c", "resources": {"requests": {"cpu": "500m", "example.com/gpu": "2"}}}
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    filled = replica([pod("a", containers=[container], spec={"volumes": [volume]}), pod("b")])
    assert names(filled, where={"path": "requests.cpu", "gt": 0.25}) == ["a"]
    assert names(filled, where={"path": "requests.gpu", "eq": "2"}) == ["a"]
    assert names(filled, where={"path": "persistentVolumeClaims[*].name", "eq": "data"}) == ["a"]
    assert names(filled, order_by=[{"path": "requests.cpu", "direction": "DESC"}]) == ["a", "b"]


class Nodes:
    """A resolver: pods have the pods on their node as neighbours, and a deployment by their first letter."""

    def __init__(self, filled: Replica) -> None:
        self._filled = filled

    def derived(self, resource: Resource, path: str, rows: Sequence[Row]) -> Sequence[Any]:
        assert (resource, path) == (PODS, "deployment.name")
        return [f"deploy-{each.name}" for each in rows]

    def related(self, resource: Resource, relation: str, rows: Sequence[Row]) -> Sequence[Sequence[Row]]:
        assert (resource, relation) == (PODS, "neighbours")
        return [self._filled.on_node(str(each.columns[0])) for each in rows]

    def replica(self, resource: Resource) -> Replica:
        return self._filled


def test_relations_are_asked_of_the_resolver(pods: Replica) -> None:
    def ask(spec: Mapping[str, Any]) -> list[str]:
        query = lists.parse(PODS, where=spec, relations=lambda _, name: PODS if name == "neighbours" else None)
        return [r.name for r in lists.run(pods, query, resolver=Nodes(pods)).rows]

    web = {"path": "metadata.labels['app']", "eq": "web"}
    assert ask({"relation": "neighbours", "some": web}) == ["a", "b", "c"]
    assert ask({"relation": "neighbours", "none": web}) == ["d"]
    assert ask({"relation": "neighbours", "some": {}}) == ["a", "b", "c"]
    assert ask({"relation": "neighbours", "none": {}, "path": "metadata.name", "eq": "d"}) == ["d"]
    assert ask({"path": "deployment.name", "eq": "deploy-b"}) == ["b"]


def test_an_answer_in_turns_is_of_the_moment_it_was_asked_for() -> None:
    filled = replica([pod(f"p{n}", containers=[{"name": "c", "image": f"i{n % 2}"}]) for n in range(300)])
    query = lists.parse(PODS, where={"path": "spec.containers[*].image", "eq": "i1"})

    async def ask() -> lists.Page:
        asked = asyncio.create_task(lists.answer(filled, query))
        for step in range(6):
            await asyncio.sleep(0)
            for number in range(0, 300, 3):
                changed = pod(f"p{number}", version=10 + step, containers=[{"name": "c", "image": "i9"}])
                filled.put(row(filled.codec, changed))
            filled.drop(f"uid-default-p{200 + step}")
            filled.put(row(filled.codec, pod(f"new{step}", containers=[{"name": "c", "image": "i1"}])))
        return await asked

    page = asyncio.run(ask())
    assert [r.name for r in page.rows] == sorted(f"p{n}" for n in range(300) if n % 2)
    again = lists.run(filled, query)
    gone = {f"p{200 + step}" for step in range(6)}
    expected = {f"p{n}" for n in range(300) if n % 2 and n % 3} - gone | {f"new{n}" for n in range(6)}
    assert {r.name for r in again.rows} == expected


def test_one_row_passes_as_in_a_list(pods: Replica) -> None:
    query = lists.parse(
        PODS, namespace="default", label_selector="app=web", where={"path": "spec.nodeName", "eq": "n1"}
    )
    view = cells.View(pods)
    assert [r.name for r in pods.rows() if lists.passes(view, query, r)] == ["a"]
    foreign = row(pods.codec, pod("z", labels={"app": "web"}, node="n1"))
    assert lists.passes(view, query, foreign)


def test_paths_have_one_spelling() -> None:
    spellings = ("metadata.labels.app", "metadata.labels['app']", "metadata['labels'].app")
    assert {paths.parse(PODS, text).text for text in spellings} == {"metadata.labels.app"}
    assert paths.parse(PODS, "metadata.labels['it\\'s']").steps[-1] == "it's"


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda r: r.plural)
def test_declared_columns_are_paths_of_their_kind(resource: Resource) -> None:
    for column in resource.columns:
        if column.path is not None:
            assert paths.parse(resource, column.path).text == column.path


# -- groups ----------------------------------------------------------------------------------------------------


def group(filled: Replica, *by: str, **asked: Any) -> list[tuple[Any, ...]]:
    found = groups.run(filled, filled.rows(), groups.parse(PODS, by, **asked))
    return [(*each.values, each.count) for each in found]


def test_groups_are_ordered_by_count_then_value(pods: Replica) -> None:
    assert group(pods, "metadata.labels['app']") == [("web", 2), ("db", 1), (None, 1)]
    assert group(pods, "metadata.labels['app']", first=1) == [("web", 2)]
    by_value = {"by": "metadata.labels['app']", "direction": "ASC"}
    assert group(pods, "metadata.labels['app']", order=by_value) == [("db", 1), ("web", 2), (None, 1)]


def test_sums_are_exact_and_canonical() -> None:
    asked = ["0.1", "200m", "0.7"]
    filled = replica(
        [pod(f"p{n}", containers=[{"name": "c", "resources": {"requests": {"cpu": c}}}]) for n, c in enumerate(asked)]
    )
    (only,) = groups.run(filled, filled.rows(), groups.parse(PODS, ["metadata.namespace"]))
    assert only.sum(paths.parse(PODS, "requests.cpu")) == "1"
    assert only.max(paths.parse(PODS, "requests.cpu")) == "700m"
    assert only.sum(paths.parse(PODS, "requests.gpu")) == "0"
    assert only.min(paths.parse(PODS, "requests.gpu")) is None
    with pytest.raises(AnswerError) as caught:
        only.sum(paths.parse(PODS, "metadata.name"))
    assert caught.value.code is Code.BAD_ARGUMENT


@pytest.mark.parametrize(
    ("by", "code"),
    [
        ("size", Code.PATH_INVALID),
        ("metadata.name", Code.BAD_ARGUMENT),
        ("sum(metadata.creationTimestamp)", Code.BAD_ARGUMENT),
        ("sum(nope)", Code.PATH_INVALID),
        ("avg(requests.cpu)", Code.PATH_INVALID),
    ],
)
def test_orders_of_groups_that_are_none(by: str, code: Code) -> None:
    with pytest.raises(AnswerError) as caught:
        groups.parse(PODS, ["metadata.namespace"], order={"by": by})
    assert caught.value.code is code
