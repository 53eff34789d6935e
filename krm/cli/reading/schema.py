"""``krm schema``: the GraphQL schema as text, out of the package; neither a server nor strawberry is needed."""

from __future__ import annotations

from importlib import resources

from krm.cli import output
from krm.errors import KrmError


def run() -> int:
    """Print it."""
    try:
        text = resources.files("krm.schema").joinpath("schema.graphql").read_text("utf-8")
    except FileNotFoundError as error:
        raise KrmError("this installation lacks krm/schema/schema.graphql: install it again") from error
    output.write(text)
    return 0
