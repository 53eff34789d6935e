"""Patches: merge, strategic merge by name, and the simple operations of JSON patch."""

from __future__ import annotations

from typing import Any

import pytest

from krm.simulator import patches
from krm.simulator.status import StatusError

POD: dict[str, Any] = {
    "metadata": {"name": "p", "labels": {"a": "1", "b/c": "2"}},
    "spec": {"containers": [{"name": "x", "image": "i:1"}, {"name": "y", "image": "j:1"}]},
}


@pytest.mark.parametrize(
    ("media", "patch", "path", "expected"),
    [
        (patches.MERGE_PATCH, {"metadata": {"labels": {"a": None, "d": "4"}}}, "labels", {"b/c": "2", "d": "4"}),
        (patches.MERGE_PATCH, {"spec": {"containers": [{"name": "z"}]}}, "containers", [{"name": "z"}]),
        (
            patches.STRATEGIC,
            {"spec": {"containers": [{"name": "y", "image": "j:2"}, {"name": "z"}]}},
            "containers",
            [{"name": "x", "image": "i:1"}, {"name": "y", "image": "j:2"}, {"name": "z"}],
        ),
        (
            patches.STRATEGIC,
            {"spec": {"containers": [{"name": "x", "$patch": "delete"}]}},
            "containers",
            [{"name": "y", "image": "j:1"}],
        ),
        (
            patches.JSON_PATCH,
            [
                {"op": "test", "path": "/spec/containers/0/name", "value": "x"},
                {"op": "replace", "path": "/spec/containers/0/image", "value": "i:2"},
                {"op": "remove", "path": "/spec/containers/1"},
                {"op": "add", "path": "/spec/containers/-", "value": {"name": "z"}},
            ],
            "containers",
            [{"name": "x", "image": "i:2"}, {"name": "z"}],
        ),
        (
            patches.JSON_PATCH,
            [
                {"op": "remove", "path": "/metadata/labels/b~1c"},
                {"op": "add", "path": "/metadata/labels/d", "value": "4"},
            ],
            "labels",
            {"a": "1", "d": "4"},
        ),
    ],
)
def test_patches_change_what_they_should(media: str, patch: Any, path: str, expected: Any) -> None:
    before = repr(POD)
    after = patches.apply_patch(POD, patch, media)
    found = after["metadata"]["labels"] if path == "labels" else after["spec"]["containers"]
    assert found == expected
    assert repr(POD) == before


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        (patches.JSON_PATCH, {"op": "add"}),
        (patches.JSON_PATCH, [{"op": "replace", "path": "/metadata/none", "value": 1}]),
        (patches.JSON_PATCH, [{"op": "remove", "path": "/spec/containers/9"}]),
        (patches.JSON_PATCH, [{"op": "test", "path": "/metadata/name", "value": "other"}]),
        (patches.JSON_PATCH, [{"op": "fly", "path": "/metadata/name"}]),
        (patches.JSON_PATCH, ["text"]),
        (patches.JSON_PATCH, [{"op": "remove", "path": ""}]),
        (patches.MERGE_PATCH, [1]),
    ],
)
def test_patches_that_do_not_fit_are_refused(media: str, patch: Any) -> None:
    with pytest.raises(StatusError) as caught:
        patches.apply_patch(POD, patch, media)
    assert caught.value.code in (400, 422)
