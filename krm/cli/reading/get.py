"""``krm get``: objects as kubectl shows them, out of KRM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from krm.cli import output
from krm.cli.choices import Form
from krm.cli.reading import asking, forms
from krm.cli.reading.asking import Answered, Asker
from krm.cli.reading.forms import Found
from krm.cli.reading.targets import Target
from krm.errors import ConfigError
from krm.resources import Resource

_TYPES: Final = {"where": "Filter", "orderBy": "[Order!]"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to get; ``namespace`` None is all of them."""

    targets: Sequence[Target]
    namespace: str | None
    label_selector: str | None = None
    field_selector: str | None = None
    where: Mapping[str, Any] | None = None
    order: Sequence[Mapping[str, str]] | None = None


@dataclass
class _Result:
    found: list[Found] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def run(wanted: Wanted, *, form: Form, has_headings: bool, url: str | None, timeout: str) -> int:
    """Get and print; returns the exit status. Raises ``ConfigError`` and the client's errors."""
    check(wanted, form)
    result = _Result()
    with asking.asker(url, timeout) as asker:
        for target in wanted.targets:
            if target.names:
                _by_name(asker, target, wanted, result)
            else:
                _by_list(asker, target, wanted, result)
    is_one = len(wanted.targets) == 1 and len(wanted.targets[0].names) == 1
    if result.found or not result.complaints:
        forms.show(
            result.found, form, has_headings=has_headings, has_namespaces=wanted.namespace is None, is_one=is_one
        )
    output.finish()
    if not any(found.objects for found in result.found) and not result.complaints:
        output.say(_nothing(wanted))
    for complaint in result.complaints:
        output.say(complaint)
    return 1 if result.complaints else 0


def check(wanted: Wanted, form: Form) -> None:
    """Refuse with ``ConfigError`` what cannot be meant, before anything is sent."""
    from krm.objects import selectors

    names = [name for target in wanted.targets for name in target.names]
    if names and wanted.namespace is None and any(target.resource.namespaced for target in wanted.targets):
        raise ConfigError("an object cannot be named across all namespaces: give its namespace with -n")
    selecting = (wanted.label_selector, wanted.field_selector, wanted.where, wanted.order)
    if names and any(each is not None for each in selecting):
        raise ConfigError("a name excludes selectors, --where and --sort-by")
    if form is Form.CSV and len(wanted.targets) > 1:
        raise ConfigError("-o csv takes one resource: each has its own columns")
    if wanted.namespace == "":
        raise ConfigError("-n: a namespace has a name; -A is all of them")
    for option, text, parse in (
        ("-l", wanted.label_selector, selectors.parse_labels),
        ("--field-selector", wanted.field_selector, selectors.parse_fields),
    ):
        try:
            if text is not None:
                parse(text)
        except selectors.SelectorError as error:
            raise ConfigError(f"{option} {text!r}: {error}") from error


def _by_list(asker: Asker, target: Target, wanted: Wanted, result: _Result) -> None:
    answered, found = listed(asker, target.resource, wanted)
    result.complaints += answered.complaints
    if found is not None:
        result.found.append(found)


def listed(
    asker: Asker, resource: Resource, wanted: Wanted, *, name: str | None = None
) -> tuple[Answered, Found | None]:
    """List a kind, with a warning where the answer is old or partial; None where there is no answer."""
    given = {
        "namespace": wanted.namespace if resource.namespaced else None,
        "name": name,
        "labelSelector": wanted.label_selector,
        "fieldSelector": wanted.field_selector,
        "where": wanted.where,
        "orderBy": wanted.order,
    }
    given = {argument: value for argument, value in given.items() if value is not None}
    declared = _in_brackets(f"${argument}: {_TYPES.get(argument, 'String')}" for argument in given)
    passed = _in_brackets(f"{argument}: ${argument}" for argument in given)
    answered = asker.ask(
        f"query {declared} {{ {resource.list_field}{passed} {{ nodes {{ object }} resourceVersion"
        f" scope {{ complete namespaces }} freshness {{ {asking.FRESHNESS} }} }} }}",
        given,
    )
    connection = answered.data.get(resource.list_field)
    if connection is None:
        return answered, None
    _warn(connection["freshness"], connection["scope"], resource)
    objects = [whole(node["object"], resource) for node in connection["nodes"]]
    return answered, Found(resource=resource, objects=objects, version=connection.get("resourceVersion") or "")


def _in_brackets(parts: Iterable[str]) -> str:
    joined = ", ".join(parts)
    return f"({joined})" if joined else ""


def _by_name(asker: Asker, target: Target, wanted: Wanted, result: _Result) -> None:
    resource = target.resource
    variables: dict[str, str] = {f"name{index}": name for index, name in enumerate(target.names)}
    in_namespace = ""
    if resource.namespaced and wanted.namespace is not None:
        variables["namespace"] = wanted.namespace
        in_namespace = "namespace: $namespace, "
    declared = ", ".join(f"${name}: String!" for name in variables)
    fields = " ".join(
        f"object{index}: {resource.single_field}({in_namespace}name: $name{index}) {{ object }}"
        for index in range(len(target.names))
    )
    answered = asker.ask(
        f'query ({declared}) {{ {fields} freshness(resources: ["{resource.name}"]) {{ {asking.FRESHNESS} }} }}',
        variables,
    )
    for freshness in answered.data.get("freshness") or ():
        asking.warn_unless_synced(freshness)
    objects = []
    for index, name in enumerate(target.names):
        single = answered.data.get(f"object{index}")
        if single is not None:
            objects.append(whole(single["object"], resource))
        elif not _failed(answered, f"object{index}"):
            where = f" in namespace {wanted.namespace!r}" if in_namespace else ""
            result.complaints.append(f"{resource.qualified} {name!r} not found{where}")
    result.complaints += answered.complaints
    if objects:
        result.found.append(Found(resource=resource, objects=objects))


def _failed(answered: Answered, name: str) -> bool:
    return any((error.get("path") or [None])[0] == name for error in answered.errors)


def whole(found: Mapping[str, Any], resource: Resource) -> Mapping[str, Any]:
    """The object with its kind: inside lists, the API server leaves it out."""
    if "kind" in found and "apiVersion" in found:
        return found
    return {"apiVersion": resource.api_version, "kind": resource.kind, **found}


def _warn(freshness: Mapping[str, Any], scope: Mapping[str, Any], resource: Resource) -> None:
    asking.warn_unless_synced(freshness)
    if scope.get("complete") is False:
        names = ", ".join(scope.get("namespaces") or ()) or "none"
        output.say(f"warning: {resource.plural} of these namespaces only, for want of rights in others: {names}")


def _nothing(wanted: Wanted) -> str:
    if wanted.namespace is None or not any(target.resource.namespaced for target in wanted.targets):
        return "No resources found"
    return f"No resources found in {wanted.namespace} namespace."
