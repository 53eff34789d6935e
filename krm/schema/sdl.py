"""The schema as text: ``schema.graphql``, committed, so that it can be shown without building it.

Light on purpose: nothing of the server is imported. ``krm.schema.build.sdl`` makes the text anew; a test compares.
"""

from __future__ import annotations

import importlib.resources


def text() -> str:
    """The committed SDL."""
    return importlib.resources.files("krm.schema").joinpath("schema.graphql").read_text(encoding="utf-8")
