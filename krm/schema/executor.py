"""How an operation is executed. Compiled execution of lists hooks in here; everything else is graphql-core's."""

from __future__ import annotations

from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Plain execution."""
