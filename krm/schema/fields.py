"""Makes Strawberry fields out of data, for kinds that are entries of the registry rather than classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import strawberry
from strawberry import UNSET, Info
from strawberry.types.field import StrawberryField


def field(
    name: str,
    type_: Any,
    resolve: Callable[..., Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    description: str | None = None,
    required: tuple[str, ...] = (),
) -> StrawberryField:
    """A field of ``type_`` under the GraphQL name ``name``.

    ``resolve(source, context, given)`` is called with the arguments that were given, by their Python names; their
    types are ``arguments``, without defaults. It may be a coroutine function.
    """

    def run(self: Any, info: Info, **given: Any) -> Any:
        return resolve(self, info.context, given)

    async def run_async(self: Any, info: Info, **given: Any) -> Any:
        return await resolve(self, info.context, given)

    resolver: Any = run_async if inspect.iscoroutinefunction(resolve) else run
    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("self", positional),
        inspect.Parameter("info", positional, annotation=Info),
        *(
            inspect.Parameter(
                python_name,
                keyword,
                annotation=annotation,
                default=inspect.Parameter.empty if python_name in required else UNSET,
            )
            for python_name, annotation in (arguments or {}).items()
        ),
    ]
    resolver.__signature__ = inspect.Signature(parameters)  # what the library reads
    made: StrawberryField = strawberry.field(name=name, resolver=resolver, graphql_type=type_, description=description)
    made.python_name = name
    return made
