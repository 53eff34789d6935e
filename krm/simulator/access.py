"""Who asks, and what may they: bearer tokens, and the evaluation of the roles and bindings stored in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from krm.simulator import kinds, status
from krm.simulator.kinds import Json
from krm.simulator.paths import Target
from krm.simulator.store import Store

AUDIENCE = "https://kubernetes.default.svc"
_AUTHENTICATED = "system:authenticated"
_UNAUTHENTICATED = "system:unauthenticated"
_MASTERS = "system:masters"
_OPEN_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_API_PATHS = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz"]


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody who asks."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    audiences: tuple[str, ...] = (AUDIENCE,)
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def all_groups(self) -> tuple[str, ...]:
        """The groups of the token, and the one of everybody who has a valid token."""
        return self.groups if _AUTHENTICATED in self.groups else (*self.groups, _AUTHENTICATED)


ANONYMOUS = "system:anonymous"
ADMIN = User(name="system:admin", groups=(_MASTERS,))
"""Whoever asks while authentication is off."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """May this user do this? Either a resource or a path."""

    user: str
    groups: tuple[str, ...]
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One rule that holds for a user, and where it comes from."""

    rule: Json
    reason: str


@dataclass(kw_only=True)
class Access:
    """The tokens of the cluster, and its rules."""

    store: Store
    enabled: bool = False
    """Off: everybody is an administrator, as a demonstration wants it."""
    tokens: dict[str, User] = field(default_factory=dict)

    def authenticate(self, headers: Mapping[str, str]) -> User:
        """The user of a request; raises StatusError 401 for a token that is not known."""
        if not self.enabled:
            return ADMIN
        text = headers.get("Authorization", "")
        if not text:
            return User(name=ANONYMOUS, groups=(_UNAUTHENTICATED,))
        scheme, _, token = text.partition(" ")
        user = self.tokens.get(token.strip()) if scheme.lower() == "bearer" else None
        if user is None or AUDIENCE not in user.audiences:
            raise status.unauthorized()
        return user

    @staticmethod
    def groups_of(user: User) -> tuple[str, ...]:
        """All groups of a user who has authenticated (or not)."""
        return user.groups if user.name == ANONYMOUS else user.all_groups

    def authorize(self, user: User, verb: str, target: Target) -> None:
        """Raise StatusError 403 unless the user may do this to the target."""
        if not self.enabled:
            return
        question = Question(
            user=user.name,
            groups=self.groups_of(user),
            verb=verb,
            group=target.kind.group,
            resource=target.kind.plural,
            subresource=target.subresource,
            # The namespace of a namespace object is the namespace itself, as in the real server.
            namespace=target.name if target.kind is kinds.NAMESPACES else target.namespace,
            name=target.name,
        )
        if self.reason(question) is None:
            resource = f"{target.kind.plural}/{target.subresource}" if target.subresource else target.kind.plural
            where = f'in the namespace "{question.namespace}"' if question.namespace else "at the cluster scope"
            raise status.forbidden(
                target.kind,
                target.name,
                f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{target.kind.group}" {where}',
            )

    def authorize_path(self, user: User, verb: str, path: str) -> None:
        """Raise StatusError 403 unless the user may see this path."""
        if not self.enabled:
            return
        question = Question(user=user.name, groups=self.groups_of(user), verb=verb, path=path)
        if self.reason(question) is None:
            raise status.forbidden_path(f'User "{user.name}" cannot {verb} path "{path}"')

    def reason(self, question: Question) -> str | None:
        """Why it is allowed, or None when it is not."""
        if _MASTERS in question.groups:
            return ""
        for grant in self.grants(question.user, question.groups, question.namespace):
            if _allows(grant.rule, question):
                return grant.reason
        return None

    def grants(self, user: str, groups: Iterable[str], namespace: str) -> Iterator[Grant]:
        """All rules that hold for a user: those for the whole cluster first, then those of the namespace."""
        wanted = frozenset(groups)
        for binding in [*_default_bindings(), *self._stored(kinds.CLUSTER_ROLE_BINDINGS)]:
            yield from self._rules(binding, "", user, wanted)
        if namespace:
            for version in self.store.collection(kinds.ROLE_BINDINGS).in_namespace(namespace):
                yield from self._rules(version.parse(), namespace, user, wanted)

    def _stored(self, kind: kinds.Kind) -> list[Json]:
        return [version.parse() for version in self.store.all(kind)]

    def _rules(self, binding: Json, namespace: str, user: str, groups: frozenset[str]) -> Iterator[Grant]:
        subject = next(
            (each for each in binding.get("subjects") or [] if _is_subject(each, namespace, user, groups)), None
        )
        if subject is None:
            return
        reference = binding["roleRef"]
        kind = kinds.CLUSTER_ROLES if reference["kind"] == "ClusterRole" else kinds.ROLES
        name = binding["metadata"]["name"]
        what = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
        whom = _subject_text(subject)
        reason = f'RBAC: allowed by {what} of {reference["kind"]} "{reference["name"]}" to {whom}'
        for rule in self._role(kind, namespace, reference["name"]):
            yield Grant(rule=rule, reason=reason)

    def _role(self, kind: kinds.Kind, namespace: str, name: str) -> list[Json]:
        stored = self.store.get(kind, namespace if kind.namespaced else "", name)
        if stored is not None:
            return list(stored.parse().get("rules") or [])
        return _default_roles().get(name, []) if kind is kinds.CLUSTER_ROLES else []


def _is_subject(subject: Json, namespace: str, user: str, groups: frozenset[str]) -> bool:
    match subject["kind"]:
        case "User":
            return bool(subject["name"] == user)
        case "Group":
            return subject["name"] in groups
        case "ServiceAccount":
            return bool(user == f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}")
        case _:
            return False


def _subject_text(subject: Json) -> str:
    name = f"{subject['name']}/{subject['namespace']}" if subject.get("namespace") else subject["name"]
    return f'{subject["kind"]} "{name}"'


def _allows(rule: Json, question: Question) -> bool:
    if not _has(rule.get("verbs"), question.verb):
        return False
    if question.path:
        return any(_path_fits(pattern, question.path) for pattern in rule.get("nonResourceURLs") or [])
    resource = f"{question.resource}/{question.subresource}" if question.subresource else question.resource
    resources = rule.get("resources") or []
    names = rule.get("resourceNames") or []
    return (
        _has(rule.get("apiGroups"), question.group)
        and (_has(resources, resource) or bool(question.subresource and f"*/{question.subresource}" in resources))
        and (not names or question.name in names)
    )


def _has(values: Iterable[str] | None, value: str) -> bool:
    found = values or ()
    return "*" in found or value in found


def _path_fits(pattern: str, path: str) -> bool:
    return pattern == path or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def _default_roles() -> dict[str, list[Json]]:
    """The roles that every cluster has, as far as they concern readers."""
    review = {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"]}
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    return {
        "cluster-admin": [everything, {"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "system:basic-user": [
            review | {"resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
            {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
        ],
        "system:discovery": [{"verbs": ["get"], "nonResourceURLs": [*_API_PATHS, "/version", "/version/"]}],
        "system:public-info-viewer": [{"verbs": ["get"], "nonResourceURLs": list(_OPEN_PATHS)}],
        "system:service-account-issuer-discovery": [
            {"verbs": ["get"], "nonResourceURLs": ["/.well-known", "/.well-known/*"]}
        ],
        "system:auth-delegator": [
            {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]},
            review | {"resources": ["subjectaccessreviews"]},
        ],
    }


def _default_bindings() -> list[Json]:
    """The bindings that every cluster has, in the order of their names."""

    def binding(role: str, *groups: str) -> Json:
        return {
            "metadata": {"name": role},
            "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "Group", "name": group} for group in groups],
        }

    return [
        binding("cluster-admin", _MASTERS),
        binding("system:basic-user", _AUTHENTICATED),
        binding("system:discovery", _AUTHENTICATED),
        binding("system:public-info-viewer", _AUTHENTICATED, _UNAUTHENTICATED),
        binding("system:service-account-issuer-discovery", _AUTHENTICATED),
    ]
