"""The schemas of custom resources, as far as they decide whether an object is accepted.

Required members, types and enumerations; formats, patterns, bounds and rules (CEL) are not looked at.
"""

from __future__ import annotations

from typing import Any

import orjson

from krm.simulator import status
from krm.simulator.kinds import Json, Kind


def validate(kind: Kind, obj: Json) -> None:
    """Raise StatusError 422 when an object is not what the definition of its kind asks for."""
    schema = ((kind.definition or {}).get("schema") or {}).get("openAPIV3Schema")
    if schema:
        problems: list[tuple[str, str, str]] = []
        _problems(schema, {key: obj[key] for key in obj if key not in ("apiVersion", "kind", "metadata")}, "", problems)
        if problems:
            raise status.invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), problems)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _problems(schema: Json, value: Any, at: str, found: list[tuple[str, str, str]]) -> None:
    wanted = _TYPES.get(schema.get("type", ""))
    if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        shown = orjson.dumps(value).decode()
        text = f'Invalid value: {shown}: {at} in body must be of type {schema["type"]}: "{type(value).__name__}"'
        found.append((at, "FieldValueTypeInvalid", text))
        return
    if "enum" in schema and value not in schema["enum"]:
        names = ", ".join(f'"{each}"' for each in schema["enum"])
        found.append((at, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {names}'))
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                place = f"{at}.{name}" if at else name
                found.append((place, "FieldValueRequired", "Required value"))
        for name, below in (schema.get("properties") or {}).items():
            if name in value and value[name] is not None:
                _problems(below, value[name], f"{at}.{name}" if at else name, found)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            _problems(schema["items"], item, f"{at}[{index}]", found)
