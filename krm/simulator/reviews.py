"""Reviews: questions to the API server about tokens and rights, which are answered and never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from krm.simulator import managed, status
from krm.simulator.access import AUDIENCE, Access, Question, User
from krm.simulator.bodies import read_json
from krm.simulator.kinds import Json, Kind
from krm.simulator.paths import Target
from krm.simulator.store import Store

_AUTHENTICATION = "authentication.k8s.io"
_AUTHORIZATION = "authorization.k8s.io"

REVIEWS: Mapping[tuple[str, str], str] = {
    (_AUTHENTICATION, "selfsubjectreviews"): "SelfSubjectReview",
    (_AUTHENTICATION, "tokenreviews"): "TokenReview",
    (_AUTHORIZATION, "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    (_AUTHORIZATION, "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
    (_AUTHORIZATION, "subjectaccessreviews"): "SubjectAccessReview",
}
"""(group, plural) -> kind of all reviews that are served; all in version v1."""


def review_kind(group: str, plural: str) -> Kind:
    """A review as a kind, for rights and discovery."""
    name = REVIEWS[(group, plural)]
    return Kind(
        group=group,
        plural=plural,
        singular=name.lower(),
        kind=name,
        namespaced=False,
        verbs=("create",),
    )


def is_review(parts: list[str]) -> bool:
    """Whether a path is that of a review."""
    return len(parts) == 4 and parts[0] == "apis" and parts[2] == "v1" and (parts[1], parts[3]) in REVIEWS


async def answer(access: Access, store: Store, user: User, request: web.Request, parts: list[str]) -> Json:
    """The review with its status; raises StatusError."""
    kind = review_kind(parts[1], parts[3])
    if request.method != "POST":
        raise status.method_not_allowed()
    access.authorize(user, "create", Target(kind=kind))
    body = await read_json(request)
    if body.get("kind", kind.kind) != kind.kind:
        raise status.bad_request(f'the object provided is unrecognized: "{body.get("kind")}" is not "{kind.kind}"')
    return _ANSWERS[kind.kind](access, store, user, body, request.headers.get("User-Agent", ""))


def _review(kind: str, group: str, store: Store, agent: str, spec: Json, spec_out: Json, found: Json) -> Json:
    review: Json = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {}}
    entry = managed.entry(
        {"apiVersion": f"{group}/v1", "spec": spec}, manager=managed.manager_of(agent), at=store.now_text()
    )
    review["metadata"]["managedFields"] = [entry]
    return review | {"spec": spec_out, "status": found}


def _token_review(access: Access, store: Store, _user: User, body: Json, agent: str) -> Json:
    spec = body.get("spec") or {}
    user = access.tokens.get(spec.get("token", ""))
    asked = spec.get("audiences") or [AUDIENCE]
    found: Json
    if user is None:
        found = {"user": {}, "error": "invalid bearer token"}
    elif not (audiences := [audience for audience in asked if audience in user.audiences]):
        text = f"token audiences {_go_list(user.audiences)} is invalid for the target audiences {_go_list(asked)}"
        found = {"user": {}, "error": f"[invalid bearer token, {text}]"}
    else:
        found = {"authenticated": True, "user": _user_info(user), "audiences": audiences}
    return _review("TokenReview", _AUTHENTICATION, store, agent, spec, spec, found)


def _go_list(values: Any) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _user_info(user: User) -> Json:
    info: Json = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    info["groups"] = list(user.all_groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra.items()}
    return info


def _question(user: str, groups: tuple[str, ...], spec: Json) -> Question:
    attributes = spec.get("resourceAttributes") or {}
    path = spec.get("nonResourceAttributes") or {}
    if not attributes and not path:
        text = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise status.invalid(
            _AUTHORIZATION, "SubjectAccessReview", "", [("spec.resourceAttributes", "FieldValueInvalid", text)]
        )
    return Question(
        user=user,
        groups=groups,
        verb=attributes.get("verb") or path.get("verb", ""),
        group=attributes.get("group", ""),
        resource=attributes.get("resource", ""),
        subresource=attributes.get("subresource", ""),
        namespace=attributes.get("namespace", ""),
        name=attributes.get("name", ""),
        path=path.get("path", ""),
    )


def _decision(access: Access, question: Question) -> Json:
    reason = access.reason(question)
    if reason is None:
        return {"allowed": False}
    return {"allowed": True, "reason": reason} if reason else {"allowed": True}


_SPEC_ORDER = ("resourceAttributes", "nonResourceAttributes", "user", "groups", "extra", "uid")


def _subject_access_review(access: Access, store: Store, _user: User, body: Json, agent: str) -> Json:
    spec = body.get("spec") or {}
    found = _decision(access, _question(spec.get("user", ""), tuple(spec.get("groups") or ()), spec))
    shown = {name: spec[name] for name in _SPEC_ORDER if name in spec}
    return _review("SubjectAccessReview", _AUTHORIZATION, store, agent, spec, shown, found)


def _self_subject_access_review(access: Access, store: Store, user: User, body: Json, agent: str) -> Json:
    spec = body.get("spec") or {}
    found = _decision(access, _question(user.name, Access.groups_of(user), spec))
    return _review("SelfSubjectAccessReview", _AUTHORIZATION, store, agent, spec, spec, found)


def _self_subject_rules_review(access: Access, _store: Store, user: User, body: Json, _agent: str) -> Json:
    namespace = (body.get("spec") or {}).get("namespace", "")
    if not namespace:
        raise status.bad_request("no namespace on request")
    resource_rules: list[Json] = []
    path_rules: list[Json] = []
    for grant in access.grants(user.name, Access.groups_of(user), namespace):
        order = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
        rule = {name: grant.rule[name] for name in order if grant.rule.get(name)}
        (path_rules if "nonResourceURLs" in rule else resource_rules).append(rule)
    return {
        "kind": "SelfSubjectRulesReview",
        "apiVersion": f"{_AUTHORIZATION}/v1",
        "metadata": {},
        "spec": {},
        "status": {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False},
    }


def _self_subject_review(_access: Access, store: Store, user: User, _body: Json, _agent: str) -> Json:
    return {
        "kind": "SelfSubjectReview",
        "apiVersion": f"{_AUTHENTICATION}/v1",
        "metadata": {"creationTimestamp": store.now_text()},
        "status": {"userInfo": _user_info(user)},
    }


_ANSWERS: Mapping[str, Callable[[Access, Store, User, Json, str], Json]] = {
    "TokenReview": _token_review,
    "SubjectAccessReview": _subject_access_review,
    "SelfSubjectAccessReview": _self_subject_access_review,
    "SelfSubjectRulesReview": _self_subject_rules_review,
    "SelfSubjectReview": _self_subject_review,
}
