"""The grammar of paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.objects import paths
from krm.objects.paths import ANY, PathError, Step


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("kind", ("kind",)),
        ("spec.containers[*].image", ("spec", "containers", ANY, "image")),
        ("spec.containers[0].name", ("spec", "containers", 0, "name")),
        ("metadata.labels['a.b/c']", ("metadata", "labels", "a.b/c")),
        (r"a['it\'s a \\']", ("a", "it's a \\")),
        ("a['']", ("a", "")),
        ("a['x'].b", ("a", "x", "b")),
        ("a[*][0]", ("a", ANY, 0)),
        ("$ref.x-y._z9", ("$ref", "x-y", "_z9")),
        ("a[007]", ("a", 7)),
    ],
)
def test_steps_of_a_path(text: str, steps: tuple[Step, ...]) -> None:
    found = paths.parse(text)
    assert (found.text, found.steps) == (text, steps)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        (".a", 0),
        ("[*]", 0),
        ("a.", 1),
        ("a..b", 1),
        ("a b", 1),
        ("a[", 1),
        ("a[-1]", 1),
        ("a[1", 1),
        ("a[x]", 1),
        ("a.[0]", 1),
        ("a['x]", 1),
        (r"a['\x']", 1),
        ("a[0]b", 4),
        ("9a", 0),
        ("é", 0),
        ("a[1234567890]", 1),
        ("a" * 1025, 1024),
        ("a" + ".a" * 64, 129),
    ],
)
def test_what_is_no_path_tells_where(text: str, position: int) -> None:
    with pytest.raises(PathError) as caught:
        paths.parse(text)
    assert caught.value.position == position


names = st.from_regex(r"[A-Za-z_$][A-Za-z0-9_$-]{0,8}", fullmatch=True)
steps = st.one_of(names, st.integers(0, 999), st.just(ANY), st.text(max_size=6))


def spelled(step: Step) -> str:
    if step is ANY:
        return "[*]"
    if isinstance(step, int):
        return f"[{step}]"
    escaped = str(step).replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


@given(names, st.lists(steps, max_size=20))
def test_every_spelled_path_is_read_back(first: str, rest: list[Step]) -> None:
    assert paths.parse(first + "".join(map(spelled, rest))).steps == (first, *rest)


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_a_path_error(text: str) -> None:
    try:
        found = paths.parse(text)
    except PathError:
        return
    assert isinstance(found.steps[0], str)
