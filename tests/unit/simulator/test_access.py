"""Rights: the evaluation of roles and bindings that are stored in the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from krm.simulator import kinds
from krm.simulator.access import ADMIN, AUDIENCE, Access, Question, User
from krm.simulator.status import StatusError
from krm.simulator.store import Store

PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def grant(store: Store, role: str, rules: list[dict[str, Any]], subject: dict[str, str], namespace: str = "") -> None:
    """Bind a role: a cluster role when no namespace is given, else a role in it."""
    metadata = {"name": role, **({"namespace": namespace} if namespace else {})}
    role_kind = kinds.ROLES if namespace else kinds.CLUSTER_ROLES
    binding_kind = kinds.ROLE_BINDINGS if namespace else kinds.CLUSTER_ROLE_BINDINGS
    store.create(role_kind, {"metadata": dict(metadata), "rules": rules})
    reference = {"kind": role_kind.kind, "name": role}
    store.create(binding_kind, {"metadata": dict(metadata), "roleRef": reference, "subjects": [subject]})


def allowed(access: Access, user: str = "alice", groups: tuple[str, ...] = (), **what: str) -> bool:
    question = Question(user=user, groups=groups, **{"verb": "list", "resource": "pods", **what})
    return access.reason(question) is not None


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def access(store: Store) -> Access:
    return Access(store=store, enabled=True)


def test_nobody_may_anything_without_a_binding(access: Access) -> None:
    assert not allowed(access)
    assert not allowed(access, path="/metrics", resource="", verb="get")


def test_a_role_holds_in_its_namespace_only(store: Store, access: Access) -> None:
    grant(store, "reader", [PODS], {"kind": "User", "name": "alice"}, "team-1")
    assert allowed(access, namespace="team-1")
    assert not allowed(access, namespace="team-2")
    assert not allowed(access)
    assert not allowed(access, namespace="team-1", verb="watch")
    assert not allowed(access, namespace="team-1", user="bob")
    assert not allowed(access, namespace="team-1", group="apps")
    assert not allowed(access, namespace="team-1", subresource="log")


def test_a_cluster_role_holds_everywhere(store: Store, access: Access) -> None:
    grant(store, "reader", [PODS], {"kind": "Group", "name": "devs"})
    assert allowed(access, groups=("devs",))
    assert allowed(access, groups=("devs",), namespace="team-2")
    assert not allowed(access, groups=("ops",))


def test_a_cluster_role_bound_in_a_namespace_holds_there(store: Store, access: Access) -> None:
    store.create(kinds.CLUSTER_ROLES, {"metadata": {"name": "view"}, "rules": [PODS]})
    store.create(
        kinds.ROLE_BINDINGS,
        {
            "metadata": {"name": "v", "namespace": "team-1"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}],
        },
    )
    assert allowed(access, user="system:serviceaccount:ci:bot", namespace="team-1")
    assert not allowed(access, user="system:serviceaccount:ci:bot", namespace="team-2")
    assert not allowed(access, user="system:serviceaccount:ci:other", namespace="team-1")


def test_names_of_a_rule_open_no_list(store: Store, access: Access) -> None:
    grant(store, "one", [{**PODS, "resourceNames": ["web"]}], {"kind": "User", "name": "alice"}, "team-1")
    assert allowed(access, namespace="team-1", verb="get", name="web")
    assert not allowed(access, namespace="team-1", verb="get", name="db")
    assert not allowed(access, namespace="team-1")


@pytest.mark.parametrize(
    ("rule", "what", "expected"),
    [
        ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"group": "apps", "resource": "x"}, True),
        ({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}, {"verb": "get", "subresource": "log"}, True),
        ({"apiGroups": [""], "resources": ["*/log"], "verbs": ["get"]}, {"verb": "get", "subresource": "log"}, True),
        ({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}, {"verb": "get"}, False),
        (
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
            {"path": "/metrics", "resource": "", "verb": "get"},
            True,
        ),
        ({"nonResourceURLs": ["/logs/*"], "verbs": ["get"]}, {"path": "/logs/a", "resource": "", "verb": "get"}, True),
        ({"nonResourceURLs": ["/logs/*"], "verbs": ["get"]}, {"path": "/log", "resource": "", "verb": "get"}, False),
    ],
)
def test_rules_match_as_kubernetes_matches_them(
    store: Store, access: Access, rule: dict[str, Any], what: dict[str, Any], expected: bool
) -> None:
    grant(store, "r", [rule], {"kind": "User", "name": "alice"})
    assert allowed(access, **what) is expected


def test_a_revoked_binding_takes_effect_at_once(store: Store, access: Access) -> None:
    grant(store, "reader", [PODS], {"kind": "User", "name": "alice"}, "team-1")
    assert allowed(access, namespace="team-1")
    store.delete(kinds.ROLE_BINDINGS, "team-1", "reader")
    assert not allowed(access, namespace="team-1")


def test_masters_may_everything(access: Access) -> None:
    assert allowed(access, groups=("system:masters",), resource="secrets", verb="delete")


def test_tokens_are_known_or_refused(store: Store) -> None:
    alice = User(name="alice", groups=("devs",))
    other = User(name="eve", audiences=("https://other",))
    access = Access(store=store, enabled=True, tokens={"good": alice, "elsewhere": other})
    assert access.authenticate({"Authorization": "Bearer good"}) is alice
    assert access.authenticate({}).name == "system:anonymous"
    assert Access.groups_of(access.authenticate({})) == ("system:unauthenticated",)
    assert Access.groups_of(alice) == ("devs", "system:authenticated")
    for header in ("Bearer bad", "Basic good", "good", "Bearer elsewhere", "Bearer"):
        with pytest.raises(StatusError) as caught:
            access.authenticate({"Authorization": header})
        assert caught.value.code == 401
    assert AUDIENCE in alice.audiences


def test_everybody_is_an_administrator_while_authentication_is_off(store: Store) -> None:
    assert Access(store=store).authenticate({"Authorization": "Bearer anything"}) is ADMIN
