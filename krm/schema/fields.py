"""Makes Strawberry fields out of data, for kinds that are entries of the registry rather than classes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any

import strawberry
from strawberry import UNSET, Info
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case


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
    resolver.__signature__ = _signature(arguments or {}, required)  # what the library reads
    made: StrawberryField = strawberry.field(name=name, resolver=resolver, graphql_type=type_, description=description)
    made.python_name = name
    return made


def subscription(
    name: str,
    type_: Any,
    resolve: Callable[..., AsyncIterator[Any]],
    arguments: Mapping[str, Any],
    *,
    description: str | None = None,
) -> StrawberryField:
    """The same for a field of events; ``resolve`` is an asynchronous generator function."""

    async def run(self: Any, info: Info, **given: Any) -> AsyncIterator[Any]:
        async for event in resolve(self, info.context, given):
            yield event

    run.__signature__ = _signature(arguments, ())  # type: ignore[attr-defined]  # what the library reads
    decorate: Any = strawberry.subscription
    made: StrawberryField = decorate(name=name, resolver=run, graphql_type=type_, description=description)
    made.python_name = name
    return made


def _signature(arguments: Mapping[str, Any], required: tuple[str, ...]) -> inspect.Signature:
    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("self", positional),
            inspect.Parameter("info", positional, annotation=Info),
            *(
                inspect.Parameter(
                    python_name,
                    keyword,
                    # With its name said, the library need not work it out again for every request.
                    annotation=Annotated[annotation, strawberry.argument(name=to_camel_case(python_name))],
                    default=inspect.Parameter.empty if python_name in required else UNSET,
                )
                for python_name, annotation in arguments.items()
            ),
        ]
    )
