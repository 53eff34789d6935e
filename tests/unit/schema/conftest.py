"""What the tests of compiled answers look at."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from krm.store.compression import Text
from krm.store.rows import Codec, Row


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The rows whose objects were read, as they are read."""
    found: list[Row] = []
    bodies = Codec.bodies

    def counted(codec: Codec, rows: Sequence[Row]) -> list[Text]:
        found.extend(rows)
        return bodies(codec, rows)

    monkeypatch.setattr(Codec, "bodies", counted)
    return found
