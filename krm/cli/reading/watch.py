"""``krm get -w``: what there is, then a line for each change (on a terminal the table again), until a signal."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from krm.cli import output
from krm.cli.choices import Form
from krm.cli.reading import asking, forms, get, screen
from krm.cli.reading.forms import Found
from krm.cli.reading.get import Wanted
from krm.cli.reading.screen import Screen
from krm.errors import ConfigError, KrmError
from krm.resources import Resource

Object = Mapping[str, Any]


def run(wanted: Wanted, *, form: Form, has_headings: bool, url: str | None, timeout: str) -> int:
    """Print and follow; returns the exit status. A signal is a regular end."""
    get.check(wanted, form)
    if len(wanted.targets) != 1 or len(wanted.targets[0].names) > 1:
        raise ConfigError("-w follows one resource, or one object of it")
    resource = wanted.targets[0].resource
    names = wanted.targets[0].names
    name = names[0] if names else None
    shows = {"has_headings": has_headings, "has_namespaces": wanted.namespace is None}
    is_screen = screen.can_redraw(form)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with asking.asker(url, timeout) as asker:
            answered, found = get.listed(asker, resource, wanted, name=name)
            if found is None:
                raise KrmError("; ".join(answered.complaints) or "KRM gave no answer")
            events = asker.watch(resource.plural, **_arguments(wanted, resource, names))
            if is_screen:
                drawn = Screen(resource, form, is_ordered=wanted.order is not None, **shows)
                drawn.begin(found.objects)
                _draw(events, drawn, lambda: get.listed(asker, resource, wanted, name=name)[1], resource)
            else:
                _append(events, _Printer(resource, form, **shows), found.objects, resource)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _append(
    events: Iterable[Mapping[str, Any]], printer: _Printer, listed: Sequence[Object], resource: Resource
) -> None:
    printer.show(listed)
    shown = {_uid(item): _version(item) for item in listed}
    for event in events:
        _tell(event, printer, shown, resource)


def _draw(
    events: Iterable[Mapping[str, Any]], drawn: Screen, listed: Callable[[], Found | None], resource: Resource
) -> None:
    """What has gone since the first list is in no event: once the watch tells, another is newer than it."""
    is_known = False
    for event in events:
        manifest = event["raw_object"]
        if not is_known or manifest is None:
            found = listed()
            drawn.begin(found.objects if found is not None else ())
            is_known = True
        if manifest is not None:
            drawn.change(event["type"], get.whole(manifest, resource))


def _arguments(wanted: Wanted, resource: Resource, names: tuple[str, ...]) -> dict[str, Any]:
    given = {
        "namespace": wanted.namespace if resource.namespaced else None,
        "name": names[0] if names else None,
        "label_selector": wanted.label_selector,
        "field_selector": wanted.field_selector,
        "where": wanted.where,
    }
    return {name: value for name, value in given.items() if value is not None}


def _tell(event: Mapping[str, Any], printer: _Printer, shown: dict[str, str], resource: Resource) -> None:
    """Print an event, unless it only repeats what the list has shown."""
    manifest = event["raw_object"]
    if manifest is None:
        output.say(f"warning: the watch of {resource.plural} had a gap; what there is now follows")
        shown.clear()
        return
    if event["type"] == "ADDED" and shown.pop(_uid(manifest), None) == _version(manifest):
        return
    printer.show([get.whole(manifest, resource)])


class _Printer:
    """Prints objects as they come; its columns only grow."""

    def __init__(self, resource: Resource, form: Form, *, has_headings: bool, has_namespaces: bool) -> None:
        self._resource = resource
        self._form = form
        self._has_headings = has_headings
        self._has_namespaces = has_namespaces
        self._table = output.Table()

    def show(self, objects: Sequence[Object]) -> None:
        """Print, and see that it is out."""
        if self._form in (Form.TABLE, Form.WIDE):
            found = Found(resource=self._resource, objects=objects)
            has_headings = self._has_headings and bool(objects)
            self._has_headings = self._has_headings and not has_headings
            output.write(self._table.text(forms.rows(found, self._form, has_headings, self._has_namespaces)))
        else:
            for each in objects:
                if self._form is Form.YAML:
                    output.write("---\n")
                one = Found(resource=self._resource, objects=[each])
                forms.show([one], self._form, has_headings=self._has_headings, has_namespaces=True, is_one=True)
                self._has_headings = False
        output.finish()


def _uid(item: Object) -> str:
    return str((item.get("metadata") or {}).get("uid", ""))


def _version(item: Object) -> str:
    return str((item.get("metadata") or {}).get("resourceVersion", ""))
