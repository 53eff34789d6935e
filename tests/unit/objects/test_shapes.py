"""The shape of the models as data: what is not a type is refused, not guessed."""

from __future__ import annotations

import pytest

from krm.objects import shapes


def test_types_of_the_kinds_have_the_fields_of_the_wire() -> None:
    assert shapes.shape("PodStatus").fields["podIP"].scalar == "String"
    assert shapes.shape("PodSpec").fields["containers"].type == "Container"
    assert shapes.shape("PodSpec").fields["containers"].list


def test_unknown_spelling_fails_loudly() -> None:
    with pytest.raises(ValueError, match="names neither a scalar nor a type"):
        shapes._field("[Nothing]", {}, "Pod.spec")
