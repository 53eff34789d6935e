"""``krm get -w`` on a terminal: the table as it is now, drawn again with each change."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from krm.cli import output
from krm.cli.choices import Form
from krm.cli.reading import forms
from krm.cli.reading.forms import Found
from krm.resources import Resource

Object = Mapping[str, Any]
_HOME: Final = "\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_SCREEN: Final = "\x1b[J"


def can_redraw(form: Form) -> bool:
    """Whether somebody looks who sees a table being drawn again; whatever else reads gets a line for each change."""
    return form in (Form.TABLE, Form.WIDE) and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Screen:
    """The objects that match, as many as fit. ``is_ordered``: by the list's order, where new ones come last."""

    def __init__(
        self, resource: Resource, form: Form, *, has_headings: bool, has_namespaces: bool, is_ordered: bool
    ) -> None:
        self._resource = resource
        self._form = form
        self._has_headings = has_headings
        self._has_namespaces = has_namespaces
        self._is_ordered = is_ordered
        self._objects: dict[str, Object] = {}

    def begin(self, objects: Sequence[Object]) -> None:
        """It is these now."""
        self._objects = {_uid(each): each for each in objects}
        output.write(_HOME + _REST_OF_SCREEN)
        self.draw()

    def change(self, kind: str, item: Object) -> None:
        """One has come, changed or gone."""
        uid = _uid(item)
        if kind == "DELETED":
            self._objects.pop(uid, None)
        elif uid in self._objects and _version(self._objects[uid]) == _version(item):
            return  # as the list has shown it
        else:
            self._objects[uid] = item
        self.draw()

    def draw(self) -> None:
        """Over what is there, so that nothing flickers."""
        columns, lines = shutil.get_terminal_size()
        every = list(self._objects.values()) if self._is_ordered else sorted(self._objects.values(), key=_key)
        room = max(1, lines - 2 - self._has_headings)
        shown = every if len(every) <= room + 1 else every[:room]
        found = Found(resource=self._resource, objects=shown)
        text = output.table(forms.rows(found, self._form, self._has_headings, self._has_namespaces)) if shown else ""
        rows = [line[:columns] for line in text.splitlines()]
        if len(shown) < len(every):
            rows.append(f"... and {len(every) - len(shown)} more"[:columns])
        output.write(_HOME + "".join(f"{row}{_REST_OF_LINE}\n" for row in rows) + _REST_OF_SCREEN)
        output.finish()


def _uid(item: Object) -> str:
    return str((item.get("metadata") or {}).get("uid", ""))


def _version(item: Object) -> str:
    return str((item.get("metadata") or {}).get("resourceVersion", ""))


def _key(item: Object) -> tuple[str, str]:
    metadata = item.get("metadata") or {}
    return (str(metadata.get("namespace", "")), str(metadata.get("name", "")))
