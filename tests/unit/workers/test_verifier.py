"""What the verifier makes of what is installed already."""

from __future__ import annotations

import pytest

from krm.store.head import ListHead
from krm.workers import verifier


def head(scope: str, epoch: str) -> ListHead:
    return ListHead(
        listing=scope,
        scope=scope,
        epoch=epoch,
        listed_at="5",
        started_ms=1,
        took_s=0.1,
        rows=0,
        chunks=0,
        digest="0",
        since="",
    )


@pytest.mark.parametrize(
    ("epochs", "newest"),
    [
        pytest.param([], None, id="nothing-installed"),
        pytest.param(["uid/0"], "uid/0", id="one"),
        pytest.param(["uid/9", "uid/10"], "uid/10", id="by-number"),
        pytest.param(["other/3", "uid/1"], "other/3", id="whoever-found-it-out"),
        pytest.param(["/1", "/0"], "/1", id="no-uid"),
    ],
)
def test_history_that_one_scope_has_found_out_holds_for_all(epochs: list[str], newest: str | None) -> None:
    found = verifier.newest_history(head(str(number), epoch) for number, epoch in enumerate(epochs))
    assert (found and found.epoch) == newest
