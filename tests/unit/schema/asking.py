"""Asking the schema in process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from krm.schema import build
from krm.schema.context import Context
from krm.schema.engine import Engine, Request
from krm.schema.limits import Limits
from tests.sources import FilledSource


def engine(**options: Any) -> Engine:
    return Engine(build.default(), options.pop("limits", Limits()), **options)


async def ask(
    source: FilledSource,
    query: str,
    variables: Mapping[str, Any] | None = None,
    *,
    compiled: bool = False,
    by: Engine | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """The decoded answer."""
    surroundings = context or Context(source=source, is_compiled=compiled)
    answer = await (by or engine()).answer(Request(query=query, variables=variables), surroundings)
    found: dict[str, Any] = json.loads(answer.body)
    return {"status": answer.status, **found}


async def codes(source: FilledSource, query: str, **options: Any) -> dict[str, str]:
    """Codes of the errors, by path."""
    answer = await ask(source, query, **options)
    return {".".join(map(str, e.get("path", ()))): e["extensions"]["code"] for e in answer.get("errors", ())}
