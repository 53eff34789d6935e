"""Renders ``krm_client/facade_types.py`` from the registry: ``python -m tests.unit.client.rendering`` rewrites it."""

from __future__ import annotations

from pathlib import Path

from krm_client import facade_types
from krm_client.facade import FACADES, MethodSpec, specs_of
from krm_client.registry import RESOURCES

PATH = Path(facade_types.__file__)
MARK = "# Below: made from the registry (tests/unit/client/rendering.py)."


def rendered() -> str:
    """The file as it should be: its head as it is, and the classes."""
    head, _, _ = PATH.read_text().partition(MARK)
    return head + MARK + "\n\n\n" + "\n\n".join(_classes())


def models() -> list[str]:
    """What the file has to import from the official client."""
    return sorted(name for resource in RESOURCES for name in (resource.model, resource.list_model))


def _classes() -> list[str]:
    classes = []
    for prefix, result in (("", "{}"), ("Async", "Awaitable[{}]")):
        for facade in FACADES:
            name = prefix + "".join(part.capitalize() for part in facade.split("_"))
            methods = "\n".join(_method(spec, result) for spec in specs_of(facade))
            how = ", awaited" if prefix else ""
            classes.append(f'class {name}(Protocol):\n    """``{facade}``{how}."""\n\n{methods}\n')
    return classes


def _method(spec: MethodSpec, result: str) -> str:
    required = "".join(f", {name}: str" for name in spec.required)
    keywords = "ListKeywords" if spec.is_list else "ReadKeywords"
    gives = result.format(spec.resource.list_model if spec.is_list else spec.resource.model)
    one_line = f"    def {spec.name}(self{required}, **keywords: Unpack[{keywords}]) -> {gives}: ..."
    if len(one_line) <= 120:
        return one_line
    arguments = f"self{required}, **keywords: Unpack[{keywords}]"
    return f"    def {spec.name}(\n        {arguments}\n    ) -> {gives}: ..."


if __name__ == "__main__":
    PATH.write_text(rendered())
