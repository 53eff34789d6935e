"""The forms in which ``krm get`` prints objects. JSON and YAML are the objects exactly as the API server gave them."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from krm.cli import output
from krm.cli.choices import Form
from krm.cli.printing import kinds
from krm.resources import Resource

Object = Mapping[str, Any]
_NOTHING = frozenset({"<none>", "<unset>", "<unknown>"})


@dataclass(frozen=True, kw_only=True)
class Found:
    """Objects of one kind."""

    resource: Resource
    objects: Sequence[Object]
    version: str = ""


def show(found: Sequence[Found], form: Form, *, has_headings: bool, has_namespaces: bool, is_one: bool) -> None:
    """Write the objects to standard output. ``is_one``: a single object was asked for by name."""
    if form in (Form.JSON, Form.YAML):
        whole = _document(found, is_one=is_one)
        output.write(_json(whole) if form is Form.JSON else _yaml(whole))
    elif form is Form.NAME:
        for one in found:
            output.write("".join(f"{_reference(one.resource)}/{_name(item)}\n" for item in one.objects))
    elif form is Form.CSV:
        for one in found:
            output.write(_csv(one, has_headings=has_headings))
    else:
        tables = [
            output.table(rows(one, form, has_headings, has_namespaces, has_kinds=len(found) > 1))
            for one in found
            if one.objects
        ]
        output.write("\n".join(tables))


def _document(found: Sequence[Found], *, is_one: bool) -> Object:
    objects = [item for one in found for item in one.objects]
    if is_one and len(objects) == 1:
        return objects[0]
    version = found[0].version if len(found) == 1 else ""
    return {"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": version}}


def _json(whole: Object) -> str:
    import json
    import sys

    # A terminal obeys more characters than those that JSON escapes by itself.
    return json.dumps(whole, indent=4, ensure_ascii=sys.stdout.isatty()) + "\n"


def _yaml(whole: Object) -> str:
    from krm.cli.reading import yamls

    return yamls.dump(whole)


def _name(item: Object) -> str:
    return output.for_terminal(str((item.get("metadata") or {}).get("name", "")))


def _reference(resource: Resource) -> str:
    return f"{resource.singular}.{resource.group}" if resource.group else resource.singular


def rows(
    one: Found, form: Form, has_headings: bool, has_namespaces: bool, *, has_kinds: bool = False
) -> list[list[str]]:
    """The cells of a table. ``has_kinds``: names say their kind, because several kinds are shown."""
    printer = kinds.printer(one.resource)
    now = datetime.datetime.now(datetime.UTC)
    is_wide = form is Form.WIDE
    count = len(printer.headings) + (len(printer.wide_headings) if is_wide else 0)
    cells = printer.wide_cells if is_wide and printer.wide_cells else printer.cells
    lines = [[*printer.headings, *printer.wide_headings][:count]] if has_headings else []
    for item in one.objects:
        row = cells(item, now)[:count]
        lines.append([f"{_reference(one.resource)}/{row[0]}" if has_kinds else row[0], *row[1:]])
    if has_namespaces and one.resource.namespaced:
        names = ["NAMESPACE"] * has_headings + [_namespace(item) for item in one.objects]
        lines = [[name, *row] for name, row in zip(names, lines, strict=True)]
    return lines


def _namespace(item: Object) -> str:
    return output.for_terminal(str((item.get("metadata") or {}).get("namespace", "")))


def _csv(one: Found, *, has_headings: bool) -> str:
    printer = kinds.printer(one.resource)
    cells = printer.wide_cells or printer.cells
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if has_headings:
        headings = ["CREATED" if name == "AGE" else name for name in (*printer.headings, *printer.wide_headings)]
        writer.writerow([*["NAMESPACE"] * one.resource.namespaced, *headings])
    for item in one.objects:
        row = ["" if cell in _NOTHING else output.for_terminal(cell) for cell in cells(item, None)]
        writer.writerow([*[_namespace(item)] * one.resource.namespaced, *row])
    return text.getvalue()
