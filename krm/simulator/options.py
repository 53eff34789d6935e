"""What the query of a list or watch request asks for, checked as the API server checks it.

Raises StatusError with the texts of the real server. Which objects answer is decided in `lists` and `watches`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from krm.objects import selectors
from krm.objects.selectors import FieldOperator, FieldSelector, LabelSelector
from krm.simulator import status
from krm.simulator.kinds import Kind
from krm.simulator.objects import Version

EXACT = "Exact"
NOT_OLDER_THAN = "NotOlderThan"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which objects of a kind a request is about."""

    namespace: str = ""
    labels: LabelSelector = LabelSelector()
    fields: FieldSelector = FieldSelector()

    @property
    def is_filtered(self) -> bool:
        """Whether anything but the namespace narrows it."""
        return bool(self.labels.requirements or self.fields.requirements)

    def matches(self, version: Version) -> bool:
        """Tell whether an object belongs to it."""
        if self.namespace and version.namespace != self.namespace:
            return False
        for requirement in self.fields.requirements:
            same = version.fields.get(requirement.path, "") == requirement.value
            if same is not (requirement.operator is FieldOperator.EQUALS):
                return False
        return self.labels.matches(version.labels)


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """The parameters of a list or watch."""

    selection: Selection
    limit: int = 0
    continue_token: str = ""
    rv: int | None = None
    """None when the request names no version."""
    match: str = ""
    timeout_s: int | None = None
    watch: bool = False
    bookmarks: bool = False
    send_initial: bool | None = None


def parse(kind: Kind, namespace: str, name: str, query: Mapping[str, str]) -> ListOptions:
    """Read the query of a request on a collection (or, with a name, of a watch on one object)."""
    watch = _boolean(query, "watch") or False
    options = ListOptions(
        selection=_selection(kind, namespace, name, query),
        limit=_integer(query, "limit") or 0,
        continue_token=query.get("continue", ""),
        rv=_version(query),
        match=query.get("resourceVersionMatch", ""),
        timeout_s=_integer(query, "timeoutSeconds"),
        watch=watch,
        bookmarks=watch and bool(_boolean(query, "allowWatchBookmarks")),
        send_initial=_boolean(query, "sendInitialEvents"),
    )
    _check_match(options)
    return options


def _selection(kind: Kind, namespace: str, name: str, query: Mapping[str, str]) -> Selection:
    try:
        labels = selectors.parse_labels(query.get("labelSelector", ""))
        fields = selectors.parse_fields(query.get("fieldSelector", ""))
    except selectors.SelectorError as error:
        raise status.bad_request(error.message) from error
    for requirement in fields.requirements:
        if requirement.path not in kind.fields:
            raise status.bad_request(_unknown_field(kind, requirement.path))
    if name:
        wanted = selectors.FieldRequirement(path="metadata.name", operator=FieldOperator.EQUALS, value=name)
        fields = FieldSelector(requirements=(*fields.requirements, wanted))
    return Selection(namespace=namespace, labels=labels, fields=fields)


def _unknown_field(kind: Kind, path: str) -> str:
    if kind.named_field_error:
        known = ", ".join(f'"{name}"' for name in kind.fields)
        return f'"{path}" is not a known field selector: only {known}'
    return f"field label not supported: {path}"


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    digits = text[1:] if text[0] == "-" else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _boolean(query: Mapping[str, str], name: str) -> bool | None:
    text = query.get(name)
    if text is None:
        return None
    # As the conversion of query parameters has it: anything but these two is true.
    return text.lower() not in ("false", "0")


def _version(query: Mapping[str, str]) -> int | None:
    text = query.get("resourceVersion", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise status.bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _check_match(options: ListOptions) -> None:
    problems: list[tuple[str, str, str]] = []
    if options.continue_token and options.rv is not None:
        raise status.bad_request("specifying resource version is not allowed when using continue")
    if options.send_initial is not None:
        problems += _initial_events_problems(options)
    elif options.match:
        problems += _match_problems(options)
    if options.limit < 0:
        problems.append(("limit", "FieldValueInvalid", f"Invalid value: {options.limit}: must be non-negative"))
    if problems:
        raise status.invalid("meta.k8s.io", "ListOptions", "", problems)


def _match_problems(options: ListOptions) -> list[tuple[str, str, str]]:
    field = "resourceVersionMatch"
    if options.watch:
        return [(field, "FieldValueForbidden", "Forbidden: resourceVersionMatch is forbidden for watch")]
    if options.rv is None:
        text = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        return [(field, "FieldValueForbidden", text)]
    if options.continue_token:
        return [
            (field, "FieldValueForbidden", "Forbidden: resourceVersionMatch is forbidden when continue is provided")
        ]
    if options.match not in (EXACT, NOT_OLDER_THAN):
        text = f'Unsupported value: "{options.match}": supported values: "Exact", "NotOlderThan", ""'
        return [(field, "FieldValueNotSupported", text)]
    if options.match == EXACT and options.rv == 0:
        text = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        return [(field, "FieldValueForbidden", text)]
    return []


def _initial_events_problems(options: ListOptions) -> list[tuple[str, str, str]]:
    if not options.watch:
        text = "Forbidden: sendInitialEvents is forbidden for list"
        return [("sendInitialEvents", "FieldValueForbidden", text)]
    if options.match != NOT_OLDER_THAN:
        text = f"Forbidden: sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER_THAN}"
        return [("resourceVersionMatch", "FieldValueForbidden", text)]
    return []
